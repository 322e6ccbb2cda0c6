"""The clients agree with the wire table and with each other."""

from __future__ import annotations

import importlib.util
import inspect
import pkgutil
import subprocess
import sys
import typing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel

from millrace import schema
from millrace.client.asynchronous import AsyncClient
from millrace.client.synchronous import Client
from millrace.schema.operations import OPERATIONS, Operation

ROOT = Path(__file__).resolve().parents[2]
NAMES = [operation.name for operation in OPERATIONS]
MODELS = {
    name: kind
    for module in pkgutil.iter_modules(schema.__path__)
    for name, kind in vars(importlib.import_module(f"millrace.schema.{module.name}")).items()
}
"""What the clients' annotations name: the clients themselves load the models only for who checks types."""
OWN = {"aclose", "close", "endpoint", "with_lease"}


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_client", ROOT / "scripts" / "generate_client.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def public(kind: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(kind) if not name.startswith("_")} - OWN


def test_generated_files_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/generate_client.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_generator_removes_the_colour() -> None:
    text = "async def f(self):\n    async with a as b:\n        return [await x async for x in b.aclose()]\n"
    assert script().plain(text) == "def f(self):\n    with a as b:\n        return [x for x in b.close()]\n"


def test_every_operation_is_a_method_and_no_method_is_more() -> None:
    assert len(NAMES) == len(set(NAMES))
    assert public(AsyncClient) == set(NAMES)
    assert public(Client) == set(NAMES)


@pytest.mark.parametrize("operation", OPERATIONS, ids=NAMES)
@pytest.mark.parametrize("kind", [AsyncClient, Client])
def test_signature_is_the_tables(kind: type, operation: Operation) -> None:
    method = getattr(kind, operation.name)
    hints = typing.get_type_hints(method, localns=MODELS)
    parameters = list(inspect.signature(method).parameters.values())[1:]
    assert inspect.iscoroutinefunction(method) == (kind is AsyncClient)
    assert inspect.getdoc(method)
    assert hints["return"] == (type(None) if operation.answer is None else operation.answer)

    expected = [*operation.path_parameters, *operation.query]
    assert [parameter.name for parameter in parameters[: len(expected)]] == expected
    for name, wanted in {**operation.path_parameters, **operation.query}.items():
        assert hints[name] == wanted
    rest = [parameter.name for parameter in parameters[len(expected) :]]
    if operation.body is None:
        assert rest == []
    elif inspect.isclass(operation.body) and issubclass(operation.body, BaseModel):
        assert rest == ["body", "fields"]
        assert operation.body in typing.get_args(hints["body"])
    else:
        assert rest == ["body"]
        assert item(hints["body"]) == item(operation.body)


def item(kind: Any) -> Any:
    return typing.get_args(kind)
