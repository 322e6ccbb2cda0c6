"""Fires of schedules: which are due, and the runs and skips made of them.

A schedule keeps the nominal time of its newest run (`last_made`), of the next fire to make a run of (`next_fire`), and
when the scheduler has to look at it again (`wake`, which has an index): nothing touches a schedule before its time.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, func, select

from millrace.errors import ScheduleError
from millrace.schema.backfills import LOGICAL_TIME
from millrace.schema.deployments import CATCH_UP_LABEL, DEFAULT_CATCH_UP, CatchUp
from millrace.schema.events import RESOURCE_ID, Event
from millrace.schema.fields import JsonObject
from millrace.schema.runs import CreatedBy, DeploymentFlowRunCreate
from millrace.schema.schedules import Schedule
from millrace.schema.states import StateCreate, scheduled
from millrace.store import deployments, events, flow_runs, schedules
from millrace.store.columns import insert
from millrace.store.database import Transaction
from millrace.store.history import Run
from millrace.store.tables import deployment_schedules, memory, skipped_fires
from millrace.store.tables import flow_runs as runs

logger = logging.getLogger(__name__)

_c = deployment_schedules.c
_LAST_STEP = "scheduler.last_step"
_TOLD = 100
AUTO_SCHEDULED = "auto-scheduled"
_PLAN = (
    deployment_schedules.update()
    .where(_c.id == bindparam("_id"))
    .values(last_made=bindparam("_made"), next_fire=bindparam("_next"), wake=bindparam("_wake"))
)


@dataclass(frozen=True, slots=True)
class Due:
    """A schedule the scheduler has to look at.

    Attributes:
        id: of the schedule.
        deployment_id: whose it is.
        schedule: when it fires.
        parameters: of its runs, over those of the deployment.
        max_scheduled_runs: how many of its runs may lie in the future.
        since: from when on it counts; earlier fires were never wanted.
        last_made: the nominal time of its newest run.
        next_fire: the nominal time of the next.
        catch_up: what becomes of fires that were missed.
    """

    id: UUID
    deployment_id: UUID
    schedule: Schedule
    parameters: JsonObject
    max_scheduled_runs: int | None
    since: datetime
    last_made: datetime | None
    next_fire: datetime
    catch_up: CatchUp


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the scheduler made of a schedule.

    Attributes:
        due: the schedule.
        make: nominal times that become runs.
        skip: nominal times that were missed and are not run; runs of these times that nobody took are deleted.
        last_made, next_fire, wake: its plan from now on.
    """

    due: Due
    make: list[datetime]
    skip: list[datetime]
    last_made: datetime | None
    next_fire: datetime | None
    wake: datetime | None


def last_step(tx: Transaction) -> datetime | None:
    """When the scheduler last had nothing left to do."""
    stored = tx.connection.scalar(select(memory.c.value).where(memory.c.name == _LAST_STEP))
    return None if stored is None else datetime.fromisoformat(stored)


def remember_step(tx: Transaction) -> None:
    """The scheduler has nothing left to do, now."""
    statement = insert(tx.connection, memory).values(name=_LAST_STEP, value=tx.now.isoformat())
    changed = {"value": statement.excluded.value}
    tx.connection.execute(statement.on_conflict_do_update(index_elements=[memory.c.name], set_=changed))


def due(tx: Transaction, limit: int) -> list[Due]:
    """The schedules to look at now, the most urgent first."""
    statement = select(deployment_schedules).where(_c.wake <= tx.now).order_by(_c.wake).limit(limit)
    rows = list(tx.connection.execute(statement.with_for_update(skip_locked=True)))
    owners = deployments.rows(tx, list({row.deployment_id for row in rows}))
    found = []
    for row in rows:
        schedule = _parsed(tx, row)
        if schedule is None or row.next_fire is None:
            continue
        owner = owners[row.deployment_id]
        found.append(
            Due(
                id=row.id,
                deployment_id=row.deployment_id,
                schedule=schedule,
                parameters=row.parameters,
                max_scheduled_runs=row.max_scheduled_runs,
                since=row.since,
                last_made=row.last_made,
                next_fire=row.next_fire,
                catch_up=_catch_up(owner.labels),
            )
        )
    return found


