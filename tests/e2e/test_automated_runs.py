"""Automations over real runs: what they do to a process, and triggers of millrace.yaml from the file to the run."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from yard import POOL, Yard, open_plot

from millrace.cli import main
from millrace.engine.recorder import recorder
from millrace.events import emit_event
from millrace.schema.events import EventFilter, EventNameFilter
from millrace.schema.flows import IdCondition
from millrace.schema.queries import FlowRunQuery
from millrace.schema.runs import FlowRun, FlowRunFilter
from millrace.schema.states import StateType

Run = Callable[..., Any]


@pytest.fixture
def yard(ground: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    for yard in open_plot(ground, tmp_path, MILLRACE_CANCEL_GRACE_SECONDS="2"):
        monkeypatch.chdir(yard.code)
        yield yard


@pytest.fixture
def cli(yard: Yard, capfd: pytest.CaptureFixture[str]) -> Run:
    """Types a command and reads its JSON."""

    def run(*words: str) -> Any:
        capfd.readouterr()
        ended: object = 0
        with contextlib.suppress(SystemExit):
            try:
                main([*words, "--output", "json"])
            except SystemExit as exit:
                ended = exit.code or 0
        out, err = capfd.readouterr()
        assert ended == 0, out + err
        return json.loads(out)

    return run


def rule(cli: Run, yard: Yard, text: str) -> None:
    """Creates automations from a YAML file, as people do."""
    (yard.code / "rules.yaml").write_text(text)
    assert cli("automation", "create", "--from-file", "rules.yaml")


def tell(name: str, run: FlowRun) -> None:
    emit_event(name, {"prefect.resource.id": f"prefect.flow-run.{run.id}"})
    assert recorder().flush()


def why_not(yard: Yard) -> list[Any]:
    wanted = EventFilter(event=EventNameFilter(name=["prefect.automation.action.failed"]))
    return [event.payload for event in yard.client.read_events(filter=wanted).events]


STEPS = """
from millrace.events import emit_event

@task
def step(n):
    note("step", n=n)
    emit_event("step.done", {"prefect.resource.id": f"step.{n}"})
    time.sleep(0.2)

@flow
def job(steps: int = 100):
    note("begin")
    try:
        for n in range(steps if not [e for e in open(LEDGER) if '"step"' in e] else 2):
            step(n)
    finally:
        note("left")
"""


def test_an_automation_suspends_a_run_between_its_tasks_and_another_resumes_it(yard: Yard, cli: Run) -> None:
    rule(
        cli,
        yard,
        "automations:\n"
        "- name: enough\n"
        "  trigger: {expect: [step.done], threshold: 3, within: 600}\n"
        "  actions: [{type: suspend-flow-run}]\n"
        "- name: go on\n"
        "  trigger: {expect: [go]}\n"
        "  actions: [{type: resume-flow-run}]\n",
    )
    run = yard.run(yard.deployment(STEPS))
    yard.start_worker()
    paused = yard.wait(run, StateType.PAUSED)
    assert paused.state_name == "Suspended" and "by the automation 'enough'" in str(
        paused.state and paused.state.message
    )
    yard.until(lambda: not yard.labelled(run))
    steps = len(yard.entries(run, "step"))
    assert 3 <= steps < 100
    tell("go", run)
    over = yard.wait(run)
    assert over.state_type is StateType.COMPLETED, (over.state, why_not(yard))
    assert len(yard.entries(run, "step")) == steps + 2


@pytest.mark.parametrize(
    ("action", "kind", "name", "said"),
    [
        ("{type: cancel-flow-run}", StateType.CANCELLED, "Cancelled", "was cancelled; its 1 process is gone"),
        (
            "{type: change-flow-run-state, state: FAILED, name: Rejected, message: not today}",
            StateType.FAILED,
            "Rejected",
            "not today",
        ),
    ],
)
def test_an_automation_ends_a_run_that_executes(
    yard: Yard, cli: Run, action: str, kind: StateType, name: str, said: str
) -> None:
    rule(cli, yard, f"name: end it\ntrigger: {{expect: [step.done]}}\nactions: [{action}]\n")
    run = yard.run(yard.deployment(STEPS))
    yard.start_worker()
    over = yard.wait(run)
    assert over.state is not None and (over.state_type, over.state_name) == (kind, name), (over.state, why_not(yard))
    assert said in str(over.state.message)
    yard.until(lambda: not yard.labelled(run))
    assert len(yard.entries(run, "step")) < 100
    before = len(why_not(yard))
    tell("step.done", run)  # a run that is over is left as it is
    if kind is StateType.FAILED:
        yard.until(lambda: len(why_not(yard)) > before)  # and why is told
    assert yard.client.read_flow_run(run.id).state_name == name


def test_a_failed_run_stops_its_queue_until_somebody_says_go(yard: Yard, cli: Run) -> None:
    rule(
        cli,
        yard,
        "automations:\n"
        "- name: stop the line\n"
        "  trigger: {expect: [prefect.flow-run.Failed]}\n"
        "  actions: [{type: pause-work-queue, source: inferred}]\n"
        "- name: go on\n"
        "  trigger: {expect: [repaired]}\n"
        "  actions: [{type: resume-work-queue, source: inferred}]\n",
    )
    fails = yard.deployment("@flow\ndef job(bad: bool):\n    assert not bad\n    note('ran')\n")
    yard.start_worker()
    assert yard.wait(yard.run(fails, bad=True)).state_type is StateType.FAILED
    yard.until(lambda: cli("work-queue", "inspect", "default", "--pool", POOL)["is_paused"])
    waiting = yard.run(fails, bad=False)
    queue = yard.client.read_work_queue_by_name(POOL, "default")
    emit_event("repaired", {"prefect.resource.id": f"prefect.work-queue.{queue.id}"})
    assert recorder().flush()
    assert yard.wait(waiting).state_type is StateType.COMPLETED, why_not(yard)


FLOWS = """
from millrace import flow

