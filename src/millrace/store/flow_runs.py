"""Flow runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, bindparam, func, select

from millrace.errors import NotFound
from millrace.schema.deployments import CATCH_UP_LABEL
from millrace.schema.fields import JsonObject, new_id
from millrace.schema.flows import Flow
from millrace.schema.pools import DeploymentScheduledRunsQuery
from millrace.schema.queries import FlowRunQuery
from millrace.schema.runs import DeploymentFlowRunCreate, FlowRun, FlowRunCreate, FlowRunSort, FlowRunUpdate
from millrace.schema.secret_places import refuse_values
from millrace.schema.states import State, StateCreate, StateDetails, StateType
from millrace.store import deployments, filters, flows, history, job_variables, parameters, queues
from millrace.store.database import Transaction
from millrace.store.estimates import estimates
from millrace.store.history import Run
from millrace.store.rows import LIMIT, model, page, stored, values
from millrace.store.tables import artifacts, flow_run_states, flow_runs, logs, task_runs, work_pools, work_queues

_c = flow_runs.c
_ORDERS = {
    FlowRunSort.ID_DESC: _c.id.desc(),
    FlowRunSort.START_TIME_ASC: func.coalesce(_c.start_time, _c.expected_start_time).asc(),
    FlowRunSort.START_TIME_DESC: func.coalesce(_c.start_time, _c.expected_start_time).desc(),
    FlowRunSort.EXPECTED_START_TIME_ASC: _c.expected_start_time.asc(),
    FlowRunSort.EXPECTED_START_TIME_DESC: _c.expected_start_time.desc(),
    FlowRunSort.NAME_ASC: _c.name.asc(),
    FlowRunSort.NAME_DESC: _c.name.desc(),
    FlowRunSort.NEXT_SCHEDULED_START_TIME_ASC: _c.next_scheduled_start_time.asc(),
    FlowRunSort.END_TIME_DESC: _c.end_time.desc(),
}
# statements that are made once: building one costs more than running it
_RUNS = select(
    flow_runs, work_queues.c.name.label("work_queue_name"), work_pools.c.name.label("work_pool_name")
).select_from(
    flow_runs.outerjoin(work_queues, work_queues.c.id == _c.work_queue_id).outerjoin(
        work_pools, work_pools.c.id == _c.work_pool_id
    )
)
_ONE = _RUNS.where(_c.id == bindparam("run"))
_ROW = select(flow_runs).where(_c.id == bindparam("run")).with_for_update()
_NEW: Run = {
    "state": None,
    "state_id": None,
    "state_type": None,
    "state_name": None,
    "state_timestamp": None,
    "run_count": 0,
    "expected_start_time": None,
    "next_scheduled_start_time": None,
    "start_time": None,
    "end_time": None,
    "total_run_time": 0.0,
    "auto_scheduled": False,
    "infrastructure_pid": None,
    "created_by": None,
    "deployment_version": None,
    "work_queue_id": None,
    "work_pool_id": None,
    "schedule_id": None,
    "nominal_time": None,
    "attempt": 0,
    "lease_holder": None,
    "lease_expires": None,
    "in_process": False,
    "slot": False,
}


def draft(tx: Transaction, body: FlowRunCreate, labels: JsonObject, **more: Any) -> Run:
    """The columns of a run that does not exist yet, without a state."""
    given = values(body, flow_runs)
    given["job_variables"] = body.job_variables or {}
    given["labels"] = {"prefect.flow.id": str(body.flow_id), **labels, **body.labels}
    if body.deployment_id is not None:
        given["labels"].setdefault("prefect.deployment.id", str(body.deployment_id))
    return {**_NEW, **given, "id": new_id(), "created": tx.now, "updated": tx.now, **more, "state": None}


def insert(tx: Transaction, drafts: list[tuple[Run, list[StateCreate]]]) -> list[Run]:
    """Stores runs that do not exist yet, each with the states it has been in; the last one holds."""
    runs: list[Run] = []
    changes: list[history.Change] = []
    for run, proposed in drafts:
        for state in proposed:
            columns, change = history.enter(run, State(**{**dict(state), "timestamp": tx.now}))
            run = {**run, **columns}
            changes.append(change)
        runs.append(run)
    if runs:
        tx.connection.execute(flow_runs.insert(), runs)
    history.record(tx, changes)
    return runs


def create(tx: Transaction, body: FlowRunCreate) -> tuple[FlowRun, bool]:
    """Creates a run.

    Returns:
        The run, and whether it is new: with a known idempotency key it is the known run.

    Raises:
        NotFound: no such flow or pool.
    """
    known = by_key(tx, body.flow_id, body.idempotency_key)
    if known is not None:
        return known, False
    run = prepare(tx, body, flows.read(tx, body.flow_id))
    insert(tx, [(run, [body.state or StateCreate(type=StateType.PENDING)])])
    return read(tx, run["id"]), True


def prepare(tx: Transaction, body: FlowRunCreate, flow: Flow) -> Run:
    """The columns of a run of a flow that a client asks for, without a state."""
    more: dict[str, Any] = {}
    if body.deployment_id is not None:  # of one that is gone, a run is a run all the same
        row = deployments.rows(tx, [body.deployment_id]).get(body.deployment_id)
        more = {"deployment_version": row.version if row is not None else None}
    if body.work_pool_name is not None:
        pool_id, queue_id = queues.resolve(tx, body.work_pool_name, body.work_queue_name)
        more |= {"work_pool_id": pool_id, "work_queue_id": queue_id}
    return draft(tx, body, dict(flow.labels), **more)


def by_key(tx: Transaction, flow_id: UUID, key: str | None) -> FlowRun | None:
    """The run of a flow with this idempotency key."""
    if key is None:
        return None
    found = select_where(tx, (_c.flow_id == flow_id) & (_c.idempotency_key == key), (), 1)
    return found[0] if found else None


def create_from_deployment(tx: Transaction, deployment_id: UUID, body: DeploymentFlowRunCreate) -> tuple[FlowRun, bool]:
    """Creates a run of a deployment: its parameters under those given, its tags beside those given.

    Returns:
        The run, and whether it is new: with a known idempotency key it is the known run.

    Raises:
        NotFound: no such deployment.
        ParameterError: a parameter is unknown, missing or of the wrong type.
    """
    row = deployments.row(tx, deployment_id)
    known = by_key(tx, row.flow_id, body.idempotency_key)
    if known is not None:
        return known, False
    given = {**row.parameters, **body.parameters}
    enforced = row.enforce_parameter_schema if body.enforce_parameter_schema is None else body.enforce_parameter_schema
    refuse_values(given, row.parameter_openapi_schema)
    if enforced:
        parameters.check(given, row.parameter_openapi_schema, complete=True)
    job_variables.check(tx, row.work_pool_id, row.job_variables, body.job_variables, complete=True)
    run = of_deployment(tx, row, body, given)
    due = StateCreate(type=StateType.SCHEDULED, state_details=StateDetails(scheduled_time=tx.now))
    insert(tx, [(run, [body.state or due])])
    return read(tx, run["id"]), True


def of_deployment(tx: Transaction, row: Row[Any], body: DeploymentFlowRunCreate, given: JsonObject, **more: Any) -> Run:
    """The columns of a run of a deployment, without a state.

    Args:
        tx: the transaction.
        row: the deployment.
        body: what was asked for.
        given: all parameters.
        more: other columns.
    """
    queue_id = row.work_queue_id
    if body.work_queue_name is not None and row.work_pool_name is not None:
        queue_id = queues.resolve(tx, row.work_pool_name, body.work_queue_name)[1]
    asked = FlowRunCreate(
        **body.model_dump(exclude={"state", "parameters", "tags", "enforce_parameter_schema", "work_queue_name"}),
        flow_id=row.flow_id,
        deployment_id=row.id,
        parameters=given,
        tags=[*row.tags, *body.tags],
    )
    labels = {name: value for name, value in row.labels.items() if name != CATCH_UP_LABEL}
    place = {"work_pool_id": row.work_pool_id, "work_queue_id": queue_id, "deployment_version": row.version}
    return draft(tx, asked, labels, **place, **more)


def select_where(
    tx: Transaction, condition: ColumnElement[bool], order: Iterable[ColumnElement[Any]], limit: int
) -> list[FlowRun]:
    """The runs for which something holds."""
    statement = _RUNS.where(condition).order_by(*order).limit(limit)
    return [_flow_run(row, tx) for row in tx.connection.execute(statement)]


def _flow_run(row: Row[Any], tx: Transaction) -> FlowRun:
    return model(FlowRun, row, **estimates(row, tx.now))


def row(tx: Transaction, id: UUID) -> Run:
    """The columns of one run.

    Raises:
        NotFound: there is none with this id.
    """
    found = tx.connection.execute(_ROW, {"run": id}).mappings().first()
    if found is None:
        raise NotFound(f"No flow run has the id {id}.")
    return dict(found)


def read(tx: Transaction, id: UUID) -> FlowRun:
    """One run.

    Raises:
        NotFound: there is none with this id.
    """
    found = tx.connection.execute(_ONE, {"run": id}).first()
    if found is None:
        raise NotFound(f"No flow run has the id {id}.")
    return _flow_run(found, tx)


def query(tx: Transaction, query: FlowRunQuery) -> list[FlowRun]:
    """The runs that match."""
    order = _ORDERS[query.sort or FlowRunSort.ID_DESC]
    statement = _RUNS.where(filters.flow_runs_of(query)).order_by(order, _c.id.desc())
    return [_flow_run(row, tx) for row in tx.connection.execute(page(statement, query))]


def count(tx: Transaction, query: FlowRunQuery) -> int:
    """How many match."""
    statement = select(func.count()).select_from(flow_runs).where(filters.flow_runs_of(query))
    return tx.connection.scalar(statement) or 0


def update(tx: Transaction, id: UUID, body: FlowRunUpdate) -> None:
    """Changes what was sent.

    Raises:
        NotFound: there is none with this id.
    """
    run = row(tx, id)
    if body.job_variables is not None and run["deployment_id"] is not None:
        beneath = deployments.rows(tx, [run["deployment_id"]]).get(run["deployment_id"])
        if beneath is not None:
            job_variables.check(tx, beneath.work_pool_id, beneath.job_variables, body.job_variables, complete=True)
    changes = {name: stored(flow_runs, name, getattr(body, name)) for name in body.model_fields_set}
    for name in ("name", "parameters", "empirical_policy", "tags"):
        if changes.get(name, ...) is None:
            del changes[name]
    tx.connection.execute(flow_runs.update().where(_c.id == id).values(**changes, updated=tx.now))


def delete(tx: Transaction, id: UUID) -> None:
    """Forgets a run with its history, task runs, log lines and artifacts; its events stay.

    Raises:
        NotFound: there is none with this id.
    """
    row(tx, id)
    for table in (task_runs, logs, artifacts):
        tx.connection.execute(table.delete().where(table.c.flow_run_id == id))
    tx.connection.execute(flow_runs.delete().where(_c.id == id))


def label(tx: Transaction, id: UUID, labels: JsonObject) -> None:
    """Adds labels.

    Raises:
        NotFound: there is none with this id.
    """
    kept = {name: value for name, value in labels.items() if isinstance(value, bool | int | float | str)}
    merged = {**row(tx, id)["labels"], **kept}
    tx.connection.execute(flow_runs.update().where(_c.id == id).values(labels=merged, updated=tx.now))


def states(tx: Transaction, id: UUID) -> list[State]:
    """The history of a run, oldest first; of all its attempts."""
    statement = select(flow_run_states).where(flow_run_states.c.flow_run_id == id)
    ordered = statement.order_by(flow_run_states.c.sequence)
    return [model(State, row) for row in tx.connection.execute(ordered)]


def scheduled_for(tx: Transaction, query: DeploymentScheduledRunsQuery) -> list[FlowRun]:
    """The runs of deployments that a polling runner may take; it takes one by proposing PENDING."""
    ids = list(query.deployment_ids)
    deployments.mark_polled(tx, ids)
    condition = (
        _c.deployment_id.in_(ids)
        & _c.next_scheduled_start_time.is_not(None)
        & _c.lease_expires.is_(None)
        & _c.in_process.is_(False)
    )
    if query.scheduled_before is not None:
        condition &= _c.next_scheduled_start_time <= query.scheduled_before
    limit = LIMIT if query.limit is None else query.limit
    return select_where(tx, condition, (_c.next_scheduled_start_time, _c.id), limit)
