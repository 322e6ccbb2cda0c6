"""kill -9 of server, worker and child at random moments; a ledger that the flow syncs itself is the witness.

`MILLRACE_CHAOS_TRIALS` says how many trials (1 in `make test`), `MILLRACE_CHAOS_SEED` which ones.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from millrace.errors import MillraceError
from millrace.schema.runs import FlowRun
from millrace.schema.states import TERMINAL, StateType

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))


from yard import LEASE, Yard, open_yard

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

TRIALS = int(os.environ.get("MILLRACE_CHAOS_TRIALS", "1"))
SEED = int(os.environ.get("MILLRACE_CHAOS_SEED", "0")) or random.randrange(1 << 30)

JOB = """
@flow(log_prints=True, retries=RETRIES)
def job(seconds: float = 1.0):
    note("begin")
    until = time.monotonic() + seconds
    number = 0
    while time.monotonic() < until:
        number += 1
        print("line", number)
        note("beat", number=number)
        time.sleep(0.1)
    note("end")
"""


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    yield from open_yard(tmp_path, monkeypatch)


def _check(yard: Yard, runs: list[FlowRun], retries: int) -> None:
    """I1, I3, I4 and I7, and P3."""
    for run in runs:
        entries = yard.entries(run)
        found = yard.client.read_flow_run(run.id)  # I1: the acknowledged run is there
        attempts = {entry["attempt"] for entry in entries}
        assert found.state_type in TERMINAL, (found.state, entries[-1:])  # I4, after the faults have stopped
        if retries == 0:
            assert len([e for e in entries if e["what"] == "begin"]) <= 1, entries  # P3
        if found.state_type is StateType.COMPLETED:
            assert entries[-1]["what"] == "end"
        spans = sorted(
            (min(e["at"] for e in entries if e["attempt"] == a), max(e["at"] for e in entries if e["attempt"] == a))
            for a in attempts
        )
        for (_, last), (first, _) in itertools.pairwise(spans):
            assert last <= first, f"I3: attempts overlap: {spans}"
        _check_logs(yard, run)


def _check_logs(yard: Yard, run: FlowRun) -> None:
    """I7: what is in the spool is in the database, in order."""
    folder = yard.home / "runs" / str(run.id)
    spooled = [
        line
        for file in sorted(folder.glob("*.log.jsonl"), key=lambda f: int(f.name.split(".")[0]))
        for line in file.read_text().splitlines()
        if '"line ' in line
    ]

    def arrived() -> bool:
        stored = [log for log in yard.logs(run) if log.message.startswith("line ")]
        return len(stored) == len(spooled)

    yard.until(arrived, 20)


def _hit(yard: Yard, target: str, worker: list[object], dice: random.Random) -> None:
    if target == "server":
        yard.kill(yard.server)
        time.sleep(dice.uniform(0, 1))
        yard.start_server()
    elif target == "worker":
        yard.kill(worker[0])  # type: ignore[arg-type]
        time.sleep(dice.uniform(0, 1))
        worker[0] = yard.start_worker()
    else:
        living = [int(note["pid"]) for note in yard.entries(what="beat")[-3:]]
        with contextlib.suppress(ProcessLookupError, IndexError):
            pid = dice.choice(living)
            if "child" in " ".join(psutil.Process(pid).cmdline()) or psutil.Process(pid).ppid():
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("retries", [0, 2])
@pytest.mark.parametrize("trial", range(TRIALS))
def test_random_kills(yard: Yard, trial: int, retries: int) -> None:
    dice = random.Random(SEED + trial)
    print("MILLRACE_CHAOS_SEED", SEED + trial)
    deployment = yard.deployment(JOB.replace("RETRIES", str(retries)))
    worker: list[object] = [yard.start_worker(limit=4)]
    runs: list[FlowRun] = []
    for _ in range(4):
        for _ in range(2):
            with contextlib.suppress(MillraceError):
                runs.append(yard.run(deployment, seconds=dice.uniform(0.2, 2)))
        time.sleep(dice.uniform(0.1, 1.5))
        with contextlib.suppress(psutil.Error):
            _hit(yard, dice.choice(["server", "worker", "child"]), worker, dice)
    for run in runs:
        yard.wait(run, seconds=60)
    _check(yard, runs, retries)


@pytest.mark.parametrize("retries", [0, 1])
def test_a_dead_machine(yard: Yard, retries: int) -> None:
    """P4: worker and child die together; the run is over or runs again soon after its lease."""
    deployment = yard.deployment(JOB.replace("RETRIES", str(retries)))
    worker = yard.start_worker()
    run = yard.run(deployment, seconds=2 if retries else 60)
    yard.until(lambda: len(yard.entries(run, "beat")) > 3)
    yard.kill(worker)  # first, or it would see its child die
    for process in yard.labelled(run):
        with contextlib.suppress(psutil.Error):
            process.kill()
    died = time.monotonic()
    if retries:
        yard.wait(run, StateType.SCHEDULED, seconds=LEASE + 8)
        yard.start_worker()
        assert yard.wait(run).state_type is StateType.COMPLETED
        assert len(yard.entries(run, "begin")) == 2
    else:
        assert yard.wait(run, seconds=LEASE + 8).state_type is StateType.CRASHED
        assert time.monotonic() - died < LEASE + 8
        yard.start_worker()  # it sends what the dead ones left in the spool
    _check(yard, [run], retries)


def test_a_server_restart_kills_no_healthy_run(yard: Yard) -> None:
    """P10, with the server away for longer than a lease."""
    deployment = yard.deployment(JOB.replace("RETRIES", "0"))
    yard.start_worker()
    run = yard.run(deployment, seconds=LEASE + 5)
    yard.until(lambda: yard.entries(run, "beat"))
    yard.kill(yard.server)
    time.sleep(LEASE + 1)
    yard.start_server()
    assert yard.wait(run).state_type is StateType.COMPLETED
    _check(yard, [run], 0)


def test_a_frozen_attempt_is_fenced_off(yard: Yard) -> None:
    """P3: a stopped process loses its lease; when it wakes, it may write nothing and ends."""
    deployment = yard.deployment(JOB.replace("RETRIES", "1"))
    worker = yard.start_worker()
    run = yard.run(deployment, seconds=4)
    yard.until(lambda: yard.entries(run, "beat"))
    pid = yard.entries(run, "begin")[0]["pid"]
    yard.kill(worker)
    os.kill(pid, signal.SIGSTOP)
    yard.wait(run, StateType.SCHEDULED, seconds=LEASE + 8)
    yard.start_worker()
    yard.until(lambda: len(yard.entries(run, "begin")) == 2)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
    ended = yard.wait(run)
    assert ended.state_type is StateType.COMPLETED and ended.attempt >= 2
    _check(yard, [run], 1)
