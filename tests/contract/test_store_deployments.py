"""Deployments and their schedules; pools, queues and workers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import made
import pytest
from made import Clock

from millrace.errors import AlreadyExists, InvalidInput, MissingDeployment, NotFound, ParameterError, ScheduleError
from millrace.schema.deployments import (
    Deployment,
    DeploymentCreate,
    DeploymentScheduleCreate,
    DeploymentScheduleUpdate,
    DeploymentUpdate,
)
from millrace.schema.pools import (
    ClaimRuns,
    PoolConcurrencyQuery,
    WorkerFilter,
    WorkerHeartbeat,
    WorkerQuery,
    WorkerStatusCondition,
    WorkPoolCreate,
    WorkPoolFilter,
    WorkPoolQuery,
    WorkPoolUpdate,
    WorkQueueCreate,
    WorkQueueQuery,
    WorkQueueUpdate,
)
from millrace.schema.queries import DeploymentQuery, FlowRunQuery
from millrace.schema.runs import DeploymentFlowRunCreate
from millrace.schema.schedules import CronSchedule, IntervalSchedule
from millrace.server import scheduler
from millrace.store import counters, deployments, flow_runs, flows, leases, pools, queues, workers
from millrace.store.database import Database


def test_a_deployment_is_stored_and_found(db: Database, clock: Clock) -> None:
    flow = made.flow(db)
    made.pool(db)
    body = DeploymentCreate(
        name="nightly",
        flow_id=flow.id,
        work_pool_name="default",
        schedules=[made.every(60, slug="a"), DeploymentScheduleCreate(schedule=CronSchedule(cron="@daily"))],
        tags=["t"],
        pull_steps=[{"step": {"a": 1}}],
        job_variables={"env": {"A": "b"}},
        description="d",
        version="1",
        entrypoint="a.py:f",
        path="/x",
    )
    stored, created = db.write(lambda tx: deployments.upsert(tx, body))
    assert created
    assert (stored.work_pool_name, stored.work_queue_name, stored.status) == ("default", "default", "NOT_READY")
    assert stored.work_queue_id == db.read(lambda tx: pools.read(tx, "default")).default_queue_id
    assert [schedule.slug for schedule in stored.schedules] == ["a", None]
    assert stored.pull_steps == body.pull_steps and stored.job_variables == body.job_variables
    assert db.read(lambda tx: deployments.by_name(tx, "etl", "nightly")) == stored
    assert db.read(lambda tx: deployments.query(tx, DeploymentQuery())) == [stored]
    assert db.read(lambda tx: deployments.count(tx, DeploymentQuery())) == 1
    with pytest.raises(MissingDeployment, match=r"There are: etl/nightly\."):
        db.read(lambda tx: deployments.by_name(tx, "etl", "daily"))
    with pytest.raises(MissingDeployment, match="Create it"):
        db.read(lambda tx: deployments.by_name(tx, "no", "daily"))


def test_errors_name_what_is_wrong(db: Database) -> None:
    flow = made.flow(db)
    with pytest.raises(NotFound, match=r"'nope'.*There is none yet"):
        made.deployment(db, flow.id, work_pool_name="nope")
    made.pool(db, "alpha")
    with pytest.raises(NotFound, match=r"No work pool is named 'nope'. There are: alpha\. .*millrace work-pool create"):
        made.deployment(db, flow.id, work_pool_name="nope")
    with pytest.raises(NotFound, match="flow"):
        made.deployment(db, uuid4(), work_pool_name=None)
    schema = {"properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
    with pytest.raises(ParameterError, match="'m' is unknown"):
        made.deployment(db, flow.id, work_pool_name=None, parameters={"m": 1}, parameter_openapi_schema=schema)
    with pytest.raises(InvalidInput, match="not a JSON Schema"):
        made.deployment(db, flow.id, work_pool_name=None, parameter_openapi_schema={"type": "nonsense"})
    for schema in (
        {"properties": {"n": {"$ref": "https://example.invalid/x"}}},
        {"properties": {"n": {"$ref": "#/a"}}},
    ):
        with pytest.raises(InvalidInput, match="refers to"):
            made.deployment(db, flow.id, work_pool_name=None, parameters={"n": 1}, parameter_openapi_schema=schema)
    endless = {"properties": {"n": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"$ref": "#/$defs/a"}}}
    with pytest.raises(InvalidInput, match="without end"):
        made.deployment(db, flow.id, work_pool_name=None, parameters={"n": 1}, parameter_openapi_schema=endless)
    assert db.read(lambda tx: deployments.count(tx, DeploymentQuery())) == 0


def again(db: Database, deployment: Deployment, **fields: object) -> Deployment:
    body = DeploymentCreate(name=deployment.name, flow_id=deployment.flow_id, **fields)
    answer, created = db.write(lambda tx: deployments.upsert(tx, body))
    assert not created and answer.id == deployment.id
    return answer


def scheduled_times(db: Database) -> list[float]:
    db.write(scheduler.step)
    runs = db.read(lambda tx: flow_runs.query(tx, FlowRunQuery(sort="EXPECTED_START_TIME_ASC")))
    return [run.expected_start_time.timestamp() for run in runs if run.expected_start_time]


def test_redeploying_the_same_changes_nothing(db: Database, clock: Clock) -> None:
    flow = made.flow(db)
    made.pool(db)
    schedules = [made.every(45), DeploymentScheduleCreate(schedule=CronSchedule(cron="0 * * * *"))]
    first = made.deployment(db, flow.id, schedules=schedules)
    times = scheduled_times(db)
    clock.advance(1)
    second = again(db, first, schedules=schedules, work_pool_name="default", paused=False)
    assert second == first
    assert scheduled_times(db) == times


def test_redeploying_neither_loses_nor_doubles_nor_revives(db: Database, clock: Clock) -> None:
    flow = made.flow(db)
    made.pool(db)
    hourly = DeploymentScheduleCreate(schedule=CronSchedule(cron="0 * * * *"))
    first = made.deployment(db, flow.id, schedules=[made.every(600, slug="often"), hourly])
    often, on_the_hour = first.schedules
    off = DeploymentScheduleUpdate(active=False)
    db.write(lambda tx: deployments.update_schedule(tx, first.id, on_the_hour.id, off))
    db.write(lambda tx: deployments.set_paused(tx, first.id, True))
    [by_hand] = db.write(lambda tx: deployments.add_schedules(tx, first.id, [made.every(7200)]))

    second = again(db, first, paused=False, schedules=[hourly, made.every(300, slug="often")], version="2")
    assert second.paused and second.version == "2"
    found = {schedule.id: schedule for schedule in second.schedules}
    assert set(found) == {often.id, on_the_hour.id, by_hand.id}
    assert not found[on_the_hour.id].active  # a person paused it, and the deployment says nothing new
    assert found[often.id].schedule == IntervalSchedule(interval=timedelta(seconds=300))

    said_off = hourly.model_copy(update={"active": False})
    third = again(db, first, paused=True, schedules=[said_off])
    assert {schedule.id for schedule in third.schedules} == {on_the_hour.id, by_hand.id}
    fourth = again(db, first, paused=False, schedules=[hourly, hourly])
    assert not fourth.paused and [schedule.active for schedule in fourth.schedules].count(True) == 3
    assert len(fourth.schedules) == 3
    fifth = again(db, first, description="only this")
    assert fifth.schedules == fourth.schedules and fifth.version == "2" and fifth.description == "only this"
    assert again(db, first, schedules=[]).schedules == [by_hand]


def test_a_paused_schedule_whose_time_is_edited_rests_on(db: Database, clock: Clock) -> None:
    def daily(hour: int, **fields: object) -> DeploymentScheduleCreate:
        return DeploymentScheduleCreate(schedule=CronSchedule(cron=f"0 {hour} * * *"), **fields)

    flow = made.flow(db)
    made.pool(db)
    first = made.deployment(db, flow.id, schedules=[daily(3, slug="night"), daily(5), made.every(600)])
    night, morning, often = first.schedules
    off = DeploymentScheduleUpdate(active=False)
    for one in (night, morning):
        db.write(lambda tx, one=one: deployments.update_schedule(tx, first.id, one.id, off))

    second = again(db, first, schedules=[daily(4, slug="night"), made.every(300), daily(6)])
    assert {one.id: (one.schedule, one.active) for one in second.schedules} == {
        night.id: (daily(4).schedule, False),
        morning.id: (daily(6).schedule, False),
        often.id: (made.every(300).schedule, True),
    }
    by_hand = DeploymentScheduleUpdate(schedule=CronSchedule(cron="@weekly"), active=False)
    db.write(lambda tx: deployments.update_schedule(tx, first.id, often.id, by_hand))
    third = again(db, first, schedules=[daily(4, slug="night"), made.every(300), daily(6, active=False)])
    assert [(one.id, one.active) for one in third.schedules] == [
        (night.id, False),
        (morning.id, False),
        (often.id, False),
    ]
    fourth = again(db, first, schedules=[daily(4, slug="night"), made.every(300), daily(6, active=True)])
    assert [one.active for one in fourth.schedules] == [False, True, False], "what it says anew it gets"


def test_active_true_wakes_a_paused_schedule_where_it_is_newly_written_and_only_there(
    db: Database, clock: Clock
) -> None:
    def nightly(**fields: object) -> DeploymentScheduleCreate:
        return DeploymentScheduleCreate(schedule=CronSchedule(cron="0 3 * * *"), **fields)

    flow = made.flow(db)
    made.pool(db)
    first = made.deployment(db, flow.id, schedules=[nightly()])
    night = first.schedules[0].id

    def declared(**fields: object) -> bool:
        (found,) = again(db, first, schedules=[nightly(**fields)]).schedules
        assert found.id == night
        return found.active

    def pause() -> None:
        off = DeploymentScheduleUpdate(active=False)
        db.write(lambda tx: deployments.update_schedule(tx, first.id, night, off))

    pause()
    assert not declared(), "nothing is said"
    assert declared(active=True), "newly written: a wish"
    pause()
    assert not declared(active=True), "it stood there before somebody paused it"
    assert not declared(), "left out again, it says the same"
    assert declared(active=True), "and written anew it is a wish again"
    assert not declared(active=False)
    assert declared(), "what it said is gone"


def test_what_a_person_added_and_paused_wakes_when_a_deployment_says_that_it_is_active(
    db: Database, clock: Clock
) -> None:
    flow = made.flow(db)
    made.pool(db)
    first = made.deployment(db, flow.id)
    by_hand = made.every(600, slug="s", active=False)
    [added] = db.write(lambda tx: deployments.add_schedules(tx, first.id, [by_hand]))
    [kept] = again(db, first, schedules=[made.every(600, slug="s")]).schedules
    assert (kept.id, kept.active) == (added.id, False)
    [woken] = again(db, first, schedules=[made.every(600, slug="s", active=True)]).schedules
    assert (woken.id, woken.active) == (added.id, True)


def test_an_anchor_of_just_now_is_a_default(db: Database, clock: Clock) -> None:
    """Prefect's client sends the moment of the deployment as the anchor: deploying often must not put off the fire."""
    flow = made.flow(db)
    made.pool(db)

    def anchored(seconds: float) -> DeploymentScheduleCreate:
        anchor = clock.now - timedelta(seconds=seconds)
        return DeploymentScheduleCreate(schedule=IntervalSchedule(interval=timedelta(hours=1), anchor_date=anchor))

    first = made.deployment(db, flow.id, schedules=[anchored(1)])
    times = scheduled_times(db)
    clock.advance(3000)
    assert again(db, first, schedules=[anchored(1)]).schedules[0].schedule == first.schedules[0].schedule
    assert scheduled_times(db) == times
    moved = again(db, first, schedules=[anchored(1800)]).schedules
    assert len(moved) == 1 and moved[0].schedule != first.schedules[0].schedule


