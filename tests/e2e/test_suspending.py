"""Suspending, resuming and retrying runs with a server and workers as real processes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from yard import Yard, open_plot

from commands import Done, ended
from millrace import settings
from millrace.client.handle import RunHandle
from millrace.errors import Conflict, NotPaused
from millrace.schema.states import StateType

STAFF = {"MILLRACE_CANCEL_GRACE_SECONDS": "2"}


@pytest.fixture
def yard(ground: Yard, tmp_path: Path) -> Iterator[Yard]:
    yield from open_plot(ground, tmp_path, **STAFF)


SUSPENDS = """
from millrace import suspend_flow_run, pause_flow_run

@task
def work(n):
    note("work", n=n)
    return n

@flow
def job(n: int = 1):
    note("begin")
    work(n)
    answer = suspend_flow_run(wait_for_input=int)
    note("answered", answer=answer)
    work(n + 1)
    return answer
"""


def test_a_suspended_run_gives_its_process_and_slot_back_and_goes_on_in_another(yard: Yard) -> None:
    deployment = yard.deployment(SUSPENDS)
    yard.start_worker(limit=1)
    run = yard.wait(yard.run(deployment), StateType.PAUSED)
    assert run.state is not None and run.state.is_suspended()
    (first,) = yard.entries(run, "begin")
    yard.until(lambda: not yard.labelled(run))
    # the only place of the worker is free for another run
    other = yard.wait(yard.run(deployment, n=5), StateType.PAUSED)
    handle = RunHandle(run.id)
    assert handle.resume({"value": 7}).name == "Resuming"
    ended = yard.wait(run)
    assert ended.state_type is StateType.COMPLETED, ended.state
    # on a machine under load an attempt may be given back before it begins: numbers rise, but not always by one
    (_, second) = yard.entries(run, "begin")
    assert ended.run_count == 1 and second["attempt"] == ended.attempt > first["attempt"]
    assert second["pid"] != first["pid"]
    (answered,) = yard.entries(run, "answered")
    assert (answered["answer"], answered["pid"]) == (7, second["pid"])
    assert handle.result() == 7
    states = [state.name for state in yard.client.read_flow_run_states(run.id)]
    assert states[states.index("Running") :][:3] == ["Running", "Suspended", "Resuming"]
    assert states[-2:] == ["Running", "Completed"]
    assert yard.client.read_flow_run(other.id).state_name == "Suspended"
    with pytest.raises(NotPaused):
        handle.resume()


def test_a_suspended_run_is_cancelled_though_nobody_runs_it(staffed: Yard) -> None:
    run = staffed.run(staffed.deployment(SUSPENDS))
    staffed.wait(run, StateType.PAUSED)
    staffed.until(lambda: not staffed.labelled(run))
    RunHandle(run.id).cancel()
    assert staffed.wait(run).state_type is StateType.CANCELLED


OTHER = """
@task
def step(n):
    note("step", n=n)
    time.sleep(0.2)
    return n

@flow
def job():
    note("begin")
    for n in range(40 if not [e for e in open(LEDGER) if '"step"' in e] else 2):
        step(n)
    return "done"
"""


def test_a_run_that_somebody_else_suspends_is_left_between_two_tasks(staffed: Yard) -> None:
    run = staffed.run(staffed.deployment(OTHER))
    staffed.until(lambda: staffed.entries(run, "step"))
    handle = RunHandle(run.id)
    assert handle.suspend().name == "Suspended"
    staffed.until(lambda: not staffed.labelled(run))
    steps = len(staffed.entries(run, "step"))
    assert 1 <= steps < 40
    assert handle.state.is_suspended()
    handle.resume()
    ended = staffed.wait(run)
    assert ended.state_type is StateType.COMPLETED
    assert len(staffed.entries(run, "step")) == steps + 2


PAUSES = """
from millrace import pause_flow_run

@flow
def job():
    note("begin")
    pause_flow_run(poll_interval=0.2)
    note("after")
