"""What running code may ask of its run, and whose lines the lines are; against the embedded server."""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import io
import logging
import multiprocessing
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import millrace
from millrace import flow, settings, tags, task
from millrace.client.synchronous import Client
from millrace.engine.console import ConsoleHandler
from millrace.engine.recorder import recorder
from millrace.errors import MissingContext, SettingsError
from millrace.logging import disable_run_logger, get_logger, get_run_logger
from millrace.runtime import deployment, flow_run, task_run
from millrace.schema.runs import FlowRun
from servers import own_server

EXTRA = "acme_of_tests"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of an embedded server that belongs to this module, with one extra logger."""
    recorder.cache_clear()
    home = tmp_path_factory.mktemp("mill")
    with own_server(home, MILLRACE_LOG_EXTRA_LOGGERS=f"{EXTRA}, another_of_tests") as found:
        yield found
    recorder.cache_clear()


def lines(client: Client, run_id: Any) -> list[tuple[str, str, bool]]:
    """Logger, text and whether it is a task's."""
    recorder().flush(logs=True)
    found = client.read_logs(logs={"flow_run_id": {"any_": [str(run_id)]}}, limit=200)
    return [(one.name, one.message, one.task_run_id is not None) for one in found]


def run_of(client: Client, name: str) -> FlowRun:
    return client.read_flow_runs(flows={"name": {"any_": [name]}}, sort="EXPECTED_START_TIME_DESC", limit=1)[0]


# -- runtime


def asked() -> dict[str, Any]:
    return {
        **{f"flow_run.{name}": getattr(flow_run, name) for name in dir(flow_run)},
        **{f"task_run.{name}": getattr(task_run, name) for name in dir(task_run)},
        **{f"deployment.{name}": getattr(deployment, name) for name in dir(deployment)},
    }


def test_outside_of_a_run_everything_is_empty() -> None:
    found = asked()
    for moment in (found.pop("flow_run.scheduled_start_time"), found.pop("flow_run.logical_time")):
        assert abs(datetime.now(UTC) - moment) < timedelta(seconds=60)
    assert all(value in (None, [], {}, 0) for value in found.values()), found
    assert found["flow_run.tags"] == [] and found["flow_run.parameters"] == {} and found["task_run.run_count"] == 0
    with pytest.raises(AttributeError, match="has no attribute 'colour'; it has id, name"):
        flow_run.colour  # noqa: B018
    assert millrace.runtime.flow_run is flow_run


def test_a_run_and_its_tasks_on_threads(client: Client) -> None:
    @task(tags=["t"], task_run_name="square of {n}", retries=1)
    def square(n: int) -> Any:
        if task_run.run_count == 1:
            raise ValueError
        return asked()

    @flow(name="asks", version="v7")
    def asks(n: int, day: str = "monday") -> Any:
        return asked(), square.submit(n).result()

    with tags("eu"):
        mine, task_s = asks(4)
    run = run_of(client, "asks")
    for found in (mine, task_s):
        assert found["flow_run.id"] == found["flow_run.root_flow_run_id"] == str(run.id)
        assert found["deployment.flow_run_id"] == str(run.id) and found["deployment.id"] is None
        assert (found["flow_run.name"], found["flow_run.flow_name"], found["flow_run.flow_version"]) == (
            run.name,
            "asks",
            "v7",
        )
        assert found["flow_run.parameters"] == {"n": 4, "day": "monday"} and found["flow_run.tags"] == ["eu"]
        assert found["flow_run.run_count"] == 1 and found["flow_run.parent_flow_run_id"] is None
        assert found["flow_run.scheduled_start_time"] == run.expected_start_time
        assert found["flow_run.api_url"] is None
    assert mine["task_run.id"] is None
    stored = client.read_task_run(task_s["task_run.id"])
    assert (stored.name, task_s["task_run.name"], task_s["task_run.task_name"]) == (
        "square of 4",
        "square of 4",
        "square",
    )
    assert task_s["task_run.parameters"] == {"n": 4} and task_s["task_run.run_count"] == 2
    assert sorted(task_s["task_run.tags"]) == ["eu", "t"]


