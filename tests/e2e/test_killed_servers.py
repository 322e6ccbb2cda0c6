"""An embedded server that was killed is there again without anybody's doing: its own worker starts it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from millrace import settings
from millrace.client import locate
from millrace.client.endpoint import Runtime
from millrace.deployments.deployment import RunnerDeployment
from millrace.errors import MillraceError
from millrace.schema.states import StateType
from millrace.workers import lifeline
from millrace.workers.lifeline import Keeper

FLOW = "from millrace import flow\n\n\n@flow\ndef tick():\n    return 1\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data directory of this test's own; nothing of it is left."""
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path))
    settings.current.cache_clear()
    yield tmp_path
    locate.stop_embedded()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get("MILLRACE_HOME") == str(tmp_path):
                process.kill()
    settings.current.cache_clear()


def facts(home: Path) -> Runtime | None:
    return Runtime.read(home / "run/server.json")


def until(true: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


def completed_after(moment: float) -> bool:
    with contextlib.suppress(MillraceError):
        runs = locate.connect().read_flow_runs(flows={"name": {"any_": ["tick"]}})
        return any(
            run.state_type is StateType.COMPLETED and run.start_time and run.start_time.timestamp() > moment
            for run in runs
        )
    return False


def test_a_schedule_fires_again_after_its_server_was_killed(home: Path) -> None:
    (home / "tick_flow.py").write_text(FLOW)
    made = RunnerDeployment.from_storage(home, "tick_flow.py:tick", "often", interval=timedelta(seconds=2))
    made.apply(work_pool_name="default")
    until(lambda: completed_after(0))
    before = facts(home)
    assert before is not None and before.worker_pid is not None
    os.kill(before.pid, signal.SIGKILL)
    killed = time.time()
    # nobody asks for anything: only the file is looked at
    until(lambda: (found := facts(home)) is not None and found.pid != before.pid and found.worker_pid)
    after = facts(home)
    assert after is not None and after.worker_pid != before.worker_pid
    until(lambda: completed_after(killed))
    until(lambda: not locate._lives(before.worker_pid))
    said = (home / "logs/worker.log").read_text()
    assert said.count("was killed: it is started again") == 1, said
    servers = [one for one in psutil.process_iter() if _serves(one, home)]
    assert [one.pid for one in servers] == [after.pid], "there is one server"


def _serves(process: psutil.Process, home: Path) -> bool:
    with contextlib.suppress(psutil.Error):
        words = process.cmdline()
        return "millrace.server.embedded" in words and process.environ().get("MILLRACE_HOME") == str(home)
    return False


def test_a_server_that_was_stopped_stays_so(home: Path) -> None:
    locate.start_embedded()
    until(lambda: (found := facts(home)) is not None and found.worker_pid)
    assert locate.killed() is None
    locate.stop_embedded()
    assert facts(home) is None and locate.killed() is None


def test_a_server_that_was_killed_can_be_stopped(home: Path) -> None:
    locate.start_embedded()
    until(lambda: (found := facts(home)) is not None and found.worker_pid)
    found = facts(home)
    assert found is not None and found.worker_pid is not None
    os.kill(found.pid, signal.SIGKILL)
    until(lambda: locate.killed() is not None)
    assert not locate.stop_embedded(), "none runs"
    assert locate.killed() is None
    until(lambda: not locate._lives(found.worker_pid))  # who would start it again
    assert facts(home) is None


def test_a_server_that_does_not_start_is_left_alone_after_some_tries(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in (("GRACE", 0.0), ("LONGEST", 0.0), ("_LOOK", 0.0), ("MANY", 2)):
        monkeypatch.setattr(lifeline, name, value)
    locate.start_embedded()
    until(lambda: (found := facts(home)) is not None and found.worker_pid)
    found = facts(home)
    assert found is not None and found.worker_pid is not None
    os.kill(found.worker_pid, signal.SIGSTOP)
    os.kill(found.pid, signal.SIGKILL)
    os.kill(found.worker_pid, signal.SIGKILL)
    until(lambda: locate.killed() is not None)
    database = settings.current().database_path
    for file in home.glob(f"{database.name}*"):
        file.write_bytes(b"no database" * 100)
    monkeypatch.setenv(settings.OWN_WORKER, "1")
    keeper = Keeper.appointed()
    assert keeper is not None and settings.OWN_WORKER not in os.environ and Keeper.appointed() is None
    with caplog.at_level("WARNING"):
        assert [keeper.look() for _ in range(5)] == [False] * 5
    said = [record.getMessage() for record in caplog.records]
    assert sum("It did not start" in line for line in said) == 2, said
    assert sum("it is left alone now" in line for line in said) == 1, said