def test_several_at_once_and_one_that_is_refused_stops_no_other(db: Database, clock: Clock) -> None:
    flow = made.flow(db)
    made.pool(db)
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}

    def body(name: str, **fields: Any) -> DeploymentCreate:
        given = {
            "work_pool_name": "default",
            "parameter_openapi_schema": schema,
            "schedules": [made.every(60)],
            **fields,
        }
        return DeploymentCreate(name=name, flow_id=flow.id, **given)

    bodies = [
        body("a", parameters={"n": 1}),
        body("b", parameters={"n": "many"}),
        body("c", work_pool_name="none"),
        body("d", schedules=[made.every(60, slug="s"), made.every(90, slug="s")]),
        body("e"),
    ]
    ids = db.write(lambda tx: deployments.upsert_all(tx, bodies))
    assert [id is None for id in ids] == [False, True, True, True, False]
    stored = db.read(lambda tx: deployments.query(tx, DeploymentQuery()))
    assert [(one.name, len(one.schedules)) for one in stored] == [("a", 1), ("e", 1)], "nothing of the refused is left"
    again = db.write(lambda tx: deployments.upsert_all(tx, [bodies[4], bodies[0]]))
    assert again == [ids[4], ids[0]]
    after = db.read(lambda tx: deployments.query(tx, DeploymentQuery()))
    assert [[one.id for one in found.schedules] for found in after] == [[x.id for x in one.schedules] for one in stored]


