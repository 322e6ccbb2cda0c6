"""100 small runs of the real Prefect client, against our server and against its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import peer
from benchmarks.measure import Row, program
from benchmarks.servers import _port

RUNS = 100
# A run of the client ends with a wait for its logs of up to a second, whatever the server: so ten threads run them.
PROGRAM = f"""
import time
from concurrent.futures import ThreadPoolExecutor
from prefect import flow, task

@task
def one(x):
    return x

@flow
def small():
    return one(1) + one(2)

small()
with ThreadPoolExecutor(10) as pool:
    start = time.perf_counter()
    assert sum(pool.map(lambda _: small(), range({RUNS}))) == 3 * {RUNS}
    print("RESULT", 1000 * (time.perf_counter() - start) / {RUNS})
"""


@contextmanager
def _server(command: list[str], env: dict[str, str], port: int) -> Iterator[int]:
    """A server while the block lasts; the answer is its process."""
    server = subprocess.Popen(
        command, env=env, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=1):
                    break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        yield server.pid
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)


def _spent(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _measure(command: list[str], env: dict[str, str], port: int) -> tuple[float, float]:
    """Milliseconds a run, and of these the server's processor time."""
    with _server(command, env, port) as pid:
        before = _spent(pid)
        api = {**env, "PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
        took = float(program(peer.python(), PROGRAM, api).split("RESULT", 1)[1])
        return took, 1000 * (_spent(pid) - before) / (RUNS + 1)


def rows(place: Path) -> list[Row]:
    """The table's rows."""
    env = peer.environment(place / "prefect", MILLRACE_HOME=str(place / "millrace"))
    port = _port()
    address = ["server", "start", "--host", "127.0.0.1", "--port", str(port)]
    ours, ours_cpu = _measure([sys.executable, "-m", "millrace", *address, "--no-token"], env, port)
    theirs, theirs_cpu = _measure([str(peer.python()), "-m", "prefect", *address, "--no-ui"], env, port)
    note = f"{RUNS} runs of two tasks, ten at a time; ours: the Millrace server, peer: Prefect's own"
    return [
        Row("a small run of the real Prefect client", ours, theirs, None, "≤ its own server", note),
        Row("… the server's processor time of it", ours_cpu, theirs_cpu, None, "≤ its own server", note),
    ]