def _parsed(tx: Transaction, row: Any) -> Schedule | None:
    try:
        return schedules.parsed(row.schedule)
    except (ScheduleError, ValueError) as error:
        # stored by another version, or the machine's time zones are others now: one bad schedule must not stop all
        logger.error("the schedule %s of deployment %s rests: %s", row.id, row.deployment_id, error)
        tx.connection.execute(deployment_schedules.update().where(_c.id == row.id).values(wake=None))
        return None


def _catch_up(labels: JsonObject) -> CatchUp:
    said = labels.get(CATCH_UP_LABEL)
    return said if said in ("skip", "latest", "all") else DEFAULT_CATCH_UP


def waiting(tx: Transaction, schedule_id: UUID, after: datetime) -> list[datetime]:
    """The nominal times after a moment whose runs nobody has taken yet."""
    untaken = (runs.c.attempt == 0) & runs.c.lease_expires.is_(None) & (runs.c.state_type == "SCHEDULED")
    statement = select(runs.c.nominal_time).where(runs.c.schedule_id == schedule_id, untaken, runs.c.auto_scheduled)
    later = statement.where(runs.c.next_scheduled_start_time.is_not(None), runs.c.nominal_time > after)
    return list(tx.connection.scalars(later.order_by(runs.c.nominal_time)))


def write(tx: Transaction, outcomes: list[Outcome]) -> int:
    """Makes runs and skips of fires, and notes the plans.

    Returns:
        How many runs were made.
    """
    drafts = _drafts(tx, outcomes)
    insert_runs(tx, drafts)
    for outcome in outcomes:
        if outcome.skip:
            _skip(tx, outcome)
    plans = [
        {"_id": each.due.id, "_made": each.last_made, "_next": each.next_fire, "_wake": each.wake} for each in outcomes
    ]
    if plans:
        tx.connection.execute(_PLAN, plans)
    return len(drafts)


def insert_runs(tx: Transaction, drafts: list[tuple[Run, list[StateCreate]]]) -> None:
    """Stores the runs of fires.

    A fire is one run by its schedule and nominal time. Its idempotency key says the same to clients; where one of them
    gave that key to a run of its own, the fire goes without.

    Args:
        tx: the transaction.
        drafts: the runs, each with its states.
    """
    if not drafts:
        return
    keys, flow_ids = ({run[name] for run, _ in drafts} for name in ("idempotency_key", "flow_id"))
    used = select(runs.c.idempotency_key).where(runs.c.flow_id.in_(flow_ids), runs.c.idempotency_key.in_(keys))
    taken = set(tx.connection.scalars(used))
    flow_runs.insert(
        tx,
        [
            ({**run, "idempotency_key": None} if run["idempotency_key"] in taken else run, states)
            for run, states in drafts
        ],
    )


def _drafts(tx: Transaction, outcomes: list[Outcome]) -> list[tuple[Run, list[StateCreate]]]:
    made = [outcome for outcome in outcomes if outcome.make]
    known = _known(tx, made)
    owners = deployments.rows(tx, list({outcome.due.deployment_id for outcome in made}))
    return [
        (_draft(tx, owners[outcome.due.deployment_id], outcome.due, nominal), [scheduled(nominal)])
        for outcome in made
        for nominal in outcome.make
        if (outcome.due.id, nominal) not in known
    ]


