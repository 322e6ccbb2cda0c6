"""The endings of a notebook run: state, notebook, page, exit code and what really happened agree."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from bookshelf import Trial

from millrace.notebooks.abandoned import settle
from millrace.notebooks.cell_events import CellError
from millrace.notebooks.run import outcome_json
from millrace.notebooks.stop_request import StopRequest
from millrace.notebooks.truth import Ending

RUNNER = """
import json, sys
from pathlib import Path
from millrace.notebooks.run import outcome_json, run_notebook
book, output, ledger, mark = sys.argv[1:]
outcome = run_notebook(Path(book), output=Path(output), parameters={"LEDGER": ledger}, grace=3.0, html=False,
                       environment={"MILL_TRIAL": mark})
print(json.dumps(outcome_json(outcome)))
sys.exit(outcome.exit_code)
"""


def start(trial: Trial) -> subprocess.Popen[str]:
    arguments = [str(trial.book), str(trial.output), str(trial.ledger), trial.mark]
    return subprocess.Popen([sys.executable, "-c", RUNNER, *arguments], stdout=subprocess.PIPE, text=True)


def wait_for(trial: Trial, line: str) -> None:
    deadline = time.monotonic() + 20
    while line not in trial.written():
        assert time.monotonic() < deadline, f"{line!r} never came: {trial.written()}"
        time.sleep(0.02)


def test_completed(tmp_path: Path) -> None:
    trial = Trial(tmp_path, {"one": "print('hello')", "two": "1 + 1"})
    outcome = trial.run()
    assert (outcome.state_type, outcome.state_name, outcome.exit_code) == ("COMPLETED", "Completed", 0)
    assert set(trial.check(outcome).values()) == {"completed"}
    assert list(outcome_json(outcome)) == [
        "state_type", "state_name", "exit_code", "error", "cells", "notebook", "html",
    ]  # fmt: skip
    page = outcome.html.read_text(encoding="utf-8") if outcome.html else ""
    assert "hello" in page and "<script src=" not in page.replace("<script async src=", "")


def test_exception(tmp_path: Path) -> None:
    trial = Trial(tmp_path, {"one": "x = 0", "two": "1 / x", "three": "2"})
    outcome = trial.run()
    assert (outcome.state_name, outcome.exit_code) == ("Failed", 1)
    assert trial.check(outcome) == {"one": "completed", "two": "failed", "three": "not_run"}
    assert outcome.error is not None
    assert (outcome.error.ename, outcome.error.evalue) == ("ZeroDivisionError", "division by zero")
    # parameters, injected parameters, text and the pen stand before
    assert outcome.error.cell == 6 and "Cell 6 " in outcome.error.message
    assert any("1 / x" in line for line in outcome.error.traceback)


@pytest.mark.parametrize(
    ("body", "exit_code", "words"),
    [
        ("import signal; os.kill(os.getpid(), signal.SIGKILL)", 137, "signal 9"),
        ("os._exit(0)", 70, "exited with code 0"),
    ],
)
def test_killed_kernel(tmp_path: Path, body: str, exit_code: int, words: str) -> None:
    trial = Trial(tmp_path, {"one": "print('before')", "two": body, "three": "3"})
    outcome = trial.run()
    assert (outcome.state_type, outcome.state_name, outcome.exit_code) == ("CRASHED", "Crashed", exit_code)
    assert trial.check(outcome) == {"one": "completed", "two": "failed", "three": "not_run"}
    assert outcome.error is not None and words in outcome.error.message and outcome.error.cell == 6


def test_memory_limit(tmp_path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))"
    trial = Trial(tmp_path, {"one": limit, "two": "block = bytearray(2**32)", "three": "3"})
    outcome = trial.run()
    assert outcome.state_name == "Failed"
    assert trial.check(outcome) == {"one": "completed", "two": "failed", "three": "not_run"}
    assert outcome.error is not None and outcome.error.ename == "MemoryError"


@pytest.mark.parametrize("which", ["timeout", "cell_timeout"])
def test_time_out(tmp_path: Path, which: str) -> None:
    trial = Trial(tmp_path, {"one": "1", "two": "print('on it', flush=True); time.sleep(60)", "three": "3"})
    begun = time.monotonic()
    outcome = trial.run(**{which: 2.0}, html=False)
    assert time.monotonic() - begun < 40
    assert (outcome.state_type, outcome.state_name, outcome.exit_code) == ("FAILED", "TimedOut", 124)
    assert trial.check(outcome) == {"one": "completed", "two": "timed_out", "three": "not_run"}
    assert outcome.error is not None and "time-out of 2 s" in outcome.error.message


def test_a_cell_that_will_not_be_interrupted_is_killed_with_all_it_started(tmp_path: Path) -> None:
    stubborn = """
