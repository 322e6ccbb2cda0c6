"""A server and workers as real processes in a data directory of their own, and flows that keep a ledger."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest

from millrace import settings
from millrace.client import locate
from millrace.client.endpoint import Endpoint, Runtime
from millrace.client.synchronous import Client
from millrace.deployments.deployment import RunnerDeployment
from millrace.errors import MillraceError
from millrace.schema.flows import IdCondition
from millrace.schema.logs import Log, LogFilter, LogQuery
from millrace.schema.pools import WorkPoolCreate
from millrace.schema.runs import DeploymentFlowRunCreate, FlowRun
from millrace.schema.states import StateType
from millrace.workers.execution import template_of
from millrace.workers.process import ProcessKind

POOL = "yard"
WORKER = "import logging, sys; logging.basicConfig(level='INFO'); from millrace.workers.worker import Worker; "

LEASE = 5.0
"""Seconds; shorter ones run out on a busy machine with two cores."""

PAUSE = 0.03
"""Seconds between the first two looks at what is waited for."""

# A flow appends to the ledger and syncs before it goes on: a check never trusts the database alone.
LEDGER = """
import json, os, signal, subprocess, sys, time
from millrace import flow, task, get_run_logger

def note(what, **more):
    lease = json.loads(os.environ.get("MILLRACE__LEASE", "{}"))
    entry = {"what": what, "run": os.environ["MILLRACE__FLOW_RUN_ID"], "attempt": lease.get("attempt", 0),
             "pid": os.getpid(), "at": time.time(), **more}
    file = os.open(LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, (json.dumps(entry) + "\\n").encode())
    os.fsync(file)
    os.close(file)
