"""Backfills: the fires of a past time become runs, each of them once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import made
import pytest
from made import Clock
from sqlalchemy import select

from millrace.errors import InvalidInput, MissingDeployment, NotFound, ParameterError
from millrace.schema.backfills import Backfill, BackfillCreate
from millrace.schema.deployments import CATCH_UP_LABEL, DeploymentScheduleCreate
from millrace.schema.fields import new_id
from millrace.schema.queries import FlowRunQuery
from millrace.schema.runs import FlowRun, FlowRunCreate
from millrace.schema.schedules import CronSchedule
from millrace.server import scheduler
from millrace.store import backfills, deployments, flow_runs
from millrace.store.database import Database
from millrace.store.tables import skipped_fires

DAY = timedelta(days=1)
MOMENT = {"properties": {"logical_time": {"type": "string", "format": "date-time"}, "n": {"type": "integer"}}}


def daily(zone: str = "UTC", **fields: Any) -> DeploymentScheduleCreate:
    return DeploymentScheduleCreate(schedule=CronSchedule(cron="30 2 * * *", timezone=zone), **fields)


def midnight(clock: Clock) -> datetime:
    return clock().replace(hour=0, minute=0, second=0, microsecond=0)


def fill(db: Database, id: UUID, start: datetime, end: datetime, **fields: Any) -> Backfill:
    body = BackfillCreate(start=start, end=end, **fields)
    return db.write(lambda tx: backfills.backfill(tx, id, body))


def all_runs(db: Database) -> list[FlowRun]:
    found = db.read(lambda tx: flow_runs.query(tx, FlowRunQuery(limit=200)))
    return sorted(found, key=lambda run: run.nominal_time or run.created)


def test_each_fire_of_the_range_is_a_run(db: Database, clock: Clock) -> None:
    made.pool(db)
    deployment = made.deployment(
        db, made.flow(db).id, schedules=[daily(parameters={"n": 2})], parameter_openapi_schema=MOMENT
    )
    end = midnight(clock)
    answer = fill(db, deployment.id, end - 5 * DAY, end)
    times = [end - n * DAY + timedelta(hours=2, minutes=30) for n in (5, 4, 3, 2, 1)]
    assert [fire.nominal_time for fire in answer.fires] == times and all(fire.created for fire in answer.fires)
    runs = all_runs(db)
    assert [run.id for run in runs] == [fire.flow_run_id for fire in answer.fires]
    assert [run.nominal_time for run in runs] == times
    assert [datetime.fromisoformat(run.parameters["logical_time"]) for run in runs] == times
    first = runs[0]
    assert (first.parameters["n"], first.auto_scheduled, "backfill" in first.tags) == (2, False, True)
    assert first.created_by is not None and first.created_by.type == "BACKFILL"
    clock.advance(1)
    assert [claimed.flow_run.id for claimed in made.claim(db)] == [run.id for run in runs]  # the oldest first


def test_a_run_of_a_client_with_the_key_of_a_fire_is_no_fire(db: Database, clock: Clock) -> None:
    deployment = made.deployment(db, made.flow(db).id, work_pool_name=None, schedules=[daily()])
    end = midnight(clock)
    fire = end - DAY + timedelta(hours=2, minutes=30)
    key = f"scheduled {deployment.id} {deployment.schedules[0].id} {fire.isoformat()}"
    body = FlowRunCreate(flow_id=deployment.flow_id, idempotency_key=key)
    theirs = db.write(lambda tx: flow_runs.create(tx, body))[0]
    (filled,) = fill(db, deployment.id, end - DAY, end).fires
    assert filled.created and filled.flow_run_id != theirs.id


def test_both_ends_of_a_range(db: Database, clock: Clock) -> None:
    deployment = made.deployment(db, made.flow(db).id, work_pool_name=None, schedules=[daily()])
    fire = midnight(clock) - DAY + timedelta(hours=2, minutes=30)
    assert len(fill(db, deployment.id, fire, fire + timedelta(microseconds=1), dry_run=True).fires) == 1
    assert fill(db, deployment.id, fire - DAY + timedelta(microseconds=1), fire, dry_run=True).fires == []
    assert all_runs(db) == []


def test_doing_it_again_adds_only_what_is_missing(db: Database, clock: Clock) -> None:
    deployment = made.deployment(db, made.flow(db).id, work_pool_name=None, schedules=[daily()])
    end = midnight(clock)
    first = fill(db, deployment.id, end - 10 * DAY, end, limit=3)
    assert [fire.created for fire in first.fires] == [True] * 3 and first.next_start is None
    again = fill(db, deployment.id, end - 10 * DAY, end, limit=3)
    assert [fire.created for fire in again.fires] == [False] * 3 + [True] * 3
    rest = fill(db, deployment.id, end - 12 * DAY, end)
    assert [fire.created for fire in rest.fires] == [True, True] + [False] * 6 + [True] * 4
    assert not any(fire.created for fire in fill(db, deployment.id, end - 12 * DAY, end).fires)
    assert len(all_runs(db)) == 12


def test_a_dry_run_says_what_would_be(db: Database, clock: Clock) -> None:
    deployment = made.deployment(db, made.flow(db).id, work_pool_name=None, schedules=[daily()])
    end = midnight(clock)
    fill(db, deployment.id, end - DAY, end)
    dry = fill(db, deployment.id, end - 3 * DAY, end, dry_run=True)
    assert [(fire.created, fire.flow_run_id is None) for fire in dry.fires] == [
        (True, True),
        (True, True),
        (False, False),
    ]
    assert len(all_runs(db)) == 1


def test_several_schedules_in_one_order_or_one_of_them(db: Database, clock: Clock) -> None:
    both = [made.every(86400, slug="a"), daily(slug="b", active=False)]
    deployment = made.deployment(db, made.flow(db).id, work_pool_name=None, schedules=both)
    end = midnight(clock)
    answer = fill(db, deployment.id, end - 2 * DAY, end)
    assert [fire.nominal_time for fire in answer.fires] == sorted(fire.nominal_time for fire in answer.fires)
    assert len(answer.fires) == 4
    by_slug = {schedule.slug: schedule.id for schedule in deployment.schedules}
    for chosen in ("b", str(by_slug["b"])):
        only = fill(db, deployment.id, end - 3 * DAY, end, schedule=chosen, dry_run=True)
        assert {fire.schedule_id for fire in only.fires} == {by_slug["b"]} and len(only.fires) == 3


def test_what_cannot_be_filled_is_said(db: Database, clock: Clock) -> None:
    made.pool(db)
    flow = made.flow(db)
    deployment = made.deployment(db, flow.id, schedules=[daily(slug="s")], parameter_openapi_schema=MOMENT)
    end = midnight(clock)
    with pytest.raises(InvalidInput, match="still to come"):
        fill(db, deployment.id, end - DAY, clock() + timedelta(seconds=1))
    with pytest.raises(InvalidInput, match="earlier moment to a later"):
        fill(db, deployment.id, end, end)
    with pytest.raises(NotFound, match=r"no schedule 'x'\. It has: s"):
        fill(db, deployment.id, end - DAY, end, schedule="x")
    with pytest.raises(ParameterError, match="'n'"):
        fill(db, deployment.id, end - DAY, end, parameters={"n": "many"})
    with pytest.raises(NotFound, match="schedule create"):
        fill(db, made.deployment(db, flow.id, name="bare").id, end - DAY, end)
    with pytest.raises(MissingDeployment):
        fill(db, new_id(), end - DAY, end)
    assert all_runs(db) == []


def test_on_the_days_the_clocks_change_each_local_day_has_its_run(db: Database, clock: Clock) -> None:
    clock.now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    deployment = made.deployment(db, made.flow(db).id, work_pool_name=None, schedules=[daily("Europe/Oslo")])

    def fires(start: tuple[int, int], days: int) -> list[str]:
        first = datetime(2026, *start, tzinfo=UTC)
        answer = fill(db, deployment.id, first, first + days * DAY)
        return [f"{fire.nominal_time.astimezone(UTC):%d %H:%M}" for fire in answer.fires]

    assert fires((3, 28), 3) == ["28 01:30", "29 01:00", "30 00:30"]  # 02:30 does not exist: at 03:00
    assert fires((10, 24), 3) == ["24 00:30", "25 00:30", "26 01:30"]  # 02:30 comes twice: the first


def test_p2_a_fire_that_was_skipped_is_run_and_no_longer_counts_as_skipped(db: Database, clock: Clock) -> None:
    deployment = made.deployment(
        db,
        made.flow(db).id,
        work_pool_name=None,
        schedules=[made.every(3600)],
        labels={CATCH_UP_LABEL: "skip"},
    )
    db.write(scheduler.step)
    began = clock()
    clock.advance(4 * 3600)
    db.write(scheduler.step)
    skipped = [skip.nominal_time for skip in db.read(lambda tx: deployments.skipped(tx, deployment.id))]
    assert len(skipped) == 4
    clock.advance(1)
    answer = fill(db, deployment.id, began + timedelta(seconds=1), clock())
    created = [fire.nominal_time for fire in answer.fires if fire.created]
    assert created == sorted(skipped)
    assert db.read(lambda tx: tx.connection.execute(select(skipped_fires)).all()) == []
    db.write(scheduler.step)
    times = [run.nominal_time for run in all_runs(db)]
    assert len(times) == len(set(times))


def test_many_fires_come_in_parts(db: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfills, "MOST_FIRES", 3)
    deployment = made.deployment(
        db, made.flow(db).id, work_pool_name=None, schedules=[made.every(86400, slug="a"), made.every(86400, slug="b")]
    )
    end = midnight(clock)
    start: datetime | None = end - 4 * DAY
    made_in_all = 0
    while start is not None:
        part = fill(db, deployment.id, start, end)
        made_in_all += sum(fire.created for fire in part.fires)
        start = part.next_start
    assert made_in_all == 8 and len(all_runs(db)) == 8


def test_a_full_deployment_lets_a_backfill_wait_even_if_it_cancels_what_is_new(db: Database, clock: Clock) -> None:
    made.pool(db)
    deployment = made.deployment(
        db,
        made.flow(db).id,
        schedules=[daily()],
        concurrency_limit=1,
        concurrency_options={"collision_strategy": "CANCEL_NEW"},
    )
    end = midnight(clock)
    fill(db, deployment.id, end - 3 * DAY, end)
    clock.advance(1)
    order = []
    for _ in range(3):
        (claimed,) = made.claim(db)
        order.append(claimed.flow_run.nominal_time)
        assert made.claim(db) == []
        made.propose(db, claimed.flow_run.id, "Running", attempt=1)
        made.propose(db, claimed.flow_run.id, "Completed", attempt=1)
    assert order == sorted(order) and len(order) == 3  # type: ignore[type-var]
    assert {run.state_name for run in all_runs(db)} == {"Completed"}