import subprocess
subprocess.Popen(["sleep", "300"], start_new_session=True)
os.system("setsid sleep 301 >/dev/null 2>&1 &")
while True:
    try:
        ledger("at it")
        time.sleep(60)
    except KeyboardInterrupt:
        ledger("asked")
"""
    cancel = threading.Event()
    trial = Trial(tmp_path, {"one": "1", "two": stubborn, "three": "3"})

    def stop() -> None:
        wait_for(trial, "at it")
        cancel.set()

    threading.Thread(target=stop).start()
    outcome = trial.run(cancel=cancel, grace=1.0, html=False)
    assert (outcome.state_type, outcome.state_name, outcome.exit_code) == ("CANCELLED", "Cancelled", 130)
    assert trial.check(outcome) == {"one": "completed", "two": "cancelled", "three": "not_run"}
    assert "asked" in trial.written()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupt_sigterm_and_hangup(tmp_path: Path, number: signal.Signals) -> None:
    tidy = "try:\n    ledger('at it')\n    time.sleep(60)\nfinally:\n    ledger('tidied')"
    trial = Trial(tmp_path, {"one": "1", "two": tidy, "three": "3"})
    runner = start(trial)
    wait_for(trial, "at it")
    runner.send_signal(number)
    printed, _ = runner.communicate(timeout=90)
    outcome = json.loads(printed)
    assert (outcome["state_type"], outcome["state_name"], outcome["exit_code"]) == ("CANCELLED", "Cancelled", 130)
    assert runner.returncode == 130
    assert number.name in outcome["error"]["message"]
    assert trial.check_ledger() == {"one": "completed", "two": "cancelled", "three": "not_run"}
    assert "tidied" in trial.written()
    trial.check_gone()


def test_a_hangup_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop.asked()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_sigkill_of_the_runner(tmp_path: Path) -> None:
    trial = Trial(tmp_path, {"one": "1", "two": "time.sleep(60)", "three": "3"})
    runner = start(trial)
    wait_for(trial, "two start")
    deadline = time.monotonic() + 20
    while trial.statuses().get("two") != "running" and time.monotonic() < deadline:
        time.sleep(0.05)  # the notebook follows
    runner.kill()
    runner.communicate(timeout=90)
    # Nobody is left to say more; what stands there is true.
    assert trial.check_ledger() == {"one": "completed", "two": "running", "three": "not_run"}
    trial.check_gone(within=10)
    # Unless the worker finds it, and settles it.
    settle(trial.output, Ending("crashed", CellError("The worker was killed.")))
    assert trial.check_ledger() == {"one": "completed", "two": "failed", "three": "not_run"}
    before = trial.output.read_bytes()
    assert [r.status for r in settle(trial.output, Ending("cancelled"))][-3:] == ["completed", "failed", "not_run"]
    assert trial.output.read_bytes() == before


@pytest.mark.parametrize(
    ("body", "state", "exit_code", "status"),
    [
        ("sys.exit(0)", "Completed", 0, "completed"),
        ("sys.exit()", "Completed", 0, "completed"),
        ("sys.exit(3)", "Failed", 3, "failed"),
        ("sys.exit('no data')", "Failed", 1, "failed"),
        ("exit()", "Completed", 0, "completed"),
    ],
)
def test_sys_exit(tmp_path: Path, body: str, state: str, exit_code: int, status: str) -> None:
    trial = Trial(tmp_path, {"one": "1", "two": "2", "three": "3"})
    cells = json.loads(trial.book.read_text())
    # no line of the ledger behind it: the cell completes by leaving
    cells["cells"][4]["source"] = f"ledger('two start'); ledger('two end')\n{body}"
    trial.book.write_text(json.dumps(cells))
    outcome = trial.run(html=False)
    assert (outcome.state_name, outcome.exit_code) == (state, exit_code)
    assert trial.statuses() == {"one": "completed", "two": status, "three": "not_run"}
    assert "three start" not in trial.written()
    errors = [o for c in json.loads(trial.output.read_text())["cells"] for o in c.get("outputs", []) if "ename" in o]
    assert bool(errors) == (state == "Failed")
    trial.check_gone()


def test_output_flood(tmp_path: Path) -> None:
    flood = "line = 'x' * 99\nfor _ in range(1_000_000):\n    print(line)"
    trial = Trial(tmp_path, {"one": "1", "two": flood, "three": "print('still here')"})
    heard: list[int] = []
    begun = time.monotonic()
    outcome = trial.run(max_output_bytes=1_000_000, on_output=lambda text, name, index: heard.append(len(text)))
    assert time.monotonic() - begun < 120
    assert outcome.state_name == "Completed"
    assert set(trial.check(outcome).values()) == {"completed"}
    text = trial.output.read_text()
    assert len(text) < 2_000_000 and "99,000,000 more were not kept" in text and "still here" in text
    assert sum(heard) < 1_100_000