def test_updating(db: Database, clock: Clock) -> None:
    flow = made.flow(db)
    made.pool(db)
    made.pool(db, "other")
    first = made.deployment(db, flow.id, schedules=[made.every(60, slug="a")], tags=["x"])
    clock.advance(1)
    change = DeploymentUpdate(work_pool_name="other", tags=["y"], paused=True, parameters=None, version=None)
    db.write(lambda tx: deployments.update(tx, first.id, change))
    now = db.read(lambda tx: deployments.read(tx, first.id))
    assert (now.work_pool_name, now.tags, now.paused, now.updated) == ("other", ["y"], True, clock.now)
    parts = [
        DeploymentScheduleUpdate(slug="a", active=False),
        DeploymentScheduleUpdate(schedule=CronSchedule(cron="@daily")),
    ]
    db.write(lambda tx: deployments.update(tx, first.id, DeploymentUpdate(schedules=parts)))
    now = db.read(lambda tx: deployments.read(tx, first.id))
    assert [(s.slug, s.active) for s in now.schedules] == [("a", False), (None, True)]
    assert now.schedules[0].id == first.schedules[0].id
    with pytest.raises(NotFound, match="slug 'b'"):
        db.write(
            lambda tx: deployments.update(
                tx, first.id, DeploymentUpdate(schedules=[DeploymentScheduleUpdate(slug="b", active=True)])
            )
        )
    none = made.deployment(db, flow.id, name="without schedules", schedules=[])
    nothing = DeploymentUpdate(schedules=[DeploymentScheduleUpdate(slug="b", active=True)])
    db.write(lambda tx: deployments.update(tx, none.id, nothing))
    assert db.read(lambda tx: deployments.read(tx, none.id)).schedules == []
    db.write(lambda tx: deployments.update(tx, first.id, DeploymentUpdate(work_pool_name=None)))
    assert db.read(lambda tx: deployments.read(tx, first.id)).work_queue_id is None