@flow
def source(n: int = 1):
    return n

@flow
def sink(why: str, n: int = 0):
    return why
"""

FILE = """
definitions:
  pool: &pool {name: yard}
deployments:
  - name: source
    entrypoint: flows.py:source
    work_pool: *pool
  - name: done
    entrypoint: flows.py:sink
    work_pool: *pool
    triggers:
      - expect: [prefect.flow-run.Completed]
        match_related: {prefect.resource.name: source}
        parameters: {why: "{{ flow_run.name }} is {{ flow_run.state.name }}"}
  - name: both
    entrypoint: flows.py:sink
    work_pool: *pool
    triggers:
      - type: compound
        require: all
        within: 600
        name: left and right
        parameters: {why: both}
        triggers: [{expect: [left]}, {expect: [right]}]
  - name: ordered
    entrypoint: flows.py:sink
    work_pool: *pool
    triggers:
      - type: sequence
        parameters: {why: ordered}
        job_variables: {env: {TOLD: "1"}}
        triggers: [{expect: [left]}, {expect: [right]}]
  - name: silence
    entrypoint: flows.py:sink
    work_pool: *pool
    triggers:
      - posture: Proactive
        after: [left]
        expect: [never.comes]
        within: 10
        parameters: {why: silence}
      - {expect: [ignored], enabled: false, parameters: {why: off}}
"""


def test_triggers_of_a_file_start_runs(yard: Yard, cli: Run) -> None:
    yard.deployment("@flow\ndef job():\n    pass\n", name="first")  # makes the pool
    (yard.code / "flows.py").write_text(FLOWS)
    (yard.code / "millrace.yaml").write_text(FILE)
    made = {one["name"]: UUID(one["id"]) for one in cli("deploy", "--all")}
    again = {one["name"]: UUID(one["id"]) for one in cli("deploy", "--all")}
    assert made == again
    names = sorted(one["name"] for one in cli("automation", "ls"))
    assert names == [
        "done__automation_1",
        "left and right",
        "ordered__automation_1",
        "silence__automation_1",
        "silence__automation_2",
    ]
    yard.start_worker()
    first = yard.run(made["source"])
    for name in ("right", "left", "right", "ignored"):
        emit_event(name, {"prefect.resource.id": "shop.1"})
    assert recorder().flush()

    def runs_of(name: str) -> list[FlowRun]:
        only = FlowRunFilter(deployment_id=IdCondition(any_=[made[name]]))
        return yard.client.read_flow_runs(FlowRunQuery(flow_runs=only))

    for name, why in (
        ("done", f"{first.name} is Completed"),
        ("both", "both"),
        ("ordered", "ordered"),
        ("silence", "silence"),
    ):
        yard.until(lambda name=name: runs_of(name), 90)  # type: ignore[misc]
        run = yard.wait(runs_of(name)[0], seconds=90)
        assert run.state_type is StateType.COMPLETED, run.state
        assert run.parameters["why"] == why
    assert runs_of("ordered")[0].job_variables == {"env": {"TOLD": "1"}}
    assert [len(runs_of(name)) for name in ("done", "both", "ordered", "silence")] == [1, 1, 1, 1]