def _known(tx: Transaction, outcomes: list[Outcome]) -> set[tuple[UUID, datetime]]:
    """The fires of these that have their run already: a polling worker may take one before its time."""
    ids = [outcome.due.id for outcome in outcomes]
    times = [nominal for outcome in outcomes for nominal in outcome.make]
    if not times:
        return set()
    statement = select(runs.c.schedule_id, runs.c.nominal_time).where(runs.c.schedule_id.in_(ids))
    between = statement.where(runs.c.nominal_time >= min(times), runs.c.nominal_time <= max(times))
    return {(id, nominal) for id, nominal in tx.connection.execute(between)}


def _draft(tx: Transaction, owner: Any, due: Due, nominal: datetime) -> Run:
    creator = CreatedBy(id=due.id, type="SCHEDULE", display_value=type(due.schedule).__name__)
    key = f"scheduled {due.deployment_id} {due.id} {nominal.isoformat()}"
    body = DeploymentFlowRunCreate(idempotency_key=key, tags=[AUTO_SCHEDULED])
    return flow_runs.of_deployment(
        tx,
        owner,
        body,
        given(owner, due.parameters, nominal),
        auto_scheduled=True,
        created_by=creator.model_dump(mode="json"),
        schedule_id=due.id,
        nominal_time=nominal,
    )


def given(owner: Any, own: JsonObject, nominal: datetime) -> JsonObject:
    """The parameters of a run of a fire: the schedule's over the deployment's, and the time it is for.

    Args:
        owner: the row of the deployment.
        own: those of the schedule.
        nominal: the time of the fire.
    """
    found = {**owner.parameters, **own}
    properties = (owner.parameter_openapi_schema or {}).get("properties")
    if isinstance(properties, dict) and found.get(LOGICAL_TIME) is None and _takes_text(properties.get(LOGICAL_TIME)):
        found[LOGICAL_TIME] = nominal.isoformat()
    return found


def _takes_text(entry: Any) -> bool:
    """Whether a parameter of this schema can be a moment."""
    if not isinstance(entry, dict):
        return False
    kinds = [part.get("type") for part in (entry, *entry.get("anyOf", ())) if isinstance(part, dict)]
    return "string" in kinds or kinds == [None]


def _skip(tx: Transaction, outcome: Outcome) -> None:
    due, times = outcome.due, outcome.skip
    untaken = (runs.c.attempt == 0) & runs.c.lease_expires.is_(None) & (runs.c.state_type == "SCHEDULED")
    own = (runs.c.schedule_id == due.id) & (runs.c.nominal_time >= times[0]) & (runs.c.nominal_time <= times[-1])
    tx.connection.execute(runs.delete().where(own & untaken & runs.c.auto_scheduled))
    filled = set(tx.connection.scalars(select(runs.c.nominal_time).where(own, runs.c.auto_scheduled.is_(False))))
    reason = f"missed while no scheduler ran; the deployment's {CATCH_UP_LABEL} is {due.catch_up}"
    rows = [
        {
            "deployment_id": due.deployment_id,
            "schedule_id": due.id,
            "nominal_time": nominal,
            "recorded": tx.now,
            "reason": reason,
        }
        for nominal in times
        if nominal not in filled  # somebody has asked for this one
    ]
    if rows:
        tx.connection.execute(insert(tx.connection, skipped_fires).on_conflict_do_nothing(), rows)
    told = {
        "schedule_id": str(due.id),
        "reason": reason,
        "count": len(times),
        "first": times[0].isoformat(),
        "last": times[-1].isoformat(),
        "nominal_times": [nominal.isoformat() for nominal in times[-_TOLD:]],
    }
    resource = {RESOURCE_ID: f"prefect.deployment.{due.deployment_id}"}
    skip = Event(occurred=tx.now, event="millrace.schedule.skipped", resource=resource, payload=told)
    events.insert(tx, [events.row(tx, skip)])


def next_wake(tx: Transaction) -> datetime | None:
    """When a schedule has to be looked at next."""
    found: datetime | None = tx.connection.scalar(select(func.min(_c.wake)))
    return found
