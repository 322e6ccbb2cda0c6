"""Slots come back when their holder is killed: blocks of both colours, tags of tasks, on each database."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

import needs
from millrace.client.endpoint import Endpoint
from millrace.client.synchronous import Client

POSTGRES = os.environ.get("MILLRACE_TEST_POSTGRES")
LEASE = 3
WAIT = 90.0

HOLDER = """
import asyncio, sys, time
from millrace import concurrency, flow, task
from millrace.concurrency.asyncio import concurrency as aconcurrency

GATE, TAG = sys.argv[1:]

def held():
    print("held", flush=True)
    time.sleep(600)

@flow
def block():
    with concurrency(GATE):
        held()

@flow
async def coroutine():
    async with aconcurrency(GATE):
        print("held", flush=True)
        await asyncio.sleep(600)

@task(tags=[TAG])
def tagged():
    held()

@task
def inside():
    with concurrency(GATE):
        held()

@flow
def called_task():
    tagged()

@flow
def submitted_task():
    tagged.submit().result()

@flow
def block_in_a_task():
    inside.submit().result()
"""


@pytest.fixture(params=["sqlite", "postgres"], scope="module")
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path_factory.mktemp('data')}/millrace.db"
    if not POSTGRES:
        reason = "MILLRACE_TEST_POSTGRES is not set to a server's URL: scripts/start_postgres.sh starts one, prints it"
        needs.missing(reason)
    name = f"millrace_slots_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    engine = create_engine(make_url(POSTGRES).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return make_url(POSTGRES).set(database=name).render_as_string(hide_password=False)


@pytest.fixture(scope="module")
def env(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A shared server on that database, as its clients reach it."""
    home = tmp_path_factory.mktemp("mill")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MILLRACE_", "PREFECT_"))}
    kept |= {"MILLRACE_HOME": str(home), "MILLRACE_LEASE_SECONDS": str(LEASE), "MILLRACE_SWEEP_SECONDS": "0.5"}
    command = [sys.executable, "-m", "millrace", "server", "start", "--port", "0", "--no-token"]
    log = home / "server.txt"
    with log.open("wb") as told:
        server = subprocess.Popen([*command, "--database-url", database], env=kept, stdout=told, stderr=told)
    try:
        deadline = time.monotonic() + WAIT
        while "serves http" not in log.read_text():
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        url = log.read_text().split("serves ")[1].split(";")[0]
        yield kept | {"MILLRACE_API_URL": url}
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture
def client(env: dict[str, str]) -> Iterator[Client]:
    """A client of that server."""
    with Client(Endpoint(env["MILLRACE_API_URL"])) as found:
        yield found


@pytest.mark.timeout(240)
@pytest.mark.parametrize("how", ["block", "coroutine", "called_task", "submitted_task", "block_in_a_task"])
def test_slots_of_a_holder_that_was_killed_come_back(
    env: dict[str, str], client: Client, tmp_path: Path, how: str
) -> None:
    gate, tag = f"gate {uuid4().hex[:8]}", f"tag{uuid4().hex[:8]}"
    client.create_limit(name=gate, limit=1)
    client.create_tag_limit(tag=tag, concurrency_limit=1)

    def taken() -> int:
        return client.read_limit(gate).active_slots + len(client.read_tag_limit(tag).active_slots)

    script = tmp_path / "holder.py"
    script.write_text(HOLDER + ("asyncio.run(coroutine())" if how == "coroutine" else f"{how}()"))

    def started() -> subprocess.Popen[str]:
        return subprocess.Popen([sys.executable, script, gate, tag], env=env, stdout=subprocess.PIPE, text=True)

    first = started()
    second: subprocess.Popen[str] | None = None
    try:
        assert first.stdout is not None
        assert first.stdout.readline().strip() == "held"
        assert taken() == 1
        time.sleep(2 * LEASE)  # it renews what it holds: nothing comes back while it lives
        assert taken() == 1
        second = started()
        assert second.stdout is not None
        first.kill()
        killed = time.monotonic()
        assert second.stdout.readline().strip() == "held"  # who waits for the slot gets it
        assert taken() == 1
        second.kill()
        while taken():
            assert time.monotonic() < killed + WAIT, "the slots of the second did not come back"
            time.sleep(0.1)
    finally:
        for process in (first, second):
            if process is not None and process.stdout is not None:
                process.kill()
                process.wait()
                process.stdout.close()
