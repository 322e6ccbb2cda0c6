"""Running notebooks: parameters, secrets, outputs, events, saving."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest
from bookshelf import Trial, write_book

from millrace.errors import InvalidInput, ParameterError
from millrace.notebooks.cell_events import CellEvent
from millrace.notebooks.kernel import KernelSource
from millrace.notebooks.run import NotebookOutcome, run_notebook

CANARY = "canary/zebra7\"'<é>&x9"


def run(book: Path, **options: Any) -> tuple[NotebookOutcome, list[dict[str, Any]]]:
    """Run a book without a page; its executed cells."""
    output = book.with_name("executed.ipynb")
    outcome = run_notebook(book, output=output, html=False, **options)
    nb = json.loads(output.read_text(encoding="utf-8"))
    nbformat.validate(nb)
    return outcome, nb["cells"]


def text_of(cell: dict[str, Any]) -> str:
    return "".join("".join(o["text"]) for o in cell["outputs"] if o["output_type"] == "stream")


def test_parameters_arrive_typed_behind_the_parameters_cell(tmp_path: Path) -> None:
    declared = "import datetime\nn: int = 3\nday: datetime.date = datetime.date(2024, 1, 1)\nname = 'x'"
    book = write_book(tmp_path / "b.ipynb", "print(n + 1, day.year, name)", parameters=declared)
    before = book.read_bytes()
    outcome, cells = run(book, parameters={"n": "5", "day": "2026-02-03"})
    assert outcome.state_name == "Completed"
    assert text_of(cells[2]) == "6 2026 x\n"
    assert cells[1]["metadata"]["tags"] == ["injected-parameters"] and cells[1]["id"] == "injected-parameters"
    assert book.read_bytes() == before
    # The executed notebook can be run again: its injected cell is replaced.
    copy = outcome.notebook.rename(tmp_path / "copy.ipynb")
    _, again = run(copy, parameters={"n": 7})
    assert text_of(again[2]) == "8 2024 x\n" and len(again) == 3


def test_a_typo_in_a_parameter_is_an_error_before_anything_runs(tmp_path: Path) -> None:
    book = write_book(tmp_path / "b.ipynb", "open('ran', 'w')", parameters="threshold = 0.5")
    with pytest.raises(ParameterError, match=r"'treshold'\. Did you mean 'threshold'\? Known parameters: threshold"):
        run(book, parameters={"treshold": 1})
    with pytest.raises(ParameterError, match=r"'threshold' cannot be 'high' \(str\): expected number"):
        run(book, parameters={"threshold": "high"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.ipynb"]


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    book = write_book(tmp_path / "b.ipynb", "1")
    with pytest.raises(InvalidInput, match="no notebook"):
        run_notebook(tmp_path / "c.ipynb", output=tmp_path / "o.ipynb")
    (tmp_path / "d.ipynb").write_text("{}")
    with pytest.raises(InvalidInput, match="is no notebook"):
        run_notebook(tmp_path / "d.ipynb", output=tmp_path / "o.ipynb")
    with pytest.raises(InvalidInput, match=r"no kernel 'nope' here. Installed kernels: .*python3"):
        run(book, kernel_name="nope")
    with pytest.raises(InvalidInput, match="no directory"):
        run(book, working_directory=tmp_path / "nowhere")


def test_a_secret_is_in_no_artefact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    monkeypatch.setenv("CANARY", CANARY)
    half = len(CANARY) // 2
    book = write_book(
        tmp_path / "b.ipynb",
        "import base64, html, json, os, sys, time, urllib.parse\n"
        f"assert len(password) == {len(CANARY)} and key.get_secret_value() == password",
        "print(password); print({'p': password}); print(json.dumps([password])); print(html.escape(password))",
        "print(urllib.parse.quote(password), base64.b64encode(b'user:' + password.encode()).decode())",
        f"sys.stdout.write(password[:{half}]); sys.stdout.flush(); time.sleep(0.5)\n"
        f"sys.stdout.write(password[{half}:])",
        "from IPython.display import HTML, JSON, display\n"
        "display(HTML('<b>' + password + '</b>'), JSON({'k': [password]}))",
        "password",
        "os.system('echo \"$CANARY\"'); print(password, file=sys.stderr); os.write(2, password.encode())",
        "print([k for k, v in os.environ.items() if v == password], In, _ih)",
        "h = display('wait', display_id='d')",
        "h.update(HTML(password)); import ipywidgets; ipywidgets.Text(value=password)",
        f"note = {CANARY!r}  # typed into the source",
        "raise ValueError(password)",
        parameters="from pydantic import SecretStr\nkey: SecretStr = SecretStr('')\npassword = ''",
    )
    # The test's own source is no artefact.
    original = book.read_bytes()
    events: list[CellEvent] = []
    heard: list[str] = []
    outcome = run_notebook(
        book,
        output=tmp_path / "out" / "o.ipynb",
        secrets={"password": "env:CANARY", "key": "env:CANARY"},
        on_event=events.append,
        on_output=lambda text, name, index: heard.append(text),
    )
    book.unlink()
    assert original.count(b"canary") and outcome.state_name == "Failed"
    assert outcome.error is not None and outcome.error.ename == "ValueError" and outcome.error.cell == 14
    printed = "".join(capfd.readouterr())
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    everything = written.decode() + repr(events) + "".join(heard) + repr(outcome) + printed
    for piece in ("canary", "zebra7", "Y2FuYXJ5", "2FuYXJ5", "NhbmFyeS"):
        assert piece not in everything, everything[max(0, everything.find(piece) - 200) :][:400]
    nb = json.loads((tmp_path / "out" / "o.ipynb").read_text())
    injected = "".join(nb["cells"][1]["source"])
    assert (
        "# password = <secret from env:CANARY>" in injected
        and "password" not in nb["metadata"]["papermill"]["parameters"]
    )
    assert text_of(nb["cells"][3]).count("********") == 4
    assert "********" in text_of(nb["cells"][5])


def test_secrets_that_cannot_be_kept_or_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = write_book(tmp_path / "b.ipynb", "1", parameters="password = ''")
    monkeypatch.setenv("SHORT", "abc")
    with pytest.raises(ParameterError, match="fewer than 4"):
        run(book, secrets={"password": "env:SHORT"})
    with pytest.raises(ParameterError, match="NOT_SET_ANYWHERE, which is not set"):
        run(book, secrets={"password": "env:NOT_SET_ANYWHERE"})
    with pytest.raises(ParameterError, match="by reference") as caught:
        run(book, secrets={"password": "hunter22"})
    assert "hunter22" not in str(caught.value)
    with pytest.raises(ParameterError, match="Unknown parameter 'passwort'"):
        monkeypatch.setenv("LONG", "long enough")
        run(book, secrets={"passwort": "env:LONG"})


def test_outputs_are_kept_as_a_front_end_keeps_them(tmp_path: Path) -> None:
    book = write_book(
        tmp_path / "b.ipynb",
        "import sys\nfrom IPython.display import clear_output, display, HTML\n"
        "print(1); print(2); print(3, file=sys.stderr); print(4)",
        "for i in range(5):\n    clear_output(wait=True); print('step', i)",
        "handle = display('first', display_id='it')",
        "handle.update('second'); 42",
        "for i in range(3):\n    print(f'\\r{i}', end='')\nprint()",
        "import ipywidgets as w, threading, time\nout = w.Output()\nwith out:\n    print('inside')\nout",
        "def late():\n    time.sleep(0.3); print('late words')\nt = threading.Thread(target=late); t.start()",
        "t.join()",
    )
    outcome, cells = run(book)
    assert outcome.state_name == "Completed", outcome.error
    kinds = [(o["name"], "".join(o["text"])) for o in cells[0]["outputs"]]
    assert {("stderr", "3\n")} < set(kinds) and "".join(t for n, t in kinds if n == "stdout") == "1\n2\n4\n"
    assert text_of(cells[1]) == "step 4\n"
    assert cells[2]["outputs"][0]["data"]["text/plain"] == ["'second'"]
    assert cells[3]["outputs"][0]["output_type"] == "execute_result" and cells[3]["execution_count"] == 4
    assert text_of(cells[4]) == "2\n"
    nb = json.loads(outcome.notebook.read_text())
    states = nb["metadata"]["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]
    assert any("inside" in json.dumps(state) for state in states.values())
    # ipykernel decides to which of the two cells a thread's words belong; they are not lost.
    assert text_of(cells[6]) + text_of(cells[7]) == "late words\n"


def test_tags_and_empty_cells(tmp_path: Path) -> None:
    book = write_book(
        tmp_path / "b.ipynb", "1 / 0", "open('skipped', 'w')", "", "print('after')",
        tags={0: ["raises-exception"], 1: ["skip-execution"]},
    )  # fmt: skip
    outcome, cells = run(book)
    assert outcome.state_name == "Completed"
    assert [record.status for record in outcome.cells] == ["completed", "not_run", "completed", "completed"]
    assert cells[0]["outputs"][0]["ename"] == "ZeroDivisionError"
    assert cells[0]["metadata"]["papermill"]["exception"] is False
    assert not (tmp_path / "skipped").exists()


def test_what_an_earlier_run_left_is_cleared(tmp_path: Path) -> None:
    book = write_book(tmp_path / "b.ipynb", "1 / 0", "print('never')")
    nb = json.loads(book.read_text())
    nb["cells"][1] |= {
        "execution_count": 9,
        "outputs": [{"output_type": "stream", "name": "stdout", "text": "stale"}],
        "metadata": {"millrace": {"status": "completed"}, "papermill": {"status": "completed"}},
    }
    book.write_text(json.dumps(nb))
    _, cells = run(book)
    assert cells[1]["outputs"] == [] and cells[1]["execution_count"] is None
    assert cells[1]["metadata"]["millrace"] == {"status": "not_run"}


def test_an_old_notebook_gets_the_same_ids_at_every_run(tmp_path: Path) -> None:
    book = write_book(tmp_path / "b.ipynb", "1", "2")
    nb = json.loads(book.read_text())
    nb["nbformat_minor"] = 2
    for cell in nb["cells"]:
        del cell["id"]
    book.write_text(json.dumps(nb))
    outcome, _ = run(book)
    assert [record.cell_id for record in outcome.cells] == ["cell-0", "cell-1"]


def test_the_kernel_starts_beside_the_notebook_with_its_modules_and_data(tmp_path: Path) -> None:
    folder = tmp_path / "with a space & {braces}"
    folder.mkdir()
    (folder / "neighbour.py").write_text("value = 41")
    book = write_book(folder / "b.ipynb", "import neighbour, os; print(neighbour.value + 1, os.environ['MILL_X'])")
    outcome, cells = run(book, environment={"MILL_X": "y"})
    assert outcome.state_name == "Completed" and text_of(cells[0]) == "42 y\n"


def test_events_and_output_come_as_they_happen(tmp_path: Path) -> None:
    book = write_book(tmp_path / "b.ipynb", "md:text", "print('a')", "1 / 0", "3")
    events: list[CellEvent] = []
    heard: list[tuple[str, str, int]] = []
    run(book, on_event=events.append, on_output=lambda *piece: heard.append(piece))
    assert [(e.kind, e.index, e.status, e.number, e.total) for e in events] == [
        ("started", 1, "running", 1, 3),
        ("finished", 1, "completed", 1, 3),
        ("started", 2, "running", 2, 3),
        ("finished", 2, "failed", 2, 3),
    ]
    assert events[1].tail == "a\n" and events[1].execution_count == 1 and events[1].ended_at is not None
    assert (events[3].ename, events[3].evalue) == ("ZeroDivisionError", "division by zero")
    assert heard[0] == ("a\n", "stdout", 1)


def test_the_notebook_is_whole_and_true_at_every_instant(tmp_path: Path) -> None:
    big = "print('x' * 300_000)"
    trial = Trial(tmp_path, {f"cell{i}": f"{big}; time.sleep(0.15)" for i in range(20)})
    seen: list[str] = []
    done = threading.Event()
    wrong: list[BaseException] = []

    def watch() -> None:
        while not done.is_set():
            if not trial.output.exists():
                time.sleep(0.001)
                continue
            try:
                statuses = trial.statuses()
                written = trial.written()
                for name, status in statuses.items():
                    assert status != "completed" or f"{name} end" in written
                seen.append(",".join(statuses.values()))
            except BaseException as error:
                wrong.append(error)
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        outcome = trial.run(html=False)
    finally:
        done.set()
        watcher.join()
    assert not wrong, wrong
    assert outcome.state_name == "Completed" and set(trial.check(outcome).values()) == {"completed"}
    assert any("completed" in one and "not_run" in one for one in seen)  # it followed the run
    assert [path.name for path in trial.output.parent.iterdir()] == ["executed.ipynb"]


def test_a_waiting_kernel_is_handed_over_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = write_book(tmp_path / "b.ipynb", "import os; print(os.getcwd(), os.environ.get('MILL_NEW'), os.getpid())")
    monkeypatch.setenv("CANARY", "a long secret")
    source = KernelSource()
    try:
        source.fill()
        _, first = run(book, kernels=source, environment={"MILL_NEW": "1"})
        assert text_of(first[0]).split()[:2] == [str(tmp_path), "1"]
        source.fill()
        _, second = run(book, kernels=source)
        assert text_of(second[0]).split()[1:] != text_of(first[0]).split()[1:]
        assert text_of(second[0]).split()[1] == "None"
    finally:
        source.close()


def test_a_run_in_a_thread_can_be_cancelled_before_it_starts(tmp_path: Path) -> None:
    book = write_book(tmp_path / "b.ipynb", "1")
    cancel = threading.Event()
    cancel.set()
    outcome, _ = run(book, cancel=cancel)
    assert outcome.state_name == "Cancelled" and [record.status for record in outcome.cells] == ["not_run"]


def test_inside_a_running_event_loop(tmp_path: Path) -> None:
    book = write_book(tmp_path / "b.ipynb", "print(1)")

    async def main() -> str:
        return run(book)[0].state_name

    assert asyncio.run(main()) == "Completed"


def test_a_notebook_is_not_run_onto_itself(tmp_path: Path) -> None:
    book = write_book(tmp_path / "b.ipynb", "print(1)")
    with pytest.raises(InvalidInput, match="Give another output"):
        run_notebook(book, output=book)


def test_the_executed_notebook_goes_where_a_notebook_can(tmp_path: Path) -> None:
    book = write_book(tmp_path / "b.ipynb", "print(1)")
    with pytest.raises(InvalidInput, match="where the page would lie"):
        run_notebook(book, output=tmp_path / "out.html")
    with pytest.raises(InvalidInput, match="is a directory"):
        run_notebook(book, output=tmp_path)


def test_the_page_of_an_earlier_run_is_gone_when_the_notebook_is_new(tmp_path: Path) -> None:
    book = write_book(tmp_path / "b.ipynb", "print(1)")
    page = tmp_path / "out.html"
    page.write_text("it went well")
    there: list[bool] = []
    run_notebook(book, output=tmp_path / "out.ipynb", html=False, on_event=lambda event: there.append(page.exists()))
    assert there and not any(there)


def test_huge_errors_and_displays_are_cut(tmp_path: Path) -> None:
    book = write_book(
        tmp_path / "b.ipynb",
        "from IPython.display import HTML, display\nfor i in range(100):\n    display(HTML('y' * 100_000))",
        "raise ValueError('x' * 50_000_000)",
    )
    outcome, cells = run(book, max_output_bytes=1_000_000)
    assert outcome.notebook.stat().st_size < 2_000_000
    assert outcome.error is not None and len(outcome.error.evalue) < 20_000
    assert 5 <= sum("data" in o for o in cells[0]["outputs"]) <= 10 and "were not kept" in text_of(cells[0])


def test_a_listener_that_fails_leaves_a_true_notebook_and_no_kernel(tmp_path: Path) -> None:
    trial = Trial(tmp_path, {"one": "1", "two": "2"})

    def listen(event: CellEvent) -> None:
        if event.kind == "finished" and event.index == 4:
            raise RuntimeError("no server")

    with pytest.raises(RuntimeError, match="no server"):
        trial.run(on_event=listen)
    assert trial.check_ledger() == {"one": "completed", "two": "not_run"}
    assert json.loads(trial.output.read_text())["metadata"]["millrace"]["state_name"] == "Crashed"
    trial.check_gone()


def millrace(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "millrace", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_server_that_a_notebook_starts_outlives_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path / "home"))
    book = write_book(tmp_path / "book.ipynb", "from millrace import flow\n@flow\ndef f(): return 1\nf()")
    outcome = run_notebook(book, output=tmp_path / "out.ipynb", html=False)
    try:
        assert outcome.state_name == "Completed", outcome.error
        assert millrace("status").returncode == 0
    finally:
        stopped = millrace("down")
    assert "Stopped" in stopped.stdout
