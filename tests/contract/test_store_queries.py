"""What is asked: filters, orders, pages; events, logs, task runs and artifacts."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import made
import pytest
from made import Clock
from sqlalchemy import text

from millrace.errors import InvalidInput, NotFound
from millrace.schema.artifacts import ArtifactCreate, ArtifactQuery, ArtifactUpdate
from millrace.schema.events import Event, EventFilter
from millrace.schema.fields import new_id
from millrace.schema.flows import FlowCreate
from millrace.schema.logs import LogCreate, LogQuery
from millrace.schema.queries import DeploymentQuery, FlowQuery, FlowRunQuery, TaskRunQuery
from millrace.schema.runs import FlowRunCreate, FlowRunSort, TaskRunCreate, TaskRunSort
from millrace.schema.states import scheduled
from millrace.store import artifacts, deployments, events, flow_runs, flows, logs, task_runs
from millrace.store.database import Database


@pytest.fixture
def runs(db: Database, clock: Clock) -> dict[str, UUID]:
    """Four runs of two flows, one of a deployment, one nested."""
    made.pool(db)
    etl, other = made.flow(db), db.write(lambda tx: flows.create(tx, FlowCreate(name="Ünder_50", tags=["f"])))[0]
    deployment = made.deployment(db, etl.id, tags=["d"])
    found: dict[str, UUID] = {}

    def create(name: str, **fields: Any) -> UUID:
        fields = {"flow_id": etl.id, "name": name, **fields}
        return db.write(lambda tx: flow_runs.create(tx, FlowRunCreate(**fields)))[0].id

    found["plain"] = create("plain", tags=["red", "blue", ","])
    clock.advance(1)
    found["odd"] = create("100% OF_it", flow_id=other.id, tags=["red"], idempotency_key="key-1")
    clock.advance(1)
    found["deployed"] = made.run(db, deployment.id, name="deployed", state=scheduled(clock.now))
    found["deployed"] = found["deployed"].id  # type: ignore[attr-defined]
    body = TaskRunCreate(flow_run_id=found["plain"], task_key="t", dynamic_key="0", name="task", tags=["tt"])
    task = db.write(lambda tx: task_runs.create(tx, body))
    found["nested"] = create("nested", parent_task_run_id=task.id)
    made.propose(db, found["plain"], "Running")
    return found


FLOW_RUN_FILTERS: list[tuple[dict[str, Any], str]] = [
    ({}, "plain odd deployed nested"),
    ({"flow_runs": {"name": {"any_": ["plain", "nested"]}}}, "plain nested"),
    ({"flow_runs": {"name": {"like_": "0% of_"}}}, "odd"),
    ({"flow_runs": {"name": {"like_": "PLAI"}}}, "plain"),
    ({"flow_runs": {"name": {"like_": "%"}}}, "odd"),
    ({"flow_runs": {"tags": {"all_": ["red", "blue"]}}}, "plain"),
    ({"flow_runs": {"tags": {"all_": [","]}}}, "plain"),
    ({"flow_runs": {"tags": {"any_": ["blue", "d"]}}}, "plain deployed"),
    ({"flow_runs": {"tags": {"any_": []}}}, ""),
    ({"flow_runs": {"tags": {"is_null_": True}}}, "nested"),
    ({"flow_runs": {"tags": {"is_null_": False}}}, "plain odd deployed"),
    ({"flow_runs": {"deployment_id": {"is_null_": False}}}, "deployed"),
    ({"flow_runs": {"state": {"type": {"any_": ["PENDING"]}}}}, "odd nested"),
    ({"flow_runs": {"state": {"type": {"not_any_": ["PENDING"]}}}}, "plain deployed"),
    ({"flow_runs": {"state": {"name": {"any_": ["Running"]}}}}, "plain"),
    (
        {"flow_runs": {"state": {"operator": "or_", "name": {"any_": ["Running"]}, "type": {"any_": ["SCHEDULED"]}}}},
        "plain deployed",
    ),
    ({"flow_runs": {"start_time": {"is_null_": False}}}, "plain"),
    ({"flow_runs": {"expected_start_time": {"after_": "2026-11-21T12:00:02Z"}}}, "deployed nested"),
    ({"flow_runs": {"expected_start_time": {"before_": "2026-11-21T12:00:00"}}}, "plain"),
    ({"flow_runs": {"work_queue_name": {"any_": ["default"]}}}, "deployed"),
    ({"flow_runs": {"idempotency_key": {"any_": ["key-1"]}}}, "odd"),
    ({"flow_runs": {"idempotency_key": {"startswith_": ["key-"]}}}, "odd"),
    ({"flow_runs": {"operator": "or_", "name": {"any_": ["plain"]}, "tags": {"any_": ["d"]}}}, "plain deployed"),
    ({"flow_runs": {"name": {"operator": "or_", "any_": ["plain"], "like_": "nest"}}}, "plain nested"),
    ({"flow_runs": {"created_by": {"is_null_": True}}}, "plain odd deployed nested"),
    ({"flow_runs": {"created_by": {"type_": ["SCHEDULE"], "id_": [str(uuid4())]}}}, ""),
    ({"flow_runs": {"parent_task_run_id": {"is_null_": True}}}, "plain odd deployed"),
    ({"flow_runs": {"parent_flow_run_id": {"is_null_": False}}}, "nested"),
    ({"flows": {"name": {"any_": ["etl"]}}}, "plain deployed nested"),
    ({"flows": {"name": {"like_": "üNDER_5"}}}, "odd"),
    ({"flows": {"tags": {"all_": ["f"]}}}, "odd"),
    ({"flows": {"deployment": {"is_null_": True}}}, "odd"),
    ({"deployments": {"name": {"like_": "NIGHT"}}}, "deployed"),
    ({"deployments": {"flow_or_deployment_name": {"like_": "etl"}}}, "deployed"),
    ({"deployments": {"paused": {"eq_": True}}}, ""),
    ({"deployments": {"concurrency_limit": {"is_null_": True}}}, "deployed"),
    ({"deployments": {"concurrency_limit": {"ge_": 10**40}}}, ""),
    ({"work_pools": {"name": {"any_": ["default"]}}}, "deployed"),
    ({"work_pools": {"type": {"any_": ["docker"]}}}, ""),
    ({"work_pool_queues": {"name": {"any_": ["default"]}}}, "deployed"),
    ({"task_runs": {"name": {"any_": ["task"]}}}, "plain"),
    ({"task_runs": {"subflow_runs": {"exists_": True}}}, "plain"),
    ({"task_runs": {"subflow_runs": {"exists_": False}}}, ""),
    ({"offset": 10**40}, ""),
    ({"limit": 0}, ""),
    ({"limit": 2, "sort": "NAME_ASC"}, "odd deployed"),
]


def test_filters_of_flow_runs(db: Database, runs: dict[str, UUID]) -> None:
    for body, wanted in FLOW_RUN_FILTERS:
        query = FlowRunQuery.model_validate(body)
        found = {run.id for run in db.read(lambda tx, q=query: flow_runs.query(tx, q))}
        assert found == {runs[name] for name in wanted.split()}, body
        if not body.keys() & {"limit", "offset"}:
            assert db.read(lambda tx, q=query: flow_runs.count(tx, q)) == len(found)


def test_a_run_by_its_parent(db: Database, runs: dict[str, UUID]) -> None:
    for key, wanted in (("any_", {runs["nested"]}), ("not_any_", set(runs.values()) - {runs["nested"]})):
        query = FlowRunQuery.model_validate({"flow_runs": {"parent_flow_run_id": {key: [str(runs["plain"])]}}})
        assert {run.id for run in db.read(lambda tx, q=query: flow_runs.query(tx, q))} == wanted


def test_orders_and_pages(db: Database, runs: dict[str, UUID]) -> None:
    for sort in FlowRunSort:
        whole = [run.id for run in db.read(lambda tx, s=sort: flow_runs.query(tx, FlowRunQuery(sort=s)))]
        parts = [
            run.id
            for n in range(4)
            for run in db.read(lambda tx, s=sort, n=n: flow_runs.query(tx, FlowRunQuery(sort=s, limit=1, offset=n)))
        ]
        assert whole == parts and len(set(whole)) == 4
    for task_sort in TaskRunSort:
        assert len(db.read(lambda tx, s=task_sort: task_runs.query(tx, TaskRunQuery(sort=s)))) == 1


OTHER_FILTERS: list[tuple[str, dict[str, Any], int]] = [
    ("flows", {}, 2),
    ("flows", {"flow_runs": {"tags": {"any_": ["red"]}}}, 2),
    ("flows", {"deployments": {"tags": {"all_": ["d"]}}}, 1),
    ("flows", {"work_pools": {"name": {"any_": ["default"]}}}, 1),
    ("flows", {"task_runs": {"tags": {"any_": ["tt"]}}}, 1),
    ("flows", {"sort": "NAME_DESC", "limit": 1}, 1),
    ("deployments", {"flows": {"name": {"any_": ["etl"]}}}, 1),
    ("deployments", {"flow_runs": {"name": {"any_": ["deployed"]}}}, 1),
    ("deployments", {"flow_runs": {"name": {"any_": ["plain"]}}}, 0),
    ("deployments", {"work_pools": {"name": {"any_": ["default"]}}}, 1),
    ("deployments", {"work_pool_queues": {"name": {"any_": ["no"]}}}, 0),
    ("deployments", {"task_runs": {"name": {"any_": ["task"]}}}, 0),
    ("deployments", {"deployments": {"flow_or_deployment_name": {"like_": "ETL"}}}, 1),
    ("flows", {"flows": {"deployment": {"is_null_": False}}, "deployments": {"paused": {"eq_": False}}}, 1),
    ("task_runs", {"task_runs": {"subflow_runs": {"exists_": True}}, "flow_runs": {"name": {"like_": "PL"}}}, 1),
    ("deployments", {"deployments": {"work_queue_name": {"any_": ["default"]}}}, 1),
    ("task_runs", {"flow_runs": {"name": {"any_": ["plain"]}}}, 1),
    ("task_runs", {"flows": {"name": {"any_": ["etl"]}}}, 1),
    ("task_runs", {"deployments": {"name": {"any_": ["nightly"]}}}, 0),
    ("task_runs", {"task_runs": {"state": {"name": {"any_": ["Pending"]}}}}, 1),
]


def test_filters_over_others(db: Database, runs: dict[str, UUID]) -> None:
    kinds: dict[str, tuple[Any, Any]] = {
        "flows": (flows, FlowQuery),
        "deployments": (deployments, DeploymentQuery),
        "task_runs": (task_runs, TaskRunQuery),
    }
    for kind, body, wanted in OTHER_FILTERS:
        module, model = kinds[kind]
        query = model.model_validate(body)
        assert len(db.read(lambda tx, m=module, q=query: m.query(tx, q))) == wanted, (kind, body)


def task_event(task: UUID, run: UUID, name: str, kind: str, occurred: Any, **told: Any) -> Event:
    return Event(
        id=new_id(),
        occurred=occurred,
        event=f"prefect.task-run.{name}",
        resource={"prefect.resource.id": f"prefect.task-run.{task}", "prefect.resource.name": "double-0"},
        related=[
            {"prefect.resource.id": f"prefect.flow.{uuid4()}", "prefect.resource.role": "flow"},
            {"prefect.resource.id": f"prefect.flow-run.{run}", "prefect.resource.role": "flow-run"},
        ],
        payload={
            "intended": {"from": None, "to": kind},
            "initial_state": None,
            "validated_state": {"type": kind, "name": name, "message": "m", "state_details": {}},
            "task_run": {"name": "double-0", "task_key": "double", "dynamic_key": "0", "empirical_policy": {}, **told},
        },
    )


@pytest.mark.parametrize("together", [False, True], ids=["one by one", "in one batch"])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 2, 1)])
def test_task_runs_come_from_events_in_any_order(
    db: Database, clock: Clock, order: tuple[int, ...], together: bool
) -> None:
    task, run, start = new_id(), new_id(), clock.now
    sent = [
        task_event(task, run, "Pending", "PENDING", start),
        task_event(task, run, "Running", "RUNNING", start + timedelta(seconds=1), run_count=1),
        task_event(
            task,
            run,
            "Completed",
            "COMPLETED",
            start + timedelta(seconds=3),
            run_count=1,
            total_run_time=2.0,
            start_time=(start + timedelta(seconds=1)).isoformat(),
            end_time=(start + timedelta(seconds=3)).isoformat(),
        ),
    ]
    for batch in [list(order)] if together else [[index] for index in order]:
        db.write(lambda tx, batch=batch: events.append(tx, [sent[index] for index in batch]))
    seen = db.read(lambda tx: task_runs.read(tx, task))
    assert (seen.state_name, seen.state_id, seen.flow_run_id) == ("Completed", sent[2].id, run)
    assert (seen.run_count, seen.total_run_time, seen.task_key) == (1, 2.0, "double")
    assert seen.end_time == start + timedelta(seconds=3)
    assert db.read(lambda tx: task_runs.count(tx, TaskRunQuery())) == 1
    stored = db.read(lambda tx: events.after(tx, 0, flow_run_id=run, limit=10))
    assert [event.id for event in stored] == [sent[i].id for i in dict.fromkeys(order)]


def test_of_the_states_of_one_batch_the_last_good_one_counts(db: Database, clock: Clock) -> None:
    first, second, run = new_id(), new_id(), new_id()
    bad = task_event(first, run, "Completed", "NONSENSE", clock.now + timedelta(seconds=1))
    sent = [
        task_event(first, run, "Running", "RUNNING", clock.now),
        bad,
        task_event(second, run, "Running", "RUNNING", clock.now),
        task_event(second, run, "Completed", "COMPLETED", clock.now),
    ]
    assert db.write(lambda tx: events.append(tx, sent)) == sent
    seen = [db.read(lambda tx, id=id: task_runs.read(tx, id)).state_name for id in (first, second)]
    assert seen == ["Running", "Completed"]


def test_events_that_make_no_sense_are_kept_but_make_no_task_run(db: Database, clock: Clock) -> None:
    bad = task_event(new_id(), new_id(), "Running", "NONSENSE", clock.now)
    worse = Event(
        event="prefect.task-run.Running",
        resource={"prefect.resource.id": "prefect.task-run.x"},
        payload={"validated_state": {}},
    )
    worst = Event(event="prefect.task-run.Running", resource={}, payload={"validated_state": "\ud800\0"})
    assert len(db.write(lambda tx: events.append(tx, [bad, worse, worst, bad]))) == 3
    assert db.read(lambda tx: task_runs.count(tx, TaskRunQuery())) == 0
    assert db.write(lambda tx: events.append(tx, [bad])) == []


def test_events_in_sequence(db: Database, clock: Clock) -> None:
    assert db.read(events.last) == 0
    run = new_id()
    cell = Event(
        event="millrace.cell.started", resource={"prefect.resource.id": f"millrace.cell.{run}.3"}, occurred=clock.now
    )
    other = Event(event="wire.x", resource={"prefect.resource.id": "a.b"}, occurred=clock.now)
    assert db.write(lambda tx: events.append(tx, [other, cell])) == [other, cell]
    stored = [db.read(lambda tx, id=id: events.read(tx, id)) for id in (other.id, cell.id)]
    with pytest.raises(NotFound, match=str(run)):
        db.read(lambda tx: events.read(tx, run))
    assert [event.event for event in stored] == ["wire.x", "millrace.cell.started"]
    assert stored[0].sequence is not None and stored[1].sequence == stored[0].sequence + 1
    assert db.read(events.last) == stored[1].sequence
    assert db.read(lambda tx: events.after(tx, 0, flow_run_id=run, limit=9)) == [stored[1]]
    assert db.read(lambda tx: events.after(tx, stored[0].sequence or 0, flow_run_id=None, limit=9)) == [stored[1]]
    assert db.read(lambda tx: events.after(tx, 10**40, flow_run_id=None, limit=9)) == []


EVENT_FILTERS: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["b", "a.two", "a.one"]),
    ({"order": "ASC"}, ["a.one", "a.two", "b"]),
    ({"event": {"prefix": ["a."]}}, ["a.two", "a.one"]),
    ({"event": {"prefix": ["a."], "exclude_name": ["a.one"]}}, ["a.two"]),
    ({"event": {"name": ["b"], "exclude_prefix": ["c"]}}, ["b"]),
    ({"event": {"prefix": ["%"]}}, []),
    ({"resource": {"id": ["thing.1"]}}, ["a.one"]),
    ({"resource": {"id_prefix": ["thing."]}}, ["b", "a.two", "a.one"]),
    ({"resource": {"labels": {"color": "red"}}}, ["a.one"]),
    ({"resource": {"labels": {"color": ["red", "bl*"]}}}, ["a.two", "a.one"]),
    ({"resource": {"labels": {"color": "*"}}}, ["a.two", "a.one"]),
    ({"resource": {"labels": {"color": "!red"}}}, ["a.two"]),
    ({"resource": {"labels": {'co"lor.$': "red"}}}, []),
    ({"related": {"id": ["flow.1"]}}, ["a.one"]),
    ({"related": {"role": ["flow"]}}, ["a.two", "a.one"]),
    ({"related": [{"id": ["flow.1"]}, {"role": ["flow"]}]}, ["a.one"]),
    ({"related": {"resources_in_roles": [["flow.2", "flow"]]}}, ["a.two"]),
    ({"related": {"labels": {"prefect.resource.role": "flow"}}}, ["a.two", "a.one"]),
    ({"any_resource": {"id": ["flow.1", "thing.3"]}}, ["b", "a.one"]),
    ({"any_resource": {"id_prefix": ["flow."]}}, ["a.two", "a.one"]),
    ({"text": {"query": "BLUE"}}, ["a.two"]),
    ({"occurred": {"since": "2026-11-21T12:00:01Z", "until": "2026-11-21T12:00:01Z"}}, ["a.two"]),
]


def test_filters_of_events(db: Database, clock: Clock) -> None:
    def event(n: int, name: str, related: list[dict[str, str]], **labels: str) -> Event:
        resource = {"prefect.resource.id": f"thing.{n}", **labels}
        return Event(event=name, resource=resource, related=related, occurred=clock.now + timedelta(seconds=n - 1))

    def flow(n: int) -> dict[str, str]:
        return {"prefect.resource.id": f"flow.{n}", "prefect.resource.role": "flow"}

    sent = [event(1, "a.one", [flow(1)], color="red"), event(2, "a.two", [flow(2)], color="blue"), event(3, "b", [])]
    db.write(lambda tx: events.append(tx, sent))
    until = {"since": "2020-01-01T00:00:00Z", "until": "2030-01-01T00:00:00Z"}
    for filter, wanted in EVENT_FILTERS:
        asked = EventFilter.model_validate({"occurred": until, **filter})
        page = db.read(lambda tx, f=asked: events.query(tx, f, 50))
        assert [each.event for each in page.events] == wanted and page.total == len(wanted), filter
        assert len(db.read(lambda tx, f=asked: events.query(tx, f, 1)).events) == min(1, len(wanted))


def line(clock: Clock, message: str, run: UUID | None = None, **fields: Any) -> LogCreate:
    fields = {"level": 20, "timestamp": clock.now, **fields}
    return LogCreate(name="millrace.flow_runs", message=message, flow_run_id=run, **fields)


def test_logs(db: Database, clock: Clock) -> None:
    assert db.read(logs.last) == 0
    run, task = new_id(), new_id()
    lines = [line(clock, f"line {n}", run, id=new_id()) for n in range(5)]
    lines.append(line(clock, "Nul \0 and half \ud83d of a smile", run, level=10**30, task_run_id=task))
    lines.append(line(clock, "other", None, timestamp=clock.now + timedelta(seconds=9)))
    db.write(lambda tx: logs.append(tx, lines))
    db.write(lambda tx: logs.append(tx, lines[:3]))  # sent again, since the answer was lost
    db.write(lambda tx: logs.append(tx, []))
    mine = db.read(lambda tx: logs.after(tx, 0, flow_run_id=run, limit=100))
    assert [log.message for _, log in mine[:5]] == [f"line {n}" for n in range(5)] and len(mine) == 6
    assert [log.id for _, log in mine[:5]] == [sent.id for sent in lines[:5]]
    cursor = mine[3][0]
    assert db.read(lambda tx: logs.after(tx, cursor, flow_run_id=run, limit=1))[0][1].message == "line 4"

    def found(**filter: Any) -> list[str]:
        query = LogQuery.model_validate({"logs": filter, "sort": "TIMESTAMP_ASC"})
        return [log.message for log in db.read(lambda tx: logs.query(tx, query))]

    assert len(found()) == 7 and found()[-1] == "other"
    assert found(level={"ge_": 10**25}) == [mine[5][1].message]
    assert found(flow_run_id={"any_": [str(run)]}, text={"query": "LINE -3 -4"}) == ["line 0", "line 1", "line 2"]
    assert found(text={"query": '"line 2"'}) == ["line 2"] and found(text={"query": 'half "of'}) == []
    assert found(task_run_id={"is_null_": False}) == [mine[5][1].message]
    assert found(operator="or_", text={"query": "other"}, task_run_id={"any_": [str(task)]})[-1] == "other"
    query = LogQuery.model_validate({"sort": "TIMESTAMP_DESC", "limit": 2})
    assert db.read(lambda tx: logs.query(tx, query))[0].message == "other"


def test_the_last_page_of_a_long_log_costs_what_the_first_does(db: Database, clock: Clock) -> None:
    if db.path is None:
        pytest.skip("the plan is SQLite's")
    run = new_id()
    batch = [line(clock, f"line {n}", run) for n in range(20_000)]
    begin = time.perf_counter()
    db.write(lambda tx: logs.append(tx, batch))
    assert time.perf_counter() - begin < 10  # a bound for disasters; the figure is in the benchmarks
    plan = "EXPLAIN QUERY PLAN SELECT * FROM logs WHERE flow_run_id = 'a' AND sequence > 9 ORDER BY sequence LIMIT 5"
    steps = str(db.read(lambda tx: tx.connection.execute(text(plan)).all()))
    assert "flow_run_id=? AND sequence>?" in steps and "TEMP B-TREE" not in steps


def test_claiming_uses_its_indexes(db: Database) -> None:
    if db.path is None:
        pytest.skip("the plan is SQLite's")
    for statement, index in (
        (
            "SELECT * FROM flow_runs WHERE work_queue_id = 'a' AND next_scheduled_start_time <= 5 ORDER BY "
            "next_scheduled_start_time, id LIMIT 5",
            "ix_flow_runs_claim",
        ),
        ("SELECT count(*) FROM flow_runs WHERE flow_runs.slot AND work_pool_id = 'a'", "ix_flow_runs_slot"),
        ("SELECT min(lease_expires) FROM flow_runs", "ix_flow_runs_lease"),
        (
            "SELECT * FROM flow_runs WHERE state_name = 'Scheduled' AND next_scheduled_start_time <= 5",
            "ix_flow_runs_late",
        ),
        ("SELECT min(wake) FROM deployment_schedules", "ix_deployment_schedules_wake"),
    ):
        steps = str(db.read(lambda tx, s=statement: tx.connection.execute(text("EXPLAIN QUERY PLAN " + s)).all()))
        assert index in steps, steps


def test_artifacts(db: Database, clock: Clock) -> None:
    made.flow(db)
    first = db.write(lambda tx: artifacts.create(tx, ArtifactCreate(key="k", type="markdown", data="# a")))
    clock.advance(1)
    second = db.write(lambda tx: artifacts.create(tx, ArtifactCreate(key="k", type="table", data=[{"a": 1}])))
    loose = db.write(lambda tx: artifacts.create(tx, ArtifactCreate(type="notebook", flow_run_id=new_id())))
    found = db.read(lambda tx: artifacts.query(tx, ArtifactQuery()))
    assert {each.id for each in found} == {first.id, second.id, loose.id}
    [latest] = db.read(lambda tx: artifacts.latest(tx, ArtifactQuery(sort="KEY_ASC")))
    assert (latest.latest_id, latest.data, latest.key) == (second.id, [{"a": 1}], "k") and latest.id != second.id
    for body, count in (
        ({"artifacts": {"key": {"any_": ["k"]}}}, 2),
        ({"artifacts": {"type": {"any_": ["table"]}, "operator": "or_", "id": {"any_": [str(loose.id)]}}}, 2),
        ({"artifacts": {"flow_run_id": {"any_": [str(loose.flow_run_id)]}}}, 1),
        ({"artifacts": {"latest_id": {"any_": [str(second.id)]}}}, 1),
        ({"flow_runs": {"name": {"any_": ["x"]}}}, 0),
        ({"sort": "UPDATED_DESC", "limit": 1}, 1),
    ):
        query = ArtifactQuery.model_validate(body)
        assert len(db.read(lambda tx, q=query: artifacts.query(tx, q))) == count
    db.write(lambda tx: artifacts.update(tx, second.id, ArtifactUpdate(data=5.0)))
    assert db.read(lambda tx: artifacts.latest(tx, ArtifactQuery()))[0].data == 5.0
    with pytest.raises(NotFound):
        db.write(lambda tx: artifacts.update(tx, uuid4(), ArtifactUpdate(data=1)))


def test_flows(db: Database) -> None:
    flow, created = db.write(lambda tx: flows.create(tx, FlowCreate(name="a", tags=["t"], labels={"l": True})))
    assert created and db.write(lambda tx: flows.create(tx, FlowCreate(name="a"))) == (flow, False)
    assert db.read(lambda tx: flows.by_name(tx, "a")) == flow == db.read(lambda tx: flows.read(tx, flow.id))
    for missing in (lambda tx: flows.read(tx, uuid4()), lambda tx: flows.by_name(tx, "b")):
        with pytest.raises(NotFound):
            db.read(missing)


def test_values_no_database_can_hold(db: Database) -> None:
    flow = made.flow(db)
    deep: Any = None
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidInput, match="flatter"):
        db.write(lambda tx: flow_runs.create(tx, FlowRunCreate(flow_id=flow.id, context={"deep": deep})))
    odd = {"nan": float("nan"), "half": "\ud800", "nul": "\0", "big": 10**100}
    body = FlowRunCreate(flow_id=flow.id, parameters=odd, name="a\0b", tags=["\0"])
    run = db.write(lambda tx: flow_runs.create(tx, body))[0]
    query = FlowRunQuery.model_validate({"flow_runs": {"tags": {"any_": ["\ufffd"]}}})
    assert [found.id for found in db.read(lambda tx: flow_runs.query(tx, query))] == [run.id]
    assert run.parameters["big"] == 10**100 and run.parameters["half"] == "\ud800" and run.name == "a\ufffdb"