def test_schedules_by_hand(db: Database) -> None:
    flow = made.flow(db)
    made.pool(db)
    deployment = made.deployment(db, flow.id)
    [added] = db.write(lambda tx: deployments.add_schedules(tx, deployment.id, [made.every(60, slug="s")]))
    assert db.read(lambda tx: deployments.schedules(tx, deployment.id)) == [added]
    with pytest.raises(AlreadyExists, match="'s'"):
        db.write(lambda tx: deployments.add_schedules(tx, deployment.id, [made.every(60, slug="s")]))
    db.write(lambda tx: deployments.delete_schedule(tx, deployment.id, added.id))
    assert db.read(lambda tx: deployments.schedules(tx, deployment.id)) == []
    for act in (
        lambda tx: deployments.delete_schedule(tx, deployment.id, added.id),
        lambda tx: deployments.update_schedule(tx, deployment.id, added.id, DeploymentScheduleUpdate(active=True)),
        lambda tx: deployments.schedules(tx, uuid4()),
        lambda tx: deployments.set_paused(tx, uuid4(), True),
        lambda tx: deployments.delete(tx, uuid4()),
    ):
        with pytest.raises(NotFound):
            db.write(act)


def test_deleting_a_deployment_keeps_what_ran(db: Database) -> None:
    flow = made.flow(db)
    made.pool(db)
    deployment = made.deployment(db, flow.id, schedules=[made.every(30)])
    ran = made.run(db, deployment.id)
    made.claim(db)
    made.propose(db, ran.id, "Completed")
    db.write(scheduler.step)
    db.write(lambda tx: deployments.delete(tx, deployment.id))
    assert made.read(db, ran.id).state_name == "Completed"
    assert len(scheduled_times(db)) == 1
    assert db.write(scheduler.step) is None


