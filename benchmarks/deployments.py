"""Two hundred deployments in one call: made, and made again without a change."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from benchmarks import peer
from benchmarks.latency import _wait_for
from benchmarks.measure import Row
from benchmarks.servers import _port

COUNT = 200

FLOW = """
from PACKAGE import flow


@flow
def job(n: int = 0):
    return n
"""

MANY = """
import contextlib, io, json, time
from PACKAGE import deploy
from job import job

def once():
    start = time.perf_counter()
    made = [SOURCE.to_deployment(f"d{n}", parameters={"n": n}, cron="0 3 * * *", tags=["bench"]) for n in range(COUNT)]
    with contextlib.redirect_stdout(io.StringIO()):
        ids = deploy(*made, work_pool_name="POOL", OPTIONS)
    assert len(ids) == COUNT
    return 1000 * (time.perf_counter() - start)

print(json.dumps([once(), once()]))
"""


def _script(package: str, source: str, pool: str, options: str) -> str:
    words = {"PACKAGE": package, "SOURCE": source, "POOL": pool, "OPTIONS": options, "COUNT": str(COUNT)}
    text = MANY
    for word, value in words.items():
        text = text.replace(word, value)
    return text


def _measured(python: str, place: Path, text: str, env: dict[str, str]) -> list[float]:
    done = subprocess.run([python, "-c", text], cwd=place, env=env, check=True, timeout=900, stdout=subprocess.PIPE)
    found: list[float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _ours(place: Path) -> list[float]:
    place.mkdir()
    (place / "job.py").write_text(FLOW.replace("PACKAGE", "millrace"))
    env = peer.environment(place / "p", MILLRACE_HOME=str(place / "home"), PYTHONPATH=str(place))
    try:
        subprocess.run([sys.executable, "-m", "millrace", "up"], env=env, check=True, capture_output=True)
        text = _script("millrace", "job", "default", "ignore_warnings=True")
        return _measured(sys.executable, place, text, env)
    finally:
        subprocess.run([sys.executable, "-m", "millrace", "down"], env=env, check=False, capture_output=True)


def _peer(place: Path) -> list[float]:
    place.mkdir()
    (place / "job.py").write_text(FLOW.replace("PACKAGE", "prefect"))
    port = _port()
    url = f"http://127.0.0.1:{port}/api"
    env = peer.environment(place / "home", PREFECT_API_URL=url, PYTHONPATH=str(place))
    command = str(peer.python().parent / "prefect")
    server = subprocess.Popen(
        [command, "server", "start", "--port", str(port), "--no-ui"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=env,
        start_new_session=True,
    )
    try:
        _wait_for(f"{url}/health")
        pool = [command, "work-pool", "create", "bench", "--type", "process"]
        subprocess.run(pool, env=env, check=True, capture_output=True)
        # A flow of a local file cannot be deployed to a pool by itself there: its directory is said to be its source.
        source = f"job.from_source({str(place)!r}, 'job.py:job')"
        text = _script("prefect", "there", "bench", "build=False, push=False, ignore_warnings=True")
        text = text.replace("    made = ", f"    there = {source}\n    made = ")
        return _measured(str(peer.python()), place, text, env)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def rows(place: Path) -> list[Row]:
    """The rows of the table."""
    ours, theirs = _ours(place / "ours"), _peer(place / "theirs")
    note = "one call of deploy(), with a schedule each; one run"
    return [
        Row(f"{COUNT} deployments in one call", ours[0], theirs[0], None, "", note),
        Row(f"the same {COUNT} again", ours[1], theirs[1], None, "", note),
    ]