def test_a_flow_within_a_flow_knows_who_called_it(client: Client) -> None:
    seen: dict[str, Any] = {}

    @flow
    def inner() -> None:
        seen["inner"] = asked()

    @flow
    async def middle() -> None:
        seen["middle"] = asked()
        await asyncio.to_thread(inner)

    @flow
    def outer() -> None:
        seen["outer"] = asked()
        asyncio.run(middle())

    outer()
    ids = {name: found["flow_run.id"] for name, found in seen.items()}
    assert [seen[name]["flow_run.parent_flow_run_id"] for name in ("outer", "middle", "inner")] == [
        None,
        ids["outer"],
        ids["middle"],
    ]
    assert {found["flow_run.root_flow_run_id"] for found in seen.values()} == {ids["outer"]}


def test_a_second_try_counts(client: Client) -> None:
    counts = []

    @flow(retries=1)
    def twice() -> None:
        counts.append(flow_run.run_count)
        if len(counts) == 1:
            raise ValueError

    twice()
    assert counts == [1, 2]


def test_another_process_of_a_run_asks_the_server(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    @flow(name="asked from outside")
    def inner(n: int) -> str:
        return str(flow_run.id)

    @flow
    def outer() -> tuple[str, str]:
        return str(flow_run.id), inner(3)

    parent, child = outer()
    for name in ("MILLRACE__FLOW_RUN_ID", "PREFECT__FLOW_RUN_ID"):
        monkeypatch.setenv(name, child)
        found = asked()
        assert found["flow_run.id"] == child and found["flow_run.flow_name"] == "asked from outside"
        assert found["flow_run.parameters"] == {"n": 3} and found["flow_run.run_count"] == 1
        assert found["flow_run.parent_flow_run_id"] == found["flow_run.root_flow_run_id"] == parent
        monkeypatch.delenv(name)


def test_variables_replace_attributes_in_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "FLOW_RUN__NAME": "mine",
        "FLOW_RUN__RUN_COUNT": "3",
        "FLOW_RUN__PARAMETERS": '{"n": 1}',
        "FLOW_RUN__SCHEDULED_START_TIME": "2026-01-31T09:00:00",
        "FLOW_RUN__MADE_UP": "x",
        "TASK_RUN__TAGS": '["a"]',
        "DEPLOYMENT__NAME": "nightly",
    }
    for name, value in given.items():
        monkeypatch.setenv(f"MILLRACE__RUNTIME__{name}", value)
    assert (flow_run.name, flow_run.run_count, flow_run.parameters) == ("mine", 3, {"n": 1})
    assert flow_run.scheduled_start_time == datetime(2026, 1, 31, 9, tzinfo=UTC) and flow_run.made_up == "x"
    assert task_run.tags == ["a"] and deployment.name == "nightly"
    monkeypatch.setenv("MILLRACE__RUNTIME__FLOW_RUN__RUN_COUNT", "many")
    with pytest.raises(SettingsError, match="RUN_COUNT='many' is not a whole number"):
        flow_run.run_count  # noqa: B018


# -- logs


def test_a_program_that_a_run_starts_belongs_to_it(client: Client) -> None:
    code = (
        "from millrace import flow, get_run_logger; from millrace.artifacts import create_markdown_artifact\n"
        "from millrace.runtime import flow_run\n"
        "get_run_logger().warning('from a program of %s', flow_run.name)\n"
        "create_markdown_artifact('made', key='of-a-program')\n"
    )

    @flow
    def inner() -> str:
        subprocess.run([sys.executable, "-c", code], check=True, timeout=90)
        return str(flow_run.id)

    @flow
    def outer() -> tuple[str, str, str]:
        subprocess.run([sys.executable, "-c", code], check=True, timeout=90)
        return str(flow_run.id), str(flow_run.name), inner()

    first, name, second = outer()
    assert ("millrace.flow_runs", f"from a program of {name}", False) in lines(client, first)
    assert [text for _, text, _ in lines(client, first)].count(f"from a program of {name}") == 1
    assert [text for _, text, _ in lines(client, second) if "program" in text] != []
    for run in (first, second):
        found = client.read_artifacts(artifacts={"flow_run_id": {"any_": [run]}})
        assert [one.key for one in found] == ["of-a-program"]
    alone = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=90, check=False)
    assert "outside of a flow or task" in alone.stderr


