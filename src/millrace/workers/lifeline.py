"""A worker and its server: whether it is there, and who starts the embedded one again that was killed."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from millrace import settings
from millrace.client import locate
from millrace.errors import MillraceError, ServerUnavailable

log = logging.getLogger("millrace.worker")
T = TypeVar("T")

GRACE = 3.0
"""Seconds that a killed server stays so, lest a person who starts it meanwhile meets another."""
MANY, WINDOW, LONGEST = 8, 3600.0, 60.0
_LOOK = 1.0
_SILENT = 2.0


class Lifeline:
    """Says once when the server goes away, and once when it is back."""

    def __init__(self) -> None:
        self._since: float | None = None

    @property
    def is_lost(self) -> bool:
        """Whether the last request got no answer."""
        return self._since is not None

    def lost(self, error: ServerUnavailable) -> None:
        """A request got no answer.

        Args:
            error: what it got instead.
        """
        if self._since is None:
            self._since = time.monotonic()
            log.warning("The server is away: %s The worker goes on asking; its runs go on.", error)

    def found(self) -> None:
        """A request was answered."""
        if self._since is not None:
            log.info("The server is back after %.0f s.", time.monotonic() - self._since)
            self._since = None


class Keeper:
    """Starts the embedded server again that was killed; only the worker it brought itself has one.

    A server that was told to stop takes its runtime file away; one that was killed leaves it behind, with the number of
    a process that is gone. What was tried is noted beside it, for each new server brings a new worker: after some tries
    within an hour it is left alone.

    Args:
        home: the settings that name the data directory.
    """

    def __init__(self, home: settings.Settings) -> None:
        self._home = home
        self._tries = home.runtime_directory / "restarts"
        self._looked = 0.0
        self._since: float | None = None
        self._gave_up = False

    @classmethod
    def appointed(cls) -> Keeper | None:
        """The keeper, if this process is the worker of an embedded server; those it starts are not."""
        return cls(settings.current()) if os.environ.pop(settings.OWN_WORKER, None) else None

    def look(self) -> bool:
        """Start the server again if that is due.

        Returns:
            Whether it did. The new server has a worker of its own: this one is not needed any more.
        """
        moment = time.monotonic()
        if moment - self._looked < _LOOK:
            return False
        self._looked = moment
        dead = locate.killed()
        if dead is None:
            self._since, self._gave_up = None, False
            return False
        if self._since is None:
            self._since = moment
        earlier = self._earlier()
        if moment - self._since < max(GRACE, min(LONGEST, 2.0 ** len(earlier))) or self._gave_up:
            return False
        if len(earlier) >= MANY:
            self._gave_up = True
            log.error(
                "The server was killed, and was started again %s times within an hour: it is left alone now. "
                "See %s; `millrace up` starts it.",
                len(earlier),
                self._home.logs_directory / "server.log",
            )
            return False
        self._since = moment
        return self._start(dead.pid, earlier)

    def _start(self, pid: int, earlier: list[float]) -> bool:
        log.warning("The server (process %s) was killed: it is started again. Its new worker replaces this one.", pid)
        with contextlib.suppress(OSError):
            self._tries.write_text("".join(f"{one}\n" for one in [*earlier, time.time()]))
        try:
            locate.start_embedded()
        except MillraceError as error:
            log.warning("It did not start: %s", error)
            return False
        return True

    def _earlier(self) -> list[float]:
        """When it was tried within the last hour."""
        moments = _numbers(self._tries)
        return [one for one in moments if abs(time.time() - one) < WINDOW]


def _numbers(path: Path) -> list[float]:
    try:
        return [float(line) for line in path.read_text().split()]
    except (OSError, ValueError):
        return []


def patiently(ask: Callable[[], T], stopping: threading.Event) -> T | None:
    """What a server answers, however late it comes up; None: the worker was stopped before.

    The question is asked in a thread, so that a stop need not wait for an answer.

    Args:
        ask: asks once.
        stopping: set when the worker is to stop.
    """
    said = ""
    while not stopping.is_set():
        question = _Question(ask)
        question.wait(stopping, _SILENT)
        if not question.done.is_set() and not said:
            said = "silent"
            log.warning("The server has not answered yet. The worker waits for it.")
        question.wait(stopping, None)
        if not question.done.is_set():
            return None
        try:
            return question.answer()
        except ServerUnavailable as error:
            if str(error) != said:
                said = str(error)
                log.warning("%s The worker waits for it.", said)
            stopping.wait(1.0)
    return None


class _Question(Generic[T]):
    """A call in a thread of its own."""

    def __init__(self, ask: Callable[[], T]) -> None:
        self.done = threading.Event()
        self._ask = ask
        self._answers: list[T] = []
        self._error: BaseException | None = None
        threading.Thread(target=self._run, name="millrace-question", daemon=True).start()

    def _run(self) -> None:
        try:
            self._answers.append(self._ask())
        except BaseException as error:
            self._error = error
        finally:
            self.done.set()

    def wait(self, stopping: threading.Event, seconds: float | None) -> None:
        """Wait until there is an answer, or the worker is to stop."""
        until = None if seconds is None else time.monotonic() + seconds
        while not (self.done.wait(0.05) or stopping.is_set()):
            if until is not None and time.monotonic() >= until:
                return

    def answer(self) -> T:
        """What it returned; raises what it raised."""
        if self._error is not None:
            raise self._error
        return self._answers[0]
