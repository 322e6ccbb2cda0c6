"""What a task costs beside the executor that runs it: 1, 10 and 10,000 of them, their memory included."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks import peer
from benchmarks.contender import Contender, Measured
from benchmarks.measure import Row

ROUNDS = {1: 7, 10: 7, 100: 5, 10_000: 3}
"""How often each is measured, in turns. The peer and Dask need a minute for 10,000 tasks: there they get one."""
PATIENCE_SECONDS = 300
SETTLE_SECONDS = 1.0

PROGRAM = """
import asyncio
from PACKAGE import flow, task

KIND = "KINDS"

def runner():
    if KIND == "process":
        from millrace import ProcessPoolTaskRunner
        return ProcessPoolTaskRunner(max_workers=2)
    if KIND == "dask":
        from millrace import DaskTaskRunner
        return DaskTaskRunner(cluster_kwargs=dict(n_workers=2, threads_per_worker=1, dashboard_address=":0"))
    return None

@task
def one(x):
    return x

@task
async def later(x):
    return x

@flow
def called(n):
    start, worked = time.perf_counter(), time.process_time()
    for i in range(n):
        one(i)
    return time.perf_counter() - start, time.process_time() - worked

@flow
def submitted(n):
    start, worked = time.perf_counter(), time.process_time()
    sum(future.result() for future in [one.submit(i) for i in range(n)])
    return time.perf_counter() - start, time.process_time() - worked

@flow
def mapped(n):
    start, worked = time.perf_counter(), time.process_time()
    sum(one.map(range(n)).result())
    return time.perf_counter() - start, time.process_time() - worked

@flow
async def gathered(n):
    start, worked = time.perf_counter(), time.process_time()
    await asyncio.gather(*[later(i) for i in range(n)])
    return time.perf_counter() - start, time.process_time() - worked

def once(n):
    if KIND == "async":
        return asyncio.run(gathered(n))
    return {"called": called, "mapped": mapped}.get(KIND, submit)(n)

if __name__ == "__main__":
    submit = submitted
    if runner() is None:
        once(2)
        serve(once)
    else:
        with runner() as kept:
            submit = submitted.with_options(task_runner=kept)
            once(2)
            serve(once)
"""

BARE = """
import asyncio, concurrent.futures

KIND = "KINDS"

def one(x):
    return x

async def later(x):
    return x

async def gathered(n):
    await asyncio.gather(*[later(i) for i in range(n)])

def work(n):
    if KIND == "async":
        asyncio.run(gathered(n))
    elif KIND == "called":
        for i in range(n):
            one(i)
    elif KIND == "mapped":
        sum(pool.map(one, range(n)))
    else:
        sum(future.result() for future in [submit(i) for i in range(n)])

def submit(i):
    return pool.submit(one, i, pure=False) if KIND == "dask" else pool.submit(one, i)

def once(n):
    start, worked = time.perf_counter(), time.process_time()
    work(n)
    return time.perf_counter() - start, time.process_time() - worked

def made():
    if KIND == "process":
        return concurrent.futures.ProcessPoolExecutor(2)
    if KIND == "dask":
        import distributed
        cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0")
        return distributed.Client(cluster)
    return concurrent.futures.ThreadPoolExecutor()

if __name__ == "__main__":
    with made() as pool:
        once(2)
        serve(once)
"""

PEER = ("called", "async", "thread")
NAMES = {
    "called": ("task called", "a function call"),
    "async": ("async task, gathered", "bare asyncio.gather"),
    "thread": ("task submitted to threads", "bare ThreadPoolExecutor"),
    "mapped": ("task mapped over threads", "bare ThreadPoolExecutor.map"),
    "process": ("task submitted to 2 processes", "bare ProcessPoolExecutor"),
    "dask": ("task submitted to 2 Dask workers", "bare Dask client, each result fetched"),
}


def _turns(kind: str, place: Path, env: dict[str, str]) -> Iterator[tuple[int, str, Measured]]:
    """The measurements of one kind, ours, the limit's and the peer's in turns."""
    with ExitStack() as stack:

        def contender(who: str, python: str | Path, text: str) -> Contender:
            filled = text.replace("PACKAGE", who).replace("KINDS", kind)
            return stack.enter_context(Contender(python, filled, place / f"{who}_{kind}.py", env, PATIENCE_SECONDS))

        playing = {
            "bare": contender("bare", sys.executable, BARE),
            "millrace": contender("millrace", sys.executable, PROGRAM),
        }
        if kind in PEER:
            playing["prefect"] = contender("prefect", peer.python(), PROGRAM)
        for n, rounds in ROUNDS.items():
            last = n == max(ROUNDS)
            turns = 1 if last and kind == "dask" else rounds
            for turn in range(turns):
                for who, one in playing.items():
                    if who == "prefect" and last and turn != rounds // 2:
                        continue
                    if (found := one.measure(n)) is not None:
                        yield n, who, found
                    if who == "prefect" and last:
                        one.close()  # what its server still has to do would be a load to the others
                time.sleep(SETTLE_SECONDS if n > 1 else 0)


def _medians(turns: Iterator[tuple[int, str, Measured]]) -> dict[tuple[str, int], Measured]:
    every: dict[tuple[str, int], list[Measured]] = {}
    for n, who, found in turns:
        every.setdefault((who, n), []).append(found)
    medians = {key: [statistics.median(column) for column in zip(*all_, strict=True)] for key, all_ in every.items()}
    for key, all_ in every.items():
        medians[key][3] = max(found[3] for found in all_)  # the peak grows in the first turn only
    return medians


def _rows(kind: str, found: dict[tuple[str, int], Measured]) -> Iterator[Row]:
    what, limit = NAMES[kind]

    def row(label: str, n: int, column: int, target: str, how: str) -> Row:
        mine, its, bare = (found.get((who, n)) for who in ("millrace", "prefect", "bare"))
        assert mine is not None, f"{label}: no answer within {PATIENCE_SECONDS} s"
        return Row(label, mine[column], its and its[column], bare and bare[column], target, how)

    for n in ROUNDS:
        yield row(f"{what}, each of {n:,}", n, 0, "–", f"as the flow sees it; limit: {limit}")
        yield row(f"… processor time, each of {n:,}", n, 1, "flat", "of the process, in the same span")
        if n > 1:
            yield row(f"… the whole flow run, each of {n:,}", n, 2, "–", "call to answer, all recorded")
    most = max(ROUNDS)
    yield row(f"… memory of each of {most:,} (KB)", most, 3, "–", "growth of the peak resident set")
    how = "processor time of garbage collection in the whole run: more objects are alive"
    yield row(f"… the collector's part, each of {most:,}", most, 4, "–", how)
    for few in (10, 100):
        yield _grown(found, few, limit)


def _grown(found: dict[tuple[str, int], Measured], few: int, limit: str) -> Row:
    most = max(ROUNDS)
    grown = {
        who: many[1] / less[1]
        for who in ("millrace", "prefect", "bare")
        if (many := found.get((who, most))) and (less := found.get((who, few))) and less[1]
    }
    how = f"processor time of each of {most:,} / of each of {few}; limit: {limit}"
    return Row(f"… grows from {few} (times)", grown["millrace"], grown.get("prefect"), grown.get("bare"), "1", how)


def rows(place: Path) -> list[Row]:
    """The table's rows."""
    env = peer.environment(place / "prefect", MILLRACE_HOME=str(place / "millrace"))
    try:
        return [row for kind in NAMES for row in _rows(kind, _medians(_turns(kind, place, env)))]
    finally:
        subprocess.run([sys.executable, "-m", "millrace", "down"], env=env, check=False, capture_output=True)