def test_a_deployment_is_ready_when_somebody_asks_for_its_runs(db: Database, clock: Clock) -> None:
    flow = made.flow(db)
    made.pool(db)
    deployment = made.deployment(db, flow.id)
    status = lambda: db.read(lambda tx: deployments.read(tx, deployment.id)).status  # noqa: E731
    assert status() == "NOT_READY"
    db.write(lambda tx: leases.claim(tx, "default", ClaimRuns(worker_name="w", heartbeat_interval_seconds=5)))
    assert status() == "READY" and db.read(lambda tx: pools.read(tx, "default")).status == "READY"
    clock.advance(61)
    assert status() == "NOT_READY" and db.read(lambda tx: pools.read(tx, "default")).status == "NOT_READY"


def test_pools(db: Database, clock: Clock) -> None:
    pool = made.pool(db, "a", base_job_template={"variables": {}}, concurrency_limit=10**30)
    assert (pool.type, pool.status, pool.active_slots, pool.concurrency_limit) == ("process", "NOT_READY", 0, 2**63 - 1)
    with pytest.raises(AlreadyExists, match="'a'"):
        db.write(lambda tx: pools.create(tx, WorkPoolCreate(name="a")))
    made.pool(db, "b")
    assert [each.name for each in db.read(lambda tx: pools.query(tx, WorkPoolQuery()))] == ["a", "b"]
    query = WorkPoolQuery(work_pools=WorkPoolFilter.model_validate({"name": {"any_": ["b"]}}))
    assert [each.name for each in db.read(lambda tx: pools.query(tx, query))] == ["b"]
    change = WorkPoolUpdate(is_paused=True, concurrency_limit=None, base_job_template=None)
    db.write(lambda tx: pools.update(tx, "a", change))
    now = db.read(lambda tx: pools.read(tx, "a"))
    assert (now.status, now.concurrency_limit, now.base_job_template) == ("PAUSED", None, {"variables": {}})
    flow = made.flow(db)
    deployment = made.deployment(db, flow.id, work_pool_name="b")
    db.write(lambda tx: pools.delete(tx, "b"))
    assert db.read(lambda tx: deployments.read(tx, deployment.id)).work_pool_name is None
    with pytest.raises(NotFound, match="There are: a"):
        db.read(lambda tx: pools.read(tx, "b"))


