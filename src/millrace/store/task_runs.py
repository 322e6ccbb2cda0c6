"""Task runs: built from the events in which engines report them, in whatever order they come."""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import Row, func, select

from millrace.errors import NotFound
from millrace.schema.events import RESOURCE_ID, RESOURCE_ROLE, Event
from millrace.schema.fields import new_id
from millrace.schema.queries import TaskRunQuery
from millrace.schema.runs import TaskRun, TaskRunCreate, TaskRunSort
from millrace.schema.states import State, StateCreate, StateType
from millrace.store import filters
from millrace.store.columns import insert
from millrace.store.database import Transaction
from millrace.store.estimates import estimates
from millrace.store.rows import model, page, values
from millrace.store.tables import task_runs

logger = logging.getLogger(__name__)

_PREFIX = "prefect.task-run."
_FLOW_RUN = "prefect.flow-run."

_c = task_runs.c
_ORDERS = {
    TaskRunSort.ID_DESC: _c.id.desc(),
    TaskRunSort.EXPECTED_START_TIME_ASC: _c.expected_start_time.asc(),
    TaskRunSort.EXPECTED_START_TIME_DESC: _c.expected_start_time.desc(),
    TaskRunSort.NAME_ASC: _c.name.asc(),
    TaskRunSort.NAME_DESC: _c.name.desc(),
    TaskRunSort.NEXT_SCHEDULED_START_TIME_ASC: _c.next_scheduled_start_time.asc(),
    TaskRunSort.END_TIME_DESC: _c.end_time.desc(),
}


def create(tx: Transaction, body: TaskRunCreate) -> TaskRun:
    """Stores a task run; one that is known by its id, or by run, key and dynamic key, is answered as it is."""
    known = _known(tx, body)
    if known is not None:
        return _task_run(known, tx)
    state = _state(body.state or StateCreate(type=StateType.PENDING), tx)
    run = TaskRun(
        **{**body.model_dump(exclude={"state"}), "id": body.id or new_id()},
        state=state,
        created=tx.now,
        updated=tx.now,
    )
    details = {"task_run_id": run.id, "flow_run_id": run.flow_run_id}
    state.state_details = state.state_details.model_copy(update=details)
    tx.connection.execute(task_runs.insert().values(_row(run, state)))
    return read(tx, run.id)


def _known(tx: Transaction, body: TaskRunCreate) -> Row[Any] | None:
    if body.id is not None:
        return tx.connection.execute(select(task_runs).where(_c.id == body.id)).first()
    if body.flow_run_id is None:
        return None
    same = (_c.flow_run_id == body.flow_run_id) & (_c.task_key == body.task_key) & (_c.dynamic_key == body.dynamic_key)
    return tx.connection.execute(select(task_runs).where(same)).first()


def _state(proposed: StateCreate, tx: Transaction) -> State:
    return State(**dict(proposed), timestamp=tx.now)


def _row(run: TaskRun, state: State) -> dict[str, Any]:
    row = values(run, task_runs)
    row.update(_state_columns(state))
    if row["expected_start_time"] is None:
        row["expected_start_time"] = state.state_details.scheduled_time or state.timestamp
    return row


def _state_columns(state: State) -> dict[str, Any]:
    return {
        "state": state.model_dump(mode="json"),
        "state_id": state.id,
        "state_type": state.type.value,
        "state_name": state.name,
        "state_timestamp": state.timestamp,
    }


def _task_run(row: Row[Any], tx: Transaction) -> TaskRun:
    return model(TaskRun, row, **estimates(row, tx.now))


def read(tx: Transaction, id: UUID) -> TaskRun:
    """One task run.

    Raises:
        NotFound: there is none with this id.
    """
    row = tx.connection.execute(select(task_runs).where(_c.id == id)).first()
    if row is None:
        raise NotFound(f"No task run has the id {id}.")
    return _task_run(row, tx)


def query(tx: Transaction, query: TaskRunQuery) -> list[TaskRun]:
    """The task runs that match."""
    order = _ORDERS[query.sort or TaskRunSort.ID_DESC]
    statement = select(task_runs).where(filters.task_runs_of(query)).order_by(order, _c.id.desc())
    return [_task_run(row, tx) for row in tx.connection.execute(page(statement, query))]


