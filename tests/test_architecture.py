"""The rules of docs/architecture.md that a machine can hold."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "millrace"
FILES = sorted(SOURCE.rglob("*.py"))
GENERATED = {SOURCE / "client" / "synchronous.py"}


def _names(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def test_imports_point_down() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_files_are_small() -> None:
    long = {
        _names(path): lines
        for path in FILES
        if path not in GENERATED and (lines := len(path.read_text().splitlines())) > 400
    }
    assert not long, f"split by noun: {long}"


def test_files_are_nouns() -> None:
    vague = {"utils", "util", "helpers", "helper", "core", "base", "common", "misc", "_internal", "manager"}
    assert not [_names(path) for path in FILES if path.stem in vague]


# Rule 8. A door is a place where one colour of function calls the other. The page lists them; nobody else has one.
DOOR = re.compile(
    r"asyncio\.run\(|run_until_complete|BlockingPortal|start_blocking_portal|from_thread|run_coroutine_threadsafe|"
    r"get_running_loop|get_event_loop|new_event_loop|nest_asyncio|anyio\.run\(|to_thread|wrap_future|"
    r"call_soon_threadsafe|run_in_executor"
)


def test_doors_between_the_colours_are_listed() -> None:
    page = (ROOT / "docs" / "decisions" / "0002-doors-between-colours.md").read_text()
    listed = set(re.findall(r"`(?:src/millrace/)?([\w/]+\.py)`", page))
    found = {_names(path) for path in FILES if DOOR.search(path.read_text())}
    assert found == listed


# Rule 14. What a process must not load before it needs it.
HEAVY = {
    "sqlalchemy",
    "fastapi",
    "uvicorn",
    "ipywidgets",
    "anywidget",
    "papermill",
    "nbclient",
    "nbconvert",
    "docker",
    "fsspec",
    "cloudpickle",
}


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        ("import millrace", HEAVY | {"IPython", "nbformat", "typer", "rich", "pandas", "numpy"}),
        ("from millrace import flow, task", {"millrace.schema.operations", "millrace.schema.automations"}),
        ("from millrace import flow, task, deploy, serve, run_deployment", HEAVY | {"IPython", "nbformat"}),
        ("import millrace.client.synchronous", HEAVY | {"IPython", "nbformat", "typer", "rich", "millrace.server"}),
        ("import millrace.workers.child", HEAVY | {"IPython", "nbformat", "typer", "rich", "millrace.server"}),
        (
            "import millrace.server.embedded",
            {"papermill", "IPython", "ipywidgets", "rich", "fastapi", "millrace.client", "millrace.engine"},
        ),
    ],
)
def test_import_budget(statement: str, forbidden: set[str]) -> None:
    program = f"{statement}\nimport sys\nprint('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert not forbidden & set(done.stdout.split())


# Rule 13.
def _calls(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("path", FILES, ids=_names)
def test_no_pickle_no_shell_no_format_on_user_text(path: Path) -> None:
    tree = ast.parse(path.read_text())
    imported = {
        name.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (node.names if isinstance(node, ast.Import) else [ast.alias(node.module or "")])
    }
    allowed = {"cloudpickle"} if _names(path) == "engine/travel.py" else set()
    assert not imported & {"pickle", "cloudpickle", "dill", "marshal", "shelve"} - allowed
    for call in _calls(path):
        assert not any(k.arg == "shell" and not _is_false(k.value) for k in call.keywords), (
            f"shell= at line {call.lineno}"
        )
        if isinstance(call.func, ast.Attribute) and call.func.attr in {"format", "format_map"}:
            # A logging.Formatter formats a record; a text formats what a user wrote.
            record = [a.id for a in call.args if isinstance(a, ast.Name)] == ["record"]
            assert record or isinstance(call.func.value, ast.Constant), f"str.format at line {call.lineno}"


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def test_dask_only_in_its_runner() -> None:
    outside = [_names(p) for p in FILES if re.search(r"^\s*(import|from) (dask|distributed)\b", p.read_text(), re.M)]
    assert outside == ["engine/dask_runner.py"]


def test_sql_only_in_the_store() -> None:
    outside = [
        _names(p) for p in FILES if "sqlalchemy" in p.read_text() and p.parent.name not in {"store", "migrations"}
    ]
    assert not outside