def test_queues(db: Database, clock: Clock) -> None:
    made.pool(db)
    fast = db.write(lambda tx: queues.create(tx, "default", WorkQueueCreate(name="fast", concurrency_limit=2)))
    assert (fast.priority, fast.work_pool_name, fast.status) == (2, "default", "NOT_READY")
    with pytest.raises(AlreadyExists):
        db.write(lambda tx: queues.create(tx, "default", WorkQueueCreate(name="fast")))
    db.write(lambda tx: queues.update(tx, fast.id, WorkQueueUpdate(name="faster", priority=1, concurrency_limit=None)))
    assert db.read(lambda tx: queues.read(tx, fast.id)).name == "faster"
    with pytest.raises(AlreadyExists):
        db.write(lambda tx: queues.update(tx, fast.id, WorkQueueUpdate(name="default")))
    found = db.read(lambda tx: queues.query(tx, "default", WorkQueueQuery()))
    assert [(queue.name, queue.priority) for queue in found] == [("faster", 1), ("default", 2)]
    assert not db.read(lambda tx: queues.status(tx, fast.id)).healthy
    made.claim(db, queue_names=["faster"])
    assert db.read(lambda tx: queues.status(tx, fast.id)).healthy
    assert db.read(lambda tx: queues.by_name(tx, "default", "default")).last_polled is None
    flow = made.flow(db)
    deployment = made.deployment(db, flow.id, work_queue_name="faster")
    run = made.run(db, deployment.id)
    db.write(lambda tx: queues.delete(tx, fast.id))
    assert made.read(db, run.id).work_queue_name == "default"
    with pytest.raises(InvalidInput, match="Pause it instead"):
        db.write(lambda tx: queues.delete(tx, found[1].id))
    with pytest.raises(NotFound):
        db.read(lambda tx: queues.read(tx, fast.id))


def test_a_priority_belongs_to_one_queue(db: Database) -> None:
    """Who is given one has it; who had it moves back, and whoever is in the way of that, but nobody else."""
    made.pool(db)

    def order() -> list[tuple[str, int]]:
        found = db.read(lambda tx: queues.query(tx, "default", WorkQueueQuery()))
        return [(queue.name, queue.priority) for queue in found]

    for name, priority in (("c", 3), ("b", 2), ("far", 9)):
        body = WorkQueueCreate(name=name, priority=priority)
        db.write(lambda tx, body=body: queues.create(tx, "default", body))  # type: ignore[misc]
    assert order() == [("default", 1), ("b", 2), ("c", 3), ("far", 9)]
    last = db.write(lambda tx: queues.create(tx, "default", WorkQueueCreate(name="last")))
    assert last.priority == 10
    db.write(lambda tx: queues.update(tx, last.id, WorkQueueUpdate(priority=1)))
    assert order() == [("last", 1), ("default", 2), ("b", 3), ("c", 4), ("far", 9)]
    db.write(lambda tx: queues.update(tx, last.id, WorkQueueUpdate(priority=5)))
    assert order() == [("default", 2), ("b", 3), ("c", 4), ("last", 5), ("far", 9)]


def test_slots(db: Database, clock: Clock) -> None:
    flow = made.flow(db)
    made.pool(db, concurrency_limit=5)
    deployment = made.deployment(db, flow.id)
    for _ in range(3):
        made.run(db, deployment.id)
    made.claim(db, limit=2)
    clock.advance(4)
    answer = db.read(lambda tx: pools.concurrency(tx, "default", PoolConcurrencyQuery(flow_run_limit=1, page=1)))
    assert (answer.active_slots, answer.concurrency_limit, answer.count, answer.pages) == (2, 5, 1, 1)
    [queue] = answer.queues
    assert (queue.active_slots, queue.flow_run_count, len(queue.flow_runs)) == (2, 2, 1)
    assert queue.flow_runs[0].time_in_current_state == 4
    far = PoolConcurrencyQuery(page=10**30)
    assert db.read(lambda tx: pools.concurrency(tx, "default", far)).queues == []


def test_workers(db: Database, clock: Clock) -> None:
    made.pool(db)
    beat = WorkerHeartbeat(name="w", heartbeat_interval_seconds=10)
    worker = db.write(lambda tx: workers.heartbeat(tx, "default", beat))
    assert (worker.status, worker.last_heartbeat_time) == ("ONLINE", clock.now)
    clock.advance(30)
    db.write(lambda tx: workers.heartbeat(tx, "default", WorkerHeartbeat(name="other")))
    clock.advance(1)

    def named(**status: list[str]) -> list[str]:
        filter = WorkerFilter(status=WorkerStatusCondition.model_validate(status))
        found = db.read(lambda tx: workers.query(tx, "default", WorkerQuery(workers=filter)))
        return sorted(each.name for each in found)

    assert named(any_=["ONLINE"]) == ["other"] == named(not_any_=["OFFLINE"])
    assert named(any_=["OFFLINE"]) == ["w"]
    assert named(any_=["ONLINE", "OFFLINE"]) == ["other", "w"] and named(any_=[]) == []
    assert db.read(counters.read).workers_online == 1


