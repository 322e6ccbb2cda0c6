"""A flow that runs in this process goes on while its embedded server is killed; its records are there afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from millrace import flow, settings, task
from millrace.client.locate import connect, embedded_status, revive, start_embedded, stop_embedded
from millrace.engine.recorder import recorder
from millrace.schema.states import StateType


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data directory of this test's own, with a server."""
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path))
    settings.current.cache_clear()
    start_embedded()
    yield tmp_path
    stop_embedded()
    settings.current.cache_clear()


def kill_server() -> None:
    runtime = embedded_status()
    assert runtime is not None
    if runtime.worker_pid is not None:  # it would start the server again, which is not what is looked at here
        os.kill(runtime.worker_pid, signal.SIGKILL)
    os.kill(runtime.pid, signal.SIGKILL)
    while embedded_status() is not None:
        time.sleep(0.01)


def check_records(name: str, tasks: int) -> None:
    client = connect()
    [run] = client.read_flow_runs(flows={"name": {"any_": [name]}})
    assert run.state_type is StateType.COMPLETED
    recorder().flush(logs=True)
    lines = [line.message for line in client.read_logs(logs={"flow_run_id": {"any_": [run.id]}})]
    assert "before" in lines and "after" in lines
    found = client.read_task_runs(task_runs={"flow_run_id": {"any_": [run.id]}})
    assert [one.state_type for one in found] == [StateType.COMPLETED] * tasks


def test_a_flow_survives_its_server(home: Path) -> None:
    @task
    def square(n: int) -> int:
        return n * n

    @flow(name="survivor", log_prints=True)
    def survivor() -> int:
        print("before")
        first = square(2)
        kill_server()
        print("after")
        return first + sum(square.map([1, 2, 3]).result())

    began = time.monotonic()
    assert survivor() == 18
    assert time.monotonic() - began < 15
    check_records("survivor", 4)


def test_an_async_flow_survives_its_server(home: Path) -> None:
    @flow(name="asurvivor", log_prints=True)
    async def asurvivor() -> int:
        print("before")
        kill_server()
        print("after")
        await asyncio.sleep(0.1)
        return 5

    assert asyncio.run(asurvivor()) == 5
    check_records("asurvivor", 0)


def test_a_server_that_was_stopped_is_started_only_for_a_proposal(home: Path) -> None:
    client = connect()
    stop_embedded()
    revive(client)
    assert embedded_status() is None
    revive(client, stopped=True)
    assert embedded_status() is not None


def test_no_server_is_started_where_that_is_not_wanted(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = connect()
    kill_server()
    monkeypatch.setenv("MILLRACE_AUTOSTART", "false")
    settings.current.cache_clear()
    revive(client, stopped=True)
    assert embedded_status() is None


def test_a_server_that_is_a_zombie_is_started_again(home: Path) -> None:
    """As in a container whose first process fetches no exit codes."""
    client = connect()
    runtime = embedded_status()
    assert runtime is not None and client.endpoint.token == runtime.token
    keeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    facts = json.loads((home / "run/server.json").read_text())
    kill_server()
    (home / "run/server.json").write_text(json.dumps({**facts, "pid": keeper.pid, "worker_pid": None}))
    os.kill(keeper.pid, signal.SIGKILL)
    os.waitid(os.P_PID, keeper.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and its exit code is not fetched
    try:
        assert connect().health()
        assert connect().endpoint.token != facts["token"]
    finally:
        keeper.wait()