"""


class Yard:
    """One data directory with a server, workers and a ledger.

    Args:
        home: the data directory.
        code: where flows are written.

    Attributes:
        pool: where its deployments go.
    """

    pool = POOL

    def __init__(self, home: Path, code: Path) -> None:
        self.home = home
        self.code = code
        self.ledger_file = code / "ledger.jsonl"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.server: subprocess.Popen[bytes] | None = None

    # -- processes

    def start_server(self) -> None:
        """Start the embedded server and wait until it answers."""
        (self.home / "logs").mkdir(parents=True, exist_ok=True)
        # Its own worker would be for the pool `default`; ours is another.
        self.server = self._spawn("server", [sys.executable, "-m", "millrace.server.embedded", "--no-worker"])
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            runtime = Runtime.read(self.home / "run/server.json")
            if runtime is not None and runtime.pid == self.server.pid:
                with contextlib.suppress(MillraceError):
                    endpoint = Endpoint.embedded(runtime, self.home / "run/server.json")
                    with Client(endpoint, patience=0.1) as asking:
                        if asking.health():
                            return
            assert self.server.poll() is None, self.said("server")
            time.sleep(0.05)
        raise AssertionError("the server did not answer: " + self.said("server"))

    def start_worker(
        self, limit: int | None = None, pool: str | None = None, **options: Any
    ) -> subprocess.Popen[bytes]:
        """Start a worker, of its own pool where no other is named."""
        pool = pool or self.pool
        program = f"{WORKER}Worker({pool!r}, limit={limit!r}, **{options!r}).run()"
        return self._spawn("worker", [sys.executable, "-c", program])

    def _spawn(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        log = self.home / "logs" / f"{name}.txt"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True, cwd=self.home)
        self.processes.append(process)
        return process

    def said(self, name: str) -> str:
        """What a process wrote."""
        return (self.home / "logs" / f"{name}.txt").read_text()[-3000:]

    def kill(self, process: subprocess.Popen[bytes] | None) -> None:
        """kill -9."""
        assert process is not None
        process.kill()
        process.wait()

    def close(self) -> None:
        """End everything that belongs to this directory."""
        with contextlib.suppress(MillraceError):
            self.client.close()
        self.end_processes()

    def end_processes(self) -> None:
        """End what was started here, and what that started."""
        mine = str(self.home)
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            process.wait()
        for other in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if other.pid != os.getpid() and other.environ().get("MILLRACE_HOME") == mine:
                    other.kill()

    def clear(self, *, pools: bool = True) -> None:
        """Delete what a test made at the server: the next one finds it as if it had been started for it.

        Args:
            pools: also the pools; a worker whose pool is deleted ends.
        """
        for automation in self.client.read_automations():
            self.client.delete_automation(automation.id)
        while deployments := self.client.read_deployments():
            for deployment in deployments:
                self.client.delete_deployment(deployment.id)
        while runs := self.client.read_flow_runs():
            for run in runs:
                self.client.delete_flow_run(run.id)
        for pool in self.client.read_work_pools() if pools else ():
            if pool.name != "default":  # which the server makes
                self.client.delete_work_pool(pool.name)

    # -- deployments and runs

    @property
    def client(self) -> Client:
        """The client."""
        return locate.connect()

    def deployment(self, text: str, function: str = "job", name: str = "d", **options: Any) -> UUID:
        """Write a flow and deploy it to the pool."""
        with contextlib.suppress(MillraceError):
            self.client.create_work_pool(
                WorkPoolCreate(name=POOL, type="process", base_job_template=template_of(ProcessKind))
            )
        file = self.code / f"{name}_flow.py"
        file.write_text(f"LEDGER = {str(self.ledger_file)!r}\n{LEDGER}\n{text}")
        made = RunnerDeployment.from_storage(self.code, f"{file.name}:{function}", name, **options)
        return made.apply(work_pool_name=POOL)

    def run(self, deployment: UUID, **parameters: Any) -> FlowRun:
        """Ask for a run."""
        return self.client.create_flow_run_from_deployment(deployment, DeploymentFlowRunCreate(parameters=parameters))

    def state(self, flow_run: FlowRun) -> StateType | None:
        """The state of a run."""
        return self.client.read_flow_run(flow_run.id).state_type

    def wait(self, flow_run: FlowRun, *states: StateType, seconds: float = 45) -> FlowRun:
        """Wait until a run is in one of the states; ended, when none is given."""
        deadline = time.monotonic() + seconds
        pause, found = PAUSE, flow_run
        while time.monotonic() < deadline:
            with contextlib.suppress(MillraceError):
                found = self.client.read_flow_run(flow_run.id)
                if found.state and (found.state_type in states or (not states and found.state.is_final())):
                    return found
            pause = _longer(pause)
        raise AssertionError(
            f"after {seconds} s the run is {found.state}, not {states or 'ended'}\n{self.said('worker')}\n"
            f"{self.output(flow_run)}"
        )

    def until(self, condition: Callable[[], object], seconds: float = 30) -> None:
        """Wait for anything."""
        deadline, pause = time.monotonic() + seconds, PAUSE
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds} s\n{self.said('worker')}"
            pause = _longer(pause)

    def output(self, flow_run: FlowRun) -> str:
        """What the processes of a run wrote."""
        folder = settings.current().run_directory(flow_run.id)
        return "".join(file.read_text()[-2000:] for file in sorted(folder.glob("*.out")))

    def logs(self, flow_run: FlowRun) -> list[Log]:
        """The log lines of a run."""
        wanted = LogFilter(flow_run_id=IdCondition(any_=[flow_run.id]))
        return self.client.read_logs(LogQuery(logs=wanted))

    # -- the ledger

    def entries(self, flow_run: FlowRun | None = None, what: str | None = None) -> list[dict[str, Any]]:
        """What flows wrote into the ledger."""
        if not self.ledger_file.exists():
            return []
        found = [json.loads(line) for line in self.ledger_file.read_text().splitlines()]
        return [
            entry
            for entry in found
            if (flow_run is None or entry["run"] == str(flow_run.id)) and what in (None, entry["what"])
        ]

    def labelled(self, flow_run: FlowRun) -> list[psutil.Process]:
        """Living processes of a run."""
        found = []
        sessions = {entry["pid"] for entry in self.entries(flow_run)}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                mine = process.environ().get("MILLRACE__FLOW_RUN_ID") == str(flow_run.id)
                mine = mine or os.getsid(process.pid) in sessions
                if mine and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found


def _longer(pause: float) -> float:
    """Sleep, and say how long next time: who asks all the time takes time away from what is waited for."""
    time.sleep(pause)
    return min(4 * PAUSE, 1.2 * pause)


def open_yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **environment: str) -> Iterator[Yard]:
    """A yard with a running server; everything of it is gone afterwards."""
    home, code = tmp_path / "home", tmp_path / "code"
    home.mkdir()
    code.mkdir()
    fast = {
        "MILLRACE_HOME": str(home),
        "MILLRACE_LEASE_SECONDS": str(LEASE),
        "MILLRACE_SWEEP_SECONDS": "0.5",
        "MILLRACE_AUTOSTART": "false",
        **environment,
    }
    for name, value in fast.items():
        monkeypatch.setenv(name, value)
    for name in ("MILLRACE_API_URL", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    settings.current.cache_clear()
    yard = Yard(home, code)
    try:
        yard.start_server()
        yield yard
    finally:
        yard.close()
        settings.current.cache_clear()


def open_plot(ground: Yard, tmp_path: Path, **environment: str) -> Iterator[Yard]:
    """A yard at the server of another one, which takes long to start, with all else of its own: a data directory,
    workers, a ledger. Everything of it is gone afterwards, at the server too.

    Args:
        ground: whose server it is.
        tmp_path: where its files are.
        environment: more variables, for what is started here.
    """
    home, code = tmp_path / "home", tmp_path / "code"
    home.mkdir()
    code.mkdir()
    (home / "run").symlink_to(ground.home / "run")  # there it is said where the server listens
    plot = Yard(home, code)
    with _at(home, **environment):
        try:
            yield plot
        finally:
            plot.end_processes()
            settings.current.cache_clear()  # a test may have changed some
            plot.clear()
            plot.client.close()


def open_corner(ground: Yard, tmp_path: Path) -> Iterator[Yard]:
    """Code and a ledger of its own in a yard whose server and worker it shares; its runs are gone afterwards.

    Args:
        ground: whose server and worker they are.
        tmp_path: where its files are.
    """
    code = tmp_path / "code"
    code.mkdir()
    corner = Yard(ground.home, code)
    with _at(ground.home):
        yield corner
        settings.current.cache_clear()
        for started in corner.processes:
            corner.kill(started)
        for run in corner.client.read_flow_runs():
            for process in corner.labelled(run):
                with contextlib.suppress(psutil.Error):
                    process.kill()
        corner.clear(pools=False)


@contextmanager
def _at(home: Path, **environment: str) -> Iterator[None]:
    """That this is the data directory, for this process and what it starts."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"MILLRACE_HOME": str(home), **environment}.items():
            patch.setenv(name, value)
        settings.current.cache_clear()
        yield
    settings.current.cache_clear()
