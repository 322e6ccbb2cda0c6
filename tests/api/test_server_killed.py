"""A flow that runs in this process goes on while its embedded server is killed; its records are there afterwards."""

from __future__ import annotations

import asyncio
import os
import signal
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
