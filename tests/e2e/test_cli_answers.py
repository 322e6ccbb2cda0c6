"""What commands answer: which thing is meant, what they ask before, what they say of values that cannot be."""

from __future__ import annotations

import asyncio
import io
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import millrace
from commands import Cli, expecting, own_home
from millrace.cli import main

FLOWS = """
import time

from millrace import flow, task


@task
def nap(seconds: float) -> None:
    time.sleep(seconds)


@flow
def linger(seconds: float = 60.0) -> None:
    nap(seconds)


@flow
def greet(name: str = "you", times: int = 1) -> int:
    return times
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data directory with a running server, its worker, and deployments of the name d in a pool without a worker."""
    with own_home(tmp_path_factory, FLOWS) as made:
        for words in (
            ["work-pool", "create", "side"],
            ["deploy", "flows.py:greet", "--name", "d", "--pool", "side"],
            ["deploy", "flows.py:linger", "--name", "d", "--pool", "side"],
            ["deploy", "flows.py:linger", "--name", "here", "--pool", "default"],
        ):
            with pytest.raises(SystemExit) as caught:
                main(words)
            assert not caught.value.code
        yield made


@pytest.fixture
def cli(home: Path, capfd: pytest.CaptureFixture[str]) -> Cli:
    """Runs a command in this process."""
    return expecting(capfd)


# -- which thing is meant


def test_runs_are_listed_of_the_deployment_that_is_named(cli: Cli) -> None:
    greeting = cli("deployment", "run", "greet/d", "-o", "json").json
    lingering = cli("deployment", "run", "linger/d", "-o", "json").json

    def listed(name: str) -> set[str]:
        return {run["id"] for run in cli("flow-run", "ls", "--deployment", name, "-o", "json").json}

    assert listed("greet/d") == listed(greeting["deployment_id"]) == {greeting["id"]}
    assert listed("linger/d") == {lingering["id"]}
    assert listed("d") == {greeting["id"], lingering["id"]}
    for name in ("nonsense/d", "greet/nope", "nope"):
        done = cli("flow-run", "ls", "--deployment", name, code=3)
        assert f"There is no deployment '{name}'" in done.err and "greet/d" in done.err and not done.out


def test_a_run_that_runs_shows_how_long_it_has(cli: Cli) -> None:
    run = cli("deployment", "run", "linger/here", "-o", "json").json
    deadline = time.monotonic() + 60
    while "nap" not in (shown := cli("flow-run", "inspect", run["id"]).out) or "Running" not in shown.split("TASK")[-1]:
        assert time.monotonic() < deadline
    time.sleep(1.1)
    shown = cli("flow-run", "inspect", run["id"]).out
    (took,) = [line.split()[1:] for line in shown.splitlines() if line.split()[:1] == ["took"]]
    assert took[0] not in ("0", "0.0") and took[1] == "s"
    (task,) = [line.split() for line in shown.splitlines() if line.startswith("nap")]
    assert float(task[-2]) >= 1
    (listed,) = [line.split() for line in cli("flow-run", "ls").out.splitlines() if run["id"] in line]
    assert float(listed[-2]) >= 1
    cli("flow-run", "cancel", run["id"], "--wait")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("deployment inspect greet/dd", "greet/d"),
        ("deployment run lingre/here", "linger/here"),
        ("deployment ls --flow grete", "greet"),
        ("flow-run ls --flow lnger", "linger"),
        ("work-pool inspect sid", "side"),
        ("work-pool delete sid --yes", "side"),
        ("work-queue inspect defualt --pool side", "default"),
        ("worker ls --pool sied", "side"),
        ("variable get colur", "colour"),
        ("variable inspect colur", "colour"),
        ("gcl inspect databse", "database"),
        ("deploy flows.py:greet --name e --pool sdie", "side"),
        ("init --from greet/dd --file other.yaml", "greet/d"),
    ],
)
def test_a_name_that_is_not_there_is_answered_with_the_one_that_was_meant(cli: Cli, words: str, meant: str) -> None:
    cli("variable", "set", "colour", "red", "--overwrite")
    if "gcl" in words:
        cli("gcl", "create", "database", "--limit", "1")
    assert f"Did you mean {meant!r}" in cli(*words.split(), code=3).err


def test_a_deployment_that_is_not_there_is_answered_with_the_one_that_was_meant(home: Path) -> None:
    with pytest.raises(millrace.errors.MissingDeployment, match="Did you mean 'greet/d'"):
        millrace.run_deployment("greet/dd", timeout=0)


@pytest.mark.parametrize("queue", ["a/b", "50%", "<x>", ""])
def test_a_queue_that_cannot_be_so_named_is_misuse(cli: Cli, queue: str) -> None:
    for words in (
        ["deploy", "flows.py:greet", "--name", "odd", "--pool", "side", "-q", queue],
        ["deployment", "run", "greet/d", "-q", queue],
        ["work-queue", "create", queue, "--pool", "side"],
    ):
        said = cli(*words, code=2).err
        assert f"{queue!r} is no name" in said and "none of / % & > <" in said and len(said) < 200
    assert "odd" not in cli("deployment", "ls").out


