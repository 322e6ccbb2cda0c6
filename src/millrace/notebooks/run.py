"""Run a notebook as a flow: parameters checked, secrets kept, cells truthful, the result in a notebook and a page.

The notebook is run by papermill through the engine `millrace`, so `papermill in.ipynb out.ipynb --engine millrace`
makes the same truthful notebook.
"""

from __future__ import annotations

import importlib
import json
import logging
import pathlib
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import nbformat
from nbformat import NotebookNode

from millrace.errors import InvalidInput
from millrace.notebooks import html as page
from millrace.notebooks.cell_events import CellError, CellRecord, OnEvent, OnOutput
from millrace.notebooks.execution import (
    MAX_OUTPUT_BYTES,
    Execution,
    NotebookRun,
    ignore_event,
    ignore_output,
    start_kernel,
)
from millrace.notebooks.injection import TAG, inject, kernel_name_of, prepare, secret_code
from millrace.notebooks.kernel import Kernel, KernelSource
from millrace.notebooks.papermill_engine import MillraceEngine
from millrace.notebooks.parameters import Schema, language_of, read_book, schema_of, validate
from millrace.notebooks.references import PATTERN
from millrace.notebooks.save import without_secrets
from millrace.notebooks.secret import Secret, checked, resolve
from millrace.notebooks.stop_request import StopRequest
from millrace.notebooks.truth import Ending

__all__ = ["MillraceEngine", "NotebookOutcome", "NotebookRun", "load", "outcome_json", "run_notebook"]


@dataclass(frozen=True)
class NotebookOutcome:
    """How a notebook run ended.

    Args:
        state_type: COMPLETED, FAILED, CRASHED or CANCELLED.
        state_name: Completed, Failed, TimedOut, Crashed or Cancelled.
        exit_code: 0 completed; 1 failed, or n after `sys.exit(n)`; 124 timed out; 130 cancelled; crashed 128 + the
            signal that killed the kernel, else 70.
        error: why it did not complete.
        cells: the code cells of the executed notebook, in order.
        notebook: the executed notebook.
        html: its page, or None where none was wanted or it could not be made.
        seconds: how long the run took, the page left out.
    """

    state_type: str
    state_name: str
    exit_code: int
    error: CellError | None
    cells: list[CellRecord]
    notebook: pathlib.Path
    html: pathlib.Path | None
    seconds: float


def outcome_json(outcome: NotebookOutcome) -> dict[str, Any]:
    """What `millrace notebook run --output json` prints.

    Args:
        outcome: how the run ended.

    Returns:
        The keys `state_type`, `state_name`, `exit_code`, `error` (null, or an object with `message`, `cell` counted
        from 1, `cell_id`, `ename`, `evalue`, `traceback`), `cells` (objects with `index` counted from 0 in the executed
        notebook, `cell` counted from 1, `cell_id`, `status`), `notebook`, `html`.
    """
    return {
        "state_type": outcome.state_type,
        "state_name": outcome.state_name,
        "exit_code": outcome.exit_code,
        "error": None if outcome.error is None else outcome.error.as_json(),
        "cells": [record.as_json() for record in outcome.cells],
        "notebook": str(outcome.notebook),
        "html": None if outcome.html is None else str(outcome.html),
    }


def load(book: pathlib.Path) -> NotebookNode:
    """A notebook file in the newest format, every cell with an id.

    Args:
        book: the file.

    Raises:
        InvalidInput: there is no such file, or it is no notebook.
    """
    content = read_book(book)
    try:
        nb = nbformat.reads(json.dumps(content), as_version=4)
        for index, cell in enumerate(nb["cells"]):
            # An old notebook has no ids: the same ones at every run, so that runs can be compared.
            if content["nbformat"] < 4 or "id" not in content["cells"][index]:
                cell["id"] = f"cell-{index}"
        nb["nbformat_minor"] = max(5, nb["nbformat_minor"])
    except (KeyError, TypeError, AttributeError, ValueError, nbformat.reader.NotJSONError) as error:
        raise InvalidInput(f"{book} cannot be read as a notebook: {type(error).__name__}: {error}") from None
    return nb


def _inputs(
    nb: NotebookNode, parameters: Mapping[str, Any], references: Mapping[str, object]
) -> tuple[Schema, dict[str, Any], list[Secret]]:
    """The schema, the values to inject and the secrets; a plain value of a secret parameter becomes a secret."""
    schema = schema_of(nb, secrets=references.keys())
    secrets = [resolve(name, reference) for name, reference in references.items()]
    if language_of(nb) != "python":  # its parameters cell cannot be read
        return schema, dict(parameters), secrets
    parameters = {name: getattr(value, "reference", value) for name, value in parameters.items()}
    values = validate(schema, parameters, given=references.keys(), stored=False)
    for name, entry in schema["properties"].items():
        if entry.get("writeOnly") and name in values:
            secrets.append(_given(name, str(values.pop(name))))
    return schema, values, secrets


def _given(name: str, text: str) -> Secret:
    if re.match(PATTERN, text):
        return resolve(name, text)
    return Secret(name, "a value given by the caller", checked(name, text))


