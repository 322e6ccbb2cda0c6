"""Whether exported code runs where the notebook is not: in a fresh process and directory, with its files only."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from millrace.errors import PreflightFailed
from millrace.notebooks.export import Exported

# -E and -P keep PYTHONPATH and the current directory out; packages of the user's site stay, as they do on a worker.
_PROGRAM = "import sys; sys.path.append(sys.argv[1]); from millrace.notebooks.check import child; child(*sys.argv[2:])"
_OUTPUT_KEPT = 4000


class _Unset:
    """Stands for "nothing is expected", since None may be."""


UNSET = _Unset()


@dataclass(frozen=True)
class CheckReport:
    """What a check found.

    Args:
        ok: the code was imported, and called where that was asked, without an error and with the expected value.
        seconds: how long it took, the start of the process included.
        error_type: the class of the exception; None without one.
        message: what is wrong and what to do; empty when all is well.
        cell: the cell of the statement that failed, where known.
        value_repr: the value of the call, as `repr` shows it.
        same: whether it equals the expected value; None where none was expected.
        output: the end of what the process printed.
    """

    ok: bool
    seconds: float
    error_type: str | None = None
    message: str = ""
    cell: int | None = None
    value_repr: str | None = None
    same: bool | None = None
    output: str = ""

    def require(self) -> None:
        """Refuses code that does not run in a clean process.

        Raises:
            PreflightFailed: with the cause.
        """
        if not self.ok:
            raise PreflightFailed(self.message)


def check_clean_process(
    directory: str | Path,
    entrypoint: str,
    parameters: Mapping[str, object] | None = None,
    *,
    call: bool = False,
    expected: object = UNSET,
    files: Sequence[str] | None = None,
    origins: Sequence[tuple[int, int]] = (),
    timeout: float = 300.0,
) -> CheckReport:
    """Imports exported code in a clean process, and calls the flow's function on request.

    Args:
        directory: where the module lies; its files are copied to a fresh directory, which is the process's own.
        entrypoint: such as `etl_flows.py:etl`.
        parameters: for the call; JSON values.
        call: whether to call the undecorated function.
        expected: the value it should give; compared as JSON where both are JSON, as `repr` otherwise.
        files: the files to copy; None: everything in the directory.
        origins: `Exported.origins`, so that messages name cells.
        timeout: seconds the process has.

    Returns:
        The report; a failure of the code is no exception here (`CheckReport.require` makes it one).

    Example:
        >>> check_clean_process("/tmp/out", "etl_flows.py:etl", {"rows": 3}, call=True, expected=6).ok  # doctest: +SKIP
        True
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="millrace-check-") as place:
        code = Path(place, "code")
        _copy(Path(directory), code, files)
        job = Path(place, "job.json")
        job.write_text(json.dumps({"entrypoint": entrypoint, "parameters": dict(parameters or {}), "call": call}))
        answer = Path(place, "answer.json")
        command = [sys.executable, "-E", "-P", "-c", _PROGRAM, _own_root(), str(code), str(job), str(answer)]
        try:
            done = subprocess.run(
                command,
                cwd=code,
                env=_environment(place),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            message = f"{entrypoint} did not end within {timeout:g} s in a clean process. Give smaller parameters."
            return CheckReport(False, time.monotonic() - started, "TimeoutExpired", message)
        seconds = time.monotonic() - started
        output = (done.stdout + done.stderr)[-_OUTPUT_KEPT:]
        if not answer.is_file():
            message = (
                f"The process that checked {entrypoint} died with exit code {done.returncode}. It said: {output[-500:]}"
            )
            return CheckReport(False, seconds, "ProcessDied", message, output=output)
        found: dict[str, Any] = json.loads(answer.read_text())
    if found.get("error"):
        cell = _cell(found.get("line"), origins)
        message = _message(entrypoint, found, cell)
        return CheckReport(False, seconds, found["error"], message, cell, output=output)
    same = None if expected is UNSET or not call else same_value(expected, found)
    message = "" if same in (None, True) else f"{entrypoint} gave {found['repr']} in a clean process, not {expected!r}."
    return CheckReport(same is not False, seconds, None, message, None, found.get("repr"), same, output)


def check_exported(
    exported: Exported,
    parameters: Mapping[str, object] | None = None,
    *,
    call: bool = False,
    expected: object = UNSET,
    timeout: float = 300.0,
) -> CheckReport:
    """Checks what `export_module` wrote; arguments as for `check_clean_process`."""
    return check_clean_process(
        exported.directory,
        exported.entrypoint,
        parameters,
        call=call,
        expected=expected,
        files=exported.files,
        origins=exported.origins,
        timeout=timeout,
    )


def same_value(expected: object, found: Mapping[str, object]) -> bool:
    """Whether the value of the clean process is the expected one.

    Args:
        expected: the value here.
        found: `json` and `repr` of the value there.
    """
    text = _as_json(expected)
    if text is not None and found.get("json") is not None:
        return text == found["json"]
    return repr(expected) == found.get("repr")


def child(code: str, job: str, answer: str) -> None:
    """The program of the clean process: imports, calls, writes one JSON object.

    Args:
        code: the directory of the files.
        job: the file that says what to do.
        answer: the file to write.
    """
    wanted = json.loads(Path(job).read_text())
    sys.path.insert(0, code)
    module, _, name = wanted["entrypoint"].rpartition(":")
    path = Path(code, module)
    try:
        flow = getattr(_imported(path), name)
        found = _called(flow, wanted["parameters"]) if wanted["call"] else {}
    except BaseException as error:  # SystemExit in a module is a finding too
        found = _failure(error, path)
    Path(answer).write_text(json.dumps(found))
    sys.stdout.flush()
    sys.stderr.flush()
    # What the code registered for the end, such as sending the records of tasks to a server, is no part of a check.
    os._exit(0)


def _imported(path: Path) -> object:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _called(flow: object, parameters: dict[str, Any]) -> dict[str, object]:
    function: Any = getattr(flow, "fn", flow)
    value = function(**parameters)
    if inspect.iscoroutine(value):
        value = asyncio.run(value)
    return {"json": _as_json(value), "repr": repr(value)}


def _failure(error: BaseException, path: Path) -> dict[str, object]:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    if isinstance(error, SyntaxError) and error.filename == str(path):
        lines.append(error.lineno)
    return {
        "error": type(error).__name__,
        "message": str(error),
        "name": getattr(error, "name", None),
        "line": lines[-1] if lines else None,
    }


def _message(entrypoint: str, found: Mapping[str, Any], cell: int | None) -> str:
    place = f" in cell {cell}" if cell is not None else ""
    kind, name = found["error"], found.get("name")
    if kind == "ModuleNotFoundError":
        return (
            f"{entrypoint}: the module {name!r} is missing in a clean process{place}. Install it where the flow "
            "runs, or put it beside the notebook as a file so that it is carried."
        )
    if kind == "NameError":
        return f"{entrypoint}: the name {name!r} is not defined{place} in a clean process. Define it in a cell."
    return f"{entrypoint} failed in a clean process{place} with {kind}: {found['message']}"


def _cell(line: int | None, origins: Sequence[tuple[int, int]]) -> int | None:
    before = [cell for start, cell in origins if line is not None and start <= line]
    return before[-1] if before else None


def _as_json(value: object) -> str | None:
    try:
        return json.dumps(value, sort_keys=True)
    except (TypeError, ValueError):
        return None


def _environment(place: str) -> dict[str, str]:
    """This environment, but a check is no run: it must neither start a server nor leave records on one."""
    kept = {key: value for key, value in os.environ.items() if key not in ("MILLRACE_API_URL", "MILLRACE_API_TOKEN")}
    return {**kept, "MILLRACE_HOME": str(Path(place, "home")), "MILLRACE_AUTOSTART": "false"}


def _own_root() -> str:
    return str(Path(__file__).resolve().parents[2])


def _copy(source: Path, target: Path, files: Sequence[str] | None) -> None:
    if files is None:
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        return
    for file in files:
        place = target / file
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / file, place)
