"""Parameters are put into a notebook as papermill does; secrets are only told to the kernel.

This is the border to papermill's parameter handling. papermill is loaded here at the first run and not before: it
brings an HTTP client and takes as long to import as a kernel to start.
"""

from __future__ import annotations

import ast
import base64
import datetime
import importlib
import pathlib
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell
from pydantic import TypeAdapter

from millrace.notebooks.annotations import last_name
from millrace.notebooks.parameters import declared, language_of, parameters_source, type_of_schema
from millrace.notebooks.secret import Secret

TAG = "injected-parameters"


def kernel_name_of(nb: Mapping[str, Any], name: str | None = None) -> str:
    """The kernel that a notebook asks for; `python3` when it asks for none.

    Args:
        nb: the notebook.
        name: a name that overrides it.
    """
    return str(name or nb["metadata"].get("kernelspec", {}).get("name") or "python3")


def prepare(nb: NotebookNode, input_path: pathlib.Path, output_path: pathlib.Path | None) -> None:
    """Give a notebook the metadata that papermill gives it, before parameters are put in.

    Args:
        nb: the notebook; it is changed.
        input_path: where it was read.
        output_path: where it will be saved.
    """
    version = importlib.import_module("papermill.version").version
    nb["metadata"]["papermill"] = NotebookNode(
        default_parameters={},
        environment_variables={},
        parameters={},
        version=version,
        input_path=str(input_path),
        output_path=None if output_path is None else str(output_path),
    )
    for cell in nb["cells"]:
        cell["metadata"].setdefault("tags", [])  # papermill relies on it
    # An earlier run's parameters and error marks are not this one's.
    stale = {TAG, "papermill-error-cell-tag"}
    nb["cells"] = [cell for cell in nb["cells"] if stale.isdisjoint(cell["metadata"].get("tags", []))]


def inject(
    nb: NotebookNode,
    kernel_name: str,
    parameters: Mapping[str, Any],
    secrets: Sequence[Secret],
    schema: Mapping[str, Any],
) -> NotebookNode:
    """Put a cell tagged `injected-parameters` behind the parameters cell, or first where there is none.

    A secret appears in it as a comment that names its reference.

    Args:
        nb: the notebook.
        kernel_name: the kernel that will run it.
        parameters: checked values.
        secrets: the secrets of the run.
        schema: the parameter schema: a value whose parameter is a date or a path is handed over as one.

    Returns:
        The notebook, with the cell if there is anything to say in it.
    """
    if not parameters and not secrets:
        return nb
    language = language_of(nb)
    special = _special(parameters, schema) if language == "python" else {}
    plain = {name: value for name, value in parameters.items() if name not in special}
    papermill = importlib.import_module("papermill.parameterize")
    nb = papermill.parameterize_notebook(nb, plain, kernel_name=kernel_name, language=language, engine_name="millrace")
    nb["metadata"]["papermill"]["parameters"] = dict(parameters)
    cell = next(cell for cell in nb["cells"] if TAG in cell["metadata"].get("tags", []))
    lines = [f"{name} = {expression}" for name, expression in special.items()]
    mark = {"scala": "//", "c#": "//", "f#": "//", "matlab": "%"}.get(language, "#")
    lines += [f"{mark} {secret.name} = <secret from {secret.reference}>" for secret in secrets]
    source = "\n".join([cell["source"].rstrip("\n"), *lines]) + "\n"
    place = nb["cells"].index(cell)
    identity = TAG if all(other.get("id") != TAG for other in nb["cells"]) else cell["id"]
    nb["cells"][place] = new_code_cell(source, id=identity, metadata=cell["metadata"])
    return nb


def _special(parameters: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in parameters.items():
        entry = schema.get("properties", {}).get(name, {})
        typed = TypeAdapter(type_of_schema(entry)).validate_python(value)
        if (expression := _expression(typed)) is not None:
            found[name] = expression
    return found


def _expression(value: object) -> str | None:
    # No import statement: it could hide a name of the notebook, such as `from datetime import datetime`.
    clock = '__import__("datetime")'
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return f'{clock}.{type(value).__name__}.fromisoformat("{value.isoformat()}")'
    if isinstance(value, datetime.timedelta):
        return f"{clock}.timedelta(seconds={value.total_seconds()!r})"
    if isinstance(value, pathlib.PurePath):
        return f'__import__("pathlib").Path({str(value)!r})'
    if isinstance(value, uuid.UUID):
        return f'__import__("uuid").UUID("{value}")'
    return None


def secret_code(nb: NotebookNode, kernel_name: str, secrets: Sequence[Secret]) -> str | None:
    """The code that assigns the secrets in the kernel; it is sent silently and stands nowhere.

    Args:
        nb: the notebook.
        kernel_name: its kernel.
        secrets: the secrets of the run.
    """
    if not secrets:
        return None
    language = language_of(nb)
    if language != "python":
        translate = importlib.import_module("papermill.translators").translate_parameters
        values = {secret.name: secret.value for secret in secrets}
        return str(translate(kernel_name, language, values, "Secrets"))
    wrappers = _wrappers(parameters_source(nb) or "")
    lines = []
    for secret in secrets:
        encoded = base64.b64encode(secret.value.encode("utf-8", "surrogatepass"))
        value = f'__import__("base64").b64decode({encoded!r}).decode("utf-8", "surrogatepass")'
        wrapper = wrappers.get(secret.name)
        lines.append(f"{secret.name} = {wrapper}({value})" if wrapper else f"{secret.name} = {value}")
        lines.append(f"{_KEPT_OUT}({value})\nexcept ImportError:\n    pass")
    return "\n".join(lines)


# What the kernel logs and the artifacts it makes go to the server by themselves, not by its outputs.
_KEPT_OUT = 'try:\n    __import__("millrace.engine.secrecy", fromlist=["keep_out"]).keep_out'


def _wrappers(source: str) -> dict[str, str]:
    """For each parameter annotated with pydantic's SecretStr, how the notebook spells it."""
    found: dict[str, str] = {}
    for parameter in declared(source):
        if parameter.annotation is None:
            continue
        for node in ast.walk(ast.parse(parameter.annotation, mode="eval")):
            if isinstance(node, ast.expr) and last_name(node) == "SecretStr":
                found[parameter.name] = ast.unparse(node)
                break
    return found
