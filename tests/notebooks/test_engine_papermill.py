"""papermill's own command and function with our engine."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from bookshelf import write_book


def papermill(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "papermill", *arguments, "--no-progress-bar"]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60)


def states(path: Path) -> list[tuple[str, str]]:
    cells = json.loads(path.read_text())["cells"]
    return [
        (cell["metadata"]["millrace"]["status"], cell["metadata"]["papermill"]["status"])
        for cell in cells
        if cell["cell_type"] == "code"
    ]


@pytest.mark.parametrize(
    "order",
    [
        "import papermill, millrace.notebooks.run",
        "import millrace.notebooks.run, papermill",
        "from papermill.engines import papermill_engines",
    ],
)
def test_both_import_orders_register_the_engine(order: str) -> None:
    code = f"{order}\nfrom papermill.engines import papermill_engines as e\nprint(e.get_engine('millrace').__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "MillraceEngine", done.stderr


def test_cheap_modules_load_no_kernel_client() -> None:
    code = (
        "import sys, millrace.notebooks.parameters, millrace.notebooks.truth\n"
        "heavy = ('papermill', 'nbclient', 'nbformat', 'nbconvert', 'jsonschema', 'zmq')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_iri_grammar_is_loaded_when_it_is_used() -> None:
    code = (
        "import sys, millrace.notebooks.run, jsonschema\n"
        "print('lark' in sys.modules, jsonschema.FormatChecker().conforms('http://a b', 'iri'),\n"
        "      jsonschema.FormatChecker().conforms('http://a', 'iri'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    loaded, bad, good = done.stdout.split()
    assert (loaded, good) == ("False", "True"), done.stderr
    if importlib.util.find_spec("rfc3987_syntax"):
        assert bad == "False"


def test_a_run_through_papermill(tmp_path: Path) -> None:
    write_book(tmp_path / "b.ipynb", "print(n)", "md:text", parameters="n = 1")
    (tmp_path / "work").mkdir()
    arguments = ["-p", "n", "5", "--engine", "millrace", "--log-output", "--cwd", "work"]
    done = papermill("b.ipynb", "o.ipynb", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert states(tmp_path / "o.ipynb") == [("completed", "completed")] * 3
    assert json.loads((tmp_path / "o.ipynb").read_text())["metadata"]["millrace"]["state_name"] == "Completed"
    assert "5" in done.stderr
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.parametrize(
    ("body", "status"),
    [("1 / 0", "failed"), ("import os; os._exit(1)", "failed"), ("import time; time.sleep(60)", "timed_out")],
)
def test_an_ending_through_papermill_is_told(tmp_path: Path, body: str, status: str) -> None:
    write_book(tmp_path / "b.ipynb", "1", body, "3")
    done = papermill("b.ipynb", "o.ipynb", "--engine", "millrace", "--execution-timeout", "2", cwd=tmp_path)
    assert done.returncode != 0
    assert states(tmp_path / "o.ipynb") == [("completed", "completed"), (status, "failed"), ("not_run", "pending")]
