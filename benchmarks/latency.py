"""From the due time to the first line of user code, on a worker that has run before."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import peer
from benchmarks.measure import Row, median_ms, program

FLOW = """
import time
first = time.time()

import os
from PACKAGE import flow


@flow
def tick(due: float = 0.0):
    with open(os.environ["LEDGER"], "a") as ledger:
        print(due, first, file=ledger)
"""

OURS = """
import os, sys, time
sys.path.insert(0, os.getcwd())
from millrace import run_deployment
from tick import tick
tick.deploy("bench", job_variables={"env": {"LEDGER": os.environ["LEDGER"]}}, print_next_steps=False)
run_deployment("tick/bench", timeout=30)
from datetime import datetime, timedelta, timezone
runs = []
for _ in range(30):
    due = datetime.now(timezone.utc) + timedelta(seconds=1)
    run_deployment("tick/bench", parameters={"due": due.timestamp()}, scheduled_time=due, timeout=0)
    time.sleep(1.5)
time.sleep(1)
"""

THEIRS = """
import os, sys, time
from datetime import datetime, timedelta, timezone
from prefect import flow
from prefect.deployments import run_deployment
env = {"env": {"LEDGER": os.environ["LEDGER"]}}
source = flow.from_source(os.getcwd(), "tick.py:tick")
source.deploy("bench", work_pool_name="bench", job_variables=env, build=False, push=False)
run_deployment("tick/bench", timeout=90)
for _ in range(3):
    due = datetime.now(timezone.utc) + timedelta(seconds=1)
    run_deployment("tick/bench", parameters={"due": due.timestamp()}, scheduled_time=due, timeout=90, poll_interval=1)
"""


def _late(ledger: Path) -> list[float]:
    pairs = [tuple(map(float, line.split())) for line in ledger.read_text().splitlines()]
    return sorted(1000 * (first - due) for due, first in pairs if due)


def _ours(place: Path) -> list[float]:
    place.mkdir()
    (place / "tick.py").write_text(FLOW.replace("PACKAGE", "millrace"))
    ledger = place / "ledger"
    env = peer.environment(place / "p", MILLRACE_HOME=str(place / "home"), LEDGER=str(ledger))
    try:
        subprocess.run([sys.executable, "-c", OURS], cwd=place, env=env, check=True, timeout=300)
    finally:
        subprocess.run([sys.executable, "-m", "millrace", "down"], env=env, check=False, capture_output=True)
    return _late(ledger)


def _peer(place: Path) -> list[float]:
    place.mkdir()
    (place / "tick.py").write_text(FLOW.replace("PACKAGE", "prefect"))
    ledger = place / "ledger"
    url = "http://127.0.0.1:42871/api"
    env = peer.environment(place / "home", PREFECT_API_URL=url, LEDGER=str(ledger))
    command = peer.python().parent / "prefect"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": env, "start_new_session": True}
    started = [subprocess.Popen([str(command), "server", "start", "--port", "42871", "--no-ui"], **quiet)]  # type: ignore[call-overload]
    try:
        _wait_for(url + "/health")
        program(peer.python(), "from prefect.cli import app", env)
        subprocess.run(
            [str(command), "work-pool", "create", "bench", "--type", "process"],
            env=env,
            check=True,
            capture_output=True,
        )
        started.append(subprocess.Popen([str(command), "worker", "start", "--pool", "bench"], **quiet))  # type: ignore[call-overload]
        subprocess.run(
            [str(peer.python()), "-c", THEIRS], cwd=place, env=env, check=True, timeout=400, capture_output=True
        )
    finally:
        for process in reversed(started):
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)
    return _late(ledger)


def _wait_for(url: str) -> None:
    for _ in range(600):
        found = subprocess.run(["curl", "-sf", url], capture_output=True, check=False)
        if found.returncode == 0:
            return
        time.sleep(0.1)
    raise TimeoutError(url)


def rows(place: Path) -> list[Row]:
    """The table's rows."""
    ours = _ours(place / "ours")
    theirs = _peer(place / "peer")
    fork = median_ms(lambda: os.waitpid(os.fork() or os._exit(0), 0), 50)
    worst = ours[min(len(ours) - 1, int(0.99 * len(ours)))]
    return [
        Row(
            "due → first line of user code, p50",
            statistics.median(ours),
            statistics.median(theirs),
            fork,
            "p50 ≤ 150 ms",
            f"{len(ours)} runs on a warm worker, peer {len(theirs)}; limit: a fork",
        ),
        Row(
            "due → first line of user code, p99",
            worst,
            theirs[-1],
            fork,
            "p99 ≤ 1,000 ms",
            "the same runs; peer: the slowest",
        ),
    ]
