"""Flow and task overhead: an empty flow again and again, 200 submitted tasks, 200 called in sequence."""

from __future__ import annotations

import statistics
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from benchmarks import peer
from benchmarks.contender import Contender, Measured
from benchmarks.measure import Row

ROUNDS = 5
TASKS = 200
PATIENCE_SECONDS = 300

PROGRAM = """
import asyncio
from PACKAGE import flow, task

@flow
def empty():
    return None

@flow
async def empty_async():
    return None

@task
def one(x):
    return x

@flow
def submitted(n):
    start, worked = time.perf_counter(), time.process_time()
    sum(future.result() for future in [one.submit(i) for i in range(n)])
    return time.perf_counter() - start, time.process_time() - worked

@flow
def called(n):
    start, worked = time.perf_counter(), time.process_time()
    sum(one(i) for i in range(n))
    return time.perf_counter() - start, time.process_time() - worked

def again(n):
    start, worked = time.perf_counter(), time.process_time()
    for _ in range(n):
        empty() if KIND == "empty" else asyncio.run(empty_async())
    return time.perf_counter() - start, time.process_time() - worked

KIND = "KINDS"
once = {"submitted": submitted, "called": called}.get(KIND, again)
once(2)
serve(once)
"""

BARE = """
import concurrent.futures, sqlite3

KIND = "KINDS"
pool = concurrent.futures.ThreadPoolExecutor()
database = sqlite3.connect("PLACE", isolation_level=None)
database.execute("PRAGMA journal_mode=WAL")
database.execute("PRAGMA synchronous=FULL")
database.execute("CREATE TABLE IF NOT EXISTS t (x)")

def work(n):
    if KIND == "submitted":
        sum(future.result() for future in [pool.submit(abs, i) for i in range(n)])
    elif KIND == "called":
        sum(abs(i) for i in range(n))
    else:
        for _ in range(2 * n):
            database.execute("INSERT INTO t VALUES (1)")

def once(n):
    start, worked = time.perf_counter(), time.process_time()
    work(n)
    return time.perf_counter() - start, time.process_time() - worked

once(2)
serve(once)
"""

KINDS = {
    "empty": ("empty flow, called again and again", "≤ 10 ms, ≥ 100 ×", "limit: two durable commits"),
    "async": ("empty async flow, awaited again and again", "≤ 10 ms, ≥ 100 ×", "limit: two durable commits"),
    "submitted": (
        f"task.submit(…).result(), of {TASKS}",
        "≤ 0.3 ms, ≥ 50 ×",
        "as the flow sees it; limit: the bare executor",
    ),
    "called": (f"task called in sequence, of {TASKS}", "≤ 0.2 ms", "as the flow sees it; limit: a function call"),
}


def _medians(kind: str, place: Path, env: dict[str, str]) -> dict[str, Measured]:
    texts = {
        "bare": (sys.executable, BARE.replace("PLACE", str(place / "limit.db"))),
        "millrace": (sys.executable, PROGRAM),
        "prefect": (peer.python(), PROGRAM),
    }
    found: dict[str, list[Measured]] = {who: [] for who in texts}
    with ExitStack() as stack:
        playing = {
            who: stack.enter_context(
                Contender(
                    python,
                    text.replace("PACKAGE", who).replace("KINDS", kind),
                    place / f"{who}_{kind}.py",
                    env,
                    PATIENCE_SECONDS,
                )
            )
            for who, (python, text) in texts.items()
        }
        for _ in range(ROUNDS):
            for who, one in playing.items():
                few = 1 if who == "prefect" else 10  # an empty flow of the peer's takes a second
                measured = one.measure(few if kind in ("empty", "async") else TASKS)
                if measured is not None:
                    found[who].append(measured)
    return {who: [statistics.median(column) for column in zip(*all_, strict=True)] for who, all_ in found.items()}


def _rows(kind: str, found: dict[str, Measured]) -> list[Row]:
    what, target, how = KINDS[kind]

    def row(label: str, column: int, times: int, target: str, how: str) -> Row:
        ours, theirs, bare = ([times * each for each in found[who]] for who in ("millrace", "prefect", "bare"))
        return Row(label, ours[column], theirs[column] if theirs else None, bare[column], target, how)

    made = [row(what, 0, 1, target, how), row("… processor time of it", 1, 1, "–", "of the process that calls")]
    if kind not in ("empty", "async"):
        made.append(row(f"flow of {TASKS} {kind} tasks, all recorded", 2, TASKS, "–", "call to answer"))
    return made


def rows(place: Path) -> list[Row]:
    """The table's rows."""
    env = peer.environment(place / "prefect", MILLRACE_HOME=str(place / "millrace"))
    try:
        return [row for kind in KINDS for row in _rows(kind, _medians(kind, place, env))]
    finally:
        subprocess.run([sys.executable, "-m", "millrace", "down"], env=env, check=False, capture_output=True)