def run_notebook(
    book: pathlib.Path,
    *,
    output: pathlib.Path,
    parameters: Mapping[str, Any] | None = None,
    secrets: Mapping[str, object] | None = None,
    timeout: float | None = None,
    cell_timeout: float | None = None,
    grace: float = 10.0,
    kernel_name: str | None = None,
    working_directory: pathlib.Path | None = None,
    environment: Mapping[str, str] | None = None,
    on_event: OnEvent | None = None,
    on_output: OnOutput | None = None,
    cancel: threading.Event | None = None,
    html: bool = True,
    max_output_bytes: int = MAX_OUTPUT_BYTES,
    kernels: KernelSource | None = None,
    take_signals: bool = True,
) -> NotebookOutcome:
    """Run a notebook from a fresh kernel and save what came of it.

    However the run ends, the outcome, the saved notebook and the page say the same, and no process of it is left.

    Args:
        book: the notebook; it is not changed.
        output: the executed notebook; whole at every instant. The page lies beside it, with the suffix `.html`.
        parameters: values for the parameters cell.
        secrets: references such as `env:NAME` or `secret:NAME` by parameter; resolved here, seen by the kernel only. A
            parameter that is annotated as a secret may be among `parameters` too, by reference.
        timeout: seconds for the whole run; None for any time.
        cell_timeout: seconds for each cell; None for any time.
        grace: seconds an interrupted cell has to clean up before its process tree is killed.
        kernel_name: the kernel; the notebook's own when None.
        working_directory: where the kernel runs; the notebook's own directory when None.
        environment: variables for the kernel beside those of this process.
        on_event: told when a cell starts and ends.
        on_output: told each piece of text, its stream's name and the cell's index.
        cancel: set it to cancel the run.
        html: whether to make the page.
        max_output_bytes: the most output that one cell keeps; the rest is counted and left out.
        kernels: where a started kernel may wait.
        take_signals: take SIGINT and SIGTERM as a wish to cancel, if this is the main thread.

    Raises:
        InvalidInput: the book, the kernel or the working directory is not there.
        ParameterError: a parameter or secret is unknown, missing or of the wrong type.
        OSError: the notebook cannot be saved.

    Example:
        >>> run_notebook(Path("report.ipynb"), output=Path("out.ipynb")).state_name  # doctest: +SKIP
        'Completed'
    """
    with StopRequest(cancel, take_signals) as stop:
        nb = load(book)
        if output.absolute() == book.absolute():
            raise InvalidInput(f"The executed notebook cannot take the place of {book}. Give another output.")
        if output.suffix == ".html":
            raise InvalidInput(f"{output} is where the page would lie. Give the executed notebook the suffix .ipynb.")
        if output.is_dir():
            raise InvalidInput(f"{output} is a directory. Name the file in it: {output / book.name}")
        schema, values, resolved = _inputs(nb, parameters or {}, secrets or {})
        run = NotebookRun(
            output=output.absolute(),
            working_directory=(working_directory or book.absolute().parent).absolute(),
            kernel_name=kernel_name_of(nb, kernel_name),
            environment=environment or {},
            secrets=resolved,
            timeout=timeout,
            cell_timeout=cell_timeout,
            grace=grace,
            max_output_bytes=max_output_bytes,
            on_event=on_event or ignore_event,
            on_output=on_output or ignore_output,
            kernels=kernels,
        )
        name = str(run.kernel_name)
        # The kernel starts while papermill and nbconvert are loaded.
        kernel = start_kernel(run, name)
        try:
            engines = importlib.import_module("papermill.engines").papermill_engines
            execution = _prepared(book, nb, run, stop, kernel, values, schema)
        except BaseException:
            kernel.stop(0)
            raise
        output.with_suffix(".html").unlink(missing_ok=True)  # the page of an earlier run would tell another story
        if html:
            page.preload()
        engines.execute_notebook_with_engine("millrace", execution.nb, name, execution=execution)
        assert execution.ending is not None
        seconds = execution.seconds
        made = _make_page(execution, book.name, output.absolute(), seconds) if html else None
    return _outcome(execution, execution.ending, output.absolute(), made, seconds)


def _prepared(
    book: pathlib.Path,
    nb: NotebookNode,
    run: NotebookRun,
    stop: StopRequest,
    kernel: Kernel,
    values: Mapping[str, Any],
    schema: Schema,
) -> Execution:
    name = str(run.kernel_name)
    prepare(nb, book.absolute(), run.output)
    code = secret_code(nb, name, run.secrets)
    nb = inject(nb, name, values, run.secrets, schema)
    after = next((i for i, cell in enumerate(nb["cells"]) if TAG in cell["metadata"].get("tags", [])), None)
    return Execution(nb, run, stop, kernel, code, after)


def _make_page(execution: Execution, title: str, output: pathlib.Path, seconds: float) -> pathlib.Path | None:
    assert execution.ending is not None
    path = output.with_suffix(".html")
    try:
        page.save(without_secrets(execution.nb, execution.redactor), path, title, execution.ending, seconds)
    except Exception:  # whatever an output may do to nbconvert, the run has ended as it has
        logging.getLogger(__name__).exception("The page of %s could not be made; the notebook is saved.", title)
        return None
    return path


def _outcome(
    execution: Execution, ending: Ending, output: pathlib.Path, made: pathlib.Path | None, seconds: float
) -> NotebookOutcome:
    return NotebookOutcome(
        ending.state_type, ending.state_name, ending.exit_code, ending.error, execution.records, output, made, seconds
    )