def test_lines_of_threads_belong_to_the_run(client: Client) -> None:
    @flow(name="threads")
    def threads() -> str:
        log = get_run_logger()
        other = logging.getLogger(EXTRA)

        def without_context() -> None:
            log.info("has the logger")
            other.warning("nobody's line")
            with pytest.raises(MissingContext, match="start it with contextvars"):
                get_run_logger()

        thread = threading.Thread(target=without_context)
        thread.start()
        thread.join()
        context = contextvars.copy_context()

        def with_context() -> None:
            get_run_logger().info("asked for it")
            other.info("extra from a thread")
            logging.getLogger(f"{EXTRA}.deeper").info("below it")
            other.debug("too low")

        with ThreadPoolExecutor(1) as pool:
            pool.submit(context.run, with_context).result()
        return str(flow_run.id)

    found = lines(client, threads())
    assert [text for _, text, _ in found][1:-1] == ["has the logger", "asked for it", "extra from a thread", "below it"]
    assert {name for name, _, _ in found} == {"millrace.flow_runs", EXTRA, f"{EXTRA}.deeper"}


def test_lines_of_extra_loggers_belong_to_the_task_that_wrote_them(client: Client) -> None:
    @task
    def part(n: int) -> None:
        logging.getLogger("another_of_tests").error("part %d", n)

    @flow
    def parts() -> str:
        part.map([1, 2]).result()
        return str(flow_run.id)

    @flow
    def elsewhere() -> str:
        parts_of[:] = [parts()]
        return str(flow_run.id)

    parts_of: list[str] = []
    outer = elsewhere()
    ours = sorted(one for one in lines(client, parts_of[0]) if one[0] == "another_of_tests")
    assert ours == [("another_of_tests", "part 1", True), ("another_of_tests", "part 2", True)]
    assert not [one for one in lines(client, outer) if one[0] == "another_of_tests"]


def _in_a_fork() -> None:
    get_run_logger().info("from a fork")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_lines_of_a_forked_process_belong_to_the_run(client: Client) -> None:
    @flow
    def forks() -> str:
        process = multiprocessing.get_context("fork").Process(target=_in_a_fork)
        process.start()
        process.join(30)
        assert process.exitcode == 0
        return str(flow_run.id)

    assert [text for _, text, _ in lines(client, forks())].count("from a fork") == 1


SPAWNS = """
import multiprocessing, subprocess, sys
from concurrent.futures import ProcessPoolExecutor
from millrace import flow, get_run_logger, task
from millrace.artifacts import create_markdown_artifact
from millrace.runtime import flow_run

PROGRAM = "from millrace import get_run_logger; get_run_logger().info('from a program of a process')"

def work(of):
    get_run_logger().info("from a %s process of %s", of, flow_run.name)
    return str(flow_run.id)

def work_and_start(of):
    create_markdown_artifact("made", key="of-a-process")
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)
    work(of)

@task
def in_a_task(method):
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
        return pool.submit(work, method + " pool").result()

@flow(flow_run_name="inner of {method}")
def inner(method):
    process = multiprocessing.get_context(method).Process(target=work_and_start, args=(method,))
    process.start()
    process.join(90)
    assert process.exitcode == 0
    return str(flow_run.id)

@flow(flow_run_name="outer of {method}")
def outer(method):
    within = inner(method)
    mine = str(flow_run.id)
    assert in_a_task.submit(method).result() == mine
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.map(work, [method + " old pool"]) == [mine]
    return mine, within

if __name__ == "__main__":
    print(*outer(sys.argv[1]))
"""


