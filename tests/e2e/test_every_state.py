"""Every type and name of a state, as runs on a worker come to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from yard import Yard, open_yard

from millrace.client.handle import RunHandle
from millrace.schema.events import EventFilter, EventQuery
from millrace.schema.runs import FlowRun
from millrace.schema.states import StateType


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    yield from open_yard(tmp_path, monkeypatch, MILLRACE_LATE_AFTER_SECONDS="1", MILLRACE_LEASE_SECONDS="30")


FLOW = """
from millrace import INPUTS, pause_flow_run, suspend_flow_run

@task(retries=1)
def again():
    if not os.path.exists(LEDGER + ".again"):
        open(LEDGER + ".again", "w").close()
        raise ValueError("once")

@task(retries=1, retry_delay_seconds=0.2)
def later():
    if not os.path.exists(LEDGER + ".later"):
        open(LEDGER + ".later", "w").close()
        raise ValueError("once")

@task(cache_policy=INPUTS, persist_result=True)
def kept(n):
    return n

@task(timeout_seconds=0.1)
def slow():
    while True:
        time.sleep(0.01)

@flow(timeout_seconds=30)
def job(how: str):
    note("begin")
    if how == "tasks":
        again(), later(), kept(1), kept(1)
        slow(return_state=True)
    if how == "paused":
        pause_flow_run(timeout=300)
    if how == "suspended":
        suspend_flow_run(timeout=300)
    if how == "failed":
        raise KeyError(how)
    if how == "crashed":
        os._exit(1)
    if how == "cancelled":
        time.sleep(300)

@flow(timeout_seconds=0.5)
def late():
    while True:
        time.sleep(0.05)

@flow(retries=1, retry_delay_seconds=1)
def retried():
    note("begin")
    if not os.path.exists(LEDGER + ".retried"):
        open(LEDGER + ".retried", "w").close()
        raise ValueError("once")
"""


def _history(yard: Yard, run: FlowRun) -> list[tuple[str, str]]:
    return [(state.type.value, str(state.name)) for state in yard.client.read_flow_run_states(run.id)]


@pytest.mark.timeout(300)
def test_runs_come_to_every_state_there_is(yard: Yard) -> None:
    job = yard.deployment(FLOW)
    limited = yard.deployment(FLOW, function="late", name="late")
    retried = yard.deployment(FLOW, function="retried", name="retried")
    ways = ("tasks", "paused", "suspended", "failed", "crashed", "cancelled")
    runs = {how: yard.run(job, how=how) for how in ways}
    runs |= {"timed out": yard.run(limited), "retried": yard.run(retried)}
    yard.until(lambda: yard.client.read_flow_run(runs["tasks"].id).state_name == "Late", 60)
    yard.start_worker()
    for how in ("paused", "suspended"):
        paused = yard.wait(runs[how], StateType.PAUSED, seconds=90)
        assert paused.state_name == how.title()
        yard.until(lambda how=how: RunHandle(runs[how].id).resume(), 30)
    yard.until(lambda: yard.entries(runs["cancelled"], "begin"), 90)
    RunHandle(runs["cancelled"].id).cancel()
    ended = {how: str(yard.wait(run, seconds=120).state_name) for how, run in runs.items()}
    assert ended == {
        "tasks": "Completed",
        "paused": "Completed",
        "suspended": "Completed",
        "failed": "Failed",
        "crashed": "Crashed",
        "cancelled": "Cancelled",
        "timed out": "TimedOut",
        "retried": "Completed",
    }
    assert RunHandle(runs["failed"].id).retry() is not None  # by hand
    yard.until(lambda: len(yard.entries(runs["failed"], "begin")) == 2, 90)
    seen = {state for run in runs.values() for state in _history(yard, run)}
    for run in runs.values():
        history = [name for _, name in _history(yard, run)]
        assert history[0] == "Scheduled" and "Pending" in history and "Running" in history, history
    kept = ("Paused", "Suspended", "Late", "AwaitingRetry", "Retrying", "Cancelling")
    assert {name for _, name in seen} >= {*ended.values(), *kept, "Scheduled", "Pending", "Running"}
    types = {name: kind for kind, name in seen}
    assert (types["Late"], types["AwaitingRetry"], types["Retrying"]) == ("SCHEDULED", "SCHEDULED", "RUNNING")
    assert (types["Suspended"], types["TimedOut"], types["Cancelling"]) == ("PAUSED", "FAILED", "CANCELLING")
    found = yard.client.read_task_runs(task_runs={"flow_run_id": {"any_": [runs["tasks"].id]}}, limit=50)
    names = {run.name: str(run.state_name) for run in found}
    assert names == {"again-0": "Completed", "later-0": "Completed", "kept-0": "Completed", "kept-1": "Cached",
                     "slow-0": "TimedOut"}  # fmt: skip
    told = yard.client.read_events(EventQuery(filter=EventFilter.model_validate(
        {"event": {"prefix": ["prefect.task-run."]}}), limit=50)).events  # fmt: skip
    of_tasks = {event.event.removeprefix("prefect.task-run.") for event in told}
    assert of_tasks >= {"Running", "Retrying", "AwaitingRetry", "Completed", "Cached", "TimedOut"}, of_tasks
