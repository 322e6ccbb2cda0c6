"""The real programs on both sides: servers on free loopback ports, and the real Prefect's scripts, workers and CLI."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import keeper
import psutil
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

ROOT = Path(__file__).parents[2]
SCENARIOS = Path(__file__).with_name("scenarios")
INSTALL = ROOT / "scripts" / "install_prefect.sh"
MARK = "RESULT "
QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_CLI_COLORS": "false",
    "PREFECT_CLI_WRAP_LINES": "false",
    "PREFECT_CLI_PROMPT": "false",
    "COLUMNS": "400",
    "NO_COLOR": "1",
    "PYTHONUNBUFFERED": "1",
}


PLAIN: dict[str, Any] = {"trust_env": False, "verify": False}
"""How servers here are asked: loading certificates, of which they have none, takes twenty times as long as asking."""


def clean() -> dict[str, str]:
    """This process's environment without anything of either system."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("MILLRACE", "PREFECT"))}


def installed_peer() -> Path:
    """The interpreter of the real Prefect's environment.

    Raises:
        RuntimeError: it cannot be made here.
    """
    done = subprocess.run(
        [str(INSTALL)],
        env={**os.environ, "MILLRACE_PEER_PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=900,
    )
    if done.returncode:
        raise RuntimeError(f"{INSTALL.name} failed: {done.stderr.strip()[-500:]}")
    return Path(done.stdout.strip()) / "bin" / "python"


@dataclass
class Output:
    """What a process writes, kept in a file.

    Args:
        out: the file.
        pid: of the process.
    """

    out: Path
    pid: int

    @property
    def runs(self) -> bool:
        """Whether the process is there."""
        return alive(self.pid)

    @property
    def said(self) -> str:
        """What it wrote so far."""
        return self.out.read_text(errors="replace") if self.out.exists() else ""

    def until(self, condition: Callable[[], object], seconds: float = 150) -> Any:
        """Wait for something while it runs."""
        return until(condition, seconds, lambda: self.said[-6000:])


@dataclass
class Program(Output):
    """A process that was started here."""

    popen: subprocess.Popen[bytes]

    @property
    def result(self) -> Any:
        """The last line that a scenario printed for us."""
        lines = [line for line in self.said.splitlines() if line.startswith(MARK)]
        assert lines, self.said[-6000:]
        return json.loads(lines[-1].removeprefix(MARK))

    def wait(self, seconds: float = 200) -> int:
        """Its exit code."""
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs after {seconds} s: {self.said[-6000:]}") from None

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it and everything that it started."""
        if self.popen.poll() is None:
            keeper.end(self.popen.pid, number)
        self.popen.wait()


def until(condition: Callable[[], object], seconds: float = 150, otherwise: Callable[[], object] = str) -> Any:
    """What a condition answers as soon as it is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s\n{otherwise()}"
        time.sleep(0.1)
    return found


def alive(pid: int) -> bool:
    """Whether a process is there and has not ended; one that nobody has asked for its end yet has."""
    with contextlib.suppress(psutil.Error):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


def free_port() -> int:
    """A port that nobody uses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@dataclass
class Place:
    """A server: ours or the real one.

    Args:
        name: `millrace` or `prefect`.
        url: of its API.
        program: its process, or that of its keeper.
    """

    name: str
    url: str
    program: Output
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: Any = None, expected: int | None = None) -> Any:
        """One request, as plain JSON."""
        for pause in (0.2, 0.5, 1, 2, 4, 0):
            answer = httpx.request(
                method,
                self.url + path,
                json=body,
                headers=self.headers,
                timeout=120,  # transactions of the original can wait for each other until its own time limit for that
                follow_redirects=True,
                **PLAIN,
            )
            # busy is not a refusal: the original says 503 while its database is locked, and stumbles (500) over a run
            # that changes while it is read
            stumbled = answer.status_code == 500 and self.name == "prefect" and (method == "GET" or "/filter" in path)
            if expected is not None or not (answer.status_code == 503 or stumbled):
                break
            time.sleep(pause)
        assert answer.is_success if expected is None else answer.status_code == expected, (
            f"{method} {path}: {answer.status_code} {answer.text[:2000]}"
        )
        return answer.json() if answer.content else None

    def run(self, id: str) -> dict[str, Any]:
        """A flow run."""
        return dict(self.ask("GET", f"/flow_runs/{id}"))

    def runs(self, **conditions: Any) -> list[dict[str, Any]]:
        """Flow runs that match."""
        return list(self.ask("POST", "/flow_runs/filter", {"flow_runs": conditions, "sort": "EXPECTED_START_TIME_ASC"}))

    def task_runs(self, id: str) -> list[dict[str, Any]]:
        """The task runs of a flow run."""
        return list(self.ask("POST", "/task_runs/filter", {"flow_runs": {"id": {"any_": [id]}}}))

    def lines(self, id: str) -> list[str]:
        """What a flow run logged."""
        found = self.ask("POST", "/logs/filter", {"logs": {"flow_run_id": {"any_": [id]}}, "sort": "TIMESTAMP_ASC"})
        return [line["message"] for line in found]

    def ended(self, id: str, seconds: float = 150, otherwise: Callable[[], object] = str) -> dict[str, Any]:
        """A run when it is over."""

        def look() -> dict[str, Any] | None:
            run = self.run(id)
            return run if run["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None

        return dict(until(look, seconds, lambda: f"{self.run(id)['state']}\n{self.lines(id)}\n{otherwise()}"))

    def reach(self, id: str, name: str, seconds: float = 150, otherwise: Callable[[], object] = str) -> None:
        """Wait until a run is in a state of this name."""
        until(lambda: self.run(id)["state_name"] == name, seconds, lambda: f"{self.run(id)['state']}\n{otherwise()}")


@dataclass
class Peer:
    """The real Prefect.

    Args:
        python: its interpreter.
        folder: where its processes write; each client gets its private home there.
    """

    python: Path
    folder: Path
    count: int = 0

    def environment(self, place: Place | None, **more: str) -> dict[str, str]:
        """The environment of its processes, with the server named that they talk to."""
        env = {**clean(), **QUIET, "PREFECT_HOME": str(self.folder / "home"), **more}
        return env | ({"PREFECT_API_URL": place.url} if place else {})

    def start(self, command: list[str], place: Place | None, cwd: Path | None = None, **more: str) -> Program:
        """Start a program of its environment."""
        self.count += 1
        (self.folder / "work").mkdir(parents=True, exist_ok=True)
        out = self.folder / f"{self.count}.txt"
        return started([str(self.python), *command], out, self.environment(place, **more), cwd or self.folder / "work")

    def scenario(self, name: str, place: Place, *args: str, **more: str) -> Program:
        """Start one of our scenarios, a script of the real client."""
        return self.start([str(SCENARIOS / f"{name}.py"), *args], place, **more)

    def play(self, name: str, place: Place, *args: str, seconds: float = 200, **more: str) -> Any:
        """What a scenario found out."""
        program = self.scenario(name, place, *args, **more)
        try:
            assert program.wait(seconds) == 0, program.said[-6000:]
        finally:
            program.stop()
        return program.result

    def cli(
        self,
        place: Place,
        *commands: str | list[str],
        codes: list[int] | None = None,
        seconds: float = 200,
        **more: str,
    ) -> list[str]:
        """What the real command line prints: several commands in one process, each as if it were typed alone."""
        listed = [command.split() if isinstance(command, str) else command for command in commands]
        answers = self.play("cli", place, place.name, json.dumps(listed), seconds=seconds, **more)
        wanted = codes or [0] * len(listed)
        for command, wish, (code, text) in zip(listed, wanted, answers, strict=True):
            assert code == wish, f"prefect {' '.join(command)}: {code}\n{text}"
        return [text for _, text in answers]

    @contextmanager
    def worker(self, place: Place, pool: str, *options: str, **more: str) -> Iterator[Program]:
        """A real worker while the block lasts."""
        command = ["-m", "prefect", "worker", "start", "--pool", pool, *options]
        program = self.start(command, place, PREFECT_WORKER_QUERY_SECONDS="1", **more)
        try:
            yield program
        finally:
            program.stop()


def started(command: list[str], out: Path, env: dict[str, str], cwd: Path | None = None) -> Program:
    """A program that was started just now, in a session of its own."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("ab") as file:
        popen = subprocess.Popen(
            command,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Program(out, popen.pid, popen)


def our_server(folder: Path, *options: str) -> tuple[str, list[str], dict[str, str]]:
    """Our server: its address, what starts it, and the environment of that."""
    port = free_port()
    command = [sys.executable, "-m", "millrace", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    home = folder / "millrace"
    home.mkdir(parents=True, exist_ok=True)
    env = {**clean(), "MILLRACE_HOME": str(home), "MILLRACE_LATE_AFTER_SECONDS": "60"}
    return f"http://127.0.0.1:{port}/api", [*command, *(options or ("--no-token",))], env


def their_server(peer: Peer, folder: Path) -> tuple[str, list[str], dict[str, str]]:
    """The real server: its address, what starts it, and the environment of that."""
    port = free_port()
    command = [str(peer.python), "-m", "prefect", "server", "start"]
    env = peer.environment(
        None,
        PREFECT_HOME=str(folder / "prefect"),
        PREFECT_LOGGING_LEVEL="WARNING",
        **_database(),
        PREFECT_SERVER_LOGS_STREAM_OUT_ENABLED="true",
        PREFECT_SERVER_LOGS_STREAM_PUBLISHING_ENABLED="true",
        PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS="1",
        PREFECT_API_SERVICES_SCHEDULER_LOOP_SECONDS="1",
    )
    options = ["--host", "127.0.0.1", "--port", str(port), "--no-ui"]
    return f"http://127.0.0.1:{port}/api", [*command, *options], env


def _database() -> dict[str, str]:
    """Where the real server keeps its data: in Postgres where the tests have one.

    In SQLite its transactions wait for each other for a minute now and then, and everything else with them.
    """
    server = os.environ.get("MILLRACE_TEST_POSTGRES")
    if not server:
        return {}
    name = f"prefect_{uuid4().hex}"
    engine = create_engine(make_url(server).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    url = make_url(server).set(drivername="postgresql+asyncpg", database=name)
    return {"PREFECT_SERVER_DATABASE_CONNECTION_URL": url.render_as_string(hide_password=False)}


def answers(place: Place, seconds: float = 180) -> Place:
    """The server, when it answers."""

    def look() -> bool:
        assert place.program.runs, place.program.said[-4000:]
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{place.url}/health", timeout=2, **PLAIN).status_code == 200
        return False

    place.program.until(look, seconds)
    return place