def test_what_the_server_refuses_of_a_deployment_is_misuse_too(cli: Cli) -> None:
    words = ["deploy", "flows.py:greet", "--name", "odd", "--pool", "side", "--job-variable", "env=3"]
    assert "env" in cli(*words, code=2).err


def test_a_file_that_is_not_there_is_said_without_a_number(cli: Cli, home: Path) -> None:
    for words in (
        ["automation", "create", "--from-file", "gone.yaml"],
        ["work-pool", "create", "other", "--base-job-template", "gone.yaml"],
    ):
        assert cli(*words, code=3).err == "millrace: No such file or directory: 'gone.yaml'\n"
    assert "1000000" in cli("work-pool", "preview", "side", "--hours", "1e300", code=2).err


def test_a_job_variable_that_the_pool_does_not_take_is_said_when_a_run_is_asked_for(cli: Cli) -> None:
    done = cli("deployment", "run", "greet/d", "--job-variable", "imagee=1")
    assert "takes no job variable 'imagee'" in done.err and "is Scheduled" in done.out
    assert "takes no" not in cli("deployment", "run", "greet/d", "--job-variable", "env.A=1").err


# -- what is asked before


def test_what_cannot_be_undone_wants_a_yes_where_nobody_can_be_asked(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("work-pool", "create", "kept")
    cli("variable", "set", "kept", "1")
    cases = (
        ["work-pool", "delete", "kept"],
        ["variable", "unset", "kept"],
        ["deployment", "delete", "greet/d"],
        ["deployment", "schedule", "clear", "greet/d"],
    )
    for words in cases:
        for typed in ("n\n", "y\n", ""):
            monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
            done = cli(*words, code=2)
            assert "There is no terminal to ask on: say so with --yes." in done.err and not done.out
            assert words[-1] in done.err and "?" in done.err
    cli("work-pool", "delete", "kept", "--yes")
    cli("variable", "unset", "kept", "-y")
    cli("deployment", "inspect", "greet/d")


@pytest.mark.parametrize(
    ("answer", "code", "said"), [(b"n\n", 1, "Nothing was done."), (None, 130, "Interrupted."), (b"y\n", 0, "Deleted")]
)
def test_a_question_on_a_terminal(cli: Cli, answer: bytes | None, code: int, said: str) -> None:
    cli("work-pool", "create", "asked")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "millrace", "work-pool", "delete", "asked"],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        assert process.stdout is not None
        heard = b""
        while b"[y/N]" not in heard:
            piece = os.read(process.stdout.fileno(), 1000)
            assert piece, heard
            heard += piece
        if answer is None:
            process.send_signal(signal.SIGINT)
        else:
            os.write(ours, answer)
        rest, _ = process.communicate(timeout=60)
        assert (process.returncode, said in rest.decode(), b"Aborted" in rest) == (code, True, False), rest
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)
    if code:
        cli("work-pool", "delete", "asked", "--yes")
    cli("work-pool", "inspect", "asked", code=3)


# -- values that cannot be


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["work-pool", "create", "a b/c"], "'a b/c' is no name: it must not be empty, and none of / % & > <"),
        (["work-pool", "create", ""], "'' is no name: it must not be empty"),
        (["work-queue", "create", "a/b", "--pool", "side"], "'a/b' is no name"),
        (["gcl", "create", "a/b", "--limit", "2"], "'a/b' is no name"),
        (["deployment", "run", "greet/d", "--work-queue", "a/b"], "The work queue 'a/b' is no name"),
        (["deployment", "run", "greet/d", "--in", "99999999999999 d"], "longer than the calendar"),
        (["event", "emit", "e", "--resource-id", "r", "--related", "-1"], "--related must be a JSON object"),
    ],
)
def test_a_value_that_cannot_be(cli: Cli, words: list[str], said: str) -> None:
    done = cli(*words, code=2)
    assert said in done.err and not done.out
    assert len(done.err.strip().splitlines()) == 1


# -- runs that nobody takes


def test_a_watched_run_says_why_it_waits(cli: Cli) -> None:
    done = cli("deployment", "run", "greet/d", "--watch", "--timeout", "5", "--name", "waits", code=5)
    said = "· No worker polls the pool side. In a terminal: millrace worker start --pool side"
    assert done.out.count(said) == 1
    done = cli("flow-run", "watch", "waits", "--timeout", "5", "-o", "json", code=5)
    assert said in done.err and not done.out


def test_whoever_waits_for_a_deployment_reads_once_why(cli: Cli, caplog: pytest.LogCaptureFixture) -> None:
    cli("work-queue", "create", "rests", "--pool", "side")
    cli("work-queue", "pause", "rests", "--pool", "side")
    millrace.run_deployment("greet/d", timeout=4.5, poll_interval=0.2, work_queue_name="rests")
    asyncio.run(millrace.arun_deployment("greet/d", timeout=4.5, poll_interval=0.2, flow_run_name="later"))
    first, second = [record.getMessage() for record in caplog.records if record.name == "millrace.deployments"]
    assert "The queue rests of the pool side is paused. In a terminal: millrace work-queue resume rests" in first
    assert "The run 'later'" in second and "No worker polls the pool side." in second


