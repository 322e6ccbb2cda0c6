"""The schedules of deployments.

A redeployment finds its schedules again (`schema.schedule_pairs`). Each keeps its id and whether a person paused it,
and what has not changed keeps its next fire. `declared_active` remembers what the last deployment said or left out to
the same effect, and `active_said` whether it said so in words: only a deployment that says something new overrules a
person. Schedules added by hand are not declared, and a redeployment leaves them alone.

Whenever a schedule changes, its future runs that nobody took are deleted; the scheduler makes them anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import Row, func, select

from millrace.errors import AlreadyExists, NotFound, ScheduleError
from millrace.schema.deployments import DeploymentSchedule, DeploymentScheduleCreate, DeploymentScheduleUpdate
from millrace.schema.fields import JsonObject, new_id
from millrace.schema.schedule_pairs import Standing, pairs, same
from millrace.schema.schedules import IntervalSchedule, Schedule
from millrace.schema.secret_places import refuse_values
from millrace.store.database import Transaction
from millrace.store.rows import model, values
from millrace.store.tables import deployment_schedules, deployments, flow_runs

_c = deployment_schedules.c
_adapter: TypeAdapter[Schedule] = TypeAdapter(Schedule)

_SHORTEST = timedelta(seconds=1)


def check(schedule: Schedule) -> None:
    """That a schedule does not fire faster than runs can be.

    Raises:
        ScheduleError: its interval is shorter than a second.
    """
    if isinstance(schedule, IntervalSchedule) and schedule.interval < _SHORTEST:
        raise ScheduleError(
            f"The interval of a schedule is at least 1 second, not {schedule.interval.total_seconds():g}: each fire is "
            "a run with a process of its own, which takes longer to start. Loop within one flow instead."
        )


def refuse_secrets(tx: Transaction, deployment_id: UUID, parameters: JsonObject | None) -> None:
    """Lets no secret stand among parameters that are stored for the runs of a deployment.

    Args:
        tx: the transaction.
        deployment_id: the deployment.
        parameters: of a schedule, or of an action.

    Raises:
        ParameterError: a secret is given by its value, which is not shown.
    """
    if parameters:
        schema = select(deployments.c.parameter_openapi_schema).where(deployments.c.id == deployment_id)
        refuse_values(parameters, tx.connection.scalar(schema))


def parsed(stored: Any) -> Schedule:
    """A schedule out of its stored form."""
    return _adapter.validate_python(stored)


def of_deployments(tx: Transaction, ids: Iterable[UUID]) -> dict[UUID, list[DeploymentSchedule]]:
    """The schedules of several deployments, each in its order."""
    wanted = list(ids)
    found: dict[UUID, list[DeploymentSchedule]] = {id: [] for id in wanted}
    statement = select(deployment_schedules).where(_c.deployment_id.in_(wanted)).order_by(_c.position, _c.created)
    for row in tx.connection.execute(statement):
        found[row.deployment_id].append(model(DeploymentSchedule, row))
    return found


def _rows(tx: Transaction, deployment_id: UUID) -> list[Row[Any]]:
    statement = select(deployment_schedules).where(_c.deployment_id == deployment_id)
    return list(tx.connection.execute(statement.order_by(_c.position, _c.created)))


def _row(tx: Transaction, deployment_id: UUID, schedule_id: UUID) -> Row[Any]:
    statement = select(deployment_schedules).where(_c.id == schedule_id, _c.deployment_id == deployment_id)
    row = tx.connection.execute(statement).first()
    if row is None:
        raise NotFound(f"The deployment {deployment_id} has no schedule with the id {schedule_id}.")
    return row


def add(
    tx: Transaction, deployment_id: UUID, body: DeploymentScheduleCreate, *, declared: bool = False
) -> DeploymentSchedule:
    """Adds a schedule to a deployment.

    Args:
        tx: the transaction.
        deployment_id: a deployment that exists.
        body: the schedule.
        declared: a deployment says so, not a person.

    Raises:
        AlreadyExists: the deployment has a schedule with this slug.
        ScheduleError: it fires faster than runs can be.
        ParameterError: a parameter is the value of a secret.
    """
    check(body.schedule)
    refuse_secrets(tx, deployment_id, body.parameters)
    _slug_is_free(tx, deployment_id, body.slug, None)
    last = tx.connection.scalar(select(func.max(_c.position)).where(_c.deployment_id == deployment_id))
    schedule = DeploymentSchedule(
        **dict(body), id=new_id(), created=tx.now, updated=tx.now, deployment_id=deployment_id
    )
    row = {
        **values(schedule, deployment_schedules),
        "position": 0 if last is None else last + 1,
        "declared_active": body.active if declared else None,
        "active_said": declared and "active" in body.model_fields_set,
        "since": tx.now,
    }
    tx.connection.execute(deployment_schedules.insert().values(row))
    restart(tx, deployment_id, [schedule.id])
    return schedule


def _slug_is_free(tx: Transaction, deployment_id: UUID, slug: str | None, own: UUID | None) -> None:
    if slug is None:
        return
    other = tx.connection.scalar(select(_c.id).where(_c.deployment_id == deployment_id, _c.slug == slug))
    if other is not None and other != own:
        raise AlreadyExists(f"The deployment has a schedule with the slug {slug!r}.")


def update(tx: Transaction, deployment_id: UUID, schedule_id: UUID, body: DeploymentScheduleUpdate) -> None:
    """Changes what was sent.

    Raises:
        NotFound: the deployment has no such schedule.
        AlreadyExists: another of its schedules has this slug.
    """
    row = _row(tx, deployment_id, schedule_id)
    if body.schedule is not None:
        check(body.schedule)
    _slug_is_free(tx, deployment_id, body.slug, schedule_id)
    changes = values(body, deployment_schedules, only=body.model_fields_set)
    for name in ("active", "schedule", "parameters"):
        if changes.get(name, ...) is None:
            del changes[name]
    _change(tx, row, changes)


def _change(tx: Transaction, row: Row[Any], changes: dict[str, Any]) -> None:
    """Writes what differs, and starts the schedule anew if it matters for its runs."""
    differing = {name: value for name, value in changes.items() if getattr(row, name) != value}
    if not differing:
        return
    refuse_secrets(tx, row.deployment_id, differing.get("parameters"))
    tx.connection.execute(deployment_schedules.update().where(_c.id == row.id).values(**differing, updated=tx.now))
    if differing.keys() & {"schedule", "active", "parameters", "max_scheduled_runs"}:
        restart(tx, row.deployment_id, [row.id], anew=bool(differing.keys() & {"schedule", "active"}))


def remove(tx: Transaction, deployment_id: UUID, schedule_id: UUID) -> None:
    """Deletes a schedule.

    Raises:
        NotFound: the deployment has no such schedule.
    """
    _row(tx, deployment_id, schedule_id)
    _delete_future_runs(tx, [schedule_id])
    tx.connection.execute(deployment_schedules.delete().where(_c.id == schedule_id))


def restart(tx: Transaction, deployment_id: UUID, only: list[UUID] | None = None, *, anew: bool = True) -> None:
    """Deletes the future runs of schedules that nobody took, and has the scheduler make them again.

    Args:
        tx: the transaction.
        deployment_id: whose schedules.
        only: just these; None for all.
        anew: what came before does not count; otherwise fires that are still to be caught up stay so.
    """
    paused = tx.connection.scalar(select(deployments.c.paused).where(deployments.c.id == deployment_id))
    rows = [row for row in _rows(tx, deployment_id) if only is None or row.id in only]
    _delete_future_runs(tx, [row.id for row in rows])
    for row in rows:
        next_fire: datetime | None = None
        if row.active and not paused:
            missed = not anew and row.next_fire is not None and row.next_fire <= tx.now
            next_fire = row.next_fire if missed else parsed(row.schedule).next_after(tx.now)
        plan = {
            "next_fire": next_fire,
            "last_made": None,
            "wake": None if next_fire is None else tx.now,
            "since": tx.now if anew else row.since,
        }
        tx.connection.execute(deployment_schedules.update().where(_c.id == row.id).values(plan))


def _delete_future_runs(tx: Transaction, schedule_ids: list[UUID]) -> None:
    runs = flow_runs.c
    future = (runs.schedule_id.in_(schedule_ids)) & (runs.next_scheduled_start_time > tx.now)
    untouched = runs.auto_scheduled & (runs.attempt == 0) & runs.lease_expires.is_(None)
    tx.connection.execute(flow_runs.delete().where(future & untouched))


def declare(tx: Transaction, deployment_id: UUID, wanted: list[DeploymentScheduleCreate]) -> None:
    """Makes the schedules of a deployment those it declares.

    Args:
        tx: the transaction.
        deployment_id: a deployment that exists.
        wanted: all schedules it declares; others that it declared before are deleted.
    """
    rows = _rows(tx, deployment_id)
    stored = [Standing(parsed(row.schedule), row.slug, row.parameters, row.declared_active is not None) for row in rows]
    places = pairs(stored, wanted, tx.now)
    for place, row in enumerate(rows):
        if place not in places and stored[place].declared:
            remove(tx, deployment_id, row.id)
    for found, body in zip(places, wanted, strict=True):
        if found is None:
            add(tx, deployment_id, body, declared=True)
        else:
            _declare_again(tx, rows[found], body, keeps=same(stored[found].schedule, body.schedule, tx.now))


def _declare_again(tx: Transaction, row: Row[Any], body: DeploymentScheduleCreate, *, keeps: bool) -> None:
    if not keeps:
        check(body.schedule)
    changes = values(body, deployment_schedules)
    changes["slug"] = body.slug or row.slug
    if keeps:
        changes["schedule"] = row.schedule
    says = changes["active_said"] = "active" in body.model_fields_set
    changes["declared_active"] = body.active
    before = row.declared_active if row.declared_active is not None else True
    if body.active == before and (row.active_said or not says):
        changes["active"] = row.active
    _change(tx, row, changes)
