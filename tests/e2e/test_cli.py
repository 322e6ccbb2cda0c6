"""The command line against a real embedded server with its worker, in a data directory of its own."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nbformat
import pytest

from commands import Cli, ended, own_home
from millrace import settings
from millrace.cli import COMMANDS, main
from millrace.client import locate

FLOWS = """
import time

from millrace import flow


@flow(log_prints=True)
def greet(name: str = "you", times: int = 1) -> int:
    for _ in range(times):
        print(f"hello {name}")
    return times


@flow
def fail() -> None:
    raise ValueError("no luck")


@flow
def linger(seconds: float = 60.0) -> None:
    time.sleep(seconds)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data directory with a running server and worker."""
    with own_home(tmp_path_factory, FLOWS) as made:
        yield made


@pytest.fixture
def cli(home: Path, capfd: pytest.CaptureFixture[str]) -> Cli:
    """Runs a command in this process."""
    return lambda *words: ended(capfd, words)


@pytest.fixture(scope="module")
def deployed(home: Path) -> None:
    """The three flows as deployments."""
    for words in (["flows.py:greet", "-p", "name=5"], ["flows.py:fail"], ["flows.py:linger"]):
        with pytest.raises(SystemExit) as caught:
            main(["deploy", *words, "--name", "d", "--pool", "default"])
        assert not caught.value.code


# -- words


def test_version_answers_at_once(home: Path) -> None:
    code = (
        "import sys\nfrom millrace.cli import main\n"
        "try: main(['version'])\nexcept SystemExit as end: print(end.code, {'httpx', 'sqlalchemy'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert re.match(r"millrace \d+\.\d+\.\d+ \(Python .*\)\n0 set\(\)", done.stdout)


def test_every_command_has_help(cli: Cli) -> None:
    done = cli("--help")
    assert done.code == 0
    assert "Exit codes: 0 done" in re.sub(r"\s+", " ", done.out)
    for name in COMMANDS:
        assert name in done.out
        assert cli(name, "--help").code == 0
    assert "--catch-up" in cli("deploy", "--help").out


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["deployments"], "No such command 'deployments'"),
        (["deployment", "run"], "Missing argument"),
        (["work-pool", "create", "x", "--type", "kubernetes"], "no pool type 'kubernetes'"),
        (["deployment", "run", "a/b", "--timeout", "3"], "--timeout belongs to --watch"),
        (["server", "start", "--no-token", "--token-file", "x"], "contradict"),
        (["server", "start", "--no-token", "--host", "0.0.0.0"], "--no-token is refused for 0.0.0.0"),
        (["server", "start", "--token-file", "none"], "cannot be read"),
    ],
)
def test_wrong_usage(cli: Cli, words: list[str], text: str) -> None:
    done = cli(*words)
    assert done.code in (1, 2)
    assert text in re.sub(r"\s+", " ", done.err)
    assert done.out == ""


# -- the embedded server


def test_up_status_down(tmp_path: Path, home: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path / "other"))
    settings.current.cache_clear()
    try:
        done = cli("status", "--output", "json")
        assert (done.code, done.json["running"]) == (4, False)
        assert "millrace up" in done.err
        done = cli("up", "--output", "json")
        assert (done.code, done.json["ran_before"]) == (0, False)
        assert "token" not in done.out
        assert cli("up", "-o", "json").json["ran_before"] is True
        done = cli("status", "--output", "json")
        assert (done.code, done.json["running"]) == (0, True)
        assert done.json["counters"]["running"] == 0
        assert "deployments" in cli("status").out
        assert cli("down", "-o", "json").json == {"stopped": True}
        assert cli("down").code == 0
        assert cli("status").code == 4
    finally:
        locate.stop_embedded()
        monkeypatch.undo()
        settings.current.cache_clear()


def test_a_shared_server_that_does_not_answer(home: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_API_URL", "http://127.0.0.1:9/api")
    settings.current.cache_clear()
    try:
        for words in (["status"], ["deployment", "ls"], ["deploy", "flows.py:greet"]):
            done = cli(*words)
            assert done.code == 4
            assert "MILLRACE_API_URL names it" in done.err
            assert done.out == ""
    finally:
        monkeypatch.undo()
        settings.current.cache_clear()


# -- pools


def test_work_pools(cli: Cli) -> None:
    pool = cli("work-pool", "create", "side", "--limit", "2", "-o", "json").json
    assert (pool["name"], pool["concurrency_limit"], pool["type"]) == ("side", 2, "process")
    assert pool["base_job_template"]["variables"]
    assert "side" in [one["name"] for one in cli("work-pool", "ls", "-o", "json").json]
    done = cli("work-pool", "create", "side")
    assert (done.code, "side" in done.err) == (1, True)
    assert cli("work-pool", "pause", "side").code == 0
    assert cli("work-pool", "inspect", "side", "-o", "json").json["is_paused"] is True
    assert cli("work-pool", "resume", "side").code == 0
    assert "No worker" in cli("work-pool", "inspect", "side").out
    assert "READY" in cli("work-pool", "ls").out
    assert cli("work-pool", "delete", "side", "--yes").code == 0
    done = cli("work-pool", "inspect", "side")
    assert (done.code, done.out) == (3, "")


# -- deployments and runs


def test_deploy_with_everything(cli: Cli) -> None:
    words = ["--name", "full", "--cron", "0 3 * * *", "--interval", "3600", "--timezone", "Europe/Oslo", "--paused"]
    words += ["--concurrency-limit", "2", "--collision-strategy", "CANCEL_NEW"]
    done = cli("deploy", "flows.py:greet", *words, "-p", "name=5", "-p", "times=2", "--tag", "a", "-o", "json")
    assert done.code == 0, done.err
    made = done.json
    assert made["parameters"] == {"name": "5", "times": 2}
    assert sorted(next(iter(one["schedule"])) for one in made["schedules"]) == ["cron", "interval"]
    assert (made["tags"], made["paused"], made["work_pool_name"]) == (["a"], True, "default")
    shown = cli("deployment", "inspect", "greet/full").out
    assert "Europe/Oslo" in shown and "2; one more is cancelled" in " ".join(shown.split())
    assert "greet/full" in cli("deployment", "ls").out
    assert cli("deployment", "resume", "greet/full").code == 0
    assert cli("deployment", "inspect", "greet/full", "-o", "json").json["paused"] is False
    assert cli("deployment", "pause", "greet/full").code == 0
    assert cli("deployment", "delete", "greet/full", "--yes").code == 0
    done = cli("deployment", "inspect", "greet/full")
    assert (done.code, done.out) == (3, "")
    assert "There is no deployment 'greet/full'" in done.err


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["flows.py:greet", "-p", "nmae=x"], 2, "nmae"),
        (["flows.py:greet", "-p", "times=many"], 2, "times"),
        (["flows.py:greet", "-p", "times"], 2, "name=value"),
        (["flows.py:gret"], 3, "greet"),
        (["none.py:greet"], 3, "none.py"),
        (["flows.py:greet", "--pool", "nowhere"], 3, "no work pool 'nowhere'"),
        (["flows.py:greet", "--cron", "0 25 * * *"], 2, "25"),
        (["flows.py:greet", "--cron", "0 3 * * *", "--timezone", "Europe/Olso"], 2, "Europe/Oslo"),
        (["flows.py:greet", "--timezone", "Europe/Oslo"], 2, "--timezone belongs to"),
    ],
)
def test_deploying_what_cannot_be(cli: Cli, words: list[str], code: int, text: str) -> None:
    done = cli("deploy", *words)
    assert (done.code, done.out) == (code, ""), done.err
    assert text in done.err


def test_a_run_that_completes(cli: Cli, deployed: None) -> None:
    done = cli("deployment", "run", "greet/d", "--watch", "-p", "times=2", "--name", "watched")
    assert done.code == 0, done.out + done.err
    assert done.out.count("hello 5") == 2
    assert "✓ Completed" in done.out
    run = cli("flow-run", "inspect", "watched", "-o", "json").json
    assert (run["state_type"], run["parameters"]) == ("COMPLETED", {"name": "5", "times": 2})
    assert "✓ Completed" in cli("flow-run", "inspect", run["id"]).out
    lines = [entry["message"] for entry in cli("flow-run", "logs", run["id"], "-o", "json").json]
    assert lines.count("hello 5") == 2
    assert cli("flow-run", "logs", "watched", "--follow").out.count("hello 5") == 2
    assert cli("flow-run", "watch", "watched").code == 0
    assert cli("flow-run", "result", "watched").json == 2
    listed = cli("flow-run", "ls", "--flow", "greet", "--state", "completed", "-o", "json").json
    assert run["id"] in [one["id"] for one in listed]
    assert "watched" in cli("flow-run", "ls").out


def test_a_run_that_fails(cli: Cli, deployed: None) -> None:
    done = cli("deployment", "run", "fail/d", "--watch")
    assert done.code == 1
    assert "✗ Failed" in done.out
    assert "no luck" in done.out
    done = cli("deployment", "run", "fail/d", "--watch", "-o", "json")
    assert (done.code, done.json["state_type"]) == (1, "FAILED")


def test_a_run_that_takes_too_long_to_watch_and_is_cancelled(cli: Cli, deployed: None) -> None:
    done = cli("deployment", "run", "linger/d", "--watch", "--timeout", "1", "--name", "slow")
    assert done.code == 5
    assert "goes on" in done.err
    done = cli("flow-run", "cancel", "slow", "--wait", "-o", "json")
    assert (done.code, done.json["state_type"]) == (0, "CANCELLED")
    assert cli("flow-run", "watch", "slow").code == 1
    assert cli("flow-run", "cancel", "slow").code == 0


def test_a_run_for_later(cli: Cli, deployed: None) -> None:
    words = ["deployment", "run", "greet/d", "--at", "2099-01-01T00:00Z", "--idempotency-key", "k", "-o", "json"]
    first, second = cli(*words).json, cli(*words).json
    assert first["id"] == second["id"]
    assert first["state_type"] == "SCHEDULED"
    assert first["expected_start_time"].startswith("2099-01-01T00:00:00")
    assert cli("flow-run", "cancel", first["id"]).code == 0
    assert cli("deployment", "run", "greet/d", "--at", "soon").code == 2
    assert cli("deployment", "run", "greet/d", "-p", "times=x").code == 2


def test_a_run_with_all_that_can_be_said(cli: Cli, deployed: None) -> None:
    words = [
        "deployment",
        "run",
        "greet/d",
        "--params",
        '{"times": 2, "name": "a"}',
        "-p",
        "name=b",
        "--start-in",
        "2 hours",
    ]
    more = ["--work-queue", "side", "-jv", "env.COLOUR=5", "-jv", "stream_output=false", "--flow-run-name", "said"]
    run = cli(*words, *more, "-o", "json").json
    assert run["parameters"] == {"times": 2, "name": "b"} and run["name"] == "said"
    assert (run["work_queue_name"], run["job_variables"]) == ("side", {"env": {"COLOUR": "5"}, "stream_output": False})
    due = datetime.fromisoformat(run["expected_start_time"]) - datetime.now(UTC)
    assert timedelta(minutes=115) < due < timedelta(minutes=121)
    for wrong, said in (
        (["--params", "[1]"], "must be a JSON object"),
        (["--params", "{"], "no JSON"),
        (["--in", "5", "--at", "2099-01-01"], "both given"),
        (["-jv", "env"], "name=value"),
    ):
        done = cli("deployment", "run", "greet/d", *wrong)
        assert done.code == 2 and said in done.err
    assert cli("flow-run", "delete", run["id"], "--yes", "-o", "json").json["id"] == run["id"]
    assert cli("flow-run", "inspect", run["id"]).code == 3
    linger = cli("deployment", "run", "linger/d", "-o", "json").json
    deadline = time.monotonic() + 60
    while cli("flow-run", "inspect", linger["id"], "-o", "json").json["state_type"] != "RUNNING":
        assert time.monotonic() < deadline
    done = cli("flow-run", "delete", linger["id"], "--yes")
    assert done.code == 2 and "Cancel it first" in done.err
    cli("flow-run", "cancel", linger["id"], "--wait")


def test_nothing_of_that_name(cli: Cli) -> None:
    for words in (["flow-run", "logs", "nobody"], ["flow-run", "inspect", "00000000-0000-0000-0000-000000000001"]):
        done = cli(*words)
        assert (done.code, done.out) == (3, "")
    assert cli("flow-run", "ls", "--state", "sleepy").code == 2
    assert cli("flow-run", "ls", "--state", "Late", "-o", "json").json == []


# -- notebooks


def book(path: Path, *cells: str, parameters: str | None = None) -> Path:
    found = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    if parameters is not None:
        found.cells.insert(0, nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    nbformat.write(found, path)
    return path


def test_notebook_params(cli: Cli, tmp_path: Path) -> None:
    path = str(book(tmp_path / "b.ipynb", "n", parameters="n: int = 3\nname = 'x'"))
    assert set(cli("notebook", "params", path, "-o", "json").json["properties"]) == {"n", "name"}
    assert "integer" in cli("notebook", "params", path).out
    done = cli("notebook", "params", str(tmp_path / "none.ipynb"))
    assert (done.code, done.out) == (2, "")


def test_notebook_run(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PW", "hunter2222")
    path = str(book(tmp_path / "b.ipynb", "print(n + 1)", "assert password", parameters="n: int = 3\npassword: str"))
    done = cli("notebook", "run", path, "-p", "n=5", "--secret", "password=env:PW", "--output", "json")
    assert done.code == 0, done.err
    assert set(done.json) == {"state_type", "state_name", "exit_code", "error", "cells", "notebook", "html"}
    assert (done.json["state_type"], done.json["exit_code"], done.json["error"]) == ("COMPLETED", 0, None)
    assert {cell["status"] for cell in done.json["cells"]} == {"completed"}
    saved = Path(done.json["notebook"]).read_text()
    assert "hunter2222" not in saved + Path(done.json["html"]).read_text()
    assert nbformat.reads(saved, 4).cells[-1].metadata.millrace.status == "completed"


def test_notebook_run_that_fails(cli: Cli, tmp_path: Path) -> None:
    path = str(book(tmp_path / "b.ipynb", "1", "1 / 0", "2"))
    done = cli("notebook", "run", path, "--save-to", str(tmp_path / "out.ipynb"), "--output", "json")
    assert done.code == 1
    assert [cell["status"] for cell in done.json["cells"]] == ["completed", "failed", "not_run"]
    assert done.json["error"]["ename"] == "ZeroDivisionError"
    assert done.json["notebook"] == str(tmp_path / "out.ipynb")
    path = str(book(tmp_path / "c.ipynb", "import time; time.sleep(60)"))
    done = cli("notebook", "run", path, "--timeout", "5", "--output", "json")
    assert (done.code, done.json["state_name"]) == (124, "TimedOut")
    assert done.json["cells"][0]["status"] == "timed_out"


def test_notebook_run_that_cannot_be_saved(cli: Cli, tmp_path: Path) -> None:
    path = book(tmp_path / "b.ipynb", "1")
    done = cli("notebook", "run", str(path), "--save-to", "/proc/none/executed.ipynb")
    assert done.code == 3 and done.out == ""  # there is no such directory
    assert done.err.startswith("millrace: ") and "/proc/none" in done.err and len(done.err.splitlines()) == 1


def test_notebook_export(cli: Cli, tmp_path: Path) -> None:
    path = str(
        book(
            tmp_path / "b.ipynb",
            "from millrace import flow\nRATE = 2",
            "@flow\ndef double(n: int = 3) -> int:\n    return RATE * n",
        )
    )
    words = ["notebook", "export", path, "--flow", "double", "--output-dir", str(tmp_path / "out")]
    done = cli(*words)
    assert done.code == 0
    assert "entrypoint: double_flows.py:double" in done.out
    assert cli(*words, "-o", "json").json["path"] == str(tmp_path / "out" / "double_flows.py")
    done = cli("notebook", "export", path, "--flow", "triple", "--output-dir", str(tmp_path / "out"))
    assert (done.code, done.out) == (3, "")


# -- a shared server


def test_server_start(tmp_path: Path, home: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {**os.environ, "MILLRACE_HOME": str(tmp_path / "shared")}
    command = [sys.executable, "-m", "millrace", "server", "start", "--port", "0"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        said = ""
        while "MILLRACE_API_TOKEN" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        url = re.search(r"MILLRACE_API_URL=(\S+)", said)
        assert url is not None
        token = tmp_path / "shared" / "token"
        assert token.stat().st_mode & 0o777 == 0o600
        assert token.read_text().strip() not in said
        monkeypatch.setenv("MILLRACE_API_URL", url[1])
        settings.current.cache_clear()
        assert cli("work-pool", "ls").code == 1
        monkeypatch.setenv("MILLRACE_API_TOKEN", token.read_text().strip())
        settings.current.cache_clear()
        assert cli("work-pool", "ls", "-o", "json").code == 0
        assert cli("status").code == 0
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(15)
        monkeypatch.undo()
        settings.current.cache_clear()
    assert process.returncode == 0


def test_a_port_in_use(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        began = time.monotonic()
        done = cli("server", "start", "--port", str(port))
        assert done.code == 2
        assert f"Port {port} on 127.0.0.1 is in use" in done.err
        assert time.monotonic() - began < 10
