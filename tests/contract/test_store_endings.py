"""What was under way when the process of a run went ends with it."""

from __future__ import annotations

from uuid import UUID, uuid4

import made
import pytest
from made import Clock

from millrace.schema.events import RESOURCE_ID, RESOURCE_ROLE, Event
from millrace.schema.fields import new_id
from millrace.schema.queries import TaskRunQuery
from millrace.schema.runs import BeginRun, FlowRun, FlowRunCreate, TaskRun, TaskRunCreate
from millrace.store import events, flow_states, leases, task_runs
from millrace.store.database import Database

LEASE_SECONDS = 30


def begun(db: Database, name: str = "etl", parent: UUID | None = None) -> FlowRun:
    create = FlowRunCreate(flow_id=uuid4(), parent_task_run_id=parent)
    body = BeginRun(flow_name=name, flow_run=create, holder="h", lease_seconds=LEASE_SECONDS)
    return db.write(lambda tx: flow_states.begin(tx, body)).flow_run


def told(db: Database, clock: Clock, run: FlowRun, task: UUID, name: str, key: str = "t") -> Event:
    """What an engine says of a task run."""
    event = Event(
        id=new_id(),
        occurred=clock.now,
        event=f"prefect.task-run.{name}",
        resource={RESOURCE_ID: f"prefect.task-run.{task}", "prefect.resource.name": key},
        related=[{RESOURCE_ID: f"prefect.flow-run.{run.id}", RESOURCE_ROLE: "flow-run"}],
        payload={
            "validated_state": {"type": name.upper(), "name": name},
            "task_run": {"name": key, "task_key": key, "dynamic_key": key, "tags": ["a"], "run_count": 1},
        },
    )
    db.write(lambda tx: events.append(tx, [event]))
    return event


def tasks(db: Database, run: FlowRun) -> dict[str, TaskRun]:
    query = TaskRunQuery.model_validate({"flow_runs": {"id": {"any_": [run.id]}}})
    return {task.name: task for task in db.read(lambda tx: task_runs.query(tx, query))}


@pytest.mark.parametrize("ending", ["Cancelled", "Crashed"])
def test_its_tasks_end_as_it_does(db: Database, clock: Clock, ending: str) -> None:
    run = begun(db)
    for name, state in (("runs", "Running"), ("waits", "Pending"), ("done", "Completed")):
        told(db, clock, run, uuid4(), state, name)
    clock.advance(5)
    made.propose(db, run.id, ending, attempt=1, message="Gone.")
    found = tasks(db, run)
    assert {name: task.state_name for name, task in found.items()} == {
        "runs": ending,
        "waits": ending,
        "done": "Completed",
    }
    runs = found["runs"]
    assert (runs.end_time, runs.total_run_time, runs.tags, runs.run_count) == (clock.now, 5.0, ["a"], 1)
    how = {"Cancelled": "was cancelled", "Crashed": "crashed"}[ending]
    assert runs.state is not None and runs.state.message == f"The run that it is part of {how}."


def test_word_of_the_real_end_of_a_task_that_comes_late_is_heard(db: Database, clock: Clock) -> None:
    run, task = begun(db), uuid4()
    told(db, clock, run, task, "Running")
    clock.advance(1)
    ended = clock.now
    clock.advance(1)
    made.propose(db, run.id, "Cancelled", attempt=1)
    assert tasks(db, run)["t"].state_name == "Cancelled"
    clock.now = ended
    told(db, clock, run, task, "Completed")
    assert tasks(db, run)["t"].state_name == "Completed"


def test_runs_within_it_end_too(db: Database, clock: Clock) -> None:
    run = begun(db)
    stand_in = TaskRunCreate(id=uuid4(), name="inner", flow_run_id=run.id, task_key="inner", dynamic_key="0")
    db.write(lambda tx: task_runs.create(tx, stand_in))
    inner = begun(db, "inner", stand_in.id)
    told(db, clock, inner, uuid4(), "Running")
    made.propose(db, run.id, "Cancelled", attempt=1)
    assert made.read(db, inner.id).state_name == "Cancelled"
    assert tasks(db, inner)["t"].state_name == "Cancelled"
    assert tasks(db, run)["inner"].state_name == "Cancelled"


def test_a_lost_holder_takes_them_along(db: Database, clock: Clock) -> None:
    run = begun(db)
    told(db, clock, run, uuid4(), "Running")
    clock.advance(LEASE_SECONDS + 1)
    assert db.write(lambda tx: leases.reap(tx, 10)) == 1
    assert made.read(db, run.id).state_name == "Crashed"
    assert tasks(db, run)["t"].state_name == "Crashed"


@pytest.mark.parametrize("ending", ["Failed", "Completed"])
def test_a_run_that_ends_itself_takes_along_what_it_could_not_stop(db: Database, clock: Clock, ending: str) -> None:
    run = begun(db)
    told(db, clock, run, uuid4(), "Running")
    made.propose(db, run.id, ending, attempt=1)
    task = tasks(db, run)["t"]
    assert task.state is not None and (task.state.name, task.state.message) == (
        "Cancelled",
        "The run that it is part of has ended.",
    )


def test_of_a_run_that_ends_without_a_lease_word_of_its_tasks_may_still_come(db: Database, clock: Clock) -> None:
    flow = made.flow(db)
    made.pool(db)
    run = made.run(db, made.deployment(db, flow.id).id)
    made.propose(db, run.id, "Pending")
    made.propose(db, run.id, "Running")
    told(db, clock, run, uuid4(), "Running")
    made.propose(db, run.id, "Completed")
    assert tasks(db, run)["t"].state_name == "Running"


def test_tasks_of_a_run_that_is_served_without_a_lease_end_too(db: Database, clock: Clock) -> None:
    flow = made.flow(db)
    made.pool(db)
    run = made.run(db, made.deployment(db, flow.id).id)
    made.propose(db, run.id, "Pending")
    made.propose(db, run.id, "Running")
    told(db, clock, run, uuid4(), "Running")
    made.propose(db, run.id, "Crashed")
    assert tasks(db, run)["t"].state_name == "Crashed"
