"""The embedded server as a process: one for a directory, private, durable against kill -9, gone when idle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from millrace.server import embedded, worker_process
from millrace.server.worker_process import WorkerProcess
from millrace.settings import Settings
from promises import Promise

COMMAND = [sys.executable, "-m", "millrace.server.embedded"]


def environment(home: Path, **settings: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MILLRACE_", "PREFECT_"))}
    return kept | {"MILLRACE_HOME": str(home)} | settings


def start(home: Path, **settings: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(COMMAND, env=environment(home, **settings), start_new_session=True, stderr=subprocess.PIPE)


def wait_ready(home: Path, process: subprocess.Popen[bytes], timeout: float = 20) -> dict[str, Any]:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stderr and process.stderr.read()
        try:
            facts: dict[str, Any] = json.loads((home / "run/server.json").read_text())
        except FileNotFoundError:
            time.sleep(0.01)
            continue
        if facts["pid"] == process.pid:
            return facts
        time.sleep(0.01)
    raise AssertionError("the server did not start")


def client_of(facts: dict[str, Any]) -> httpx.Client:
    return httpx.Client(
        base_url=facts["url"],
        transport=httpx.HTTPTransport(uds=facts["socket"]),
        headers={"Authorization": f"Bearer {facts['token']}"},
        timeout=10,
    )


@contextmanager
def running(home: Path, **settings: str) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, Any], httpx.Client]]:
    process = start(home, **settings)
    try:
        facts = wait_ready(home, process)
        with client_of(facts) as client:
            yield process, facts, client
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(20)
        if process.stderr:
            process.stderr.close()


def test_it_is_private_and_leaves_nothing_behind(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with running(home) as (process, facts, client):
        runtime = home / "run/server.json"
        assert runtime.stat().st_mode & 0o777 == 0o600
        assert Path(facts["socket"]).stat().st_mode & 0o777 == 0o600
        assert home.stat().st_mode & 0o077 == 0
        assert abs(facts["create_time"] - psutil.Process(process.pid).create_time()) < 1
        info = client.get("/admin/millrace").json()
        assert (info["embedded"], info["home"]) == (True, str(home))
        pool = client.get("/work_pools/default").json()
        assert pool["type"] == "process"
        assert "command" in pool["base_job_template"]["job_configuration"]
        assert client.get("/admin/version", headers={"Authorization": "Bearer no"}).status_code == 401

        second = subprocess.run(COMMAND, env=environment(home), capture_output=True, timeout=20, check=False)
        assert second.returncode == 0
        assert b"already" in second.stderr
        assert client.get("/health").json() is True

        process.terminate()
        assert process.wait(20) == 0
        assert not runtime.exists()
        assert not Path(facts["socket"]).exists()
        worker = json.dumps(facts)
        assert "worker_pid" in worker
    assert "listening" in (home / "logs" / "server.log").read_text()


def test_it_stops_at_once_though_its_worker_waits_for_work(tmp_path: Path) -> None:
    with running(tmp_path) as (process, _, client):

        def asks() -> bool:
            workers = client.post("/work_pools/default/workers/filter", json={}).json()
            return any(one["status"] == "ONLINE" for one in workers)

        until(asks, 30)
        at_once = Promise(3)  # the worker's question is answered after five seconds, if nothing happens
        process.terminate()
        assert process.wait(30) == 0
        at_once.kept()


def test_kill_9_and_up_again(tmp_path: Path) -> None:
    with running(tmp_path) as (process, facts, client):
        client.post("/flows/", json={"name": "kept"})
        process.kill()
        process.wait()
        assert (tmp_path / "run/server.json").exists()
        started = time.monotonic()
        with running(tmp_path) as (_, again, client_again):
            print(f"up again after {time.monotonic() - started:.2f} s")
            assert again["token"] != facts["token"]
            assert client_again.get("/flows/name/kept").status_code == 200


def test_it_leaves_when_idle_but_not_with_a_schedule(tmp_path: Path) -> None:
    quick = {"MILLRACE_IDLE_EXIT_SECONDS": "1"}
    with running(tmp_path, **quick) as (process, _, client):
        flow = client.post("/flows/", json={"name": "f"}).json()["id"]
        body = {"name": "d", "flow_id": flow, "schedules": [{"schedule": {"cron": "0 0 1 1 *"}, "active": True}]}
        made = client.post("/deployments/", json=body).json()
        time.sleep(2.5)
        assert process.poll() is None
        assert client.delete(f"/deployments/{made['id']}").status_code == 204
        assert process.wait(20) == 0
    assert not (tmp_path / "run/server.json").exists()


def test_a_long_path_gets_a_short_private_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded.tempfile, "gettempdir", lambda: str(tmp_path))
    assert embedded.socket_path(Settings(home=Path("/short"))) == Path("/short/run/server.sock")
    found = embedded.socket_path(Settings(home=tmp_path / ("x" * 120)))
    assert found.parent.parent == tmp_path
    assert found.parent.stat().st_mode & 0o777 == 0o700
    found.parent.chmod(0o755)
    with pytest.raises(embedded.SettingsError, match="private"):
        embedded.socket_path(Settings(home=tmp_path / ("x" * 120)))


def test_a_worker_that_dies_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "SHORTEST_BACKOFF", 0.1)
    monkeypatch.setattr(worker_process, "LONGEST_BACKOFF", 0.2)
    settings = Settings(home=tmp_path)
    settings.logs_directory.mkdir()
    pids: list[int] = []
    program = "import os, time; print(os.environ['MILLRACE_HOME'], flush=True); time.sleep(60)"
    worker = WorkerProcess(settings, pids.append, (sys.executable, "-c", program))
    worker.start()
    try:
        until(lambda: len(pids) == 1)
        os.kill(pids[0], signal.SIGKILL)
        until(lambda: len(pids) == 2)
    finally:
        worker.stop(5)
    assert not psutil.pid_exists(pids[1])
    assert len(pids) == 2


def test_only_a_worker_of_ours_is_killed() -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "millrace", "worker", "start"])
    until(lambda: bool(psutil.Process(left.pid).cmdline()))  # for a moment of its start a process has no words yet
    try:
        worker_process.kill_left_over(other.pid)
        worker_process.kill_left_over("nonsense")
        worker_process.kill_left_over(left.pid)
        left.wait(60)  # psutil was told how it ended; that it ended is enough
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def until(true: Any, timeout: float = 10) -> None:
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)
