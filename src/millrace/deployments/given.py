"""What people give for a deployment, checked and in the form the wire has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from millrace.errors import EntrypointError, InvalidInput, ParameterError
from millrace.notebooks import parameters as checks
from millrace.schema.fields import JsonObject

_BANNED = re.compile(r"[/%&><]")


def file_there(path: Path, entrypoint: str) -> None:
    """Refuse an entrypoint whose file is not there.

    Args:
        path: the file.
        entrypoint: as the user wrote it.
    """
    if not path.is_file():
        raise EntrypointError(f"The entrypoint {entrypoint!r} leads to {path}, which is not a file.")


def named(name: str) -> str:
    """The name of a deployment; a file name gives its stem.

    Args:
        name: as given.
    """
    stem = Path(name).stem if name.endswith((".py", ".ipynb")) else name
    if not stem or _BANNED.search(stem):
        raise InvalidInput(
            f"{name!r} cannot be the name of a deployment: it must not be empty or hold any of / % & > <."
        )
    return stem


def schema_of(flow: Any) -> JsonObject:
    """The parameter schema of a flow.

    Args:
        flow: the flow.
    """
    found = flow.parameters
    return dict(found) if isinstance(found, dict) else dict(found.model_dump())


def checked(schema: JsonObject, values: dict[str, Any], flow_name: str) -> JsonObject:
    """Parameter values checked against a schema; those that are missing may come with the run.

    Args:
        schema: the flow's parameters.
        values: as given.
        flow_name: for messages.
    """
    if values and not schema.get("properties"):
        raise ParameterError(f"Unknown parameter {next(iter(values))!r}: the flow {flow_name!r} takes none.")
    return checks.validate({**schema, "required": []}, values)


def limits(limit: Any) -> JsonObject:
    """The fields that a concurrency limit stands for.

    Args:
        limit: a number, or `limit` and `collision_strategy`.
    """
    if limit is None or isinstance(limit, int):
        return {} if limit is None else {"concurrency_limit": limit}
    fields = limit if isinstance(limit, dict) else vars(limit)
    strategy = fields.get("collision_strategy")
    return {
        "concurrency_limit": fields.get("limit"),
        "collision_strategy": getattr(strategy, "value", strategy),
    }
