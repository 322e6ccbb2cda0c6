"""Deployments."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, func, select
from sqlalchemy.exc import DBAPIError

from millrace.errors import MillraceError, MissingDeployment, NotFound
from millrace.schema.deployments import (
    Deployment,
    DeploymentCreate,
    DeploymentSchedule,
    DeploymentScheduleCreate,
    DeploymentScheduleUpdate,
    DeploymentSort,
    DeploymentStatus,
    DeploymentUpdate,
    SkippedFire,
)
from millrace.schema.fields import new_id
from millrace.schema.limits import GlobalLimit
from millrace.schema.queries import DeploymentQuery
from millrace.schema.secret_places import refuse_values
from millrace.store import automations, filters, flows, job_variables, parameters, queues, slots, workers
from millrace.store import schedules as timetable
from millrace.store.database import Transaction
from millrace.store.rows import LIMIT, model, page, suggested, values
from millrace.store.tables import deployments, flow_runs, skipped_fires, work_pools, work_queues
from millrace.store.tables import flows as flow_table

_c = deployments.c
_ORDERS = {
    DeploymentSort.CREATED_DESC: _c.created.desc(),
    DeploymentSort.UPDATED_DESC: _c.updated.desc(),
    DeploymentSort.NAME_ASC: _c.name.asc(),
    DeploymentSort.NAME_DESC: _c.name.desc(),
}
_REQUIRED = ("paused", "parameters", "tags", "labels", "job_variables", "enforce_parameter_schema")


def _select() -> Select[Any]:
    joined = deployments.join(flow_table, flow_table.c.id == _c.flow_id)
    joined = joined.outerjoin(work_queues, work_queues.c.id == _c.work_queue_id)
    joined = joined.outerjoin(work_pools, work_pools.c.id == _c.work_pool_id)
    return select(
        deployments,
        flow_table.c.name.label("flow_name"),
        work_queues.c.name.label("work_queue_name"),
        work_queues.c.last_polled.label("queue_polled"),
        work_pools.c.name.label("work_pool_name"),
    ).select_from(joined)


def _answers(tx: Transaction, rows: list[Row[Any]]) -> list[Deployment]:
    """The deployments in rows, with their schedules and whether somebody would run them."""
    online = workers.online_pools(tx)
    timed = timetable.of_deployments(tx, [row.id for row in rows])
    held = slots.of_deployments(tx, [row.id for row in rows if row.concurrency_limit is not None])
    recently = tx.now - queues.POLLED_WITHIN
    found = []
    for row in rows:
        polled = [moment for moment in (row.last_polled, row.queue_polled) if moment is not None]
        ready = row.work_pool_id in online or any(moment >= recently for moment in polled)
        status = DeploymentStatus.READY if ready else DeploymentStatus.NOT_READY
        limit = _limit(row, held.get(row.id, 0))
        found.append(model(Deployment, row, schedules=timed[row.id], status=status, global_concurrency_limit=limit))
    return found


def _limit(row: Row[Any], held: int) -> GlobalLimit | None:
    """The limit of a deployment in the form that clients of this API read it."""
    if row.concurrency_limit is None:
        return None
    return GlobalLimit(
        id=row.id,
        created=row.created,
        updated=row.updated,
        name=f"deployment:{row.id}",
        limit=row.concurrency_limit,
        active_slots=held,
    )


def rows(tx: Transaction, ids: list[UUID]) -> dict[UUID, Row[Any]]:
    """The rows of deployments, with the names of their flow, pool and queue."""
    return {row.id: row for row in tx.connection.execute(_select().where(_c.id.in_(ids)))}


def row(tx: Transaction, id: UUID) -> Row[Any]:
    """The row of one deployment.

    Raises:
        MissingDeployment: there is none with this id.
    """
    found = rows(tx, [id])
    if id not in found:
        raise MissingDeployment(f"No deployment has the id {id}.")
    return found[id]


def find(tx: Transaction, id: UUID) -> Deployment | None:
    """One deployment, if there is one with this id."""
    found = _answers(tx, list(rows(tx, [id]).values()))
    return found[0] if found else None


def read(tx: Transaction, id: UUID) -> Deployment:
    """One deployment.

    Raises:
        MissingDeployment: there is none with this id.
    """
    return _answers(tx, [row(tx, id)])[0]


def by_name(tx: Transaction, flow_name: str, name: str) -> Deployment:
    """The deployment of this name of a flow.

    Raises:
        MissingDeployment: there is none; the message names some of that flow or of that name.
    """
    found = tx.connection.execute(_select().where(flow_table.c.name == flow_name, _c.name == name)).first()
    if found is None:
        near = select(flow_table.c.name, _c.name).join(deployments, _c.flow_id == flow_table.c.id)
        near = near.where((flow_table.c.name == flow_name) | (_c.name == name)).order_by(_c.name).limit(5)
        others = ", ".join(f"{flow}/{deployment}" for flow, deployment in tx.connection.execute(near))
        there = f" There are: {others}." if others else " Create it with flow.deploy(…) or millrace deploy."
        full = f"{flow_name}/{name}"
        owned = _c.flow_id == flow_table.c.id
        hint = suggested(tx, flow_table.c.name + "/" + _c.name, full, owned)
        raise MissingDeployment(f"No deployment is named {full}.{hint}{there}")
    return _answers(tx, [found])[0]


def query(tx: Transaction, query: DeploymentQuery) -> list[Deployment]:
    """The deployments that match."""
    order = _ORDERS[query.sort or DeploymentSort.NAME_ASC]
    statement = _select().where(filters.deployments_of(query)).order_by(order, _c.id)
    return _answers(tx, list(tx.connection.execute(page(statement, query))))


def count(tx: Transaction, query: DeploymentQuery) -> int:
    """How many match."""
    statement = select(func.count()).select_from(deployments).where(filters.deployments_of(query))
    return tx.connection.scalar(statement) or 0


def upsert(tx: Transaction, body: DeploymentCreate) -> tuple[Deployment, bool]:
    """Creates a deployment, or replaces what was sent of the one of this flow and name.

    Replacing neither loses nor doubles runs, nor revives what a person paused: see `schedules`. The same holds for
    `paused`: only a deployment that says something else than the last time overrules a person.

    Returns:
        The deployment, and whether it is new.

    Raises:
        NotFound: no such flow or pool.
        ParameterError: a parameter does not fit the schema.
    """
    id, new = _upsert(tx, body)
    return read(tx, id), new


def upsert_all(tx: Transaction, bodies: list[DeploymentCreate]) -> list[UUID | None]:
    """Creates or replaces several deployments, without triggers; one that is refused leaves the others alone.

    Returns:
        Their ids, in order; None for one that is refused.
    """
    ids: list[UUID | None] = []
    for body in bodies:
        savepoint = tx.connection.begin_nested()
        try:
            id, new = _upsert(tx, body)
            if not new:
                automations.delete_owned(tx, f"prefect.deployment.{id}")
        except (MillraceError, DBAPIError):
            savepoint.rollback()
            ids.append(None)
        else:
            savepoint.commit()
            ids.append(id)
    return ids


def _upsert(tx: Transaction, body: DeploymentCreate) -> tuple[UUID, bool]:
    flow = flows.read(tx, body.flow_id)
    found = tx.connection.execute(_select().where(_c.flow_id == flow.id, _c.name == body.name)).first()
    if found is None:
        return _create(tx, body), True
    changes = _changes(tx, found, values(body, deployments, only=body.model_fields_set), body)
    if "paused" in changes:
        said = changes["declared_paused"] = changes["paused"]
        changes["paused"] = found.paused if said == found.declared_paused else said
    _apply(tx, found, changes)
    if "schedules" in body.model_fields_set:
        timetable.declare(tx, found.id, body.schedules)
    return found.id, False


def _create(tx: Transaction, body: DeploymentCreate) -> UUID:
    parameters.check_schema(body.parameter_openapi_schema)
    refuse_values(body.parameters, body.parameter_openapi_schema)
    if body.enforce_parameter_schema:
        parameters.check(body.parameters, body.parameter_openapi_schema, complete=False)
    fields = {**values(body, deployments), "declared_paused": body.paused, "work_pool_id": None, "work_queue_id": None}
    if body.work_pool_name is not None:
        pool_id, queue_id = queues.resolve(tx, body.work_pool_name, body.work_queue_name)
        fields |= {"work_pool_id": pool_id, "work_queue_id": queue_id}
        job_variables.check(tx, pool_id, body.job_variables, complete=False)
    id = new_id()
    tx.connection.execute(deployments.insert().values(**fields, id=id, created=tx.now, updated=tx.now))
    timetable.declare(tx, id, body.schedules)
    return id


def _changes(
    tx: Transaction, found: Row[Any], changes: dict[str, Any], body: DeploymentCreate | DeploymentUpdate
) -> dict[str, Any]:
    """The columns that a body changes, checked: its pool exists and its parameters fit."""
    for name in _REQUIRED:
        if changes.get(name, ...) is None:
            del changes[name]
    sent = body.model_fields_set
    if sent & {"work_pool_name", "work_queue_name"}:
        pool_name = body.work_pool_name if "work_pool_name" in sent else found.work_pool_name
        place = (None, None) if pool_name is None else queues.resolve(tx, pool_name, body.work_queue_name)
        changes["work_pool_id"], changes["work_queue_id"] = place
    if sent & {"work_pool_name", "job_variables"}:
        after = {**found._mapping, **changes}
        job_variables.check(tx, after["work_pool_id"], after["job_variables"], complete=False)
    if sent & {"parameters", "parameter_openapi_schema", "enforce_parameter_schema"}:
        after = {**found._mapping, **changes}
        parameters.check_schema(after["parameter_openapi_schema"])
        refuse_values(after["parameters"], after["parameter_openapi_schema"])
        if after["enforce_parameter_schema"]:
            parameters.check(after["parameters"], after["parameter_openapi_schema"], complete=False)
    return changes


def _apply(tx: Transaction, found: Row[Any], changes: dict[str, Any]) -> None:
    """Writes what differs; runs that wait for their time are made anew, so that they are of the new kind."""
    differing = {name: value for name, value in changes.items() if getattr(found, name) != value}
    if not differing:
        return
    tx.connection.execute(deployments.update().where(_c.id == found.id).values(**differing, updated=tx.now))
    if "work_pool_id" in differing:
        _follow(tx, found, differing["work_pool_id"], changes["work_queue_id"])
    if differing.keys() - {"description", "declared_paused", "concurrency_limit", "concurrency_options"}:
        timetable.restart(tx, found.id, anew="paused" in differing)


def _follow(tx: Transaction, found: Row[Any], pool_id: UUID | None, queue_id: UUID | None) -> None:
    """The runs that still wait where a deployment was go where it is now: its job variables are for that pool."""
    c = flow_runs.c
    waiting = (c.deployment_id == found.id) & (c.state_type == "SCHEDULED")
    waiting &= c.work_pool_id.is_not_distinct_from(found.work_pool_id)
    waiting &= c.lease_expires.is_(None) & c.in_process.is_(False)
    tx.connection.execute(flow_runs.update().where(waiting).values(work_pool_id=pool_id, work_queue_id=queue_id))


def update(tx: Transaction, id: UUID, body: DeploymentUpdate) -> None:
    """Changes what was sent.

    Raises:
        MissingDeployment: there is none with this id.
        NotFound: no such pool.
        ParameterError: a parameter does not fit the schema.
    """
    found = row(tx, id)
    _apply(tx, found, _changes(tx, found, values(body, deployments, only=body.model_fields_set), body))
    if body.schedules is not None:
        stored = timetable.of_deployments(tx, [id])[id]
        # what only changes something says nothing to a deployment that has no schedules
        wanted = [part for part in body.schedules if stored or part.schedule is not None]
        timetable.declare(tx, id, [_complete(part, stored) for part in wanted])


def _complete(part: DeploymentScheduleUpdate, known: list[DeploymentSchedule]) -> DeploymentScheduleCreate:
    """A schedule of which only some fields were sent; the rest is that of the stored one with its slug."""
    sent = {name: getattr(part, name) for name in part.model_fields_set if getattr(part, name) is not None}
    stored = [old for old in known if old.slug is not None and old.slug == part.slug]
    if "schedule" not in sent and not stored:
        raise NotFound(f"The deployment has no schedule with the slug {part.slug!r}; a new one needs a `schedule`.")
    before = {name: getattr(stored[0], name) for name in DeploymentScheduleCreate.model_fields} if stored else {}
    return DeploymentScheduleCreate(**{**before, **sent})


def delete(tx: Transaction, id: UUID) -> None:
    """Forgets a deployment, its schedules, its triggers and its runs that wait; other runs stay.

    Raises:
        MissingDeployment: there is none with this id.
    """
    row(tx, id)
    waiting = (flow_runs.c.deployment_id == id) & (flow_runs.c.state_type == "SCHEDULED")
    unclaimed = flow_runs.c.lease_expires.is_(None) & (flow_runs.c.attempt == 0) & flow_runs.c.in_process.is_(False)
    tx.connection.execute(flow_runs.delete().where(waiting & unclaimed))
    automations.delete_owned(tx, f"prefect.deployment.{id}")
    tx.connection.execute(deployments.delete().where(_c.id == id))


def set_paused(tx: Transaction, id: UUID, paused: bool) -> None:
    """All schedules of a deployment rest, or go on from now.

    Raises:
        MissingDeployment: there is none with this id.
    """
    _apply(tx, row(tx, id), {"paused": paused})


def add_schedules(tx: Transaction, id: UUID, bodies: list[DeploymentScheduleCreate]) -> list[DeploymentSchedule]:
    """Adds schedules by hand.

    Raises:
        MissingDeployment: there is none with this id.
        AlreadyExists: it has a schedule with this slug.
    """
    row(tx, id)
    return [timetable.add(tx, id, body) for body in bodies]


def schedules(tx: Transaction, id: UUID) -> list[DeploymentSchedule]:
    """The schedules of a deployment.

    Raises:
        MissingDeployment: there is none with this id.
    """
    row(tx, id)
    return timetable.of_deployments(tx, [id])[id]


def update_schedule(tx: Transaction, id: UUID, schedule_id: UUID, body: DeploymentScheduleUpdate) -> None:
    """Changes what was sent of a schedule.

    Raises:
        NotFound: the deployment or the schedule does not exist.
    """
    row(tx, id)
    timetable.update(tx, id, schedule_id, body)


def delete_schedule(tx: Transaction, id: UUID, schedule_id: UUID) -> None:
    """Deletes a schedule.

    Raises:
        NotFound: the deployment or the schedule does not exist.
    """
    row(tx, id)
    timetable.remove(tx, id, schedule_id)


def skipped(tx: Transaction, id: UUID) -> list[SkippedFire]:
    """The fires of a deployment that were missed and not run, the newest first; at most 200.

    Raises:
        MissingDeployment: there is none with this id.
    """
    row(tx, id)
    statement = select(skipped_fires).where(skipped_fires.c.deployment_id == id)
    ordered = statement.order_by(skipped_fires.c.nominal_time.desc()).limit(LIMIT)
    return [model(SkippedFire, found) for found in tx.connection.execute(ordered)]


def mark_polled(tx: Transaction, ids: list[UUID]) -> None:
    """A runner asked for the runs of these deployments."""
    tx.connection.execute(deployments.update().where(_c.id.in_(ids)).values(last_polled=tx.now))
