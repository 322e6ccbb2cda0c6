"""Inputs of runs, and resuming with them."""

from __future__ import annotations

from uuid import UUID

from millrace.schema.fields import now
from millrace.schema.inputs import FlowRunInput, FlowRunInputCreate, FlowRunInputQuery, RunResume
from millrace.schema.states import OrchestrationResult
from millrace.server.answers import Answer
from millrace.server.context import Call
from millrace.store import inputs, resuming


def resume_flow_run(call: Call, id: UUID, body: RunResume) -> Answer:
    """Let a paused run go on; 201 when a state was made of it, 200 when none was."""
    asked = now()
    result: OrchestrationResult = call.write(resuming.resume, id, body)
    return Answer(result, 201 if result.state is not None and result.state.timestamp >= asked else 200)


def create_flow_run_input(call: Call, id: UUID, body: FlowRunInputCreate) -> None:
    """Hand something to a run."""
    call.write(inputs.create, id, body)


def filter_flow_run_inputs(call: Call, id: UUID, body: FlowRunInputQuery) -> list[FlowRunInput]:
    """The inputs whose key begins so."""
    return call.read(inputs.query, id, body)


def read_flow_run_input(call: Call, id: UUID, key: str) -> str:
    """The value of one input."""
    return call.read(inputs.read, id, key).value


def delete_flow_run_input(call: Call, id: UUID, key: str) -> None:
    """Forget an input."""
    call.write(inputs.delete, id, key)
