"""Cancelling reaches tasks, subflows, runs of deployments and processes: in scripts, and on workers."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
from yard import Yard, open_plot

from millrace.client.handle import RunHandle
from millrace.schema.runs import FlowRun
from millrace.schema.states import StateType
from promises import CANCELLED_WITHIN, Promise


@pytest.fixture
def yard(ground: Yard, tmp_path: Path) -> Iterator[Yard]:
    yield from open_plot(ground, tmp_path, MILLRACE_CANCEL_GRACE_SECONDS="2")


SCRIPT = """
import contextvars, multiprocessing, subprocess, sys, threading, time
from millrace import flow, task
from millrace import ProcessPoolTaskRunner

MARK = "import time; time.sleep(300)  # {mark}"
theirs = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)  # not-{mark}"])

@task
def loops(n):
    while True:
        time.sleep(0.05)

@task
def starts():
    subprocess.run([sys.executable, "-c", MARK])

@task
def after(x):
    return x

@flow(name="inner")
def inner():
    subprocess.Popen([sys.executable, "-c", MARK], start_new_session=True)
    while True:
        time.sleep(0.05)

@flow(name="threaded")
def threaded():
    # a daemon: whoever started it is gone
    subprocess.run(["sh", "-c", "nohup " + sys.executable + ' -c "' + MARK + '" >/dev/null 2>&1 &'])
    while True:
        time.sleep(0.05)

@flow(name="pooled", task_runner=ProcessPoolTaskRunner(max_workers=2))
def pooled():
    starts.submit()
    loops.submit(7)
    inner()

def hook(flow, run, state):
    print("HOOK", state.name, flush=True)

@flow(name="outer", on_cancellation=[hook])
def outer():
    first = loops.submit(0)
    loops.map([1, 2])
    starts.submit()
    after.submit(first)
    thread = threading.Thread(target=contextvars.copy_context().run, args=(threaded,))
    thread.start()
    multiprocessing.get_context("fork").Process(target=time.sleep, args=(300,)).start()
    try:
        pooled()
    finally:
        thread.join()

try:
    outer()
finally:
    print("THEIRS", "alive" if theirs.poll() is None else "gone", flush=True)
    theirs.kill()
"""


def marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if mark in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def only(yard: Yard, name: str) -> FlowRun:
    [run] = yard.client.read_flow_runs(flows={"name": {"any_": [name]}})
    return run


def ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.mark.parametrize("how", ["interrupt", "handle", "command", "in-background"])
def test_a_cancelled_script_leaves_nothing_running(yard: Yard, how: str) -> None:
    mark = f"run-{uuid4()}"
    file = yard.code / "script.py"
    file.write_text(SCRIPT.replace("{mark}", mark))
    out = yard.code / "out.txt"
    before = ignore_interrupts if how == "in-background" else None  # as a shell starts `script &`
    with out.open("wb") as told:
        script = subprocess.Popen(
            [sys.executable, file], stdout=told, stderr=told, start_new_session=True, preexec_fn=before
        )
    yard.processes.append(script)
    try:
        yard.until(lambda: len(marked(f" {mark}")) == 4, 120)
        family = psutil.Process(script.pid).children(recursive=True)
        promise = Promise(CANCELLED_WITHIN)
        if how == "interrupt":
            script.send_signal(signal.SIGINT)
        elif how == "command":
            words = [sys.executable, "-m", "millrace", "flow-run", "cancel", str(only(yard, "outer").id)]
            subprocess.run(words, check=True, capture_output=True)
        else:
            assert RunHandle(only(yard, "outer").id).cancel().type is StateType.CANCELLING
        run = yard.wait(only(yard, "outer"), seconds=10 * CANCELLED_WITHIN)
        # from its cancellation on there is nothing of it any more
        left = [one.cmdline() for one in marked(f" {mark}")]
        promise.kept()
        assert script.wait(60) != 0
        assert not [one for one in family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    finally:
        for process in marked(mark):
            process.kill()
    assert run.state_type is StateType.CANCELLED and not left, (run.state, left, out.read_text()[-3000:])
    for name in ("inner", "threaded", "pooled"):
        part = yard.wait(only(yard, name), seconds=20)
        assert part.state_type is StateType.CANCELLED, (name, part.state, out.read_text()[-3000:])
    tasks = yard.client.read_task_runs(task_runs={"flow_run_id": {"any_": [run.id]}}, limit=50)
    names = {one.name: one.state_name for one in tasks}
    assert {names[f"loops-{number}"] for number in range(3)} == {"Cancelled"}, names
    assert all(one.state is not None and (one.state.is_final() or one.state.is_pending()) for one in tasks), names
    assert "HOOK Cancelled" in out.read_text() and "THEIRS alive" in out.read_text()


PARENT = """
from millrace import run_deployment

