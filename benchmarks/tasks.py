"""What a task costs beside the executor that runs it: 1, 10 and 10,000 of them, their memory included."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks import peer
from benchmarks.measure import Row, program

SIZES = (1, 10, 10_000)
LIMIT_SECONDS = 300

PROGRAM = """
import asyncio, json, resource, statistics, time
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
def plain(n):
    start, worked = time.perf_counter(), time.process_time()
    sum(future.result() for future in [one.submit(i) for i in range(n)])
    return time.perf_counter() - start, time.process_time() - worked

@flow
async def gathered(n):
    start, worked = time.perf_counter(), time.process_time()
    await asyncio.gather(*[later(i) for i in range(n)])
    return time.perf_counter() - start, time.process_time() - worked

def once(n):
    start = time.perf_counter()
    inside, worked = asyncio.run(gathered(n)) if KIND == "async" else called(n) if KIND == "called" else run(n)
    return 1000 * inside / n, 1000 * worked / n, 1000 * (time.perf_counter() - start) / n

def measured():
    once(2)
    found = {}
    for n in SIZES:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        times = [once(n) for _ in range(REPEATS if n > 100 else 7)]
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        found[n] = [statistics.median(one) for one in zip(*times)] + [grown / n]
    print("RESULT" + json.dumps(found))

if __name__ == "__main__":
    if runner() is None:
        run = plain
        measured()
    else:
        with runner() as kept:
            run = plain.with_options(task_runner=kept)
            measured()
"""

BARE = """
import asyncio, concurrent.futures, json, statistics, time

KIND = "KINDS"

def one(x):
    return x

async def later(x):
    return x

async def gathered(n):
    await asyncio.gather(*[later(i) for i in range(n)])

def once(pool, n):
    start = time.perf_counter()
    if KIND == "async":
        asyncio.run(gathered(n))
    elif KIND == "called":
        for i in range(n):
            one(i)
    else:
        sum(future.result() for future in [submit(pool, i) for i in range(n)])
    return 1000 * (time.perf_counter() - start) / n

def submit(pool, i):
    return pool.submit(one, i, pure=False) if KIND == "dask" else pool.submit(one, i)

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
        once(pool, 2)
        found = {n: statistics.median(once(pool, n) for _ in range(3 if n > 100 else 7)) for n in SIZES}
        print("RESULT" + json.dumps(found))
"""


Measured = dict[str, list[float]]


def _run(python: str | Path, text: str, package: str, kind: str, place: Path, env: dict[str, str]) -> Measured:
    """What a program measured; nothing if it takes too long."""
    script = place / f"{package}_{kind}.py"
    repeats = 3 if package == "millrace" and kind in IN_PROCESS else 1  # a minute and more for each of the others
    filled = text.replace("PACKAGE", package).replace("KINDS", kind).replace("SIZES", repr(SIZES))
    filled = filled.replace("REPEATS", repr(repeats))
    script.write_text(filled)
    call = f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')"
    if kind in ("dask", "process"):  # bare pools import the script again in their processes
        call = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, {str(script)!r}]).returncode)"
    try:
        out = program(python, call, env, LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        return {}
    found: Measured = json.loads(out.split("RESULT", 1)[1])
    return found


IN_PROCESS = ("called", "async", "thread")
NAMES = {
    "called": ("task called", "a function call"),
    "thread": ("task submitted to threads", "bare ThreadPoolExecutor"),
    "async": ("async task, gathered", "bare asyncio.gather"),
    "process": ("task submitted to 2 processes", "bare ProcessPoolExecutor"),
    "dask": ("task submitted to 2 Dask workers", "bare Dask client, each result fetched"),
}


def rows(place: Path) -> list[Row]:
    """The table's rows."""
    env = peer.environment(place / "prefect", MILLRACE_HOME=str(place / "millrace"))
    found: list[Row] = []
    for kind, (what, limit) in NAMES.items():
        ours = _run(sys.executable, PROGRAM, "millrace", kind, place, env)
        bare = _run(sys.executable, BARE, "bare", kind, place, env)
        theirs = _run(peer.python(), PROGRAM, "prefect", kind, place, env) if kind in IN_PROCESS else {}
        for n in map(str, SIZES):
            mine, its, count = ours[n], theirs.get(n, [None] * 4), f"{int(n):,}"
            how = f"as the flow sees it; limit: {limit}"
            found.append(Row(f"{what}, each of {count}", mine[0], its[0], bare[n], "flat", how))  # type: ignore[arg-type]
            work = f"… processor time of the flow's process, each of {count}"
            found.append(
                Row(work, mine[1], its[1], None, "flat", "the same span; other work on the machine adds little")
            )
            whole = f"… the whole flow run, each of {count}"
            found.append(Row(whole, mine[2], its[2], None, "flat", "call to answer, all recorded"))
        most = str(SIZES[-1])
        memory = f"… memory, KB for each of {SIZES[-1]:,} (not ms)"
        how = "growth of the peak resident set of the flow's process"
        found.append(Row(memory, ours[most][3], theirs.get(most, [None] * 4)[3], None, "flat", how))
    subprocess.run([sys.executable, "-m", "millrace", "down"], env=env, check=False, capture_output=True)
    return found
