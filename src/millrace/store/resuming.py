"""Resuming a paused run, with the input it waits for."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from millrace.errors import InvalidInput
from millrace.schema.fields import JsonObject
from millrace.schema.inputs import FlowRunInputCreate, RunResume
from millrace.schema.states import (
    AbortDetails,
    OrchestrationResult,
    RejectDetails,
    SetState,
    SetStateStatus,
    State,
    named,
    scheduled,
)
from millrace.store import flow_runs, flow_states, inputs, parameters
from millrace.store.database import Transaction


def resume(tx: Transaction, flow_run_id: UUID, body: RunResume) -> OrchestrationResult:
    """Lets a paused run go on: Running where its process waits, Scheduled where it was suspended.

    An input that does not fit what the run asked for is rejected with the reason; the run stays paused.

    Raises:
        NotFound: there is no such run.
    """
    run = flow_runs.row(tx, flow_run_id)
    current = None if run["state"] is None else State.model_validate(run["state"])
    if current is None or not current.is_paused():
        is_now = "has no state" if current is None else f"is {current.name}"
        reason = f"Cannot resume a flow run that is not paused: it {is_now}."
        return OrchestrationResult(state=None, status=SetStateStatus.ABORT, details=AbortDetails(reason=reason))
    keys = current.state_details.run_input_keyset
    given = body.run_input or {}
    if keys:
        problem = _problem(tx, flow_run_id, keys, given)
        if problem is not None:
            details = RejectDetails(reason=f"Reason: {problem}")
            return OrchestrationResult(state=current, status=SetStateStatus.REJECT, details=details)
    after = scheduled(tx.now, "Resuming") if current.is_suspended() else named("Running")
    result = flow_states.set_state(tx, flow_run_id, SetState(state=after))
    if keys and given and result.status is SetStateStatus.ACCEPT and "response" in keys:
        inputs.forget(tx, flow_run_id, [keys["response"]])
        inputs.create(tx, flow_run_id, FlowRunInputCreate(key=keys["response"], value=json.dumps(given)))
    return result


def _problem(tx: Transaction, flow_run_id: UUID, keys: dict[str, str], given: JsonObject) -> str | None:
    """Why an input does not fit; None where it does."""
    found = inputs.find(tx, flow_run_id, keys.get("schema", ""))
    if found is None:
        return "the run has not said yet what input it wants. Try again in a moment."
    try:
        schema: Any = json.loads(found.value)
        parameters.check_schema(schema)
        parameters.check(given, schema, complete=True, noun="Input")
    except (InvalidInput, ValueError) as error:
        return str(error)
    return None
