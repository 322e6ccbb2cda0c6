"""Flow runs, their states and leases."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import made
import pytest
from made import Clock

from millrace.errors import AlreadyExists, LeaseLost, MissingDeployment, NotFound, ParameterError, StateRefused
from millrace.schema.deployments import DeploymentUpdate
from millrace.schema.flows import FlowCreate
from millrace.schema.logs import LogCreate
from millrace.schema.pools import (
    DeploymentScheduledRunsQuery,
    ScheduledRunsQuery,
    WorkPoolUpdate,
    WorkQueueCreate,
    WorkQueueUpdate,
)
from millrace.schema.queries import FlowRunQuery
from millrace.schema.runs import (
    BeginRun,
    DeploymentFlowRunCreate,
    ExtendLeases,
    FlowRunCreate,
    FlowRunPolicy,
    FlowRunUpdate,
    ReleaseLease,
    TaskRunCreate,
)
from millrace.schema.states import SetStateStatus, StateDetails, scheduled
from millrace.store import (
    deployments,
    events,
    flow_runs,
    flow_states,
    flows,
    leases,
    logs,
    pools,
    queues,
    task_runs,
)
from millrace.store.database import Database

ACCEPT, REJECT, ABORT, WAIT = SetStateStatus


def test_a_run_is_created_as_pending_with_history_and_event(db: Database, clock: Clock) -> None:
    flow = made.flow(db)
    body = FlowRunCreate(flow_id=flow.id, parameters={"x": 10**30, "y": [None]}, tags=["a", "a"], labels={"k": 1})
    run, created = db.write(lambda tx: flow_runs.create(tx, body))
    assert created and run.state is not None
    assert (run.state_type, run.state_name, run.run_count, run.attempt) == ("PENDING", "Pending", 0, 0)
    assert run.parameters == {"x": 10**30, "y": [None]} and run.tags == ["a"]
    assert run.labels == {"prefect.flow.id": str(flow.id), "k": 1}
    assert run.expected_start_time == clock.now and run.job_variables == {}
    assert run.state.state_details.flow_run_id == run.id
    assert db.read(lambda tx: flow_runs.states(tx, run.id)) == [run.state]
    [event] = db.read(lambda tx: events.after(tx, 0, flow_run_id=run.id, limit=10))
    assert (event.event, event.id, event.occurred) == ("prefect.flow-run.Pending", run.state_id, clock.now)
    assert event.payload["intended"] == {"from": None, "to": "PENDING"}
    assert event.resource["prefect.resource.id"] == f"prefect.flow-run.{run.id}"
    assert {r["prefect.resource.role"] for r in event.related} == {"flow", "tag"}


def test_an_idempotency_key_is_one_run(db: Database) -> None:
    flow, other = made.flow(db), made.flow(db, "other")

    def create(_: int) -> tuple[str, bool]:
        body = FlowRunCreate(flow_id=flow.id, idempotency_key="k")
        run, created = db.write(lambda tx: flow_runs.create(tx, body))
        return str(run.id), created

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(create, range(24)))
    assert len({id for id, _ in answers}) == 1 and sum(created for _, created in answers) == 1
    assert db.write(lambda tx: flow_runs.create(tx, FlowRunCreate(flow_id=other.id, idempotency_key="k")))[1]


def test_an_unknown_flow(db: Database) -> None:
    with pytest.raises(NotFound, match="No flow has the id"):
        db.write(lambda tx: flow_runs.create(tx, FlowRunCreate(flow_id=uuid4())))


def test_the_times_and_counts_of_a_run(db: Database, clock: Clock) -> None:
    flow = made.flow(db)
    policy = FlowRunPolicy(retries=1, retry_delay=7)
    run = db.write(lambda tx: flow_runs.create(tx, FlowRunCreate(flow_id=flow.id, empirical_policy=policy)))[0]
    clock.advance(2)
    assert made.read(db, run.id).estimated_start_time_delta == 2
    began = clock.now
    assert made.propose(db, run.id, "Running").status is ACCEPT
    clock.advance(5)
    now = made.read(db, run.id)
    assert (now.run_count, now.start_time, now.total_run_time, now.estimated_run_time) == (1, began, 0, 5)
    answer = made.propose(db, run.id, "Failed", message="boom")
    assert answer.status is REJECT and answer.state is not None and answer.state.name == "AwaitingRetry"
    assert answer.details.reason == "Retrying"  # type: ignore[union-attr]
    now = made.read(db, run.id)
    assert now.next_scheduled_start_time == clock.now + timedelta(seconds=7)
    assert now.empirical_policy.retry_type == "in_process" and now.total_run_time == 5
    answer = made.propose(db, run.id, "Running")
    assert answer.status is WAIT and answer.details.delay_seconds == 7  # type: ignore[union-attr]
    clock.advance(7)
    answer = made.propose(db, run.id, "Running")
    assert answer.state is not None and answer.state.name == "Retrying"
    clock.advance(3)
    answer = made.propose(db, run.id, "Failed")
    assert answer.status is ACCEPT
    clock.advance(60)
    now = made.read(db, run.id)
    assert (now.run_count, now.total_run_time, now.estimated_run_time) == (2, 8, 8)
    assert now.start_time == began and now.end_time == began + timedelta(seconds=15)
    assert now.estimated_start_time_delta == 2
    assert made.names(db, run.id) == ["Pending", "Running", "AwaitingRetry", "Retrying", "Failed"]


def test_p5_terminal_is_final_and_a_rerun_is_a_new_attempt(db: Database, clock: Clock) -> None:
    flow = made.flow(db)
    made.pool(db)
    deployment = made.deployment(db, flow.id)
    run = made.run(db, deployment.id)
    made.claim(db)
    made.propose(db, run.id, "Running", attempt=1)
    made.propose(db, run.id, "Failed", attempt=1)
    for name in ("Running", "Completed", "Cancelled", "Crashed", "Cancelling", "Scheduled"):
        answer = made.propose(db, run.id, name)
        assert answer.status is ABORT and answer.state is not None and answer.state.name == "Failed"
    for name in ("Running", "Completed", "Cancelled"):
        assert made.propose(db, run.id, name, force=True).status is ABORT
    clock.advance(10)
    due = StateDetails(scheduled_time=clock.now)
    assert made.propose(db, run.id, "Scheduled", force=True, state_details=due).status is ACCEPT
    again = made.read(db, run.id)
    assert (again.attempt, again.run_count, again.start_time, again.end_time) == (2, 0, None, None)
    assert again.expected_start_time == again.next_scheduled_start_time
    with pytest.raises(LeaseLost):
        made.propose(db, run.id, "Completed", attempt=1)
    [claimed] = made.claim(db)
    assert claimed.lease.attempt == 3
    states = db.read(lambda tx: flow_runs.states(tx, run.id))
    assert [state.name for state in states][:4] == ["Scheduled", "Pending", "Running", "Failed"]


def test_the_same_transition_twice(db: Database) -> None:
    flow = made.flow(db)
    run = db.write(lambda tx: flow_runs.create(tx, FlowRunCreate(flow_id=flow.id)))[0]
    details = StateDetails(transition_id=uuid4())
    first = made.propose(db, run.id, "Running", state_details=details)
    second = made.propose(db, run.id, "Running", state_details=details)
    assert (first.status, second.status) == (ACCEPT, ACCEPT) and first.state == second.state
    assert made.names(db, run.id) == ["Pending", "Running"]
    assert made.propose(db, run.id, "Running").status is ABORT
    assert made.read(db, run.id).run_count == 1


def test_begin_is_one_write(db: Database, clock: Clock) -> None:
    body = BeginRun(
        flow_name="cell", flow_run=FlowRunCreate(flow_id=uuid4(), idempotency_key="k"), holder="kernel@host"
    )
    begun = db.write(lambda tx: flow_states.begin(tx, body))
    assert (begun.flow_run.state_name, begun.flow_run.run_count, begun.lease.attempt) == ("Running", 1, 1)
    assert begun.lease.expires == clock.now + timedelta(seconds=30)
    assert made.names(db, begun.flow_run.id) == ["Pending", "Running"]
    assert db.write(lambda tx: flow_states.begin(tx, body)) == begun
    with pytest.raises(AlreadyExists, match="idempotency key"):
        db.write(lambda tx: flow_states.begin(tx, body.model_copy(update={"holder": "other"})))
    found = db.read(lambda tx: events.after(tx, 0, flow_run_id=begun.flow_run.id, limit=10))
    assert [event.event for event in found] == ["prefect.flow-run.Pending", "prefect.flow-run.Running"]
    assert found[1].follows == found[0].id


def test_a_nested_run_moves_the_task_run_that_stands_for_it(db: Database) -> None:
    flow = made.flow(db)
    parent = db.write(lambda tx: flow_runs.create(tx, FlowRunCreate(flow_id=flow.id)))[0]
    body = TaskRunCreate(flow_run_id=parent.id, task_key="child", dynamic_key="0")
    dummy = db.write(lambda tx: task_runs.create(tx, body))
    nested = FlowRunCreate(flow_id=flow.id, parent_task_run_id=dummy.id)
    child = db.write(lambda tx: flow_runs.create(tx, nested))[0]
    made.propose(db, child.id, "Running")
    made.propose(db, child.id, "Completed")
    seen = db.read(lambda tx: task_runs.read(tx, dummy.id))
    assert (seen.state_name, seen.run_count) == ("Completed", 1)
    assert seen.state is not None and seen.state.state_details.child_flow_run_id == child.id
    assert db.write(lambda tx: task_runs.create(tx, body)).id == dummy.id


def test_parameters_are_those_of_the_deployment_under_those_given(db: Database) -> None:
    flow = made.flow(db)
    made.pool(db)
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}, "who": {"type": "string", "default": "all"}, "req": {}},
        "required": ["req"],
        "additionalProperties": False,
    }
    deployment = made.deployment(
        db,
        flow.id,
        parameters={"n": 1},
        parameter_openapi_schema=schema,
        tags=["d"],
        version="v1",
        labels={"team": "x", "millrace.catch-up": "all"},
        job_variables={"env": {"A": "1"}},
    )
    run = made.run(db, deployment.id, parameters={"req": 0, "who": None}, tags=["r"], job_variables={"env": {}})
    assert run.parameters == {"n": 1, "req": 0, "who": None}
    assert (run.tags, run.deployment_version, run.job_variables) == (["d", "r"], "v1", {"env": {}})
    assert run.labels["team"] == "x" and "millrace.catch-up" not in run.labels
    assert (run.work_pool_name, run.work_queue_name) == ("default", "default")
    for parameters, message in [
        ({"req": 0, "typo": 1}, r"'typo' is unknown to the flow\. It takes: 'n', 'who', 'req'"),
        ({"req": 0, "n": "many"}, r"'n': 'many' is not of type 'integer'"),
        ({}, r"'req' is missing"),
    ]:
        with pytest.raises(ParameterError, match=message):
            made.run(db, deployment.id, parameters=parameters)
    assert made.run(db, deployment.id, parameters={"typo": 1}, enforce_parameter_schema=False).parameters["typo"] == 1
    # as Prefect's client sends it, a schema does not say that there are no others
    del schema["additionalProperties"]
    made.deployment(db, flow.id, parameters={"req": 0}, parameter_openapi_schema=schema)
    assert made.run(db, deployment.id, parameters={"req": 0, "typo": 1}).parameters["typo"] == 1
    with pytest.raises(MissingDeployment):
        made.run(db, uuid4())


def test_a_run_of_a_deployment_goes_to_the_queue_named(db: Database) -> None:
    flow = made.flow(db)
    made.pool(db)
    deployment = made.deployment(db, flow.id)
    run = made.run(db, deployment.id, work_queue_name="fast")
    assert (run.work_pool_name, run.work_queue_name) == ("default", "fast")
    assert db.read(lambda tx: queues.by_name(tx, "default", "fast")).priority == 2


def test_claiming(db: Database, clock: Clock) -> None:
    flow = made.flow(db)
    made.pool(db)
    deployment = made.deployment(db, flow.id)
    late = made.run(db, deployment.id, state=scheduled(clock.now - timedelta(seconds=1)))
    later = made.run(db, deployment.id, state=scheduled(clock.now + timedelta(seconds=9)))
    db.write(lambda tx: queues.create(tx, "default", WorkQueueCreate(name="urgent", priority=1)))
    db.write(lambda tx: queues.update(tx, _default(db), WorkQueueUpdate(priority=2)))
    urgent = made.run(db, deployment.id, work_queue_name="urgent", state=scheduled(clock.now))
    assert db.read(lambda tx: leases.next_due(tx, "default", None)) == late.expected_start_time
    claimed = made.claim(db, heartbeat_interval_seconds=10)
    assert [each.flow_run.id for each in claimed] == [urgent.id, late.id]
    first = claimed[0]
    assert (first.flow_name, first.flow_run.state_name, first.lease.attempt) == ("etl", "Pending", 1)
    assert first.deployment is not None and first.deployment.status == "READY"
    assert first.work_pool.name == "default" and first.lease.holder == "w1"
    assert made.claim(db) == []
    assert db.read(lambda tx: leases.next_due(tx, "default", None)) == later.expected_start_time
    assert db.read(lambda tx: leases.next_due(tx, "default", ["urgent"])) is None
    clock.advance(10)
    assert made.claim(db, queue_names=["urgent"]) == []
    assert [each.flow_run.id for each in made.claim(db)] == [later.id]


def _default(db: Database):  # type: ignore[no-untyped-def]
    return db.read(lambda tx: queues.by_name(tx, "default", "default")).id


def test_limits_and_pauses(db: Database) -> None:
    flow = made.flow(db)
    made.pool(db, concurrency_limit=3)
    narrow = made.deployment(db, flow.id, "narrow", concurrency_limit=1)
    wide = made.deployment(db, flow.id, "wide")
    for _ in range(4):
        made.run(db, narrow.id)
    for _ in range(4):
        made.run(db, wide.id)
    first = made.claim(db)
    kinds = [each.deployment.name for each in first if each.deployment]
    assert kinds == ["narrow", "wide", "wide"]
    assert made.claim(db) == [] and db.read(lambda tx: leases.next_due(tx, "default", None)) is None
    made.propose(db, first[1].flow_run.id, "Completed")
    db.write(lambda tx: pools.update(tx, "default", WorkPoolUpdate(is_paused=True)))
    assert made.claim(db) == [] and db.read(lambda tx: leases.next_due(tx, "default", None)) is None
    db.write(lambda tx: pools.update(tx, "default", WorkPoolUpdate(is_paused=False)))
    db.write(lambda tx: queues.update(tx, _default(db), WorkQueueUpdate(is_paused=True)))
    assert made.claim(db) == []
    db.write(lambda tx: queues.update(tx, _default(db), WorkQueueUpdate(is_paused=False, concurrency_limit=2)))
    assert made.claim(db) == []
    db.write(lambda tx: queues.update(tx, _default(db), WorkQueueUpdate(concurrency_limit=None)))
    db.write(lambda tx: deployments.update(tx, wide.id, DeploymentUpdate(concurrency_limit=0)))
    assert made.claim(db) == []
    made.propose(db, first[0].flow_run.id, "Completed")
    assert [each.deployment.name for each in made.claim(db, limit=1) if each.deployment] == ["narrow"]
    db.write(lambda tx: pools.update(tx, "default", WorkPoolUpdate(concurrency_limit=None)))
    assert made.claim(db) == []


def test_what_finds_no_slot_may_be_cancelled(db: Database) -> None:
    flow = made.flow(db)
    made.pool(db)
    options = {"collision_strategy": "CANCEL_NEW"}
    deployment = made.deployment(db, flow.id, concurrency_limit=1, concurrency_options=options)
    first, second = made.run(db, deployment.id), made.run(db, deployment.id)
    assert [each.flow_run.id for each in made.claim(db)] == [first.id]
    assert made.claim(db) == []
    assert made.read(db, second.id).state_name == "Cancelled"


def test_what_finds_no_slot_and_no_worker_is_cancelled_when_it_is_late(db: Database, clock: Clock) -> None:
    flow = made.flow(db)
    made.pool(db)
    options = {"collision_strategy": "CANCEL_NEW"}
    strict = made.deployment(db, flow.id, concurrency_limit=1, concurrency_options=options)
    patient = made.deployment(db, flow.id, name="patient", concurrency_limit=1)
    for deployment in (strict, patient):
        made.run(db, deployment.id)
    assert len(made.claim(db)) == 2
    waiting = [made.run(db, strict.id), made.run(db, patient.id)]
    clock.advance(20)
    db.write(lambda tx: leases.mark_late(tx, timedelta(seconds=15), 100))
    assert [made.read(db, run.id).state_name for run in waiting] == ["Cancelled", "Late"]


def test_p2_p3_many_workers_claim_each_run_once(db: Database) -> None:
    flow = made.flow(db)
    made.pool(db)
    deployment = made.deployment(db, flow.id)
    wanted = {made.run(db, deployment.id).id for _ in range(40)}
    taken: list[object] = []
    lock = threading.Lock()

    def work(n: int) -> None:
        while True:
            claimed = made.claim(db, limit=3, worker_name=f"w{n}")
            with lock:
                taken.extend(each.flow_run.id for each in claimed)
            if not claimed:
                return

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(work, range(6)))
    assert len(taken) == 40 and set(taken) == wanted


def test_p3_an_old_attempt_writes_nothing(db: Database, clock: Clock) -> None:
    flow = made.flow(db)
    made.pool(db)
    deployment = made.deployment(db, flow.id)
    run = made.run(db, deployment.id, empirical_policy=FlowRunPolicy(retries=3))
    made.claim(db)
    made.propose(db, run.id, "Running", attempt=1)
    clock.advance(31)
    assert db.write(lambda tx: leases.reap(tx, 10)) == 1
    waiting = made.read(db, run.id)
    assert (waiting.state_name, waiting.attempt) == ("AwaitingRetry", 1)
    with pytest.raises(LeaseLost, match="must stop"):
        made.propose(db, run.id, "Completed", attempt=1)
    [claimed] = made.claim(db, worker_name="w2")
    assert claimed.lease.attempt == 2
    before = made.names(db, run.id)
    with pytest.raises(LeaseLost, match="attempt 2 is the newest"):
        made.propose(db, run.id, "Completed", attempt=1)
    answer = db.write(lambda tx: leases.extend(tx, ExtendLeases(leases=[(run.id, 1)])))
    assert answer.lost == [run.id] and answer.extended == []
    answer = db.write(lambda tx: leases.extend(tx, ExtendLeases(leases=[(run.id, 2)], lease_seconds=60)))
    assert answer.extended == [run.id]
    assert made.names(db, run.id) == before
    assert made.propose(db, run.id, "Running", attempt=2).status is ACCEPT
    assert made.propose(db, run.id, "Running", attempt=2).status is ACCEPT  # an answer that was lost on the way
    assert made.propose(db, run.id, "Running").status is ABORT
    assert made.propose(db, run.id, "Scheduled", force=True).status is ABORT
    assert made.propose(db, run.id, "Completed", attempt=2).status is ACCEPT
    db.write(lambda tx: leases.check(tx, run.id, 2))  # its last log lines may come
    answer = db.write(lambda tx: leases.extend(tx, ExtendLeases(leases=[(run.id, 2)])))
    assert answer.extended == [run.id] and answer.lost == []
    for gone in (uuid4(), run.id):
        with pytest.raises(LeaseLost):
            db.write(lambda tx, gone=gone: leases.check(tx, gone, 10**30))


def test_retries_in_the_process_keep_the_lease(db: Database, clock: Clock) -> None:
    flow = made.flow(db)
    made.pool(db)
    deployment = made.deployment(db, flow.id)
    run = made.run(db, deployment.id, empirical_policy=FlowRunPolicy(retries=1))
    made.claim(db)
    made.propose(db, run.id, "Running", attempt=1)
    assert made.propose(db, run.id, "Failed", attempt=1).status is REJECT
    assert made.claim(db, worker_name="w2") == []
    offered = db.write(lambda tx: pools.scheduled_runs(tx, "default", ScheduledRunsQuery()))
    assert offered == [] and db.read(lambda tx: pools.read(tx, "default")).active_slots == 1
    assert made.propose(db, run.id, "Running", attempt=1).state.name == "Retrying"  # type: ignore[union-attr]
    assert made.propose(db, run.id, "Failed", attempt=1).status is ACCEPT
    assert db.read(lambda tx: pools.read(tx, "default")).active_slots == 0


def test_giving_a_claim_back(db: Database, clock: Clock) -> None:
    flow = made.flow(db)
    made.pool(db)
    deployment = made.deployment(db, flow.id)
    run = made.run(db, deployment.id, state=scheduled(clock.now))
    made.claim(db)
    db.write(lambda tx: leases.release(tx, ReleaseLease(flow_run_id=run.id, attempt=1, reason="no room")))
    assert made.read(db, run.id).state_name == "Scheduled"
    with pytest.raises(LeaseLost):
        db.write(lambda tx: leases.release(tx, ReleaseLease(flow_run_id=run.id, attempt=1)))
    assert [each.lease.attempt for each in made.claim(db)] == [2]
    made.propose(db, run.id, "Running", attempt=2)
    with pytest.raises(StateRefused, match="Running"):
        db.write(lambda tx: leases.release(tx, ReleaseLease(flow_run_id=run.id, attempt=2)))


def test_cancelling(db: Database, clock: Clock) -> None:
    flow = made.flow(db)
    made.pool(db)
    deployment = made.deployment(db, flow.id)
    waiting = made.run(db, deployment.id, state=scheduled(clock.now + timedelta(hours=1)))
    answer = made.propose(db, waiting.id, "Cancelling")
    assert answer.status is REJECT and made.read(db, waiting.id).state_name == "Cancelled"
    run = made.run(db, deployment.id)
    made.claim(db)
    made.propose(db, run.id, "Running", attempt=1)
    assert made.propose(db, run.id, "Cancelled").status is REJECT
    assert made.read(db, run.id).state_name == "Cancelling"
    answer_to_worker = db.write(lambda tx: leases.extend(tx, ExtendLeases(leases=[(run.id, 1)])))
    assert answer_to_worker.cancelling == [run.id] == answer_to_worker.extended
    assert made.propose(db, run.id, "Cancelled", attempt=1).status is ACCEPT
    assert made.read(db, run.id).end_time == clock.now


def test_polling_workers_take_by_proposing(db: Database, clock: Clock) -> None:
    flow = made.flow(db)
    made.pool(db)
    deployment = made.deployment(db, flow.id, concurrency_limit=1)
    runs = [made.run(db, deployment.id, state=scheduled(clock.now + timedelta(seconds=n))) for n in (3, 8, 30)]
    query = ScheduledRunsQuery(scheduled_before=clock.now + timedelta(seconds=10), work_queue_names=[])
    offered = db.write(lambda tx: pools.scheduled_runs(tx, "default", query))
    assert [each.flow_run.id for each in offered] == [runs[0].id, runs[1].id]
    assert offered[0].flow_run.attempt == 0
    answer = made.propose(db, runs[0].id, "Submitting")
    assert answer.status is ACCEPT and answer.state is not None
    assert answer.state.state_details.scheduled_time == runs[0].expected_start_time
    assert made.propose(db, runs[0].id, "Pending").status is ABORT  # the second worker
    full = made.propose(db, runs[1].id, "Pending")
    assert full.status is REJECT and full.state is not None and full.state.name == "AwaitingConcurrencySlot"
    assert db.write(lambda tx: pools.scheduled_runs(tx, "default", query)) == []
    for_runner = DeploymentScheduledRunsQuery(deployment_ids=[deployment.id])
    assert len(db.write(lambda tx: flow_runs.scheduled_for(tx, for_runner))) == 2
    clock.advance(40)
    assert db.write(lambda tx: leases.reap(tx, 10)) == 0  # they have no lease: left alone


def test_update_label_delete(db: Database, clock: Clock) -> None:
    flow = made.flow(db)
    run = db.write(lambda tx: flow_runs.create(tx, FlowRunCreate(flow_id=flow.id)))[0]
    clock.advance(1)
    change = FlowRunUpdate(infrastructure_pid="12", tags=["t"], name=None, job_variables=None)
    db.write(lambda tx: flow_runs.update(tx, run.id, change))
    db.write(lambda tx: flow_runs.label(tx, run.id, {"a.b": "c", "bad": [1]}))
    now = made.read(db, run.id)
    assert (now.infrastructure_pid, now.tags, now.name, now.updated) == ("12", ["t"], run.name, clock.now)
    assert now.labels["a.b"] == "c" and "bad" not in now.labels
    line = LogCreate(name="l", level=20, message="m", timestamp=clock.now, flow_run_id=run.id)
    db.write(lambda tx: logs.append(tx, [line]))
    db.write(lambda tx: flow_runs.delete(tx, run.id))
    for gone in (lambda tx: flow_runs.read(tx, run.id), lambda tx: flow_runs.row(tx, run.id)):
        with pytest.raises(NotFound):
            db.write(gone)
    assert db.read(lambda tx: flow_runs.states(tx, run.id)) == []
    assert db.read(lambda tx: logs.after(tx, 0, flow_run_id=run.id, limit=10)) == []


def test_deleting_a_flow_takes_its_runs_along(db: Database) -> None:
    flow = made.flow(db)
    made.pool(db)
    deployment = made.deployment(db, flow.id, schedules=[made.every(60)])
    made.run(db, deployment.id)
    db.write(lambda tx: flows.delete(tx, flow.id))
    assert db.read(lambda tx: flow_runs.count(tx, FlowRunQuery())) == 0
    with pytest.raises(MissingDeployment):
        db.read(lambda tx: deployments.read(tx, deployment.id))
    assert db.write(lambda tx: flows.create(tx, FlowCreate(name="etl")))[1]


def test_leases_live_on_over_a_restart(db: Database, clock: Clock) -> None:
    flow = made.flow(db)
    made.pool(db)
    deployment = made.deployment(db, flow.id)
    run = made.run(db, deployment.id)
    made.claim(db)
    made.propose(db, run.id, "Running", attempt=1)
    clock.advance(300)
    db.write(lambda tx: leases.grant_after_restart(tx, 30))
    assert db.write(lambda tx: leases.reap(tx, 10)) == 0
    assert db.write(lambda tx: leases.extend(tx, ExtendLeases(leases=[(run.id, 1)]))).extended == [run.id]
    body = DeploymentFlowRunCreate(idempotency_key="k")
    assert db.write(lambda tx: flow_runs.create_from_deployment(tx, deployment.id, body))[1]
    assert not db.write(lambda tx: flow_runs.create_from_deployment(tx, deployment.id, body))[1]