def test_deleting_a_pool_tells_what_depends_on_it(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("work-pool", "create", "doomed")
    cli("deploy", "flows.py:greet", "--name", "left", "--pool", "doomed")
    told = cli("deployment", "run", "greet/left").out
    assert "No worker polls the pool doomed. In a terminal: millrace worker start --pool doomed" in told
    cli("work-pool", "pause", "doomed")
    assert "The pool doomed is paused." in cli("deployment", "run", "greet/left").out
    monkeypatch.setattr(sys, "stdin", io.StringIO("y"))
    asked = cli("work-pool", "delete", "doomed", code=2).err
    assert "Delete the work pool 'doomed'? 1 deployment and 2 waiting runs would be left without a pool." in asked
    assert "1 deployment and 2 waiting runs left" in cli("work-pool", "delete", "doomed", "--yes").out
    assert "none: nothing runs it, unless a process serves it" in cli("deployment", "inspect", "greet/left").out
    assert "Its deployment has no work pool: nothing runs it" in cli("deployment", "run", "greet/left").out
    cli("deployment", "delete", "greet/left", "--yes")


def test_a_queue_that_a_run_makes_is_named(cli: Cli) -> None:
    words = ["deployment", "run", "greet/d", "--work-queue", "nope", "-o", "json"]
    done = cli(*words)
    assert "the work queue 'nope' of the pool 'side' was made" in done.err and done.json["work_queue_name"] == "nope"
    assert "was made" not in cli(*words).err


def test_the_embedded_worker_is_no_reason_to_wait(cli: Cli) -> None:
    told = cli("deployment", "run", "linger/here", "-p", "seconds=0").out
    assert "Watch it" in told and "worker" not in told


# -- what is shown


def test_a_run_that_is_made_up_for_shows_the_moment_it_stands_for(cli: Cli) -> None:
    cli("deploy", "flows.py:greet", "--name", "past", "--pool", "side", "--cron", "30 3 * * *", "--timezone", "UTC")
    cli("deployment", "backfill", "greet/past", "--from", "2026-03-01T00:00Z", "--to", "2026-03-02T00:00Z")
    (run,) = [
        one
        for one in cli("flow-run", "ls", "--deployment", "greet/past", "--limit", "200", "-o", "json").json
        if one["nominal_time"].startswith("2026-03-01")
    ]
    listed = cli("flow-run", "ls", "--deployment", "greet/past", "--limit", "200").out
    assert listed.count(", for 2026-03-01 03:30 UTC") == listed.count(", for ") == 1
    shown = cli("flow-run", "inspect", run["id"]).out
    assert re.search("stands for +2026-03-01 03:30 UTC", shown) and re.search(r"due +\S+ \d\d:\d\d:\d\d [A-Z]+ ", shown)
    cli("deployment", "delete", "greet/past", "--yes")


def test_deployments_are_listed_by_the_name_that_is_shown(cli: Cli) -> None:
    cli("deploy", "flows.py:linger", "--name", "a", "--pool", "side")
    names = [line.split()[0] for line in cli("deployment", "ls").out.splitlines()[1:]]
    assert names == sorted(names) and names[0] == "greet/d" and "linger/a" in names
    cli("deployment", "delete", "linger/a", "--yes")


def test_a_pool_shows_what_its_job_variables_are(cli: Cli) -> None:
    cli("work-pool", "create", "ships", "--type", "docker")
    lines = [line.rstrip().split(None, 2) for line in cli("work-pool", "inspect", "ships").out.splitlines()]
    assert any(words[:2] == ["JOB", "VARIABLE"] for words in lines)
    assert ["image", "string", '"millrace:latest"'] in lines
    assert ["stream_output", "boolean", "true"] in lines
    (policy,) = [" ".join(words) for words in lines if words[:1] == ["image_pull_policy"]]
    assert '"IfNotPresent" or "Always" or "Never"' in policy
    cli("work-pool", "delete", "ships", "--yes")
    said = cli("work-pool", "delete", "ships", "--yes", code=3).err
    assert "No work pool is named 'ships'. See them with: millrace work-pool ls" in said and "Create" not in said


def test_moments_for_programs_are_written_in_one_way(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PW", "hunter22")
    cli("secret", "set", "pw", "--from-env", "PW")
    (secret,) = cli("secret", "ls", "-o", "json").json
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", secret["created"])


def test_a_setting_that_cannot_be_kept_is_named_as_it_is_written(cli: Cli) -> None:
    done = cli("config", "set", "MILLRACE_WORK_POOL", code=2)
    assert done.err.startswith("millrace: 'MILLRACE_WORK_POOL' is not of the form name=value.")
    assert "no setting MILLRACE_NOPE" in cli("config", "set", "NOPE=1", code=2).err
