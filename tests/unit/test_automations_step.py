"""The third loop, under a clock that moves only when told to, over a real database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import databases
from millrace.schema.actions import AnyAction, DoNothing, RunDeployment
from millrace.schema.automations import Automation, AutomationCreate, AutomationPatch
from millrace.schema.deployments import DeploymentCreate
from millrace.schema.events import Event, EventFilter, EventNameFilter, EventOrder, ReceivedEvent
from millrace.schema.flows import FlowCreate
from millrace.schema.queries import FlowRunQuery
from millrace.schema.runs import FlowRun, FlowRunCreate
from millrace.schema.states import SetState, StateCreate, StateType
from millrace.schema.triggers import AnyTrigger, CompoundTrigger, EventTrigger, Posture, SequenceTrigger
from millrace.server.automations import Automations
from millrace.server.firing import SETTLE
from millrace.store import automations, counters, deployments, events, flow_runs, flow_states, flows
from millrace.store.database import Database

START = datetime(2026, 11, 21, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class World:
    """A database, a clock, the loop, and a flow with a deployment."""

    def __init__(self, path: Path) -> None:
        self.now = START
        self.path = path
        self.open()
        self.flow = self.db.write(lambda tx: flows.create(tx, FlowCreate(name="etl")))[0]
        body = DeploymentCreate(name="d", flow_id=self.flow.id, enforce_parameter_schema=False)
        self.deployment = self.db.write(lambda tx: deployments.upsert(tx, body))[0]

    def open(self) -> None:
        self.db = Database(databases.sqlite(self.path / "a.db"), clock=lambda: self.now)
        self.loop = Automations()

    def restart(self) -> None:
        self.db.close()
        self.open()

    def watch(self, trigger: AnyTrigger, *actions: AnyAction, **fields: Any) -> Automation:
        body = AutomationCreate(name="a", trigger=trigger, actions=list(actions) or [DoNothing()], **fields)
        made = self.db.write(lambda tx: automations.create(tx, body))
        self.step()
        return made

    def happens(self, name: str, id: str = "order.1", **fields: Any) -> None:
        resource = {"prefect.resource.id": id, **fields.pop("labels", {})}
        event = Event(event=name, resource=resource, **{"occurred": self.now, **fields})
        self.db.write(lambda tx: events.append(tx, [event]))

    def step(self) -> datetime | None:
        for _ in range(1000):
            wake = self.db.write(self.loop.step)
            if wake is None or wake > self.now:
                return wake
        raise AssertionError("the automations never come to rest")

    def after(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.step()

    def told(self, name: str = "prefect.automation.triggered") -> list[ReceivedEvent]:
        wanted = EventFilter(event=EventNameFilter(name=[name]), order=EventOrder.ASC)
        wanted.occurred.since, wanted.occurred.until = START - timedelta(days=1), START + timedelta(days=365)
        return self.db.read(lambda tx: events.query(tx, wanted, 200)).events

    @property
    def fired(self) -> int:
        self.step()
        return len(self.told())

    def runs(self) -> list[FlowRun]:
        self.step()
        return self.db.read(lambda tx: flow_runs.query(tx, FlowRunQuery()))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_an_event_fires_an_automation_and_what_happened_before_does_not(world: World) -> None:
    world.happens("order.arrived")
    world.watch(EventTrigger(expect={"order.arrived"}))
    assert world.fired == 0
    world.happens("order.gone")
    assert world.fired == 0
    world.happens("order.arrived")
    world.happens("order.arrived")
    assert world.fired == 2
    done = world.told("prefect.automation.action.executed")
    assert [one.payload["action_type"] for one in done] == ["do-nothing"] * 2


def test_labels_and_related_resources_choose_the_events(world: World) -> None:
    trigger = EventTrigger(
        expect={"order.*"},
        match={"prefect.resource.id": "order.*", "region": ["eu", "us"]},
        match_related={"prefect.resource.role": "shop", "prefect.resource.id": "shop.1"},
    )
    world.watch(trigger)
    shop = [{"prefect.resource.id": "shop.1", "prefect.resource.role": "shop"}]
    world.happens("order.new", labels={"region": "eu"}, related=shop)
    assert world.fired == 1
    world.happens("order.new", labels={"region": "asia"}, related=shop)
    world.happens("order.new", labels={"region": "eu"})
    world.happens("order.new", id="parcel.1", labels={"region": "eu"}, related=shop)
    assert world.fired == 1


def test_a_threshold_is_reached_within_a_time_or_not_at_all(world: World) -> None:
    world.watch(EventTrigger(expect={"x"}, threshold=3, within=timedelta(seconds=60)))
    for _ in range(2):
        world.happens("x")
    world.after(61)
    world.happens("x")
    assert world.fired == 0
    world.after(10)
    world.happens("x")
    world.happens("x")
    assert world.fired == 1
    world.happens("x")
    world.happens("x")
    world.happens("x")
    assert world.fired == 1, "it rests until the time is over"
    world.after(60)
    for _ in range(3):
        world.happens("x")
    assert world.fired == 2


def test_what_is_counted_for_each_value_is_counted_apart(world: World) -> None:
    world.watch(EventTrigger(expect={"x"}, threshold=2, for_each={"region"}, within=timedelta(seconds=60)))
    world.happens("x", labels={"region": "eu"})
    world.happens("x", labels={"region": "us"})
    assert world.fired == 0
    world.happens("x", labels={"region": "us"})
    assert world.fired == 1
    assert world.told()[0].payload["triggering_labels"] == {"region": "us"}


def test_absence_fires_at_the_end_of_the_time_and_presence_prevents_it(world: World) -> None:
    trigger = EventTrigger(
        after={"started"}, expect={"finished"}, posture=Posture.PROACTIVE, for_each={"prefect.resource.id"}, within=60
    )
    world.watch(trigger)
    world.happens("started", id="job.1")
    world.happens("started", id="job.2")
    assert world.step() == START + timedelta(seconds=60) + SETTLE
    assert world.db.read(counters.read).waiting_automations == 2
    world.after(30)
    world.happens("finished", id="job.2")
    world.after(30)
    assert world.fired == 0, "an event of the last moment may be on its way"
    world.after(1)
    assert world.fired == 1
    assert world.told()[0].payload["triggering_labels"] == {"prefect.resource.id": "job.1"}
    world.after(600)
    assert world.fired == 1
    assert world.db.read(counters.read).waiting_automations == 0


def test_absence_is_noticed_even_if_nothing_ever_happened(world: World) -> None:
    world.watch(EventTrigger(expect={"heartbeat"}, posture="Proactive", within=timedelta(seconds=60)))
    world.after(61)
    assert world.fired == 1
    world.happens("heartbeat")
    world.after(60)
    assert world.fired == 1
    world.after(60)
    assert world.fired == 2


def test_a_heartbeat_that_ends_one_wait_begins_the_next(world: World) -> None:
    trigger = EventTrigger(after={"beat"}, expect={"beat"}, posture="Proactive", within=timedelta(seconds=60))
    world.watch(trigger)
    for _ in range(5):
        world.happens("beat")
        world.after(50)
        assert world.fired == 0
    world.after(11)
    assert world.fired == 1


def test_windows_that_passed_while_the_server_was_away_are_told_once(world: World) -> None:
    world.watch(EventTrigger(expect={"heartbeat"}, posture="Proactive", within=timedelta(seconds=60)))
    world.db.close()
    world.now += timedelta(days=1)
    world.open()
    assert world.fired == 1
    world.after(61)
    assert world.fired == 2


def test_compound_triggers_need_all_some_or_any_of_their_parts(world: World) -> None:
    parts = [EventTrigger(expect={name}) for name in ("a", "b", "c")]
    world.watch(CompoundTrigger(require=2, within=timedelta(seconds=60), triggers=parts))
    world.happens("a")
    world.happens("a")
    assert world.fired == 0
    world.after(61)
    world.happens("b")
    assert world.fired == 0, "the first is too long ago"
    world.happens("c")
    assert world.fired == 1
    world.happens("a")
    assert world.fired == 1, "what fired is spent"


@pytest.mark.parametrize(("require", "enough"), [("any", 1), ("all", 3)])
def test_compound_triggers_by_word(world: World, require: str, enough: int) -> None:
    parts = [EventTrigger(expect={name}) for name in ("a", "b", "c")]
    world.watch(CompoundTrigger(require=require, triggers=parts))  # type: ignore[arg-type]
    for count, name in enumerate("abc", 1):
        world.happens(name)
        assert (world.fired > 0) == (count >= enough)


def test_sequences_fire_in_their_order_alone(world: World) -> None:
    parts: list[AnyTrigger] = [EventTrigger(expect={name}) for name in ("a", "b", "c")]
    world.watch(SequenceTrigger(within=timedelta(seconds=60), triggers=parts))
    for name in "acb":
        world.happens(name)
        world.after(1)
    assert world.fired == 0
    for name in "abc":
        world.happens(name)
        world.after(1)
    assert world.fired == 1


def test_composite_triggers_can_be_nested(world: World) -> None:
    both = CompoundTrigger(require="all", triggers=[EventTrigger(expect={"a"}), EventTrigger(expect={"b"})])
    world.watch(SequenceTrigger(triggers=[both, EventTrigger(expect={"c"})]))
    for name in "bac":
        world.happens(name)
    assert world.fired == 1


def test_a_deployment_runs_with_what_the_event_says(world: World) -> None:
    action = RunDeployment(
        deployment_id=world.deployment.id,
        parameters={
            "rows": "{{ event.payload.rows }}",
            "text": "{{ event.resource.id }}: {{ event.payload.rows }} rows",
            "label": '{{ event.resource["shop.name"] }}',
            "old": {"__prefect_kind": "jinja", "template": "{{ event.payload.missing }}!"},
            "typed": {
                "__prefect_kind": "json",
                "value": {"__prefect_kind": "jinja", "template": "{{ event.payload.rows | tojson }}"},
            },
            "deep": [{"x": "{{ labels.shop.name }}"}],
        },
        schedule_after=timedelta(minutes=5),
    )
    world.watch(EventTrigger(expect={"order.arrived"}, for_each={"shop.name"}), action)
    world.happens("order.arrived", payload={"rows": [1, 2]}, labels={"shop.name": "Bern"})
    (run,) = world.runs()
    assert run.parameters == {
        "rows": [1, 2],
        "text": "order.1: [1, 2] rows",
        "label": "Bern",
        "old": "!",
        "typed": [1, 2],
        "deep": [{"x": "Bern"}],
    }
    assert run.expected_start_time == START + timedelta(minutes=5)


def test_states_of_runs_start_other_runs_and_are_told_as_they_were(world: World) -> None:
    action = RunDeployment(
        deployment_id=world.deployment.id,
        parameters={
            "why": "{{ flow.name }}/{{ flow_run.name }} {{ flow_run.state.name }}: {{ flow_run.state.message }}"
        },
    )
    world.watch(
        EventTrigger(expect={"prefect.flow-run.Failed"}, match={"prefect.resource.id": "prefect.flow-run.*"}), action
    )
    run = world.db.write(lambda tx: flow_runs.create(tx, FlowRunCreate(flow_id=world.flow.id, name="trout")))[0]
    for kind, message in ((StateType.PENDING, None), (StateType.RUNNING, None), (StateType.FAILED, "no bait")):
        state = SetState(state=StateCreate(type=kind, message=message))
        world.db.write(lambda tx, state=state: flow_states.set_state(tx, run.id, state))
    rerun = SetState(state=StateCreate(type=StateType.SCHEDULED), force=True)
    world.db.write(lambda tx: flow_states.set_state(tx, run.id, rerun))
    (made,) = [one for one in world.runs() if one.deployment_id is not None]
    assert made.parameters == {"why": "etl/trout Failed: no bait"}


def test_an_action_that_fails_is_told_and_leaves_nothing_behind(world: World) -> None:
    inferred = RunDeployment(source="inferred")
    world.watch(EventTrigger(expect={"x"}), inferred, DoNothing())
    world.happens("x")
    assert world.fired == 1
    (failed,) = world.told("prefect.automation.action.failed")
    assert "is about no deployment" in failed.payload["reason"]
    assert [one.payload["action_index"] for one in world.told("prefect.automation.action.executed")] == [1]


def test_disabled_automations_rest_and_forget_what_they_counted(world: World) -> None:
    made = world.watch(EventTrigger(expect={"x"}, threshold=2, within=timedelta(seconds=60)))
    world.happens("x")
    world.step()
    world.db.write(lambda tx: automations.patch(tx, made.id, AutomationPatch(enabled=False)))
    world.happens("x")
    assert world.fired == 0
    world.db.write(lambda tx: automations.patch(tx, made.id, AutomationPatch(enabled=True)))
    world.happens("x")
    assert world.fired == 0
    world.happens("x")
    assert world.fired == 1


def test_automations_that_expect_anything_come_to_rest(world: World) -> None:
    world.watch(EventTrigger())
    world.watch(EventTrigger())
    world.happens("x")
    assert world.fired == 2


def test_what_an_automation_does_can_be_waited_for_by_name(world: World) -> None:
    world.watch(EventTrigger(expect={"x"}))
    world.watch(EventTrigger(expect={"prefect.automation.triggered"}))
    world.happens("x")
    assert world.fired == 2


def test_an_event_that_came_late_does_not_count_twice_or_in_the_wrong_time(world: World) -> None:
    world.watch(EventTrigger(expect={"x"}, threshold=2, within=timedelta(seconds=60)))
    world.happens("x")
    world.after(30)
    world.happens("x", occurred=START + 10 * SECOND)
    assert world.fired == 1
    world.happens("x", occurred=START + 20 * SECOND)
    world.happens("x", occurred=START + 21 * SECOND)
    assert world.fired == 1


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    plan=st.lists(st.sampled_from(["a", "b", "wait", "restart", "step"]), max_size=25),
    threshold=st.integers(1, 3),
    within=st.sampled_from([0, 20]),
)
def test_whenever_the_server_restarts_each_firing_happens_once(
    tmp_path_factory: pytest.TempPathFactory, plan: list[str], threshold: int, within: int
) -> None:
    """A model counts the same events beside a server that is stopped at any moment."""
    world = World(tmp_path_factory.mktemp("mill"))
    action = RunDeployment(deployment_id=world.deployment.id)
    world.watch(EventTrigger(expect={"a"}, threshold=threshold, within=timedelta(seconds=within)), action)
    expected = counted = 0
    start = rest = None
    for what in plan:
        if what == "wait":
            world.now += 7 * SECOND
        elif what == "restart":
            world.restart()
        elif what == "step":
            world.step()
        else:
            world.happens(what)
            if what != "a":
                continue
            if within:
                if rest is not None and world.now < rest[0]:
                    continue
                if rest is not None and world.now < rest[1]:
                    start, rest = rest[0], None
                elif start is None or world.now >= start + within * SECOND:
                    start, rest, counted = world.now, None, 0
            counted += 1
            if counted >= threshold:
                expected, counted = expected + 1, 0
                if within:
                    assert start is not None
                    rest, start = (start + within * SECOND, start + 2 * within * SECOND), None
    world.restart()
    assert world.fired == expected
    assert len(world.runs()) == expected
    world.db.close()
