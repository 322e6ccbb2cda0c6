"""Queues and pools as real workers serve them: priorities, limits, pauses; and workers as they come and go."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from yard import POOL, Yard, open_plot

from millrace import settings
from millrace.cli import main
from millrace.deployments.run import run_deployment
from millrace.schema.runs import FlowRun
from millrace.schema.states import StateType

JOB = """
@flow
def job(tag: str = "", seconds: float = 0, until: str = ""):
    note("begin", tag=tag)
    time.sleep(seconds)
    while until and not os.path.exists(until):
        time.sleep(0.05)
    note("end", tag=tag)
"""

Run = Callable[..., Any]


@pytest.fixture
def yard(ground: Yard, tmp_path: Path) -> Iterator[Yard]:
    for yard in open_plot(ground, tmp_path, MILLRACE_WORKER_HEARTBEAT_SECONDS="1", MILLRACE_WORK_POOL=POOL):
        yard.deployment(JOB)
        yield yard


@pytest.fixture
def cli(yard: Yard, capfd: pytest.CaptureFixture[str]) -> Run:
    """Types a command and reads its JSON."""

    def run(*words: str, code: int = 0) -> Any:
        capfd.readouterr()
        ended: object = 0
        with contextlib.suppress(SystemExit):
            try:
                main([*words, "--output", "json"])
            except SystemExit as exit:
                ended = exit.code or 0
        out, err = capfd.readouterr()
        assert ended == code, out + err
        return json.loads(out) if out else err

    return run


def ask(queue: str | None = None, **parameters: Any) -> FlowRun:
    return run_deployment("job/d", parameters=parameters, work_queue_name=queue, timeout=0)


def all_ended(yard: Yard, runs: list[FlowRun]) -> None:
    for run in runs:
        assert yard.wait(run, seconds=90).state_type is StateType.COMPLETED


def begun(yard: Yard) -> list[str]:
    """The tags of the runs that began, in their order."""
    return [entry["tag"] for entry in yard.entries(what="begin")]


def most_at_once(yard: Yard, tags: set[str]) -> int:
    running = most = 0
    for entry in yard.entries():
        if entry["tag"] in tags:
            running += 1 if entry["what"] == "begin" else -1
            most = max(most, running)
    return most


# -- queues


def test_queues_are_served_by_priority_and_within_one_by_time(yard: Yard, cli: Run) -> None:
    for name, priority in (("slow", "9"), ("high", "1")):
        made = cli("work-queue", "create", name, "--priority", priority)
        assert made["priority"] == int(priority)
    order = [(one["name"], one["priority"]) for one in cli("work-queue", "ls")]
    assert order == [("high", 1), ("default", 2), ("slow", 9)], "a queue that is given a priority has it alone"
    runs = [ask(queue, tag=f"{queue or 'default'}{n}") for n in range(2) for queue in ("slow", None, "high")]
    yard.start_worker(limit=1)
    all_ended(yard, runs)
    assert begun(yard) == ["high0", "high1", "default0", "default1", "slow0", "slow1"]
    assert cli("work-queue", "set-priority", "slow", "1")["priority"] == 1
    order = [(one["name"], one["priority"]) for one in cli("work-queue", "ls")]
    assert order == [("slow", 1), ("high", 2), ("default", 3)]


def test_a_queue_at_its_limit_waits_and_the_others_do_not(yard: Yard, cli: Run) -> None:
    cli("work-queue", "create", "narrow", "--limit", "1", "--priority", "1")
    runs = [ask("narrow", tag="narrow", seconds=0.5) for _ in range(3)]
    runs += [ask(tag="wide", seconds=1.5) for _ in range(3)]
    yard.start_worker()
    yard.until(lambda: begun(yard).count("wide") == 3)
    assert begun(yard).count("narrow") < 3
    (held,) = cli("work-queue", "slots", "narrow")["flow_runs"]
    assert held["id"] in {str(run.id) for run in runs}
    all_ended(yard, runs)
    assert most_at_once(yard, {"narrow"}) == 1 and most_at_once(yard, {"wide"}) == 3


def test_a_pool_at_its_limit_waits_over_all_workers_and_goes_on_when_it_is_raised(yard: Yard, cli: Run) -> None:
    cli("work-pool", "set-concurrency-limit", POOL, "2")
    cli("work-queue", "create", "other")
    runs = [ask(queue, tag="a", seconds=0.7) for queue in (None, "other", None, "other", None)]
    for _ in range(2):
        yard.start_worker()
    yard.until(lambda: len(cli("work-pool", "slots", POOL)["queues"]) == 2)
    all_ended(yard, runs)
    assert most_at_once(yard, {"a"}) == 2
    cli("work-pool", "set-concurrency-limit", POOL, "0")
    last = ask(tag="b")
    time.sleep(1)
    assert yard.state(last) is StateType.SCHEDULED
    assert cli("work-pool", "clear-concurrency-limit", POOL)["concurrency_limit"] is None
    all_ended(yard, [last])


@pytest.mark.parametrize("what", ["queue", "pool"])
def test_what_is_paused_hands_out_nothing_until_it_is_resumed(yard: Yard, cli: Run, what: str) -> None:
    words = {"queue": ["work-queue", "pause", "side"], "pool": ["work-pool", "pause", POOL]}[what]
    cli("work-queue", "create", "side")
    yard.start_worker()
    running = ask("side", tag="running", seconds=2)
    yard.until(lambda: "running" in begun(yard))
    paused = cli(*words)
    assert (paused["is_paused"], paused["status"]) == (True, "PAUSED")
    waiting, elsewhere = ask("side", tag="waiting"), ask(tag="elsewhere")
    all_ended(yard, [running])  # what runs already is left alone
    time.sleep(1)
    assert yard.state(waiting) is StateType.SCHEDULED
    assert ("elsewhere" in begun(yard)) == (what == "queue")
    resumed = time.monotonic()
    assert cli(words[0], "resume", words[2])["is_paused"] is False
    all_ended(yard, [waiting, elsewhere])
    assert time.monotonic() - resumed < 40


def test_a_worker_of_some_queues_takes_runs_of_these_alone(yard: Yard, cli: Run) -> None:
    cli("work-queue", "create", "mine")
    theirs, mine = ask(tag="theirs"), ask("mine", tag="mine")
    yard.start_worker(queue_names=["mine"], name="picky")
    all_ended(yard, [mine])
    assert yard.state(theirs) is StateType.SCHEDULED
    assert cli("worker", "inspect", "picky")[0]["queue_names"] == ["mine"]
    statuses = {one["name"]: one["status"] for one in cli("work-queue", "ls")}
    assert statuses == {"mine": "READY", "default": "NOT_READY"}


def test_a_deleted_queue_leaves_its_runs_to_the_default_one(yard: Yard, cli: Run) -> None:
    cli("work-queue", "create", "gone")
    cli("work-queue", "pause", "gone")
    run = ask("gone", tag="moved")
    yard.start_worker()
    assert [one["id"] for one in cli("work-queue", "read-runs", "gone")] == [str(run.id)]
    assert cli("work-queue", "delete", "gone", "--yes")["name"] == "gone"
    all_ended(yard, [run])


# -- workers


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_worker_that_is_gone_goes_offline(yard: Yard, cli: Run, number: signal.Signals) -> None:
    worker = yard.start_worker(name="w", limit=1)
    yard.until(lambda: any(one["name"] == "w" and one["status"] == "ONLINE" for one in cli("worker", "ls")))
    end = yard.code / "end"
    run = ask(tag="a", until=str(end))  # a worker that has its hands full is online all the same
    yard.until(lambda: begun(yard))
    time.sleep(4)
    (shown,) = cli("worker", "inspect", "w")
    assert shown["status"] == "ONLINE" and shown["heartbeat_interval_seconds"] == 1
    assert [one["id"] for one in shown["flow_runs"]] == [str(run.id)]
    worker.send_signal(number)
    worker.wait(15)
    if number is signal.SIGTERM:
        assert cli("worker", "inspect", "w", "--pool", POOL)[0]["status"] == "OFFLINE"
    yard.until(lambda: cli("worker", "inspect", "w", "--pool", POOL)[0]["status"] == "OFFLINE", 15)
    yard.start_worker(name="w")
    yard.until(lambda: cli("worker", "ls", "--pool", POOL)[0]["status"] == "ONLINE", 15)
    end.touch()
    all_ended(yard, [run])


def test_a_worker_that_was_never_heard_of_is_said(yard: Yard, cli: Run) -> None:
    assert "No worker is named 'nobody'" in cli("worker", "inspect", "nobody", code=3)
    assert "No work pool is named 'none'" in cli("worker", "ls", "--pool", "none", code=3)


# -- the pool of those that name none


def test_a_pool_is_made_the_default_one_for_all_that_name_none(
    yard: Yard, cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MILLRACE_WORK_POOL")
    settings.current.cache_clear()
    (yard.code / "flows.py").write_text("from millrace import flow\n\n@flow\ndef job():\n    pass\n")
    monkeypatch.chdir(yard.code)
    assert cli("deploy", "flows.py:job", "--name", "first")["work_pool_name"] == "default"
    cli("work-pool", "create", "big", "--set-as-default")
    assert cli("deploy", "flows.py:job", "--name", "second")["work_pool_name"] == "big"
    shown = {one["name"]: (one["value"], one["from"]) for one in cli("config", "view")}
    assert shown["MILLRACE_WORK_POOL"] == ("big", "settings.toml")
    monkeypatch.setenv("MILLRACE_WORK_POOL", POOL)
    settings.current.cache_clear()
    assert cli("deploy", "flows.py:job", "--name", "third")["work_pool_name"] == POOL, "the environment comes first"
    monkeypatch.delenv("MILLRACE_WORK_POOL")
    cli("config", "unset", "MILLRACE_WORK_POOL")
    assert cli("deploy", "flows.py:job", "--name", "fourth")["work_pool_name"] == "default"
    for words, said in (
        (("set", "MILLRACE_WROK_POOL=x"), "no setting MILLRACE_WROK_POOL"),
        (("set", "MILLRACE_LEASE_SECONDS=soon"), "lease_seconds cannot be 'soon'"),
        (("set", "MILLRACE_HOME=/x"), "no setting MILLRACE_HOME"),
        (("unset", "MILLRACE_WORK_POOL"), "MILLRACE_WORK_POOL is not in"),
    ):
        assert said in cli("config", *words, code=2)
    (yard.home / "settings.toml").write_text("colour = 'red'\n")
    settings.current.cache_clear()
    assert "settings.toml: there is no setting 'colour'" in cli("config", "view", code=2)
    (yard.home / "settings.toml").unlink()
    settings.current.cache_clear()
