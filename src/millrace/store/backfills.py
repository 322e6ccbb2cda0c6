"""Backfills: the fires of a past time become runs, each (deployment, schedule, nominal time) once."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Any
from uuid import UUID

from sqlalchemy import select

from millrace.errors import InvalidInput, NotFound
from millrace.schema.backfills import MOST_FIRES, Backfill, BackfillCreate, BackfilledFire
from millrace.schema.deployments import DeploymentSchedule
from millrace.schema.events import RESOURCE_ID, Event
from millrace.schema.runs import CreatedBy, DeploymentFlowRunCreate
from millrace.schema.secret_places import refuse_values
from millrace.schema.states import StateCreate, scheduled
from millrace.store import deployments, events, fires, flow_runs, job_variables, parameters, schedules
from millrace.store.database import Transaction
from millrace.store.history import Run
from millrace.store.tables import flow_runs as runs
from millrace.store.tables import skipped_fires

BACKFILL = "backfill"
_INSTANT = timedelta(microseconds=1)
_Fire = tuple[datetime, int, DeploymentSchedule]


def backfill(tx: Transaction, deployment_id: UUID, body: BackfillCreate) -> Backfill:
    """Makes a run of every fire in a past time that has none, the oldest first.

    Paused and inactive schedules count too: what is asked for is done. The runs are due at once, in the order of their
    nominal times, within the limits of the deployment, its queue and its pool.

    Raises:
        MissingDeployment: there is none with this id.
        NotFound: it has no such schedule, or none at all.
        InvalidInput: the range is empty, or reaches beyond now.
        ParameterError: a parameter is unknown, missing or of the wrong type.
    """
    owner = deployments.row(tx, deployment_id)
    _check_range(tx, body)
    chosen = _chosen(tx, deployment_id, body.schedule)
    found = list(islice(_fires(chosen, body), MOST_FIRES + 1))
    known = _known(tx, found)
    answer = Backfill()
    drafts: list[tuple[Run, list[StateCreate]]] = []
    new: list[_Fire] = []
    for nominal, position, schedule in found[:MOST_FIRES]:
        run_id = known.get((schedule.id, nominal))
        if run_id is None:
            if len(new) == body.limit:
                return _written(tx, owner, body, answer, drafts, new)
            new.append((nominal, position, schedule))
            if not body.dry_run:
                drafts.append(_draft(tx, owner, schedule, nominal, body, len(drafts)))
                run_id = drafts[-1][0]["id"]
        created = bool(new) and new[-1][0] == nominal and new[-1][2].id == schedule.id
        answer.fires.append(
            BackfilledFire(schedule_id=schedule.id, nominal_time=nominal, flow_run_id=run_id, created=created)
        )
    if len(found) > MOST_FIRES and len(new) != body.limit:
        answer.next_start = found[MOST_FIRES][0]
    return _written(tx, owner, body, answer, drafts, new)


def _check_range(tx: Transaction, body: BackfillCreate) -> None:
    if body.end <= body.start:
        raise InvalidInput(f"A backfill goes from an earlier moment to a later one, not {body.start} to {body.end}.")
    if body.end > tx.now:
        raise InvalidInput(
            f"A backfill is of the past, and {body.end.isoformat()} is still to come: "
            "what is due then, the schedule makes itself."
        )


def _chosen(tx: Transaction, deployment_id: UUID, wanted: str | None) -> list[DeploymentSchedule]:
    found = schedules.of_deployments(tx, [deployment_id])[deployment_id]
    if not found:
        raise NotFound("The deployment has no schedule to fill from. Give it one: millrace deployment schedule create")
    if wanted is None:
        return found
    chosen = [one for one in found if wanted in (str(one.id), one.slug)]
    if not chosen:
        known = ", ".join(one.slug or str(one.id) for one in found)
        raise NotFound(f"The deployment has no schedule {wanted!r}. It has: {known}.")
    return chosen


def _fires(chosen: list[DeploymentSchedule], body: BackfillCreate) -> Iterator[_Fire]:
    """The fires of several schedules in one order."""
    return heapq.merge(*(_of_one(n, one, body) for n, one in enumerate(chosen)), key=lambda fire: fire[:2])


def _of_one(position: int, schedule: DeploymentSchedule, body: BackfillCreate) -> Iterator[_Fire]:
    for fire in schedule.schedule.fires(body.start - _INSTANT):
        if fire.instant >= body.end:
            return
        yield fire.instant, position, schedule


def _known(tx: Transaction, found: list[_Fire]) -> dict[tuple[UUID, datetime], UUID]:
    """The runs there are of these fires, however they came to be."""
    if not found:
        return {}
    ids = list({schedule.id for _, _, schedule in found})
    statement = select(runs.c.schedule_id, runs.c.nominal_time, runs.c.id).where(runs.c.schedule_id.in_(ids))
    between = statement.where(runs.c.nominal_time >= found[0][0], runs.c.nominal_time <= found[-1][0])
    return {(row.schedule_id, row.nominal_time): row.id for row in tx.connection.execute(between)}


def _draft(
    tx: Transaction, owner: Any, schedule: DeploymentSchedule, nominal: datetime, body: BackfillCreate, number: int
) -> tuple[Run, list[StateCreate]]:
    given = fires.given(owner, {**schedule.parameters, **body.parameters}, nominal)
    refuse_values(given, owner.parameter_openapi_schema)
    if owner.enforce_parameter_schema:
        parameters.check(given, owner.parameter_openapi_schema, complete=True)
    if number == 0:
        job_variables.check(tx, owner.work_pool_id, owner.job_variables, complete=True)
    creator = CreatedBy(id=schedule.id, type="BACKFILL", display_value=type(schedule.schedule).__name__)
    asked = DeploymentFlowRunCreate(
        idempotency_key=f"scheduled {owner.id} {schedule.id} {nominal.isoformat()}",
        tags=[BACKFILL, *body.tags],
        work_queue_name=body.work_queue_name,
    )
    more = {"created_by": creator.model_dump(mode="json"), "schedule_id": schedule.id, "nominal_time": nominal}
    run = flow_runs.of_deployment(tx, owner, asked, given, **more)
    # due at once, and yet one after the other: whoever takes runs takes the one that is due first
    return run, [scheduled(tx.now + number * _INSTANT)]


def _written(
    tx: Transaction,
    owner: Any,
    body: BackfillCreate,
    answer: Backfill,
    drafts: list[tuple[Run, list[StateCreate]]],
    new: list[_Fire],
) -> Backfill:
    if body.dry_run or not new:
        return answer
    fires.insert_runs(tx, drafts)
    for nominal, _, schedule in new:  # what was skipped then is run now
        c = skipped_fires.c
        own = (c.deployment_id == owner.id) & (c.schedule_id == schedule.id) & (c.nominal_time == nominal)
        tx.connection.execute(skipped_fires.delete().where(own))
    told = {"count": len(new), "first": new[0][0].isoformat(), "last": new[-1][0].isoformat()}
    resource = {RESOURCE_ID: f"prefect.deployment.{owner.id}"}
    filled = Event(occurred=tx.now, event="millrace.schedule.backfilled", resource=resource, payload=told)
    events.insert(tx, [events.row(tx, filled)])
    return answer
