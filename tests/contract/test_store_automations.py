"""Automations on both databases: what is counted, what fires, and what each action does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import made
import pytest
from made import Clock
from sqlalchemy import create_engine

from millrace.schema import actions
from millrace.schema.actions import AnyAction
from millrace.schema.automations import Automation, AutomationCreate, AutomationPatch
from millrace.schema.deployments import Deployment
from millrace.schema.events import Event, EventFilter, EventNameFilter, ReceivedEvent
from millrace.schema.fields import new_id
from millrace.schema.pools import WorkQueueCreate
from millrace.schema.queries import FlowRunQuery
from millrace.schema.runs import FlowRun
from millrace.schema.states import StateType
from millrace.schema.triggers import AnyTrigger, CompoundTrigger, EventTrigger, Posture, SequenceTrigger
from millrace.server.automations import Automations
from millrace.store import automations, deployments, events, flow_runs, flows, pools, queues, tables, workers
from millrace.store.database import Database
from millrace.store.migrations import MIGRATIONS


class Mill:
    """A database with a deployment, the loop of automations, and a clock that moves only when told to."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self.db, self.clock = db, clock
        self.loop = Automations()
        self.flow = made.flow(db)
        self.pool = made.pool(db)
        self.queue = db.write(lambda tx: queues.create(tx, "default", WorkQueueCreate(name="side")))
        self.deployment: Deployment = made.deployment(
            db, self.flow.id, schedules=[made.every(3600)], work_queue_name="side", enforce_parameter_schema=False
        )

    def watch(self, trigger: AnyTrigger, *does: AnyAction, name: str = "a") -> Automation:
        body = AutomationCreate(name=name, trigger=trigger, actions=list(does) or [actions.DoNothing()])
        stored = self.db.write(lambda tx: automations.create(tx, body))
        self.step()
        return stored

    def happens(self, name: str, resource: str = "order.1", *related: str, **fields: Any) -> None:
        others = [{"prefect.resource.id": one, "prefect.resource.role": "about"} for one in related]
        event = Event(
            occurred=self.clock(), event=name, resource={"prefect.resource.id": resource}, related=others, **fields
        )
        self.db.write(lambda tx: events.append(tx, [event]))
        self.step()

    def step(self) -> None:
        for _ in range(100):
            wake: datetime | None = self.db.write(self.loop.step)
            if wake is None or wake > self.clock():
                return
        raise AssertionError("the automations never come to rest")

    def after(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.step()

    def told(self, name: str = "prefect.automation.triggered") -> list[ReceivedEvent]:
        wanted = EventFilter(event=EventNameFilter(name=[name]))
        wanted.occurred.since = self.clock() - timedelta(days=1)
        wanted.occurred.until = self.clock() + timedelta(days=1)
        return self.db.read(lambda tx: events.query(tx, wanted, 200)).events

    @property
    def fired(self) -> int:
        return len(self.told())

    def run(self, *states: str) -> FlowRun:
        """A run of the deployment that went through these states under a lease."""
        run = made.run(self.db, self.deployment.id)
        attempt = None
        for name in states:
            if name == "Pending":
                (claimed,) = made.claim(self.db)
                attempt = claimed.lease.attempt
            else:
                made.propose(self.db, run.id, name, attempt=attempt, **PAUSE.get(name, {}))
        return made.read(self.db, run.id)

    def about(self, run: FlowRun) -> None:
        self.happens("ask", f"prefect.flow-run.{run.id}")


PAUSE: dict[str, dict[str, Any]] = {"Paused": {"state_details": {"pause_timeout": "2027-01-01T00:00:00Z"}}}


@pytest.fixture
def mill(db: Database, clock: Clock) -> Mill:
    return Mill(db, clock)


# -- triggers


def test_counting_resting_missing_and_a_restart(mill: Mill) -> None:
    several = EventTrigger(expect={"x"}, threshold=2, within=timedelta(seconds=60), for_each={"prefect.resource.id"})
    mill.watch(several)
    for resource in ("a", "b", "a"):
        mill.happens("x", resource)
        mill.loop = Automations()  # a server that is started anew knows no more than the database
    assert mill.fired == 1
    mill.watch(EventTrigger(expect={"beat"}, posture=Posture.PROACTIVE, within=timedelta(seconds=30)), name="silence")
    mill.after(20)
    mill.happens("beat")
    mill.loop = Automations()
    mill.after(12)
    assert mill.fired == 1, "it was heard in that time"
    mill.after(32)
    assert mill.fired == 2


def test_all_of_several_and_one_after_the_other(mill: Mill) -> None:
    parts = [EventTrigger(expect={"x"}), EventTrigger(expect={"y"})]
    mill.watch(CompoundTrigger(require="all", within=timedelta(seconds=60), triggers=parts), name="both")
    mill.watch(SequenceTrigger(triggers=[one.anew() for one in parts]), name="in order")
    mill.happens("y")
    mill.loop = Automations()
    mill.happens("x")
    assert [event.resource["prefect.resource.name"] for event in mill.told()] == ["both"]
    mill.after(100)
    mill.happens("y")
    assert sorted(event.resource["prefect.resource.name"] for event in mill.told()) == ["both", "in order"]


# -- actions


def selected(kind: type[Any], **target: UUID) -> AnyAction:
    made_: AnyAction = kind(**target)
    return made_


def is_paused(mill: Mill, noun: str) -> bool:
    if noun == "deployment":
        return mill.db.read(lambda tx: deployments.read(tx, mill.deployment.id)).paused
    if noun == "work_pool":
        return mill.db.read(lambda tx: pools.read(tx, "default")).is_paused
    if noun == "work_queue":
        return mill.db.read(lambda tx: queues.read(tx, mill.queue.id)).is_paused
    return not mill.db.read(lambda tx: automations.read(tx, mill.other.id)).enabled  # type: ignore[attr-defined]


SWITCHES = {
    "deployment": (actions.PauseDeployment, actions.ResumeDeployment, "prefect.deployment"),
    "work_pool": (actions.PauseWorkPool, actions.ResumeWorkPool, "prefect.work-pool"),
    "work_queue": (actions.PauseWorkQueue, actions.ResumeWorkQueue, "prefect.work-queue"),
    "automation": (actions.PauseAutomation, actions.ResumeAutomation, "prefect.automation"),
}


@pytest.mark.parametrize("source", ["selected", "inferred"])
@pytest.mark.parametrize("noun", list(SWITCHES))
def test_what_can_rest_is_paused_and_resumed(mill: Mill, noun: str, source: str) -> None:
    pause, resume, kind = SWITCHES[noun]
    mill.other = mill.watch(EventTrigger(expect={"never"}), name="other")  # type: ignore[attr-defined]
    ids = {"deployment": mill.deployment.id, "work_pool": mill.pool.id, "work_queue": mill.queue.id}
    id = ids.get(noun) or mill.other.id  # type: ignore[attr-defined]
    target: dict[str, Any] = {f"{noun}_id": id} if source == "selected" else {"source": "inferred"}
    mill.watch(EventTrigger(expect={"stop"}), pause(**target), name="stops")
    mill.watch(EventTrigger(expect={"go"}), resume(**target), name="starts")
    about = [f"{kind}.{id}"] if source == "inferred" else []
    mill.happens("stop", "shop.1", *about)
    assert is_paused(mill, noun), mill.told("prefect.automation.action.failed")
    mill.happens("go", "shop.1", *about)
    assert not is_paused(mill, noun)
    assert len(mill.told("prefect.automation.action.executed")) == 2


def test_a_run_that_fails_pauses_its_own_queue(mill: Mill) -> None:
    failed = EventTrigger(expect={"prefect.flow-run.Failed"})
    mill.watch(failed, actions.PauseWorkQueue(source="inferred"), actions.PauseWorkPool(source="inferred"))
    mill.run("Pending", "Running", "Failed")
    mill.step()
    assert is_paused(mill, "work_queue") and is_paused(mill, "work_pool")
    made.run(mill.db, mill.deployment.id)
    assert made.claim(mill.db) == []


ON_RUNS: list[tuple[tuple[str, ...], Any, str]] = [
    ((), actions.CancelFlowRun, "Cancelled"),
    (("Pending", "Running"), actions.CancelFlowRun, "Cancelling"),
    (("Pending", "Running", "Paused"), actions.CancelFlowRun, "Cancel"),
    (("Pending", "Running"), actions.SuspendFlowRun, "Suspended"),
    (("Pending", "Running", "Paused"), actions.ResumeFlowRun, "Running"),
]


@pytest.mark.parametrize(("before", "kind", "after"), ON_RUNS)
def test_runs_are_cancelled_suspended_and_resumed(
    mill: Mill, before: tuple[str, ...], kind: Callable[[], AnyAction], after: str
) -> None:
    mill.watch(EventTrigger(expect={"ask"}), kind())
    run = mill.run(*before)
    mill.about(run)
    found = made.read(mill.db, run.id)
    assert str(found.state_name).startswith(after), mill.told("prefect.automation.action.failed")


def test_a_suspended_run_goes_on_when_an_automation_resumes_it(mill: Mill) -> None:
    mill.watch(EventTrigger(expect={"ask"}), actions.SuspendFlowRun(), name="suspends")
    mill.watch(EventTrigger(expect={"go"}), actions.ResumeFlowRun(), name="resumes")
    run = mill.run("Pending", "Running")
    mill.about(run)
    assert made.read(mill.db, run.id).state_name == "Suspended"
    mill.happens("go", f"prefect.flow-run.{run.id}")
    assert made.read(mill.db, run.id).state_name in ("Resuming", "Scheduled")


@pytest.mark.parametrize(
    ("before", "fields", "after"),
    [
        (
            ("Pending", "Running"),
            {"state": "FAILED", "name": "Rejected", "message": "too late"},
            ("Rejected", "too late"),
        ),
        ((), {"state": "CANCELLED"}, ("Cancelled", "State changed by Automation")),
        (("Pending", "Running", "Completed"), {"state": "SCHEDULED", "force": True}, ("Scheduled", "State changed by")),
    ],
)
def test_the_state_of_a_run_is_set(
    mill: Mill, before: tuple[str, ...], fields: dict[str, Any], after: tuple[str, str]
) -> None:
    mill.watch(EventTrigger(expect={"ask"}), actions.ChangeFlowRunState(**fields))
    run = mill.run(*before)
    mill.about(run)
    state = made.read(mill.db, run.id).state
    assert state is not None and state.name == after[0] and str(state.message).startswith(after[1])


def test_a_state_that_the_judge_refuses_is_told_with_its_reason(mill: Mill) -> None:
    mill.watch(EventTrigger(expect={"ask"}), actions.ChangeFlowRunState(state=StateType.RUNNING))
    run = mill.run("Pending", "Running", "Completed")
    mill.about(run)
    assert made.read(mill.db, run.id).state_type is StateType.COMPLETED
    (failed,) = mill.told("prefect.automation.action.failed")
    assert "was not accepted" in failed.payload["reason"]


def test_a_run_is_forgotten(mill: Mill) -> None:
    mill.watch(EventTrigger(expect={"ask"}), actions.DeleteFlowRun())
    run = mill.run("Pending", "Running", "Completed")
    mill.about(run)
    assert run.id not in [one.id for one in mill.db.read(lambda tx: flow_runs.query(tx, FlowRunQuery()))]


def test_a_deployment_runs_with_what_the_event_says(mill: Mill) -> None:
    run_it = actions.RunDeployment(
        deployment_id=mill.deployment.id,
        parameters={"n": "{{ event.payload.n }}", "of": "{{ event.resource.id }}"},
        job_variables={"env": {"A": "1"}},
        schedule_after=timedelta(seconds=30),
    )
    mill.watch(EventTrigger(expect={"order"}), run_it)
    mill.happens("order", "order.7", payload={"n": 7})
    runs = [one for one in mill.db.read(lambda tx: flow_runs.query(tx, FlowRunQuery())) if not one.auto_scheduled]
    (made_run,) = runs
    assert made_run.parameters == {"n": 7, "of": "order.7"} and made_run.job_variables == {"env": {"A": "1"}}
    assert made_run.expected_start_time == mill.clock() + timedelta(seconds=30)


def test_an_automation_is_kept_with_all_its_parts(mill: Mill) -> None:
    trigger = SequenceTrigger(triggers=[EventTrigger(expect={"x"}), EventTrigger(expect={"y"})], within=5)
    stored = mill.watch(trigger, actions.CancelFlowRun(), actions.RunDeployment(source="inferred"))
    assert mill.db.read(lambda tx: automations.read(tx, stored.id)).model_dump() == stored.model_dump()
    mill.db.write(lambda tx: automations.patch(tx, stored.id, AutomationPatch(enabled=False)))
    mill.happens("x")
    mill.happens("y")
    assert mill.fired == 0


# -- databases of before


def test_a_database_of_before_automations_is_brought_up_to_date(url: str, clock: Clock) -> None:
    """With what is in it: the tables come empty, and columns that came later are NULL."""
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        for migration in MIGRATIONS[:4]:
            migration.up(connection)
            record = {"number": migration.number, "name": migration.name, "applied": clock()}
            connection.execute(tables.migrations.insert().values(record))
        dates = {"created": clock(), "updated": clock()}
        flow, pool, worker = (new_id() for _ in range(3))
        connection.execute(tables.flows.insert().values(id=flow, name="etl", tags=[], labels={}, **dates))
        connection.execute(
            tables.work_pools.insert().values(
                id=pool,
                name="default",
                type="process",
                base_job_template={},
                is_paused=False,
                storage_configuration={},
                **dates,
            )
        )
        old = tables.workers.insert().values(
            id=worker, work_pool_id=pool, name="w", last_heartbeat_time=clock(), **dates
        )
        connection.execute(old)
    engine.dispose()
    db = Database(url, clock=clock)
    assert db.read(lambda tx: flows.read(tx, flow)).name == "etl"
    (known,) = db.read(lambda tx: workers.busy(tx, "default"))
    assert (known.name, known.queue_names, known.status) == ("w", None, "ONLINE")
    db.write(lambda tx: automations.create(tx, AutomationCreate(name="a", trigger=EventTrigger(), actions=[])))
    assert len(made.claim(db, queue_names=["side"])) == 0
    db.close()
