"""Pausing, suspending and resuming runs.

A *paused* run keeps its process: its code stands still until somebody resumes it. A *suspended* run gives its process
back: when it is resumed, a worker runs it from its start, and what was cached is not done again. Every pause has a key
and fires once: a suspended run that comes to it again goes on.

Each function has a twin for `async` code whose name begins with an a.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any
from uuid import UUID

from millrace.client import resuming
from millrace.client.locate import connect
from millrace.engine.context import FlowRunContext, TaskRunContext
from millrace.engine.interrupts import SLICE, RunSuspended
from millrace.engine.run_inputs import (
    AutomaticRunInput,
    RunInput,
    checked_pause_key,
    run_input_subclass_from_type,
)
from millrace.errors import MissingContext, PauseTimedOut, RunCancelled, ServerUnavailable, StateRefused
from millrace.schema.fields import id_of, new_id
from millrace.schema.inputs import keyset
from millrace.schema.states import SetStateStatus, State, StateType

_log = logging.getLogger("millrace.flow_runs")
_FIRST_LOOK = 0.5
_SLOWER = 0.1
"""The longer it has waited, the less often it looks: each tenth of the time it has waited."""


class _Pause:
    """One pause of the current run.

    Args:
        name: Paused or Suspended.
        wait_for_input: the type it asks for, or None.
        timeout: seconds.
        key: its key, or None for the next number.
        poll_interval: seconds between two looks at most, where the code waits.
    """

    def __init__(
        self, name: str, wait_for_input: Any, timeout: float | None, key: str | None, poll_interval: float = 0
    ) -> None:
        context = FlowRunContext.get()
        verb = "paused" if name == "Paused" else "suspended"
        if context is None:
            raise MissingContext(f"Flow runs can only be {verb} from within a flow run.")
        self.context, self.name, self.verb, self.timeout = context, name, verb, resuming.checked_timeout(timeout)
        self.interval = resuming.checked_interval(poll_interval)
        self.key = key or context.next_pause()
        self.asks: type[RunInput] | type[AutomaticRunInput[Any]] | None = None
        self.keys: dict[str, str] | None = None
        if wait_for_input is not None:
            self.asks = run_input_subclass_from_type(wait_for_input)
            self.keys = keyset(name, checked_pause_key(self.key))
        self.began = time.monotonic()
        self.looked = self.began

    def fire(self) -> State | None:
        """Proposes it; the state that holds, or None where this pause has fired before and the run goes on.

        Raises:
            StateRefused: the run cannot be paused.
            RunCancelled: it is being cancelled.
        """
        if self.asks is not None and self.keys is not None:
            self.asks.save(self.keys)  # first, so that whoever sees the pause can see what it asks for
        proposed = resuming.pause_state(self.name, self.key, self.timeout, self.keys)
        answer = self.context.client.set_flow_run_state(self.context.flow_run.id, proposed)
        state, reason = answer.state, getattr(answer.details, "reason", None)
        if answer.status is SetStateStatus.REJECT and state is not None and state.is_running():
            return None
        if state is not None and (state.is_cancelling() or state.is_cancelled()):
            raise self._cancelled("The run was cancelled where it would have paused.")
        if answer.status is SetStateStatus.ABORT or state is None or not state.is_paused():
            raise StateRefused(f"The run cannot be {self.verb}: {reason or state}")
        again = f"millrace flow-run resume {self.context.flow_run.id}"
        _log.info("The run is %s until somebody resumes it: %s", self.verb, again)
        self.context.flow_run.state = state
        return state

    def answer(self) -> Any:
        """The input it asked for; None if it asked for none."""
        if self.asks is None or self.keys is None:
            return None
        return self.asks.load(self.keys)

    def pause(self) -> float:
        """The seconds until the next look."""
        waited = time.monotonic() - self.began
        wished = min(max(_FIRST_LOOK, waited * _SLOWER), self.interval)
        return wished if self.timeout is None else max(0.0, min(wished, self.timeout - waited))

    def resumed(self) -> bool:
        """Looks whether the run goes on.

        Raises:
            PauseTimedOut: nobody resumed it in time.
            RunCancelled: it was cancelled meanwhile.
            StateRefused: it ended meanwhile.
        """
        over = self.timeout is not None and time.monotonic() - self.began >= self.timeout
        try:
            state = self.context.client.read_flow_run(self.context.flow_run.id).state
        except ServerUnavailable:
            if over:
                raise
            return False
        if state is not None and state.is_running():
            self.context.flow_run.state = state
            _log.info("The run goes on.")
            return True
        if state is not None and state.type in (StateType.CANCELLING, StateType.CANCELLED):
            raise self._cancelled("The run was cancelled while it was paused.")
        if over or (state is not None and state.is_failed()):
            raise PauseTimedOut(f"The run was paused and nobody resumed it within {self.timeout or 0:g} s.")
        if state is not None and state.is_final():
            raise StateRefused(f"The run was paused and is {state.name} now.")
        return False

    def _cancelled(self, text: str) -> RunCancelled:
        """Has what the run has under way stopped with it."""
        error = RunCancelled(text)
        self.context.stoppable.heard(error)
        return error

    def check(self) -> None:
        """Raises if the run was stopped."""
        self.context.stoppable.check()


def pause_flow_run(
    wait_for_input: Any = None, timeout: float | None = 3600, poll_interval: float = 10, key: str | None = None
) -> Any:
    """Holds the current flow run until somebody resumes it; its process and its tasks live on meanwhile.

    Args:
        wait_for_input: ask whoever resumes it for a value: a `RunInput`, another pydantic model, or a type.
        timeout: seconds until the run fails if nobody resumes it; None: it waits for ever. A `timeout_seconds` of the
            flow goes on counting.
        poll_interval: seconds between two looks whether it was resumed, at most.
        key: tells this pause from the run's others; by default their number.

    Returns:
        The value that was asked for, or None.

    Raises:
        MissingContext: called outside of a flow.
        PauseTimedOut: nobody resumed it in time.
        StateRefused: the server does not let it pause.

    Example:
        >>> @flow
        ... def publish(rows: int):
        ...     if pause_flow_run(wait_for_input=bool):
        ...         print("published", rows)
    """
    paused = _Pause("Paused", wait_for_input, timeout, key, poll_interval)
    if paused.fire() is not None:
        while True:
            until = time.monotonic() + paused.pause()
            while (left := until - time.monotonic()) > 0:
                time.sleep(min(left, SLICE))
                paused.check()
            if paused.resumed():
                break
    return paused.answer()


async def apause_flow_run(
    wait_for_input: Any = None, timeout: float | None = 3600, poll_interval: float = 10, key: str | None = None
) -> Any:
    """`pause_flow_run` for `async def` flows: other coroutines go on meanwhile.

    Args:
        wait_for_input: ask whoever resumes it for a value: a `RunInput`, another pydantic model, or a type.
        timeout: seconds until the run fails if nobody resumes it; None: it waits for ever.
        poll_interval: seconds between two looks whether it was resumed, at most.
        key: tells this pause from the run's others; by default their number.

    Returns:
        The value that was asked for, or None.
    """
    paused = _Pause("Paused", wait_for_input, timeout, key, poll_interval)
    if await asyncio.to_thread(paused.fire) is not None:
        while True:
            until = time.monotonic() + paused.pause()
            while (left := until - time.monotonic()) > 0:
                await asyncio.sleep(min(left, SLICE))
                paused.check()
            if await asyncio.to_thread(paused.resumed):
                break
    return await asyncio.to_thread(paused.answer)


def _suspended(pause: _Pause) -> Any:
    state = pause.fire()
    if state is not None:
        raise RunSuspended(state)
    return pause.answer()


def _suspension(wait_for_input: Any, timeout: float | None, key: str | None) -> _Pause:
    if TaskRunContext.get() is not None:
        raise StateRefused("Cannot suspend a task run: suspend_flow_run() is called by the flow itself.")
    return _Pause("Suspended", wait_for_input, timeout, key)


def suspend_flow_run(
    wait_for_input: Any = None,
    flow_run_id: UUID | str | None = None,
    timeout: float | None = None,
    key: str | None = None,
) -> Any:
    """Ends the process of a flow run until somebody resumes it; a worker then runs it from its start.

    The current run is left here and at once, after the tasks that already run. Another run is left before its next
    task. It needs a deployment, so that a worker knows its code; tasks with cached results are not run again.

    Args:
        wait_for_input: ask whoever resumes it for a value: a `RunInput`, another pydantic model, or a type.
        flow_run_id: another run; None: the current one.
        timeout: seconds until the run fails if nobody resumes it; None: it waits for ever.
        key: tells this pause from the run's others; by default their number.

    Returns:
        In a run that was resumed: the value that was asked for, or None.

    Raises:
        MissingContext: called outside of a flow and without `flow_run_id`.
        StateRefused: the run has no deployment, is part of another run, or does not run.

    Example:
        >>> @flow
        ... def nightly():
        ...     rows = load()
        ...     suspend_flow_run(timeout=24 * 3600)
        ...     publish(rows)
    """
    if flow_run_id is None:
        return _suspended(_suspension(wait_for_input, timeout, key))
    return _suspend_other(wait_for_input, id_of(flow_run_id, "flow run"), timeout, key)


async def asuspend_flow_run(
    wait_for_input: Any = None,
    flow_run_id: UUID | str | None = None,
    timeout: float | None = None,
    key: str | None = None,
) -> Any:
    """`suspend_flow_run` for `async` code.

    Args:
        wait_for_input: ask whoever resumes it for a value: a `RunInput`, another pydantic model, or a type.
        flow_run_id: another run; None: the current one.
        timeout: seconds until the run fails if nobody resumes it; None: it waits for ever.
        key: tells this pause from the run's others; by default their number.

    Returns:
        In a run that was resumed: the value that was asked for, or None.
    """
    if flow_run_id is None:
        return await asyncio.to_thread(_suspended, _suspension(wait_for_input, timeout, key))
    return await asyncio.to_thread(_suspend_other, wait_for_input, id_of(flow_run_id, "flow run"), timeout, key)


def _suspend_other(wait_for_input: Any, flow_run_id: UUID, timeout: float | None, key: str | None) -> None:
    timeout = resuming.checked_timeout(timeout)
    chosen, keys = key or str(new_id()), None
    if wait_for_input is not None:
        keys = keyset("Suspended", checked_pause_key(chosen))
        run_input_subclass_from_type(wait_for_input).save(keys, flow_run_id)
    resuming.suspend(connect(), flow_run_id, timeout, chosen, keys)


def resume_flow_run(flow_run_id: UUID | str, run_input: Any = None) -> None:
    """Lets a paused or suspended run go on.

    Args:
        flow_run_id: the run.
        run_input: what it asked for, a value for each field; `{"value": ...}` where it asked for a plain type.

    Raises:
        NotPaused: it is not paused.
        PauseTimedOut: it was paused for too long and has failed.
        StateRefused: the input does not fit, and the message says why; the run stays paused.

    Example:
        >>> resume_flow_run(run.id, run_input={"approved": True})  # doctest: +SKIP
    """
    known = id_of(flow_run_id, "flow run")
    resuming.resume(connect(), known, run_input)


async def aresume_flow_run(flow_run_id: UUID | str, run_input: Any = None) -> None:
    """`resume_flow_run` for `async` code.

    Args:
        flow_run_id: the run.
        run_input: what it asked for, a value for each field; `{"value": ...}` where it asked for a plain type.
    """
    await asyncio.to_thread(resume_flow_run, flow_run_id, run_input)
