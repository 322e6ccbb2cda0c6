"""What a new state means for a run: its columns, its row of history, its event. All in one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, select

from millrace.schema.events import RESOURCE_ID, RESOURCE_ROLE, Resource
from millrace.schema.states import State, StateType
from millrace.store import events, task_runs
from millrace.store.database import Transaction
from millrace.store.tables import deployments, flow_run_states, flow_runs, flows, work_pools, work_queues

Run = dict[str, Any]
"""The columns of a flow run."""

_HOLDS_SLOT = (StateType.PENDING, StateType.RUNNING, StateType.CANCELLING)
_LONGEST_MESSAGE = 100_000


@dataclass(frozen=True, slots=True)
class Change:
    """A run that entered a state.

    Attributes:
        run: its columns afterwards.
        before: the state it had, as JSON; None at its creation.
        state: the new state.
    """

    run: Run
    before: dict[str, Any] | None
    state: State


def enter(run: Run, state: State) -> tuple[Run, Change]:
    """The columns a run changes by entering a state, and the change to record. Pure.

    Args:
        run: its columns before.
        state: the new state; its details get the ids of the run.
    """
    details = {"flow_run_id": run["id"], "task_run_id": run.get("parent_task_run_id")}
    state = state.model_copy(update={"state_details": state.state_details.model_copy(update=details)})
    columns: Run = {
        "state": state.model_dump(mode="json"),
        "state_id": state.id,
        "state_type": state.type.value,
        "state_name": state.name,
        "state_timestamp": state.timestamp,
        "updated": state.timestamp,
        "in_process": False,
        **_times(run, state),
    }
    if state.is_final():
        columns["lease_expires"] = None
    leased = columns.get("lease_expires", run.get("lease_expires")) is not None
    columns["slot"] = leased or state.type in _HOLDS_SLOT
    return columns, Change({**run, **columns}, run.get("state"), state)


def _times(run: Run, state: State) -> Run:
    scheduled = state.state_details.scheduled_time if state.type is StateType.SCHEDULED else None
    columns: Run = {
        "next_scheduled_start_time": scheduled,
        "end_time": state.timestamp if state.is_final() else None,
    }
    if run.get("state_type") == "RUNNING":
        spent = (state.timestamp - run["state_timestamp"]).total_seconds()
        columns["total_run_time"] = run["total_run_time"] + max(0.0, spent)
    if run.get("expected_start_time") is None:
        columns["expected_start_time"] = scheduled or state.timestamp
    if state.type is StateType.RUNNING:
        columns["start_time"] = run.get("start_time") or state.timestamp
        if run.get("state_type") not in ("RUNNING", "PAUSED"):
            columns["run_count"] = run["run_count"] + 1
    return columns


def move(tx: Transaction, run: Run, state: State, **more: Any) -> Run:
    """A stored run enters a state.

    Args:
        tx: the transaction.
        run: its columns before.
        state: the new state.
        more: other columns that change with it; what they say goes before what the state means for them.

    Returns:
        Its columns afterwards.
    """
    columns, change = enter({**run, **more}, state)
    columns = {**columns, **more}
    tx.connection.execute(flow_runs.update().where(flow_runs.c.id == run["id"]).values(columns))
    record(tx, [Change({**run, **columns}, run["state"], change.state)])
    return {**run, **columns}


def record(tx: Transaction, changes: list[Change]) -> None:
    """Writes the history and the events of changes, in their order."""
    if not changes:
        return
    tx.connection.execute(flow_run_states.insert(), [_state_row(change) for change in changes])
    known: dict[tuple[Any, ...], list[Resource]] = {}
    events.insert(tx, [_event_row(tx, change, known) for change in changes])
    for change in changes:
        parent: UUID | None = change.run.get("parent_task_run_id")
        if parent is not None:
            task_runs.mirror(tx, parent, change.run["id"], change.state)


def _state_row(change: Change) -> dict[str, Any]:
    state = change.state
    return {
        "id": state.id,
        "flow_run_id": change.run["id"],
        "attempt": change.run["attempt"],
        "type": state.type.value,
        "name": state.name,
        "timestamp": state.timestamp,
        "message": state.message,
        "data": state.data,
        "state_details": change.run["state"]["state_details"],
    }


def _event_row(tx: Transaction, change: Change, known: dict[tuple[Any, ...], list[Resource]]) -> dict[str, Any]:
    run, state = change.run, change.state
    key = tuple(run[name] for name in ("flow_id", "deployment_id", "work_queue_id"))
    if key not in known:
        known[key] = _surroundings(tx, *key)
    told = _told(run["state"])
    before = None if change.before is None else _told(change.before)
    intended = {"from": None if before is None else before["type"], "to": state.type.value}
    return {
        "id": state.id,
        "occurred": state.timestamp,
        "received": tx.now,
        "event": f"prefect.flow-run.{state.name}",
        "resource_id": f"prefect.flow-run.{run['id']}",
        "flow_run_id": run["id"],
        "resource": {
            RESOURCE_ID: f"prefect.flow-run.{run['id']}",
            "prefect.resource.name": run["name"],
            "prefect.run-count": str(run["run_count"]),
            "prefect.state-message": told["message"] or "",
            "prefect.state-name": state.name,
            "prefect.state-timestamp": told["timestamp"],
            "prefect.state-type": state.type.value,
        },
        "related": known[key] + [_resource("tag", tag, tag) for tag in run["tags"]],
        "payload": {"intended": intended, "initial_state": before, "validated_state": told, "attempt": run["attempt"]},
        "follows": None if change.before is None else UUID(change.before["id"]),
    }


def _told(state: dict[str, Any]) -> dict[str, Any]:
    """A state as an event tells it: without the reference to its result, and not longer than people read."""
    told = {name: value for name, value in state.items() if name != "data"}
    told["message"] = told["message"] and told["message"][:_LONGEST_MESSAGE]
    return told


def _resource(role: str, id: object, name: str) -> Resource:
    kind = f"prefect.{role}"
    return {RESOURCE_ID: f"{kind}.{id}", RESOURCE_ROLE: role, "prefect.resource.name": name}


def _surroundings(tx: Transaction, flow_id: UUID, deployment_id: UUID | None, queue_id: UUID | None) -> list[Resource]:
    """The flow, deployment, queue and pool of a run, as its events name them."""
    ids = {"flow": flow_id, "deployment": deployment_id, "queue": queue_id}
    found = tx.connection.execute(_SURROUNDINGS, ids).one()
    named = zip(_ROLES, found[::2], found[1::2], strict=True)
    return [_resource(role, id, name) for role, id, name in named if id is not None]


_ROLES = {"flow": flows, "deployment": deployments, "work-queue": work_queues, "work-pool": work_pools}
_SURROUNDINGS = (
    select(*[column for table in _ROLES.values() for column in (table.c.id, table.c.name)])
    .select_from(
        flows.outerjoin(deployments, deployments.c.id == bindparam("deployment"))
        .outerjoin(work_queues, work_queues.c.id == bindparam("queue"))
        .outerjoin(work_pools, work_pools.c.id == work_queues.c.work_pool_id)
    )
    .where(flows.c.id == bindparam("flow"))
)
"""Made once: building a statement costs more than running it."""
