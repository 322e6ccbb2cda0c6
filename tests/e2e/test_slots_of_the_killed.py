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

import databases
from millrace.client.endpoint import Endpoint
from millrace.client.synchronous import Client

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
    return databases.empty_postgres(f"millrace_slots_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}")


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


class Holders:
    """Two processes that want one slot: the first is given it, the second waits for it.

    Args:
        how: how they hold it.
        env: theirs.
        client: of the server.
        place: where their script is written.
    """

    def __init__(self, how: str, env: dict[str, str], client: Client, place: Path) -> None:
        self.how, self.env, self.client = how, env, client
        self.gate, self.tag = f"gate {uuid4().hex[:8]}", f"tag{uuid4().hex[:8]}"
        client.create_limit(name=self.gate, limit=1)
        client.create_tag_limit(tag=self.tag, concurrency_limit=1)
        self.script = place / f"{how}.py"
        self.script.write_text(HOLDER + ("asyncio.run(coroutine())" if how == "coroutine" else f"{how}()"))
        self.started: list[subprocess.Popen[str]] = []

    def start(self) -> None:
        """Start the next one."""
        command = [sys.executable, self.script, self.gate, self.tag]
        self.started.append(subprocess.Popen(command, env=self.env, stdout=subprocess.PIPE, text=True))

    def holds(self) -> bool:
        """Whether the last one says so, as soon as it says anything."""
        said = self.started[-1].stdout
        return said is not None and said.readline().strip() == "held"

    def taken(self) -> int:
        """How many slots are held."""
        limit, tag = self.client.read_limit(self.gate), self.client.read_tag_limit(self.tag)
        return limit.active_slots + len(tag.active_slots)

    def end(self) -> None:
        """End those that still live."""
        for process in self.started:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


@pytest.mark.timeout(300)
def test_slots_of_a_holder_that_was_killed_come_back(env: dict[str, str], client: Client, tmp_path: Path) -> None:
    # all of them at once: most of it is waiting for leases to run out
    ways = ("block", "coroutine", "called_task", "submitted_task", "block_in_a_task")
    everybody = [Holders(how, env, client, tmp_path) for how in ways]
    try:
        for one in everybody:
            one.start()
        for one in everybody:
            assert one.holds() and one.taken() == 1, one.how
        time.sleep(2 * LEASE)  # they renew what they hold: nothing comes back while they live
        for one in everybody:
            assert one.taken() == 1, one.how
            one.start()
        for one in everybody:
            one.started[0].kill()
        killed = time.monotonic()
        for one in everybody:
            assert one.holds() and one.taken() == 1, one.how  # who waits for the slot gets it
            one.started[1].kill()
        for one in everybody:
            while one.taken():
                assert time.monotonic() < killed + WAIT, f"{one.how}: the slots of the second did not come back"
                time.sleep(0.1)
    finally:
        for one in everybody:
            one.end()
