"""Flow runs and their states."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from millrace.schema.fields import now
from millrace.schema.graphs import RunGraph
from millrace.schema.queries import FlowRunQuery
from millrace.schema.runs import BeginRun, BegunRun, FlowRun, FlowRunCreate, FlowRunUpdate
from millrace.schema.states import OrchestrationResult, SetState, State
from millrace.server.answers import Answer, created_or_known
from millrace.server.context import Call
from millrace.store import flow_runs, flow_states, graphs


def create_flow_run(call: Call, body: FlowRunCreate) -> Answer:
    """Create a run; with a known idempotency key, the known run."""
    return created_or_known(call.write(flow_runs.create, body))


def read_flow_runs(call: Call, body: FlowRunQuery) -> list[FlowRun]:
    """Runs that match."""
    return call.read(flow_runs.query, body)


def count_flow_runs(call: Call, body: FlowRunQuery) -> int:
    """How many match."""
    return call.read(flow_runs.count, body)


def read_flow_run(call: Call, id: UUID) -> FlowRun:
    """One run."""
    return call.read(flow_runs.read, id)


def update_flow_run(call: Call, id: UUID, body: FlowRunUpdate) -> None:
    """Change what was sent."""
    call.write(flow_runs.update, id, body)


def delete_flow_run(call: Call, id: UUID) -> None:
    """Forget a run and what it left."""
    call.write(flow_runs.delete, id)


def label_flow_run(call: Call, id: UUID, body: dict[str, Any]) -> None:
    """Add labels."""
    call.write(flow_runs.label, id, body)


def set_flow_run_state(call: Call, id: UUID, body: SetState) -> Answer:
    """Propose a state; 201 when a state was made of it (also another than proposed), 200 when none was."""
    asked = now()
    result: OrchestrationResult = call.write(flow_states.set_state, id, body)
    return Answer(result, 201 if result.state is not None and result.state.timestamp >= asked else 200)


def read_flow_run_states(call: Call, flow_run_id: UUID) -> list[State]:
    """The history of a run's states, oldest first."""
    return call.read(flow_runs.states, flow_run_id)


def read_flow_run_graph(call: Call, id: UUID, since: datetime | None) -> RunGraph:
    """Its tasks and nested runs, and what led to what."""
    if since is not None and since.tzinfo is None:
        since = since.replace(tzinfo=UTC)
    return call.read(graphs.read, id, since)


def begin_flow_run(call: Call, body: BeginRun) -> BegunRun:
    """Create, set Running and lease a run in one write."""
    return call.write(flow_states.begin, body)
