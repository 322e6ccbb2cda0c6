"""Results of runs as files of JSON: a state refers to one, any process that sees the directory reads it."""

from __future__ import annotations

import json
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from uuid import UUID

from pydantic_core import PydanticSerializationError, to_jsonable_python

from millrace import settings
from millrace.errors import InvalidInput, NotFound
from millrace.schema.states import State, StateType


def api_implementation() -> str:
    """The version this program gives where the wire asks for Prefect's."""
    try:
        return f"3.8.8+millrace{version('millrace')}"
    except PackageNotFoundError:
        return "3.8.8+millrace"


def keep(value: Any, run_id: UUID) -> dict[str, Any]:
    """Stores a result and gives the reference that goes into `State.data`.

    Args:
        value: what the run returned; anything pydantic turns into JSON.
        run_id: the flow run's or task run's id.

    Raises:
        InvalidInput: the value has no form in JSON.
    """
    try:
        text = json.dumps(to_jsonable_python(value, inf_nan_mode="constants"))
    except (PydanticSerializationError, ValueError, TypeError, RecursionError) as error:
        raise InvalidInput(
            f"the result of type {type(value).__name__} cannot be stored as JSON ({error}). "
            "Return plain values, dataclasses or pydantic models, write large data to a file and return its path, "
            "or set persist_result=False"
        ) from None
    directory = settings.current().results_directory
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{run_id}.json"
    reference = {
        "storage_key": str(path),
        "expiration": None,
        "serializer": {"type": "json"},
        "prefect_version": api_implementation(),
        "storage_block_id": None,
    }
    _write(path, json.dumps({"metadata": reference, "result": text}))
    return reference


def _write(path: Path, text: str) -> None:
    """The file is there whole or not at all."""
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read(state: State) -> Any:
    """The stored result of a run, from any process that sees the results directory.

    Args:
        state: a Completed state as the server answers it.

    Raises:
        NotFound: the run kept no result, or its file is gone.
        InvalidInput: the file is not one of ours.
    """
    if state.type is not StateType.COMPLETED:
        raise NotFound(f"the run is {state.name}: it has no result")
    if state.data is None:
        raise NotFound("the run kept no result. Call the flow in this process, or set persist_result=True on it")
    if not isinstance(state.data, dict) or not isinstance(state.data.get("storage_key"), str):
        return state.data
    path = settings.current().results_directory / state.data["storage_key"]
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return json.loads(record["result"])
    except FileNotFoundError:
        raise NotFound(f"the result's file {path} is gone, or lies on another machine") from None
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"the result's file {path} cannot be read: {error}") from None