@flow
def job():
    note("begin")
    run_deployment("child/c", timeout=0)
    run_deployment("child/c")
"""

CHILD = """
@flow(name="child")
def child():
    note("child")
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    time.sleep(300)
"""


def test_runs_of_deployments_are_cancelled_with_the_run_they_are_part_of(yard: Yard) -> None:
    yard.deployment(CHILD, function="child", name="c")
    run = yard.run(yard.deployment(PARENT, name="p"))
    yard.start_worker()

    def children() -> list[FlowRun]:
        return yard.client.read_flow_runs(flows={"name": {"any_": ["child"]}})

    yard.until(lambda: len(children()) == 2 and all(yard.entries(one, "child") for one in children()), 60)
    parts = children()
    promise = Promise(CANCELLED_WITHIN)
    RunHandle(run.id).cancel()
    for one in (run, *parts):
        assert yard.wait(one, seconds=10 * CANCELLED_WITHIN).state_type is StateType.CANCELLED
        assert not yard.labelled(one)
    promise.kept()


WITHIN = """
def told(flow, run, state):
    note("hook", of=flow.name, state=state.name, message=state.message)

@task
def stuck():
    time.sleep(300)

@task
def holds(n):
    while True:
        try:
            time.sleep(300)
        except BaseException:
            pass

@flow(on_cancellation=[told], on_crashed=[told])
def inner():
    note("inner")
    stuck()

@flow(on_cancellation=[told], on_crashed=[told])
def job():
    inner()

@flow
def blocked():
    futures = holds.map([1, 2])
    note("inner")
    futures.wait()
"""


def test_what_a_worker_s_run_calls_is_cancelled_with_it_and_not_crashed(yard: Yard) -> None:
    run = yard.run(yard.deployment(WITHIN))
    yard.start_worker()
    yard.until(lambda: yard.entries(run, "inner"), 60)
    yard.until(lambda: states_of_tasks(yard, only(yard, "inner")) == {"stuck-0": "Running"})
    RunHandle(run.id).cancel()
    assert yard.wait(run).state_type is StateType.CANCELLED
    inner = only(yard, "inner")
    assert inner.state is not None and (inner.state.name, inner.state.message) == (
        "Cancelled",
        "Cancelled by request.",
    )
    assert states_of_tasks(yard, inner) == {"stuck-0": "Cancelled"}
    assert states_of_tasks(yard, run) == {"inner-0": "Cancelled"}
    hooks = [(entry["of"], entry["state"]) for entry in yard.entries(run, "hook")]
    assert hooks == [("inner", "Cancelled"), ("job", "Cancelled")]
    raised = next(log.message for log in yard.logs(inner) if log.message.startswith("Raised"))
    assert "Cancelled by request." in raised and "child.py" not in raised


def test_tasks_of_a_process_that_had_to_be_killed_end_with_it(yard: Yard) -> None:
    run = yard.run(yard.deployment(WITHIN, function="blocked"))
    yard.start_worker()
    yard.until(lambda: yard.entries(run, "inner"), 60)
    yard.until(lambda: states_of_tasks(yard, run) == {"holds-0": "Running", "holds-1": "Running"})
    RunHandle(run.id).cancel()
    assert yard.wait(run).state_type is StateType.CANCELLED
    assert states_of_tasks(yard, run) == {"holds-0": "Cancelled", "holds-1": "Cancelled"}
    tasks = yard.client.read_task_runs(flow_runs={"id": {"any_": [run.id]}})
    assert all(one.end_time is not None and one.total_run_time > 0 for one in tasks)


def states_of_tasks(yard: Yard, run: FlowRun) -> dict[str, str | None]:
    found = yard.client.read_task_runs(flow_runs={"id": {"any_": [run.id]}})
    return {one.name: one.state_name for one in found}
