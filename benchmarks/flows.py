"""Flow and task overhead: an empty flow again and again, 200 submitted tasks, 200 called in sequence."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import peer
from benchmarks.measure import Row, median_ms, program

PROGRAM = """
import json, statistics, time
from PACKAGE import flow, task

@flow
def empty():
    return None

@task
def one(x):
    return x

@flow
def submitted(n):
    start = time.perf_counter()
    sum(future.result() for future in [one.submit(i) for i in range(n)])
    return time.perf_counter() - start

@flow
def called(n):
    start = time.perf_counter()
    sum(one(i) for i in range(n))
    return time.perf_counter() - start

empty()
times = []
for _ in range(REPEATS):
    start = time.perf_counter(); empty(); times.append(time.perf_counter() - start)
found = {"empty": 1000 * statistics.median(times)}
for name, run in (("submitted", submitted), ("called", called)):
    run(2)
    inside, whole = [], []
    for _ in range(3):
        start = time.perf_counter(); inside.append(run(200)); whole.append(time.perf_counter() - start)
    found[name] = 1000 * statistics.median(inside) / 200
    found[name + " whole"] = 1000 * statistics.median(whole)
print("RESULT" + json.dumps(found))
"""


def _run(python: str | Path, package: str, repeats: int, env: dict[str, str]) -> dict[str, float]:
    out = program(python, PROGRAM.replace("PACKAGE", package).replace("REPEATS", str(repeats)), env)
    found: dict[str, float] = json.loads(out.split("RESULT", 1)[1])
    return found


def _two_commits(place: Path) -> float:
    with sqlite3.connect(place / "limit.db", isolation_level=None) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("CREATE TABLE t (x)")

        def twice() -> None:
            for _ in range(2):
                database.execute("INSERT INTO t VALUES (1)")

        return median_ms(twice, 200)


def rows(place: Path) -> list[Row]:
    """The table's rows."""
    env = peer.environment(place / "prefect", MILLRACE_HOME=str(place / "millrace"))
    ours = _run(sys.executable, "millrace", 50, env)
    subprocess.run([sys.executable, "-m", "millrace", "down"], env=env, check=False, capture_output=True)
    theirs = _run(peer.python(), "prefect", 5, env)
    with ThreadPoolExecutor() as pool:
        start = time.perf_counter()
        sum(future.result() for future in [pool.submit(abs, i) for i in range(10_000)])
        submit = 1000 * (time.perf_counter() - start) / 10_000
    call = median_ms(lambda: [abs(i) for i in range(200)], 50) / 200
    return [
        Row(
            "empty flow, called again and again",
            ours["empty"],
            theirs["empty"],
            _two_commits(place),
            "≤ 10 ms, ≥ 100 ×",
            "limit: two durable commits",
        ),
        Row(
            "task.submit(…).result(), of 200",
            ours["submitted"],
            theirs["submitted"],
            submit,
            "≤ 0.3 ms, ≥ 50 ×",
            "as the flow sees it; limit: the bare executor",
        ),
        Row(
            "flow of 200 submitted tasks, all recorded",
            ours["submitted whole"],
            theirs["submitted whole"],
            200 * submit,
            "–",
            "call to answer",
        ),
        Row(
            "task called in sequence, of 200",
            ours["called"],
            theirs["called"],
            call,
            "≤ 0.2 ms",
            "as the flow sees it; limit: a function call",
        ),
        Row(
            "flow of 200 called tasks, all recorded",
            ours["called whole"],
            theirs["called whole"],
            200 * call,
            "–",
            "call to answer",
        ),
    ]
