"""One daemon thread that sends what needs no answer: states of task runs as events, and spooled log lines.

Events go out in the order in which they were recorded. `flush` waits until everything recorded so far has been sent; a
flow run does so before it proposes its end, so that whoever sees the end sees the tasks.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from millrace import settings
from millrace.client.locate import connect, revive
from millrace.client.unsent import unsent
from millrace.engine.console import ConsoleHandler
from millrace.engine.context import FlowRunContext, run_of_worker, run_thread
from millrace.engine.log_handlers import show_alone
from millrace.engine.logs import RunHandler, Spool, ship
from millrace.errors import LeaseLost, MillraceError
from millrace.schema.events import Event

if TYPE_CHECKING:
    from millrace.client.synchronous import Client

GATHER_SECONDS = 0.1
BATCH = 500
PATIENCE_SECONDS = 30.0
EXIT_SECONDS = 5.0
READING_SECONDS = 5.0

_problems = logging.getLogger("millrace.engine")


class Recorder:
    """The queue and its thread. One a process: `recorder()`."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._events: deque[tuple[Any, ...]] = deque()
        self._spools: dict[Spool, Client | None] = {}
        self._wake = threading.Condition()
        self._recorded = self._sent = 0
        self._urgent = self._shipping = False
        self._thread: threading.Thread | None = None

    def record(self, client: Client | None, make: Callable[..., Event], *given: Any) -> None:
        """Sends an event, some time soon.

        Args:
            client: where to; None for this process's own connection.
            make: makes the event; called on the recorder's thread.
            given: its arguments; no closure, for ten thousand tasks wait here, and the collector feels each object.
        """
        with self._wake:
            self._events.append((client, make, *given))
            self._recorded += 1
            self._start()

    def dirty(self, context: FlowRunContext) -> None:
        """Sends the new lines of a run's spool, some time soon."""
        if os.getpid() != self._pid:
            return  # a fork's copy: the lines are in the file that its parent sends
        if context.spool is not None and context.spool not in self._spools:
            with self._wake:
                self._spools[context.spool] = context.sender
                self._start()

    def gather(self, context: FlowRunContext) -> None:
        """Sends what processes that a run started have left in their files, some time soon.

        Args:
            context: of the run, which has ended.
        """
        left = context.spool.others() if context.spool is not None else []
        with self._wake:
            for spool in left:
                self._spools[spool] = context.sender
            if left:
                self._start()

    def flush(self, seconds: float = PATIENCE_SECONDS, *, logs: bool = False) -> bool:
        """Waits until everything recorded so far has been sent; whether it was.

        Args:
            seconds: wait no longer.
            logs: wait for the log lines as well.
        """
        if os.getpid() != self._pid:
            return True  # a fork's copy: what is in it is its parent's to send
        deadline = time.monotonic() + seconds
        with self._wake:
            goal = self._recorded
            if self._sent >= goal and not (logs and self._has_lines()):
                return True
            self._urgent = True
            self._wake.notify_all()
            while self._sent < goal or (logs and self._has_lines()):
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._wake.wait(min(left, 0.5))
        return True

    def _has_lines(self) -> bool:
        return self._shipping or bool(self._spools)

    def _start(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = run_thread(self._run, name="millrace-recorder")
            atexit.register(self.flush, EXIT_SECONDS, logs=True)
        elif len(self._events) + len(self._spools) == 1:
            self._wake.notify_all()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._events and not self._spools:
                    self._urgent = False
                    self._wake.wait()
                if not self._urgent:
                    self._wake.wait(GATHER_SECONDS)
            self._send_events()
            self._ship()

    def _send_events(self) -> None:
        while self._events:
            client = self._events[0][0]
            batch: list[tuple[Any, ...]] = []
            while self._events and len(batch) < BATCH and self._events[0][0] is client:
                batch.append(self._events.popleft()[1:])
            self._deliver(client, [make(*given) for make, *given in batch])
            with self._wake:
                self._sent += len(batch)
                self._wake.notify_all()

    def _deliver(self, client: Client | None, events: list[Event]) -> None:
        """Sends a batch, waiting for a server that is away; a batch nobody can take is given up with a warning."""
        deadline, pause = time.monotonic() + PATIENCE_SECONDS, 0.1
        while True:
            try:
                if client is not None and client.lease is None:
                    revive(client)
                (client or connect()).create_events(events)
                return
            except LeaseLost:
                return  # another attempt writes the history now
            except Exception as error:
                lost = not isinstance(error, MillraceError) or error.status not in (503, 500)
                if lost or time.monotonic() > deadline:
                    _problems.warning("%d events (states of task runs …) could not be sent: %s", len(events), error)
                    return
            time.sleep(pause)
            pause = min(pause * 2, 2.0)

    def _ship(self) -> None:
        with self._wake:
            spools, self._spools = dict(self._spools), {}
            self._shipping = True
        again: dict[Spool, Client | None] = {}
        for client in set(spools.values()):
            mine = [spool for spool, of in spools.items() if of is client]
            try:
                while ship(mine, client or connect()):
                    pass
            except LeaseLost:
                continue  # the lines stay in the spool; the worker sends them
            except Exception as error:
                _problems.debug("the log lines of %d runs wait in their spools: %s", len(mine), error)
                again.update((spool, client) for spool in mine)
        with self._wake:
            for spool, client in again.items():
                self._spools.setdefault(spool, client)
            self._shipping = False
            self._wake.notify_all()
        if again:
            time.sleep(1.0)


@lru_cache(maxsize=1)
def recorder() -> Recorder:
    """The recorder of this process; a forked child gets its own."""
    found = Recorder()
    unsent["recorder"] = partial(found.flush, READING_SECONDS, logs=True)
    here = settings.current()
    level = logging.getLevelName(here.log_level)
    extra = [name for name in (part.strip() for part in here.log_extra_loggers.split(",")) if name]
    for name in ("millrace.flow_runs", "millrace.task_runs", *extra):
        logger = logging.getLogger(name)
        if name not in extra or logger.level == logging.NOTSET:
            logger.setLevel(level)
        for old in [handler for handler in logger.handlers if isinstance(handler, RunHandler | ConsoleHandler)]:
            logger.removeHandler(old)
        logger.addHandler(RunHandler(found.dirty))
        # What a run's own process says is captured and sent already, and a kernel's is in the notebook.
        shown = here.log_console != "OFF" and run_of_worker() is None
        if shown:
            logger.addHandler(ConsoleHandler(here.log_console))
        if name not in extra:
            show_alone(logger, shown)
    return found


def _forget(*_: Any) -> None:
    recorder.cache_clear()


os.register_at_fork(after_in_child=_forget) if hasattr(os, "register_at_fork") else None