"""


def test_a_paused_run_keeps_its_process_and_lease(staffed: Yard) -> None:
    run = staffed.run(staffed.deployment(PAUSES))
    staffed.wait(run, StateType.PAUSED)
    time.sleep(settings.current().lease_seconds * 1.5)
    RunHandle(run.id).resume()
    ended = staffed.wait(run)
    assert (ended.state_type, ended.run_count) == (StateType.COMPLETED, 1)
    (begun,), (after,) = staffed.entries(run, "begin"), staffed.entries(run, "after")
    assert begun["pid"] == after["pid"]


def test_a_paused_run_whose_process_dies_has_crashed(staffed: Yard) -> None:
    run = staffed.run(staffed.deployment(PAUSES))
    staffed.wait(run, StateType.PAUSED)
    for process in staffed.labelled(run):
        process.kill()
    ended = staffed.wait(run)
    assert ended.state_type is StateType.CRASHED, ended.state


FAILS = """
@flow(log_prints=True)
def job():
    note("begin")
    tries = len([e for e in open(LEDGER) if '"begin"' in e and os.environ["MILLRACE__FLOW_RUN_ID"] in e])
    print("try", tries)
    if tries == 1:
        raise ValueError("not yet")
    return "better"
"""


def test_a_run_that_has_ended_is_retried_by_hand(yard: Yard) -> None:
    run = yard.run(yard.deployment(FAILS))
    handle = RunHandle(run.id)
    with pytest.raises(Conflict, match="only a run that has ended"):
        handle.retry()
    yard.start_worker()
    assert yard.wait(run).state_type is StateType.FAILED
    handle.wait(30)
    assert handle.retry().name == "Scheduled"
    assert handle.result(timeout=45) == "better"
    assert handle.flow_run.attempt > 1
    messages = [log.message for log in handle.logs()]
    assert "try 1" in messages and "try 2" in messages
    assert any("ValueError: not yet" in message for message in messages)
    names = [state.name for state in yard.client.read_flow_run_states(run.id)]
    assert names[-4:] == ["Scheduled", "Pending", "Running", "Completed"] and "Failed" in names


def test_runs_are_resumed_and_retried_from_the_command_line(staffed: Yard, capfd: pytest.CaptureFixture[str]) -> None:
    def type_(*words: str) -> Done:
        return ended(capfd, ("flow-run", *words))

    run = staffed.run(staffed.deployment(SUSPENDS))
    staffed.wait(run, StateType.PAUSED)
    staffed.until(lambda: not staffed.labelled(run))
    wrong = type_("resume", str(run.id), "-p", "value=many")
    assert wrong.code != 0 and "many" in wrong.err
    none = type_("resume", str(run.id))
    assert none.code != 0 and "'value' is missing" in none.err
    right = type_("resume", str(run.id), "-p", "value=7", "--watch")
    assert right.code == 0, right.err
    assert staffed.entries(run, "answered")[0]["answer"] == 7

    failed = staffed.wait(staffed.run(staffed.deployment(FAILS, name="f")))
    assert failed.state_type is StateType.FAILED
    again = type_("retry", str(failed.id), "--watch")
    assert again.code == 0, again.err + again.out
    assert staffed.client.read_flow_run(failed.id).state_type is StateType.COMPLETED


CALLED = """
import os, sys
from millrace import flow

@flow
def called(n: int = 2):
    if os.environ.get("LUCK") is None:
        raise ValueError("no luck")
    return n * 2

if __name__ == "__main__":
    called(5)
"""


def millrace(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The command line."""
    command = [sys.executable, "-m", "millrace", "flow-run", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=cwd)


def test_a_run_that_was_called_is_retried_here_with_its_code(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    file = yard.code / "called.py"
    file.write_text(CALLED)
    assert subprocess.run([sys.executable, file], capture_output=True, check=False).returncode == 1
    [run] = yard.client.read_flow_runs(flows={"name": {"any_": ["called"]}})
    refused = millrace("retry", str(run.id))
    assert refused.returncode != 0 and "--entrypoint" in refused.stderr
    monkeypatch.setenv("LUCK", "1")
    done = millrace("retry", str(run.id), "--entrypoint", "called.py:called", cwd=yard.code)
    assert done.returncode == 0, done.stderr
    ended = yard.client.read_flow_run(run.id)
    assert (ended.state_type, ended.parameters, ended.run_count) == (StateType.COMPLETED, {"n": 5}, 1)
    assert RunHandle(run.id).result() == 10
    names = [state.name for state in yard.client.read_flow_run_states(run.id)]
    assert names[-4:] == ["Scheduled", "Pending", "Running", "Completed"]