def count(tx: Transaction, query: TaskRunQuery) -> int:
    """How many match."""
    statement = select(func.count()).select_from(task_runs).where(filters.task_runs_of(query))
    return tx.connection.scalar(statement) or 0


def apply(tx: Transaction, event: Event) -> None:
    """Takes over what an event says of a task run."""
    apply_all(tx, [event])


def apply_all(tx: Transaction, batch: list[Event]) -> None:
    """Takes over what events say of task runs; what is older than what is known changes nothing.

    Of several states of one task run only the last is stored: a short task begins and ends in one batch.
    """
    last: dict[UUID, dict[str, Any]] = {}
    for event in reversed(sorted(batch, key=lambda event: event.occurred)):  # of two at one moment, the second
        id = _subject(event)
        if id is not None and id not in last and (row := _from_event(event, id, tx)) is not None:
            last[id] = row
    rows = list(last.values())
    if not rows:
        return
    statement = insert(tx.connection, task_runs)
    changed = {name: statement.excluded[name] for name in rows[0] if name not in ("id", "created")}
    newer = (_c.state_timestamp.is_(None)) | (statement.excluded.state_timestamp >= _c.state_timestamp)
    tx.connection.execute(statement.on_conflict_do_update(index_elements=[_c.id], set_=changed, where=newer), rows)


def _subject(event: Event) -> UUID | None:
    """The task run whose state an event tells, if it does."""
    name = event.resource.get(RESOURCE_ID, "")
    if not (event.event.startswith(_PREFIX) and name.startswith(_PREFIX)):
        return None
    try:
        return UUID(name[len(_PREFIX) :])
    except ValueError as error:
        _unusable(event, error)
        return None


def _unusable(event: Event, error: Exception) -> None:
    logger.warning("the event %s (%s) tells of no task run that could be stored: %s", event.id, event.event, error)


def _from_event(event: Event, id: UUID, tx: Transaction) -> dict[str, Any] | None:
    said = event.payload.get("validated_state")
    if not isinstance(said, dict):
        return None
    told = event.payload.get("task_run")
    try:
        state = State(**{**said, "id": event.id, "timestamp": event.occurred})
        flow_run_id = _flow_run(event)
        details = {"task_run_id": id, "flow_run_id": flow_run_id}
        state.state_details = state.state_details.model_copy(update=details)
        label = event.resource.get("prefect.resource.name") or str(id)
        fields: dict[str, Any] = {"name": label, "task_key": label, "dynamic_key": str(id)}
        fields.update(told if isinstance(told, dict) else {})
        fields.update({"id": id, "flow_run_id": flow_run_id, "state": state, "created": tx.now, "updated": tx.now})
        run = TaskRun.model_validate(fields)
    except (ValidationError, ValueError, TypeError) as error:
        _unusable(event, error)
        return None
    return _row(run, state)


def _flow_run(event: Event) -> UUID | None:
    for related in sorted(event.related, key=lambda other: other.get(RESOURCE_ROLE) != "flow-run"):
        name = related.get(RESOURCE_ID, "")
        if name.startswith(_FLOW_RUN):
            return UUID(name[len(_FLOW_RUN) :])
    return None


def mirror(tx: Transaction, task_run_id: UUID, flow_run_id: UUID, state: State) -> None:
    """A nested flow run changed its state: the task run that stands for it in its parent follows."""
    row = tx.connection.execute(select(task_runs).where(_c.id == task_run_id)).first()
    if row is None:
        return
    details = {"child_flow_run_id": flow_run_id, "task_run_id": task_run_id, "flow_run_id": row.flow_run_id}
    followed = state.model_copy(
        update={"id": new_id(), "state_details": state.state_details.model_copy(update=details)}
    )
    changes = {**_state_columns(followed), "updated": tx.now}
    if row.state_type == "RUNNING":
        changes["total_run_time"] = row.total_run_time + (state.timestamp - row.state_timestamp).total_seconds()
    if state.type is StateType.RUNNING:
        changes["start_time"] = row.start_time or state.timestamp
        changes["run_count"] = row.run_count + 1
    changes["end_time"] = state.timestamp if state.is_final() else None
    tx.connection.execute(task_runs.update().where(_c.id == task_run_id).values(changes))
