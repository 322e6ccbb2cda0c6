"""Letting paused runs go on, suspending runs, running ended ones again: from wherever one is."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_jsonable_python

from millrace.client.synchronous import Client
from millrace.errors import Conflict, InvalidInput, NotFound, NotPaused, PauseTimedOut, StateRefused
from millrace.schema.fields import JsonObject, new_id, now
from millrace.schema.inputs import RunResume
from millrace.schema.runs import FlowRun
from millrace.schema.states import (
    OrchestrationResult,
    SetState,
    SetStateStatus,
    State,
    StateCreate,
    StateDetails,
    StateType,
    named,
)

SHORTEST_INTERVAL = 0.05
LONGEST_PAUSE = 10**9
"""Seconds: some thirty years, which a calendar still has."""


def checked_timeout(timeout: float | None) -> float | None:
    """The seconds after which a pause is over.

    Args:
        timeout: as given; None: it waits for ever.

    Raises:
        InvalidInput: no number of seconds.
    """
    number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if timeout is not None and not (number and 0 <= timeout <= LONGEST_PAUSE):
        raise InvalidInput(
            f"timeout cannot be {timeout!r:.80}: it is a number of seconds from 0 to {LONGEST_PAUSE:,}, or None, "
            "which waits for ever."
        )
    return timeout


def checked_interval(poll_interval: float) -> float:
    """The seconds between two looks, so many that a server can answer others too.

    Args:
        poll_interval: as given.

    Raises:
        InvalidInput: no number of seconds.
    """
    number = isinstance(poll_interval, int | float) and not isinstance(poll_interval, bool)
    if not (number and poll_interval >= 0):
        raise InvalidInput(f"poll_interval cannot be {poll_interval!r:.80}: it is a number of seconds, such as 10.")
    return max(poll_interval, SHORTEST_INTERVAL)


def plain_input(run_input: Any) -> JsonObject | None:
    """An input for a paused run as the wire takes it.

    Args:
        run_input: a dict, an instance of a `RunInput` or of another model; None.

    Raises:
        InvalidInput: it is something else, or has no form in JSON.
    """
    if run_input is None:
        return None
    if isinstance(run_input, BaseModel):
        return run_input.model_dump(mode="json")
    if not isinstance(run_input, dict):
        raise InvalidInput(
            f"run_input is a dict with a value for each field, not {type(run_input).__name__}. "
            "A run that waits for a plain type takes {'value': ...}."
        )
    try:
        plain: JsonObject = to_jsonable_python(run_input)
    except PydanticSerializationError as error:
        raise InvalidInput(f"run_input cannot be written as JSON: {error}") from None
    return plain


def resume(client: Client, flow_run_id: UUID, run_input: Any = None) -> State:
    """Lets a paused run go on; gives its state.

    Args:
        client: the server.
        flow_run_id: the run.
        run_input: what it waits for: a value for each field, by name.

    Raises:
        NotPaused: it is not paused.
        PauseTimedOut: it was paused for too long and has failed.
        StateRefused: the input does not fit, or it cannot be resumed for another reason; it stays paused.
    """
    known = client.read_flow_run(flow_run_id)
    if known.state is None or not known.state.is_paused():
        raise NotPaused(f"The run {known.name!r} is {known.state_name}: only a paused run can be resumed.")
    return _resumed(known, client.resume_flow_run(flow_run_id, RunResume(run_input=plain_input(run_input))))


def _resumed(known: FlowRun, answer: OrchestrationResult) -> State:
    if answer.status is SetStateStatus.ACCEPT and answer.state is not None:
        return answer.state
    reason = getattr(answer.details, "reason", None) or "the server gave no reason"
    if answer.state is not None and answer.state.type is StateType.FAILED:
        raise PauseTimedOut(f"The run {known.name!r} can no longer be resumed: {reason}")
    raise StateRefused(f"Cannot resume the run {known.name!r}: {reason}")


def pause_state(name: str, key: str, timeout: float | None, keyset: dict[str, str] | None = None) -> StateCreate:
    """A pause to propose.

    Args:
        name: Paused or Suspended.
        key: tells it from the run's other pauses; each fires once.
        timeout: seconds until the run fails if nobody resumes it; None: it waits for ever.
        keyset: where the input it asks for is described and will lie.
    """
    details = StateDetails(
        transition_id=new_id(),
        pause_timeout=None if timeout is None else now() + timedelta(seconds=timeout),
        pause_reschedule=name == "Suspended",
        pause_key=key,
        run_input_keyset=keyset,
    )
    return StateCreate(type=StateType.PAUSED, name=name, state_details=details)


def suspend(
    client: Client,
    flow_run_id: UUID,
    timeout: float | None = None,
    key: str | None = None,
    keyset: dict[str, str] | None = None,
) -> State:
    """Suspends a run that somebody else executes: it ends before its next task, and goes on when it is resumed.

    Args:
        client: the server.
        flow_run_id: the run; one of a deployment.
        timeout: seconds until it fails if nobody resumes it; None: it waits for ever.
        key: tells this pause from others; made up if None.
        keyset: where the input it asks for is described and will lie.

    Raises:
        StateRefused: it does not run, has no deployment, or is part of another run.
    """
    proposed = pause_state("Suspended", key or str(new_id()), timeout, keyset)
    answer = client.set_flow_run_state(flow_run_id, proposed)
    if answer.status is SetStateStatus.ACCEPT and answer.state is not None:
        return answer.state
    raise StateRefused(f"The run cannot be suspended: {getattr(answer.details, 'reason', None) or answer.state}")


def retry(client: Client, flow_run: FlowRun) -> State:
    """Runs a run that has ended again: a worker takes it, as its next attempt.

    Args:
        client: the server.
        flow_run: the run; one of a deployment.

    Raises:
        Conflict: it has not ended.
        InvalidInput: it has no deployment, so that no worker knows its code.
    """
    if flow_run.state is None or not flow_run.state.is_final():
        raise Conflict(f"The run {flow_run.name!r} is {flow_run.state_name}: only a run that has ended is retried.")
    if flow_run.deployment_id is None:
        raise InvalidInput(
            f"The run {flow_run.name!r} has no deployment, so no worker knows its code. Call its flow again, or run it "
            f"here: millrace flow-run retry {flow_run.id} --entrypoint FILE.py:FLOW"
        )
    answer = client.set_flow_run_state(flow_run.id, SetState(state=named("Scheduled", "Retried by a user"), force=True))
    if answer.status is not SetStateStatus.ACCEPT or answer.state is None:
        raise StateRefused(f"The run cannot be retried: {getattr(answer.details, 'reason', None) or answer.state}")
    return answer.state


def asked_input(client: Client, flow_run: FlowRun) -> tuple[JsonObject | None, str]:
    """What a paused run asks for: the schema of the input, and what it says about it.

    Args:
        client: the server.
        flow_run: the run.

    Returns:
        None and an empty text where it asks for nothing.
    """
    keys = (flow_run.state.state_details.run_input_keyset if flow_run.state else None) or {}
    found: list[Any] = []
    for part in ("schema", "description"):
        try:
            found.append(json.loads(client.read_flow_run_input(flow_run.id, keys[part])) if part in keys else None)
        except NotFound:
            found.append(None)
    return found[0], found[1] or ""
