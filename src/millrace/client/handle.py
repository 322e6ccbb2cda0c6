"""Holding on to a run: wait for it, take its result, cancel, suspend, resume or retry it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from datetime import datetime
from html import escape
from typing import Any
from uuid import UUID

from millrace.client import locate, resuming
from millrace.client.asynchronous import AsyncClient
from millrace.client.synchronous import Client
from millrace.client.unsent import unsent
from millrace.errors import NotFound, RunCancelled, RunCrashed, RunError, RunFailed, RunTimedOut, RunUnfinished
from millrace.schema.artifacts import Artifact, ArtifactFilter, ArtifactQuery, ArtifactSort
from millrace.schema.fields import id_of
from millrace.schema.flows import IdCondition
from millrace.schema.logs import Log, LogFilter, LogQuery
from millrace.schema.runs import FlowRun
from millrace.schema.states import State, StateCreate, StateType, named

_FIRST_LOOK, _SLOWER, _LAST_LOOK = 0.05, 1.3, 1.0
# An interrupt of the kernel does not wake a sleeping event loop (ipykernel): it has to wake up by itself now and then.
_SLICE = 0.2
_PAGE = 200


class StoppedWatching(KeyboardInterrupt):
    """An interrupt ended the waiting, not the run."""

    def _render_traceback_(self) -> list[str]:
        # IPython calls this; what there is to say was printed.
        return []


class Id(UUID):
    """An id that may be awaited: the answer of a plain call in code that awaits what its twin returns.

    Example:
        >>> Id("0190a1b2-0000-7000-8000-000000000000").hex[:8]
        '0190a1b2'
    """

    def __init__(self, value: UUID | str) -> None:
        super().__init__(str(value))

    def __await__(self) -> Generator[Any, None, Id]:
        yield from ()
        return self


def outcome(flow_run: FlowRun) -> RunError | None:
    """The error a finished run stands for; None if it completed.

    Args:
        flow_run: a run in a terminal state.
    """
    message = (flow_run.state.message if flow_run.state else None) or "no message"
    what = f"The run {flow_run.name!r} ({flow_run.id}) "
    match flow_run.state_type:
        case StateType.COMPLETED:
            return None
        case StateType.FAILED if flow_run.state_name == "TimedOut":
            return RunTimedOut(f"{what}took too long: {message}")
        case StateType.FAILED:
            return RunFailed(f"{what}failed: {message}")
        case StateType.CANCELLED:
            return RunCancelled(f"{what}was cancelled: {message}")
        case StateType.CRASHED:
            return RunCrashed(f"{what}crashed: {message}")
    return RunUnfinished(f"{what}is {flow_run.state_name}: it has not ended.")


def stop_state(flow_run: FlowRun) -> StateCreate | None:
    """The state to propose so that a run ends; None if it has ended.

    A run that nobody executes is cancelled at once; of another its worker is told, which says when it is gone.
    """
    if flow_run.state is None or flow_run.state.is_final():
        return None if flow_run.state else named("Cancelled", "cancelled before it was scheduled")
    if flow_run.state_type in (StateType.SCHEDULED, StateType.PAUSED):
        when = f"while it was {flow_run.state_name}" if flow_run.run_count else "before it ran"
        return named("Cancelled", f"cancelled by a user {when}")
    return named("Cancelling", "cancelled by a user")


class RunHandle:
    """A run, wherever it executes.

    Args:
        flow_run: the run, or its id.
        client: the server; None: that of this process.

    Example:
        >>> handle = RunHandle(run_id)  # doctest: +SKIP
        >>> handle.wait(timeout=60).state_name  # doctest: +SKIP
        'Completed'
    """

    def __init__(self, flow_run: FlowRun | UUID | str, client: Client | None = None) -> None:
        self._given = client
        if isinstance(flow_run, FlowRun):
            self._known = flow_run
        else:
            known = id_of(flow_run, "run")
            self._known = self._client.read_flow_run(known)

    @property
    def _client(self) -> Client:
        return self._given or locate.connect()

    @property
    def id(self) -> UUID:
        """The run's id."""
        return self._known.id

    @property
    def name(self) -> str:
        """The run's name."""
        return self._known.name

    @property
    def flow_run(self) -> FlowRun:
        """The run as the server knows it now."""
        if not self._over:
            self._known = self._client.read_flow_run(self.id)
        return self._known

    @property
    def state(self) -> State:
        """The run's state now."""
        state = self.flow_run.state
        if state is None:
            raise NotFound(f"The run {self.name!r} has no state.")
        return state

    @property
    def _over(self) -> bool:
        return self._known.state is not None and self._known.state.is_final()

    def wait(self, timeout: float | None = None) -> FlowRun:
        """Waits until the run is over; an interrupt ends the waiting, not the run.

        Args:
            timeout: seconds; None: as long as it takes.

        Raises:
            TimeoutError: it is not over yet. It goes on.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = _FIRST_LOOK
        try:
            while not self._look():
                time.sleep(self._pause(pause, deadline, timeout))
                pause = min(pause * _SLOWER, _LAST_LOOK)
        except KeyboardInterrupt:
            print(f"Stopped watching. The run {self.name!r} goes on; `.cancel()` ends it, `.wait()` watches again.")
            raise StoppedWatching from None
        return self._known

    async def await_end(self, timeout: float | None = None) -> FlowRun:
        """`wait` for async code; `await handle` is the same without a time-out.

        Args:
            timeout: seconds; None: as long as it takes.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        client = AsyncClient(self._given.endpoint) if self._given else await locate.aconnect()
        pause = _FIRST_LOOK
        try:
            while True:
                self._known = await client.read_flow_run(self.id)
                if self._known.state is not None and self._known.state.is_final():
                    break
                await _sleep(self._pause(pause, deadline, timeout))
                pause = min(pause * _SLOWER, _LAST_LOOK)
        finally:
            if self._given:
                await client.aclose()
        return self._known

    def __await__(self) -> Generator[Any, None, FlowRun]:
        return self.await_end().__await__()

    def _look(self) -> bool:
        return self.flow_run.state is not None and self._over

    def _pause(self, pause: float, deadline: float | None, timeout: float | None) -> float:
        if deadline is None:
            return pause
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"The run {self.name!r} is {self._known.state_name} after {timeout:g} s; it goes on.")
        return min(pause, left)

    def result(self, timeout: float | None = None, *, allow_pickle: bool = False) -> Any:
        """What the run returned; waits for it.

        Args:
            timeout: seconds to wait; None: as long as it takes.
            allow_pickle: read a stored pickle, which executes what it says.

        Raises:
            RunFailed, RunTimedOut, RunCancelled, RunCrashed: how it ended, if it did not complete.
            MissingResult: it kept no result, or what it kept is gone.
            UnreadableResult: it is damaged, or a pickle that nobody allowed.
            TimeoutError: it is not over yet.
        """
        flow_run = self.wait(timeout)
        error = outcome(flow_run)
        if error is not None:
            raise error
        return self.state.result(allow_pickle=allow_pickle)

    def cancel(self) -> State:
        """Asks for the end of the run; gives its state. `Cancelling` until nothing of it is left, then `Cancelled`."""
        proposed = stop_state(self.flow_run)
        if proposed is not None:
            self._client.set_flow_run_state(self.id, proposed)
        return self.state

    def suspend(self, timeout: float | None = None) -> State:
        """Ends the process of the run before its next task; when it is resumed, a worker runs it from its start.

        Args:
            timeout: seconds until it fails if nobody resumes it; None: it waits for ever.

        Raises:
            StateRefused: it does not run, has no deployment, or is part of another run.
        """
        return resuming.suspend(self._client, self.id, timeout)

    def resume(self, run_input: Any = None) -> State:
        """Lets the paused run go on; gives its state.

        Args:
            run_input: what it asked for: a value for each field, by name.

        Raises:
            NotPaused: it is not paused.
            StateRefused: the input does not fit; the run stays paused.
        """
        return resuming.resume(self._client, self.id, run_input)

    def retry(self) -> State:
        """Runs the run that has ended again, as its next attempt: a worker takes it. Earlier attempts stay on record.

        Raises:
            Conflict: it has not ended.
            InvalidInput: it has no deployment, so that no worker knows its code.
        """
        self._known = self._client.read_flow_run(self.id)
        state = resuming.retry(self._client, self._known)
        self._known = self._client.read_flow_run(self.id)
        return state

    def logs(self) -> list[Log]:
        """The run's log lines so far, in the order of their times; those of this process, up to this moment."""
        for send in list(unsent.values()):
            send()
        only = LogFilter(flow_run_id=IdCondition(any_=[self.id]))
        found: list[Log] = []
        while True:
            page = self._client.read_logs(LogQuery(logs=only, offset=len(found), limit=_PAGE))
            found += page
            if len(page) < _PAGE:
                return found

    def artifacts(self) -> list[Artifact]:
        """What the run has left behind so far, latest first: tables, texts, images, progress, executed notebooks."""
        only = ArtifactFilter(flow_run_id=IdCondition(any_=[self.id]))
        found: list[Artifact] = []
        while True:
            page = ArtifactQuery(artifacts=only, sort=ArtifactSort.CREATED_DESC, offset=len(found), limit=_PAGE)
            read = self._client.read_artifacts(page)
            found += read
            if len(read) < _PAGE:
                return found

    def __repr__(self) -> str:
        return f"<RunHandle {self.name!r}: {self._known.state_name or 'unknown'}, id {self.id}>"

    def _repr_html_(self) -> str:
        state = self._known.state
        rows = [("state", self._known.state_name), ("message", state.message if state else None), ("id", str(self.id))]
        rows += [(word, _moment(getattr(self._known, f"{word}_time"))) for word in ("start", "end")]
        cells = "".join(
            f"<tr><th style='text-align:left'>{escape(word)}</th><td style='text-align:left'>{escape(text)}</td></tr>"
            for word, text in rows
            if text
        )
        return f"<div><strong>{escape(self.name)}</strong><table>{cells}</table></div>"


def _moment(value: datetime | None) -> str | None:
    return value.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z") if value else None


async def _sleep(seconds: float) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        await asyncio.sleep(min(left, _SLICE))