@pytest.mark.timeout(240)
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes_that_know_nothing_of_their_parent_belong_to_its_run(
    client: Client, tmp_path: Path, method: str
) -> None:
    script = tmp_path / "spawns.py"
    script.write_text(SPAWNS)
    done = subprocess.run([sys.executable, script, method], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = done.stdout.split()
    # the screen names the run as its own process does
    assert f"| Flow run 'inner of {method}' - from a {method} process of" in done.stderr
    assert f"| Flow run 'inner of {method}' - from a program of a process" in done.stderr
    assert f"| Flow run 'outer of {method}' - from a {method} pool" in done.stderr
    outer, inner = ([text for _, text, _ in lines(client, run)] for run in (first, second))
    for pool in ("pool", "old pool"):
        assert outer.count(f"from a {method} {pool} process of outer of {method}") == 1, outer
    assert inner.count(f"from a {method} process of inner of {method}") == 1, inner
    assert inner.count("from a program of a process") == 1
    assert not [text for text in outer if "of inner" in text or "program" in text]
    [made] = client.read_artifacts(artifacts={"flow_run_id": {"any_": [second]}})
    assert made.key == "of-a-process"


def test_a_logger_of_another_run_and_more_attributes(client: Client) -> None:
    seen: list[logging.LogRecord] = []

    class Keeps(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record)

    handler = Keeps()
    logging.getLogger("millrace.flow_runs").addHandler(handler)
    try:

        @flow(name="attributes")
        def attributes() -> str:
            get_run_logger(batch=7).info("with more")
            return str(flow_run.name)

        name = attributes()
    finally:
        logging.getLogger("millrace.flow_runs").removeHandler(handler)
    record: Any = next(one for one in seen if one.getMessage() == "with more")
    assert (record.batch, record.flow_run_name, record.flow_name) == (7, name, "attributes")


def test_outside_of_a_run_the_logger_says_what_to_do() -> None:
    with pytest.raises(MissingContext, match="wants disable_run_logger"):
        get_run_logger()


def test_a_test_of_the_plain_function_needs_no_run(client: Client) -> None:
    @flow
    def etl(n: int) -> int:
        get_run_logger().info("silent")
        return n + 1

    with disable_run_logger():
        assert etl.fn(2) == 3
    with pytest.raises(MissingContext):
        etl.fn(2)

    @flow(name="hushed")
    def hushed() -> str:
        with disable_run_logger():
            get_run_logger().info("not this")
        get_run_logger().info("but this")
        return str(flow_run.id)

    texts = [text for _, text, _ in lines(client, hushed())]
    assert "but this" in texts and "not this" not in texts


def test_our_own_loggers() -> None:
    assert get_logger().name == "millrace"
    assert get_logger("mine").name == get_logger("millrace.mine").name == "millrace.mine"


# -- the screen


@flow(name="speaks", log_prints=True)
def speaks(fails: bool = False) -> None:
    """Says a few things."""
    log = get_run_logger()
    log.debug("too low")
    log.info("read %d rows", 10)
    print("printed", "once", sep="-")
    said()
    logging.getLogger(EXTRA).warning("an extra line")
    if fails:
        raise ValueError("bad input")


@task
def said() -> None:
    """Says one thing."""
    get_run_logger().warning("careful")


def test_a_run_is_seen_on_stderr(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    speaks()
    out, err = capsys.readouterr()
    name = run_of(client, "speaks").name
    assert out == "printed-once\n"
    assert [line.partition(" | ")[2] for line in err.splitlines()] == [
        f"INFO    | Flow run {name!r} - Flow 'speaks' begins",
        f"INFO    | Flow run {name!r} - read 10 rows",
        "WARNING | Task run 'said-0' - careful",
        f"WARNING | {EXTRA} - an extra line",
        f"INFO    | Flow run {name!r} - Ended: Completed",
    ]
    assert all(len(line.partition(" | ")[0]) == len("12:00:01.123") for line in err.splitlines())
    assert "\x1b" not in err


def test_a_failure_is_one_line_and_the_place(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    speaks(fails=True, return_state=True)
    shown = capsys.readouterr().err.splitlines()[-2:]
    line = _line_of('raise ValueError("bad')
    assert shown[0].endswith(f"Raised: ValueError: bad input (test_runtime_and_logs.py:{line})")
    assert shown[1].endswith("Ended: Failed") and "ERROR" in shown[1]
    assert "Traceback" in dict((text[:6], text) for _, text, _ in lines(client, run_of(client, "speaks").id))["Raised"]


def _line_of(text: str) -> int:
    return next(n for n, line in enumerate(Path(__file__).read_text().splitlines(), start=1) if text in line)


@pytest.fixture
def again() -> Iterator[Any]:
    """Lets a test change settings that loggers read once."""

    def renew() -> None:
        settings.current.cache_clear()
        recorder().flush(logs=True)
        recorder.cache_clear()

    yield renew
    renew()


@pytest.mark.parametrize(("level", "count"), [("OFF", 0), ("ERROR", 0), ("WARNING", 2), ("DEBUG", 5)])
def test_one_setting_for_the_screen(
    client: Client,
    level: str,
    count: int,
    again: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MILLRACE_LOG_CONSOLE", level)
    again()
    speaks()
    assert len(capsys.readouterr().err.splitlines()) == count
    monkeypatch.delenv("MILLRACE_LOG_CONSOLE")


def test_a_process_of_a_worker_s_run_shows_nothing(
    client: Client, again: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MILLRACE__FLOW_RUN_ID", "0d9e1f8a-0000-4000-8000-000000000000")
    again()
    speaks()
    assert capsys.readouterr().err == ""
    monkeypatch.delenv("MILLRACE__FLOW_RUN_ID")


def test_lines_are_not_shown_twice_when_the_user_shows_them(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    import sys  # noqa: PLC0415 - the stream of this test

    mine = logging.StreamHandler(sys.stderr)
    mine.setFormatter(logging.Formatter("MINE %(message)s"))
    logging.getLogger().addHandler(mine)
    try:
        speaks()
    finally:
        logging.getLogger().removeHandler(mine)
    out, err = capsys.readouterr()
    assert out == "printed-once\n" and err.count("read 10 rows") == 1 and "printed" not in err
    assert [line for line in err.splitlines() if line.startswith("MINE ")] == ["MINE an extra line"]
    texts = [text for _, text, _ in lines(client, run_of(client, "speaks").id)]
    assert texts.count("printed-once") == 1 and texts.count("read 10 rows") == 1


def test_a_screen_that_is_gone_does_not_fail_the_run(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    speaks()
    assert any(isinstance(one, ConsoleHandler) for one in logging.getLogger("millrace.flow_runs").handlers)


def test_the_names_are_public() -> None:
    assert importlib.import_module("millrace").get_run_logger is get_run_logger
    assert millrace.disable_run_logger is disable_run_logger and millrace.logging.get_logger is get_logger


class Unspeakable:
    """Cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


def test_a_line_that_cannot_be_formatted_fails_nothing(
    client: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("", "millrace.flow_runs", "millrace.task_runs"):  # pytest's own handlers raise
        logger = logging.getLogger(name)
        ours = [one for one in logger.handlers if getattr(one, "of_millrace", False)]
        monkeypatch.setattr(logger, "handlers", ours)

    @task
    def miscounts() -> int:
        get_run_logger().info("%s and %s", "one")
        return 1

    @flow(name="misworded")
    def misworded() -> int:
        get_run_logger().info("%d rows", "x")
        get_run_logger().info(Unspeakable())
        get_run_logger().info("after")
        return miscounts()

    assert misworded() == 1
    found = [text for _, text, _ in lines(client, run_of(client, "misworded").id)]
    assert "%d rows (not formatted: TypeError: %d format: a real number is required, not str)" in found
    assert "<Unspeakable> (not formatted: RuntimeError: no words)" in found and "after" in found
    assert any(text.startswith("%s and %s (not formatted: TypeError:") for text in found)
    assert "%d rows (not formatted" in capsys.readouterr().err


def test_a_handle_gives_the_lines_that_were_logged_just_now(client: Client) -> None:
    @flow
    def says(number: int) -> None:
        get_run_logger().info("number %d", number)

    for number in range(3):
        run = says(number, return_state=True).state_details.flow_run_id
        assert run is not None
        told = [line.message for line in millrace.RunHandle(run).logs()]
        assert told == ["Flow 'says' begins", f"number {number}", "Ended: Completed"]


def test_a_root_handler_of_somebody_else_changes_nothing_on_the_screen(
    client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = logging.FileHandler(tmp_path / "all.log")
    file.setFormatter(logging.Formatter("file: %(message)s"))
    monkeypatch.setattr(logging.getLogger(), "handlers", [logging.StreamHandler(sys.stderr), file])
    ours = io.StringIO()
    own = logging.StreamHandler(ours)

    @task
    def steps() -> None:
        get_run_logger().info("in the task")

    @flow(name="beside a root handler", log_prints=True)
    def job() -> None:
        get_run_logger().info("read %d rows", 7)
        print("printed")
        logging.getLogger("somebody.else").error("their own")
        steps()

    logging.getLogger("millrace").addHandler(own)
    try:
        job()
    finally:
        logging.getLogger("millrace").removeHandler(own)
    shown = capfd.readouterr()
    lines = shown.err.splitlines()
    assert [one for one in lines if "rows" in one] == [
        one for one in lines if re.search(r"Flow run '.*' - read 7 rows$", one)
    ]
    assert (
        len([one for one in lines if "rows" in one]) == 1 and len([one for one in lines if "in the task" in one]) == 1
    )
    assert "their own" in lines and shown.out == "printed\n" and "printed" not in shown.err
    said = (tmp_path / "all.log").read_text().splitlines()
    assert [said.count(f"file: {one}") for one in ("read 7 rows", "printed", "in the task", "their own")] == [1] * 4
    assert ours.getvalue().splitlines().count("read 7 rows") == 1


def test_what_a_run_logs_is_captured_once_by_pytest(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    speaks()
    assert caplog.messages.count("read 10 rows") == 1
