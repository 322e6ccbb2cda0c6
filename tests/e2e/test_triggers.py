"""Deployments that wait for events: declared, pulled by what runs tell, replaced by the next deploy."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from yard import Yard, open_plot

from millrace.automations import Automation, DoNothing, EventTrigger
from millrace.engine.recorder import recorder
from millrace.errors import InvalidInput
from millrace.events import (
    DeploymentCompoundTrigger,
    DeploymentEventTrigger,
    DeploymentSequenceTrigger,
    deployment_trigger,
    emit_event,
)
from millrace.schema.events import EventFilter, EventNameFilter, ReceivedEvent
from millrace.schema.queries import FlowRunQuery
from millrace.schema.runs import FlowRun
from millrace.schema.states import StateType

JOB = """
from millrace.events import emit_event

@task
def tell(n):
    emit_event("order.arrived", {"prefect.resource.id": f"order.{n}"}, payload={"n": n})

@flow
def job(n: int = 1):
    note('begin', n=n)
    tell(n)
    return n

@flow
async def later(n: int = 1):
    note('begin', n=n)
    emit_event("order.gone", {"prefect.resource.id": f"order.{n}"}, payload={"n": n + 1})
"""


@pytest.fixture
def yard(ground: Yard, tmp_path: Path) -> Iterator[Yard]:
    yield from open_plot(ground, tmp_path)


def ended(yard: Yard, count: int) -> list[FlowRun]:
    """The runs, as soon as so many have ended."""
    deadline = time.monotonic() + 90
    while True:
        found = yard.client.read_flow_runs(FlowRunQuery())
        if sum(run.state_type is StateType.COMPLETED for run in found) >= count:
            return found
        assert time.monotonic() < deadline, [run.state for run in found]
        time.sleep(0.1)


def told(yard: Yard, name: str) -> list[ReceivedEvent]:
    return yard.client.read_events(filter=EventFilter(event=EventNameFilter(name=[name]))).events


def test_what_a_task_tells_starts_the_next_deployment_with_its_values(yard: Yard) -> None:
    first = yard.deployment(JOB)
    parameters = {"n": "{{ event.payload.n }}"}
    match = {"prefect.resource.role": "deployment", "prefect.resource.id": f"prefect.deployment.{first}"}
    after = DeploymentEventTrigger(expect={"order.arrived"}, match_related=match, parameters=parameters)
    yard.deployment(JOB, "later", "second", triggers=[after])
    yard.deployment(JOB, "job", "third", triggers=[{"expect": ["order.gone"], "parameters": parameters}])
    yard.start_worker()
    yard.client.create_flow_run_from_deployment(first, parameters={"n": 5})
    runs = ended(yard, 3)
    assert sorted(entry["n"] for run in runs for entry in yard.entries(run)) == [5, 5, 6]
    (event,) = [one for one in told(yard, "order.arrived") if one.resource["prefect.resource.id"] == "order.5"]
    roles = {one["prefect.resource.role"] for one in event.related}
    assert {"flow-run", "flow", "deployment", "task-run"} <= roles


def test_the_end_of_a_run_starts_another_deployment(yard: Yard) -> None:
    first = yard.deployment(JOB)
    done = {
        "expect": ["prefect.flow-run.Completed"],
        "match_related": {"prefect.resource.id": f"prefect.deployment.{first}"},
        "name": "after the first",
    }
    yard.deployment(JOB, "later", "second", triggers=[done])
    yard.start_worker()
    yard.client.create_flow_run_from_deployment(first)
    ended(yard, 2)
    assert [one.name for one in yard.client.read_automations()] == ["after the first"]


def test_deploying_again_replaces_its_own_triggers_and_no_others(yard: Yard) -> None:
    by_hand = Automation(name="mine", trigger=EventTrigger(expect={"x"}), actions=[DoNothing()]).create()
    for names in (["a", "b"], ["b"], []):
        id = yard.deployment(JOB, triggers=[{"expect": ["x"], "name": name} for name in names])
        assert sorted(one.name for one in yard.client.read_automations()) == sorted([*names, "mine"])
    yard.deployment(JOB, triggers=[{"expect": ["x"]}])
    assert [one.name for one in yard.client.read_automations()] == ["d__automation_1", "mine"]
    with pytest.raises(InvalidInput, match="is not a plain name"):
        yard.deployment(JOB, triggers=[{"expect": ["x"], "parameters": {"n": "{{ 1 + 1 }}"}}])
    assert len(yard.client.read_automations()) == 2
    yard.client.delete_deployment(id)
    assert [one.id for one in yard.client.read_automations()] == [by_hand.id]


def test_triggers_as_objects_and_as_mappings_are_the_same(yard: Yard) -> None:
    parts: list[Any] = [EventTrigger(expect={"a"}), EventTrigger(expect={"b"})]
    plain = [{"expect": ["a"]}, {"expect": ["b"]}]
    objects = [
        DeploymentCompoundTrigger(require="any", within=60, triggers=parts, name="t"),  # type: ignore[arg-type]
        DeploymentSequenceTrigger(triggers=parts, name="t"),
    ]
    mappings = [{"require": "any", "within": 60, "triggers": plain, "name": "t"}, {"triggers": plain, "name": "t"}]
    for one, other in zip(objects, mappings, strict=True):
        seen = []
        for trigger in (one, other):
            yard.deployment(JOB, triggers=[trigger])
            (stored,) = yard.client.read_automations()
            seen.append(without_ids(stored.trigger.model_dump(mode="json")))
        assert seen[0] == seen[1]
        assert deployment_trigger(other).as_automation("d", stored.id).trigger.type == stored.trigger.type


def without_ids(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_ids(item) for key, item in value.items() if key != "id"}
    return [without_ids(item) for item in value] if isinstance(value, list) else value


def test_an_automation_can_be_read_changed_rested_and_forgotten(yard: Yard) -> None:
    made = Automation(name="a", trigger=EventTrigger(expect={"x"}), actions=[DoNothing()]).create()
    found = Automation.read(name="a")
    assert found.id == made.id
    found.description = "new"
    found.update()
    assert Automation.read(id=made.id).description == "new"
    assert found.disable() and not Automation.read(name="a").enabled
    assert found.enable() and Automation.read(name="a").enabled
    assert found.delete() and not found.delete()
    with pytest.raises(InvalidInput, match="create\\(\\) it first"):
        Automation(name="b", trigger=EventTrigger(), actions=[]).delete()


def test_events_and_automations_from_a_terminal(yard: Yard, tmp_path: Path) -> None:
    def type_(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "millrace", *words], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    watching = subprocess.Popen(
        [sys.executable, "-m", "millrace", "event", "stream", "--run-once"], stdout=subprocess.PIPE, text=True
    )
    yard.processes.append(watching)  # type: ignore[arg-type]
    file = tmp_path / "rules.yaml"
    file.write_text(
        "automations:\n"
        "- name: noticed\n"
        "  trigger: {type: event, expect: [order.arrived], threshold: 2, within: 3600}\n"
        "  actions: [{type: do-nothing}, {type: run-deployment, source: inferred}]\n"
    )
    assert "Created the automation 'noticed'" in type_("automation", "create", "--from-file", str(file))
    for _ in range(2):
        type_("event", "emit", "order.arrived", "--resource-id", "order.1", "--payload", '{"n": 1}')
    deadline = time.monotonic() + 60
    while watching.poll() is None:  # it may have begun to listen after the first ones
        assert time.monotonic() < deadline
        emit_event("order.seen", {"prefect.resource.id": "order.1"})
        recorder().flush()
        time.sleep(0.2)
    assert watching.stdout is not None
    assert json.loads(watching.stdout.read())["resource"]["prefect.resource.id"].startswith(("order.1", "prefect."))
    while "is about no deployment" not in (shown := type_("automation", "inspect", "noticed")):
        assert time.monotonic() < deadline, shown
    assert "order.arrived" in shown
    type_("automation", "pause", "noticed")
    assert json.loads(type_("automation", "ls", "--output", "json"))[0]["enabled"] is False
    type_("automation", "resume", "noticed")
    type_("automation", "delete", "noticed", "--yes")
    assert yard.client.count_automations() == 0


def test_an_event_that_cannot_be_told_is_refused_at_once(yard: Yard) -> None:
    with pytest.raises(InvalidInput, match=r"needs the label 'prefect.resource.id'"):
        emit_event("x", {"name": "y"})
    with pytest.raises(InvalidInput, match="A related resource needs"):
        emit_event("x", {"prefect.resource.id": "y"}, related=[{"prefect.resource.id": "z"}])
    with pytest.raises(InvalidInput, match=r"at most 1,500,000"):
        emit_event("x", {"prefect.resource.id": "y"}, payload={"text": "x" * 2_000_000})
    first = emit_event("x", {"prefect.resource.id": "y"})
    second = emit_event("x", {"prefect.resource.id": "y"}, follows=first)
    assert second.follows == first.id
    assert recorder().flush()
    assert {one.id for one in told(yard, "x")} == {first.id, second.id}
