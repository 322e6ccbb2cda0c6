"""The scheduler's step, under a clock that moves only when told to."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import func, select

import databases
from millrace.schema.deployments import (
    CATCH_UP_LABEL,
    Deployment,
    DeploymentCreate,
    DeploymentScheduleCreate,
    DeploymentScheduleUpdate,
    DeploymentUpdate,
)
from millrace.schema.fields import new_id
from millrace.schema.flows import FlowCreate
from millrace.schema.pools import ClaimRuns, WorkPoolCreate
from millrace.schema.runs import FlowRunCreate
from millrace.schema.schedules import CronSchedule, IntervalSchedule
from millrace.server import scheduler
from millrace.server.scheduler import plan
from millrace.store import deployments, flows, leases, pools
from millrace.store import flow_runs as runs
from millrace.store.database import Database
from millrace.store.fires import Due
from millrace.store.tables import deployment_schedules, events, flow_runs, skipped_fires

START = datetime(2026, 11, 21, 12, tzinfo=UTC)


class World:
    """A database, a clock, a flow and a pool."""

    def __init__(self, path: Path) -> None:
        self.now = START
        self.db = Database(databases.sqlite(path / "a.db"), clock=lambda: self.now)
        self.flow = self.db.write(lambda tx: flows.create(tx, FlowCreate(name="etl")))[0]
        self.db.write(lambda tx: pools.create(tx, WorkPoolCreate(name="default", type="process")))

    def deploy(self, seconds: float = 60, catch_up: str | None = None, name: str = "d", **fields: object) -> Deployment:
        labels = {CATCH_UP_LABEL: catch_up} if catch_up else {}
        schedule = DeploymentScheduleCreate(schedule=IntervalSchedule(interval=timedelta(seconds=seconds)), **fields)
        body = DeploymentCreate(
            name=name, flow_id=self.flow.id, work_pool_name="default", labels=labels, schedules=[schedule]
        )
        return self.db.write(lambda tx: deployments.upsert(tx, body))[0]

    def step(self) -> datetime | None:
        for _ in range(1000):
            wake = self.db.write(scheduler.step)
            if wake is None or wake > self.now:
                return wake
        raise AssertionError("the scheduler never comes to rest")

    def live(self, seconds: float) -> None:
        """The scheduler runs for a while, as its loop would."""
        end = self.now + timedelta(seconds=seconds)
        while True:
            wake = self.step()
            if wake is None or wake > end:
                self.now = end
                self.step()
                return
            self.now = wake

    def claim(self) -> int:
        body = ClaimRuns(worker_name="w", limit=200)
        return len(self.db.write(lambda tx: leases.claim(tx, "default", body)))

    def offsets(self, column: str = "nominal_time") -> list[float]:
        """The nominal times of all runs, in seconds after the start."""
        statement = select(flow_runs.c[column]).order_by(flow_runs.c[column])
        return [(t - START).total_seconds() for t in self.db.read(lambda tx: tx.connection.scalars(statement).all())]

    def skips(self) -> list[float]:
        statement = select(skipped_fires.c.nominal_time).order_by(skipped_fires.c.nominal_time)
        return [(t - START).total_seconds() for t in self.db.read(lambda tx: tx.connection.scalars(statement).all())]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.db.close()


def test_nothing_scheduled_nothing_to_do(world: World) -> None:
    assert world.step() is None


def test_the_next_fire_is_always_a_run(world: World) -> None:
    world.deploy(3600)
    wake = world.step()
    assert world.offsets() == [3600]
    assert wake == START + scheduler.HEARTBEAT
    world.live(3600)
    assert world.offsets() == [3600, 7200]


def test_all_fires_of_the_next_minute_are_runs(world: World) -> None:
    world.deploy(10)
    world.step()
    assert world.offsets() == [10, 20, 30, 40, 50, 60]
    world.live(30)
    assert world.offsets() == [10 * n for n in range(1, 10)]


def test_what_a_run_of_a_schedule_is(world: World) -> None:
    deployment = world.deploy(3600, parameters={"a": 2})
    world.step()
    row = world.db.read(lambda tx: tx.connection.execute(select(flow_runs)).one())
    schedule = deployment.schedules[0]
    assert (row.state_type, row.state_name, row.auto_scheduled) == ("SCHEDULED", "Scheduled", True)
    assert row.tags == ["auto-scheduled"] and row.parameters == {"a": 2}
    assert row.created_by == {"id": str(schedule.id), "type": "SCHEDULE", "display_value": "IntervalSchedule"}
    assert row.idempotency_key == f"scheduled {deployment.id} {schedule.id} 2026-11-21T13:00:00+00:00"
    assert row.expected_start_time == row.next_scheduled_start_time == row.nominal_time


def test_a_run_of_a_client_with_the_key_of_a_fire_stops_no_fire(world: World) -> None:
    deployment, beside = world.deploy(3600), world.deploy(1800, name="beside")
    (schedule,) = deployment.schedules
    key = f"scheduled {deployment.id} {schedule.id} 2026-11-21T13:00:00+00:00"
    body = FlowRunCreate(flow_id=deployment.flow_id, deployment_id=deployment.id, idempotency_key=key)
    theirs = world.db.write(lambda tx: runs.create(tx, body))[0]
    world.step()
    made = select(flow_runs.c.deployment_id, flow_runs.c.idempotency_key).where(flow_runs.c.auto_scheduled)
    found = dict(world.db.read(lambda tx: tx.connection.execute(made).all()))
    assert found == {deployment.id: None, beside.id: found[beside.id]} and found[beside.id]
    world.now += timedelta(seconds=10)
    again = world.db.write(lambda tx: runs.create(tx, body))
    assert (again[0].id, again[1]) == (theirs.id, False), "the key is still theirs"


@pytest.mark.parametrize(
    ("catch_up", "runs", "skips"),
    [
        ("all", [100, 200, 300, 400, 500, 600], []),
        ("latest", [500, 600], [100, 200, 300, 400]),
        ("skip", [600], [100, 200, 300, 400, 500]),
        (None, [500, 600], [100, 200, 300, 400]),
        ("nonsense", [500, 600], [100, 200, 300, 400]),
    ],
)
def test_fires_missed_in_a_gap(world: World, catch_up: str | None, runs: list[float], skips: list[float]) -> None:
    deployment = world.deploy(100, catch_up)
    world.step()
    world.now += timedelta(seconds=550)
    world.step()
    assert (world.offsets(), world.skips()) == (runs, skips)
    found = world.db.read(lambda tx: deployments.skipped(tx, deployment.id))
    assert len(found) == len(skips) and all(CATCH_UP_LABEL in skip.reason for skip in found)
    told = world.db.read(
        lambda tx: tx.connection.execute(select(events).where(events.c.event == "millrace.schedule.skipped")).all()
    )
    assert [event.payload["count"] for event in told] == ([len(skips)] if skips else [])


def test_only_one_run_made_before_was_missed(world: World) -> None:
    world.deploy(3600, "latest")
    world.now += timedelta(seconds=3500)
    world.step()
    world.now += timedelta(seconds=200)
    world.step()
    assert (world.offsets(), world.skips()) == ([3600, 7200], [])
    world.deploy(3600, "skip", name="other")


def test_a_run_that_was_taken_was_not_missed(world: World) -> None:
    world.deploy(100, "skip")
    world.step()
    world.now += timedelta(seconds=100)
    assert world.claim() == 1
    world.now += timedelta(seconds=100)
    world.step()
    assert (world.offsets(), world.skips()) == ([100, 300], [200])


@pytest.mark.parametrize("catch_up", ["all", "latest", "skip"])
def test_a_short_absence_misses_nothing(world: World, catch_up: str) -> None:
    world.deploy(10, catch_up)
    world.step()
    world.now += timedelta(seconds=59)
    world.step()
    assert world.skips() == [] and world.offsets() == [10 * n for n in range(1, 12)]


def test_rest_is_no_gap(world: World) -> None:
    world.deploy(3600, "skip")
    world.live(7300)
    assert world.offsets() == [3600, 7200, 10800] and world.skips() == []


def test_without_workers_nothing_is_skipped(world: World) -> None:
    world.deploy(100, "skip")
    world.live(1000)
    assert world.offsets() == [100.0 * n for n in range(1, 12)] and world.skips() == []


def test_what_fires_after_long_rest_was_not_missed(world: World) -> None:
    world.step()
    world.now += timedelta(hours=5)
    world.deploy(10, "skip")
    world.now += timedelta(seconds=15)
    world.step()
    assert world.skips() == [] and len(world.offsets()) == 7


@pytest.mark.parametrize("catch_up", ["all", "latest", "skip"])
def test_a_long_gap_is_worked_off_in_parts(world: World, catch_up: str) -> None:
    world.deploy(10, catch_up)
    world.deploy(3600, catch_up, name="other")
    world.step()
    gap = 3 * 3600 + 5
    world.now += timedelta(seconds=gap)
    assert world.db.write(scheduler.step) == world.now
    world.step()
    fires = sorted([10 * n for n in range(1, gap // 10 + 7)] + [3600 * n for n in range(1, 5)])
    runs = world.offsets()
    assert sorted(runs + world.skips()) == fires
    due = [time for time in runs if time <= gap]
    assert due == {"all": fires[: len(due)], "latest": [10800, 10800], "skip": []}[catch_up]


def test_pausing_and_resuming(world: World) -> None:
    deployment = world.deploy(10)
    world.step()
    world.now += timedelta(seconds=15)
    world.db.write(lambda tx: deployments.set_paused(tx, deployment.id, True))
    assert world.offsets() == [10]  # due, but not taken: it stays
    assert world.step() is None and world.offsets() == [10]
    world.now += timedelta(hours=1)
    world.db.write(lambda tx: deployments.set_paused(tx, deployment.id, False))
    world.step()
    assert world.offsets() == [10] + [3620 + 10 * n for n in range(6)] and world.skips() == []


def test_editing_and_deleting_a_schedule(world: World) -> None:
    deployment = world.deploy(10)
    schedule = deployment.schedules[0]
    world.step()
    change = DeploymentScheduleUpdate(schedule=CronSchedule(cron="0 * * * *"))
    world.db.write(lambda tx: deployments.update_schedule(tx, deployment.id, schedule.id, change))
    world.step()
    assert world.offsets() == [3600]
    off = DeploymentScheduleUpdate(active=False)
    world.db.write(lambda tx: deployments.update_schedule(tx, deployment.id, schedule.id, off))
    assert world.offsets() == [] and world.step() is None
    on = DeploymentScheduleUpdate(active=True)
    world.db.write(lambda tx: deployments.update_schedule(tx, deployment.id, schedule.id, on))
    world.step()
    world.db.write(lambda tx: deployments.delete_schedule(tx, deployment.id, schedule.id))
    assert world.offsets() == []


def test_waiting_runs_are_of_the_deployment_as_it_is(world: World) -> None:
    deployment = world.deploy(20)
    world.step()
    world.now += timedelta(seconds=25)
    world.db.write(lambda tx: deployments.update(tx, deployment.id, DeploymentUpdate(parameters={"n": 2})))
    world.step()
    statement = select(flow_runs.c.parameters).order_by(flow_runs.c.nominal_time)
    assert world.db.read(lambda tx: tx.connection.scalars(statement).all()) == [{}, {"n": 2}, {"n": 2}, {"n": 2}]
    assert world.offsets() == [20, 40, 60, 80]


def test_a_limit_of_waiting_runs(world: World) -> None:
    world.deploy(10, max_scheduled_runs=2)
    world.step()
    assert world.offsets() == [10, 20]
    world.live(30)
    assert world.offsets() == [10, 20, 30, 40, 50]


def test_a_run_taken_early_is_not_made_twice(world: World) -> None:
    deployment = world.deploy(20)
    world.step()
    taken = flow_runs.update().where(flow_runs.c.nominal_time == START + timedelta(seconds=40))
    world.db.write(lambda tx: tx.connection.execute(taken.values(attempt=1)))
    world.db.write(lambda tx: deployments.update(tx, deployment.id, DeploymentUpdate(tags=["new"])))
    world.step()
    assert world.offsets() == [20, 40, 60]


def test_p2_two_schedulers_make_one_run_a_fire(world: World) -> None:
    for n in range(10):
        world.deploy(5, "all", name=f"d{n}")
    world.step()
    world.now += timedelta(seconds=600)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: world.db.write(scheduler.step), range(60)))
    world.step()
    assert world.offsets() == sorted(5.0 * n for n in range(1, 133) for _ in range(10))


def test_p2_runs_and_skips_are_the_fires_whatever_happens(world: World) -> None:
    source = random.Random(7)
    for seconds, catch_up in ((7, "all"), (30, "latest"), (41, "skip"), (600, "latest")):
        world.deploy(seconds, catch_up, name=catch_up + str(seconds))
    for _ in range(40):
        match source.randrange(3):
            case 0:
                world.live(source.randrange(1, 100))
            case 1:
                world.now += timedelta(seconds=source.randrange(1, 400))
                world.step()
            case 2:
                world.claim()
    end = (world.now - START).total_seconds()
    oracle = sorted(
        float(n) for every in (7, 30, 41, 600) for n in range(0, int(end) + 1) if _fires(every, n) and 0 < n <= end
    )
    found = sorted(time for time in world.offsets() + world.skips() if time <= end)
    assert found == oracle


def _fires(every: int, seconds: int) -> bool:
    anchor = datetime(2020, 1, 1, tzinfo=UTC)
    return int((START - anchor).total_seconds() + seconds) % every == 0


def test_one_bad_schedule_does_not_stop_the_others(world: World, caplog: pytest.LogCaptureFixture) -> None:
    bad, good = world.deploy(60, name="bad"), world.deploy(60, name="good")
    broken = deployment_schedules.update().where(deployment_schedules.c.deployment_id == bad.id)
    cron = {"cron": "* * * * *", "timezone": "Gone/Away", "day_or": True}
    world.db.write(lambda tx: tx.connection.execute(broken.values(schedule=cron)))
    world.step()
    statement = select(flow_runs.c.deployment_id)
    assert set(world.db.read(lambda tx: tx.connection.scalars(statement).all())) == {good.id}
    assert "rests" in caplog.text


def test_plan_is_pure() -> None:
    schedule = IntervalSchedule(interval=timedelta(minutes=1))
    due = Due(new_id(), new_id(), schedule, {}, None, START, None, START + timedelta(minutes=1), "latest")
    outcome = plan(due, START, [], missing=False)
    assert outcome.make == [START + timedelta(minutes=1)] and outcome.skip == []
    assert outcome.next_fire == START + timedelta(minutes=2)
    assert outcome.wake == START + timedelta(minutes=1)


def test_the_cost_is_that_of_the_fires_due(world: World) -> None:
    """Ten due among ten thousand are looked at; the rest is not touched."""
    ids: list[UUID] = [world.deploy(3600, name=f"due{n}").schedules[0].id for n in range(10)]
    world.step()
    other = world.deploy(86400, name="many")
    far = START + timedelta(days=300)
    row = world.db.read(
        lambda tx: dict(
            tx.connection.execute(select(deployment_schedules).where(deployment_schedules.c.deployment_id == other.id))
            .mappings()
            .one()
        )
    )
    many = [{**row, "id": new_id(), "next_fire": far, "wake": far, "last_made": far} for _ in range(10_000)]
    world.db.write(lambda tx: tx.connection.execute(deployment_schedules.insert(), many))
    world.step()
    before = world.db.read(lambda tx: tx.connection.scalar(select(func.count()).select_from(flow_runs)))
    plan_of = world.db.read(
        lambda tx: tx.connection.exec_driver_sql(
            "EXPLAIN QUERY PLAN SELECT * FROM deployment_schedules WHERE wake <= 5 ORDER BY wake LIMIT 9"
        ).all()
    )
    assert "ix_deployment_schedules_wake" in str(plan_of) and "SCAN" not in str(plan_of)
    world.now = START + timedelta(seconds=3600)
    begin = time.perf_counter()
    world.db.write(scheduler.step)
    assert time.perf_counter() - begin < 2  # a bound for disasters, not a measure
    after = world.db.read(lambda tx: tx.connection.scalar(select(func.count()).select_from(flow_runs)))
    assert after - before == len(ids)