def test_runs_that_wait_go_with_their_deployment_to_another_pool(db: Database, clock: Clock) -> None:
    flow = made.flow(db)
    made.pool(db)
    made.pool(db, name="other")
    first = made.deployment(db, flow.id)
    beside = made.deployment(db, flow.id, name="beside")

    def asked(deployment: Deployment) -> UUID:
        body = DeploymentFlowRunCreate()
        return db.write(lambda tx: flow_runs.create_from_deployment(tx, deployment.id, body))[0].id

    def claimed(pool: str) -> set[UUID]:
        found = db.write(lambda tx: leases.claim(tx, pool, ClaimRuns(worker_name="w", limit=100)))
        return {one.flow_run.id for one in found}

    running = asked(first)
    assert claimed("default") == {running}
    waits, late, others = asked(first), asked(first), asked(beside)
    db.write(lambda tx: leases.mark_late(tx, timedelta(seconds=-1), 1))
    again(db, first, work_pool_name="other", work_queue_name="fast")
    read = {id: db.read(lambda tx, id=id: flow_runs.read(tx, id)) for id in (running, waits, late, others)}
    assert [(one.work_pool_name, one.work_queue_name) for one in read.values()] == [
        ("default", "default"),
        ("other", "fast"),
        ("other", "fast"),
        ("default", "default"),
    ]
    db.write(lambda tx: pools.delete(tx, "other"))
    made.pool(db, name="other")
    assert claimed("other") == set() and claimed("default") == {others}
    again(db, first, work_pool_name="other")
    assert claimed("other") == {waits, late}, "those that were left without a pool too"


def test_a_worker_that_says_it_ends_is_offline_at_once_and_online_when_heard_of_again(
    db: Database, clock: Clock
) -> None:
    made.pool(db)

    def status(interval: int | None) -> tuple[str, list[str], int]:
        beat = WorkerHeartbeat(name="w", heartbeat_interval_seconds=interval)
        (said, listed, count) = (
            db.write(lambda tx: workers.heartbeat(tx, "default", beat)).status,
            db.read(lambda tx: workers.query(tx, "default", WorkerQuery())),
            db.read(counters.read).workers_online,
        )
        return said, [one.status for one in listed], count

    online, offline = ("ONLINE", ["ONLINE"], 1), ("OFFLINE", ["OFFLINE"], 0)
    assert status(10) == online and status(0) == offline
    assert status(10) == online and status(0) == offline
    assert status(None) == online
    db.write(lambda tx: leases.claim(tx, "default", ClaimRuns(worker_name="w", heartbeat_interval_seconds=0)))
    assert status(10) == online
    db.write(lambda tx: workers.delete(tx, "default", "w"))
    with pytest.raises(NotFound, match="'w'"):
        db.write(lambda tx: workers.delete(tx, "default", "w"))


def test_counters(db: Database, clock: Clock) -> None:
    assert db.read(counters.read).next_due is None
    flow = made.flow(db)
    made.pool(db)
    deployment = made.deployment(db, flow.id, schedules=[made.every(3600)])
    db.write(scheduler.step)
    for _ in range(3):
        made.run(db, deployment.id)
    claimed = made.claim(db, limit=2)
    made.propose(db, claimed[0].flow_run.id, "Running", attempt=1)
    seen = db.read(counters.read)
    assert (seen.running, seen.pending, seen.scheduled, seen.deployments, seen.active_schedules) == (1, 1, 2, 1, 1)
    assert seen.next_due is not None


