"""One attempt of a run, watched by a thread of the worker from its start to its settled end."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from millrace import settings
from millrace.errors import Busy, MillraceError, ServerUnavailable
from millrace.schema.states import named
from millrace.workers import aftermath, output
from millrace.workers.ending import propose, settle
from millrace.workers.execution import Execution
from millrace.workers.jobs import Job

log = logging.getLogger("millrace.worker")

# How late the moment of a line may be that a run writes without a logger; a look costs some microseconds.
_LOOK = 0.05
_SHIP = 1.0
# What a run that has ended still gets to flush and exit, before its processes are killed.
_AFTERLIFE = 10.0


class Attempt:
    """A running job.

    Args:
        job: the job.
        start: starts it, or finds it where it was started before. It may take minutes, to pull an image or to make an
            environment; the lease is extended meanwhile.
        client: the client.
        on_end: called when it is settled.
        hooks: starts what calls the hooks that its process could not call.
    """

    def __init__(
        self,
        job: Job,
        start: Callable[[], Execution],
        client: Any,
        on_end: Callable[[Attempt], None],
        hooks: Callable[[], Execution],
    ) -> None:
        self.job = job
        self.cancelling = False
        self.ended = False
        self._start = start
        self._client = client
        self._on_end = on_end
        self._hooks = hooks
        self._deadline: float | None = None
        self._lost = False
        self._left_alone = threading.Event()
        self.thread = threading.Thread(target=self._run, name=f"millrace-job-{job.flow_run_id}", daemon=True)

    def _run(self) -> None:
        try:
            execution = self._start()
        except Exception as error:  # of a library too, which refuses a value in its own words
            self.ended = True
            self._not_started(error)
        else:
            self._watch(execution, output.OutputTail(self.job) if self.job.keep_output else None)
        if not self._left_alone.is_set() or self.ended:
            self._on_end(self)

    def _not_started(self, error: Exception) -> None:
        why = str(error) if isinstance(error, MillraceError | OSError) else f"{type(error).__name__}: {error}"
        log.warning("Run %s could not be started: %s", self.job.flow_run_name, why)
        if not self._lost:
            client = self._client.with_lease(self.job.lease) if self.job.lease else self._client
            with contextlib.suppress(MillraceError):
                propose(client, self.job, named("Crashed", f"The run could not be started: {why}"))
        self.job.forget()

    def cancel(self) -> None:
        """End it: its process tree gets the grace of the settings, then it is killed."""
        if not self.cancelling:
            self.cancelling = True

    def abandon(self, *, at_once: bool) -> None:
        """Its lease is gone: end it and report nothing.

        Args:
            at_once: another attempt may begin; otherwise it has ended and may flush.
        """
        self._lost = self._lost or at_once
        if self._deadline is None or at_once:
            self._deadline = time.monotonic() + (0.0 if at_once else _AFTERLIFE)

    def leave(self) -> None:
        """Stop watching; the process lives on and another worker takes it over."""
        self._left_alone.set()

    def _watch(self, execution: Execution, tail: output.OutputTail | None) -> None:
        reason: str | None = None
        shipped = time.monotonic()
        while not execution.wait(_LOOK):
            if self._left_alone.is_set():
                return
            if self.cancelling:
                reason = execution.end(settings.current().cancel_grace_seconds)
                break
            if self._deadline is not None and time.monotonic() >= self._deadline:
                execution.end(0.0)
                break
            if tail is not None:
                tail.look()
            if tail is not None and time.monotonic() - shipped >= _SHIP:
                output.ship(tail, self._client)
                shipped = time.monotonic()
        self.ended = True
        self._settle(execution, tail, reason)

    def _settle(self, execution: Execution, tail: output.OutputTail | None, reason: str | None) -> None:
        def hooks() -> None:
            aftermath.follow(self.job, self._hooks, self._left_alone.is_set)

        while not self._left_alone.is_set():
            try:
                settle(self.job, execution, self._client, tail, reason, ours=not self._lost, hooks=hooks)
            except (ServerUnavailable, Busy):
                # The note stays until the server has heard; whoever works here then tells it.
                self._left_alone.wait(1.0)
            except MillraceError as error:
                log.warning("Run %s could not be settled: %s", self.job.flow_run_name, error)
                with contextlib.suppress(OSError):
                    self.job.forget()
                return
            else:
                return