TEMPLATE = {
    "job_configuration": {"memory": "{{ memory }}", "env": "{{ env }}", "image": "{{ image }}"},
    "variables": {
        "type": "object",
        "properties": {
            "memory": {"type": "integer", "default": 512},
            "env": {"$ref": "#/$defs/Env"},
            "image": {"type": "string"},
        },
        "required": ["image"],
        "definitions": {"Env": {"type": "object", "additionalProperties": {"type": "string"}}},
    },
}


def test_job_variables_fit_the_schema_of_their_pool(db: Database) -> None:
    flow = made.flow(db)
    db.write(lambda tx: pools.create(tx, WorkPoolCreate(name="default", type="process", base_job_template=TEMPLATE)))
    with pytest.raises(ParameterError, match=r"'memory': 'lots' is not of type 'integer'.*work-pool inspect default"):
        made.deployment(db, flow.id, job_variables={"memory": "lots"})
    with pytest.raises(ParameterError, match=r"'env'\['A'\]: 1 is not of type 'string'"):
        made.deployment(db, flow.id, job_variables={"env": {"A": 1}})
    deployment = made.deployment(db, flow.id, job_variables={"memory": "{{ variables.memory }}", "more": 1})
    with pytest.raises(ParameterError, match="'memory'"):
        db.write(lambda tx: deployments.update(tx, deployment.id, DeploymentUpdate(job_variables={"memory": "x"})))

    def run(**variables: object) -> object:
        body = DeploymentFlowRunCreate(job_variables=variables)
        return db.write(lambda tx: flow_runs.create_from_deployment(tx, deployment.id, body))

    with pytest.raises(ParameterError, match="'image' is missing"):
        run()
    with pytest.raises(ParameterError, match="'env'"):
        run(image="i", **{"env.A": 1})
    run(image="i", **{"env.A": "1"})
    assert db.read(lambda tx: flow_runs.count(tx, FlowRunQuery())) == 1


def test_a_pool_without_a_schema_takes_any_job_variable(db: Database) -> None:
    flow = made.flow(db)
    for name, template in (("a", {}), ("b", {"variables": {"properties": {"x": {"type": "nonsense"}}}})):
        body = WorkPoolCreate(name=name, base_job_template=template)
        db.write(lambda tx, body=body: pools.create(tx, body))
        made.deployment(db, flow.id, name=name, work_pool_name=name, job_variables={"x": 1})


def test_a_schedule_faster_than_runs_is_refused(db: Database) -> None:
    flow = made.flow(db)
    made.pool(db)
    with pytest.raises(ScheduleError, match=r"at least 1 second, not 0\.5: each fire is a run"):
        made.deployment(db, flow.id, schedules=[made.every(0.5)])
    deployment = made.deployment(db, flow.id, schedules=[made.every(1)])
    faster = DeploymentScheduleUpdate(schedule=IntervalSchedule(interval=timedelta(milliseconds=1)))
    with pytest.raises(ScheduleError, match=r"not 0\.001"):
        db.write(lambda tx: deployments.update_schedule(tx, deployment.id, deployment.schedules[0].id, faster))
    with pytest.raises(ScheduleError, match="at least 1 second"):
        again(db, deployment, schedules=[made.every(0.5)])
    with pytest.raises(ScheduleError, match="at least 1 second"):
        db.write(lambda tx: deployments.add_schedules(tx, deployment.id, [made.every(0.25)]))


def test_a_name_that_is_not_there_is_answered_with_those_most_like_it(db: Database, clock: Clock) -> None:
    made.pool(db)
    made.deployment(db, made.flow(db).id, name="nightly")
    for find, meant in (
        (lambda tx: deployments.by_name(tx, "elt", "nightly"), "etl/nightly"),
        (lambda tx: flows.by_name(tx, "elt"), "etl"),
        (lambda tx: pools.read(tx, "defualt"), "default"),
        (lambda tx: queues.by_name(tx, "default", "defalt"), "default"),
    ):
        with pytest.raises(NotFound, match=rf"\. Did you mean '{meant}'\?"):
            db.read(find)
    with pytest.raises(NotFound, match=r"'x'\. There are: default\."):
        db.read(lambda tx: pools.read(tx, "x"))
