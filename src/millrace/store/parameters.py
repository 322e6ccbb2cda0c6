"""Parameters against the schema of their flow."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from jsonschema.exceptions import SchemaError, ValidationError  # type: ignore[import-untyped]
from referencing import Registry
from referencing.exceptions import Unresolvable

from millrace.errors import InvalidInput, ParameterError
from millrace.schema.fields import JsonObject

_SHOWN = 3


def check_schema(schema: JsonObject | None) -> None:
    """That a parameter schema is one.

    Raises:
        InvalidInput: it is not a JSON Schema.
    """
    wrong = what_is_wrong(schema or {})
    if wrong is not None:
        raise InvalidInput(f"parameter_openapi_schema {wrong}.")


def what_is_wrong(schema: JsonObject) -> str | None:
    """Why a JSON object is no JSON Schema; None if it is one.

    To look takes some ten milliseconds, and the same few schemas, of pools and flows, come again and again.
    """
    try:
        return _wrong(json.dumps(schema, sort_keys=True))
    except (RecursionError, ValueError, TypeError):
        return "is nested too deep, or holds what no JSON can"


@lru_cache(maxsize=512)
def _wrong(text: str) -> str | None:
    try:
        Draft202012Validator.check_schema(json.loads(text))
    except SchemaError as error:
        place = ".".join(map(str, error.path)) or "its top"
        return f"is not a JSON Schema: {error.message[:500]} (at {place})"
    except RecursionError:
        return "is nested too deep"
    return None


def check(parameters: JsonObject, schema: JsonObject | None, *, complete: bool, noun: str = "Parameter") -> None:
    """That parameters fit the schema of their flow.

    Args:
        parameters: by name.
        schema: the flow's parameter schema; without properties everything fits, and names that it does not know are
            refused where it says `additionalProperties: false`, as our own deployments do.
        complete: every parameter without a default must be there.
        noun: what one of them is called in messages.

    Raises:
        ParameterError: one is unknown, missing or of the wrong type; the message names it.
    """
    properties = (schema or {}).get("properties")
    if schema is None or not isinstance(properties, dict):
        return
    _known(parameters, schema, properties, noun)
    required = [name for name in schema.get("required") or [] if isinstance(name, str)]
    missing = [name for name in required if name not in parameters]
    if complete and missing:
        raise ParameterError(f"{noun} {_names(missing)} is missing: it has no default. Give it a value.")
    given = {name: value for name, value in parameters.items() if value is not None or name in required}
    try:
        checker = Draft202012Validator({**schema, "required": []}, registry=Registry())
        problems = sorted(checker.iter_errors(given), key=lambda error: list(map(str, error.path)))
    except Unresolvable as error:
        raise InvalidInput(f"parameter_openapi_schema refers to {error.ref!r}, which it does not hold.") from None
    except RecursionError:
        raise InvalidInput("parameter_openapi_schema refers to itself without end.") from None
    if problems:
        raise ParameterError("; ".join(_problem(error, noun) for error in problems[:_SHOWN]) + ".")


def _known(parameters: JsonObject, schema: JsonObject, properties: dict[str, Any], noun: str) -> None:
    unknown = [name for name in parameters if name not in properties]
    if unknown and schema.get("additionalProperties", True) is False:
        takes = f"It takes: {_names(properties)}." if properties else "It takes none."
        whose = "the flow" if noun == "Parameter" else "its receiver"
        raise ParameterError(f"{noun} {_names(unknown)} is unknown to {whose}. {takes}")


def _names(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in list(names)[:20])


def _secret(schema: Any) -> bool:
    """Whether a value is not to be shown: a flow's Secret or a notebook's secret parameter."""
    found = schema if isinstance(schema, dict) else {}
    return bool(found.get("writeOnly")) or "secret" in str(found.get("pattern", ""))


def _problem(error: ValidationError, noun: str) -> str:
    place = list(error.path)
    if not place:
        return str(error.message)[:500]
    inside = "".join(f"[{part!r}]" for part in place[1:])
    if any(_secret(one.schema) for one in (error, *(error.context or ()))):
        return f"{noun} {place[0]!r}{inside}: a secret is given by reference, such as secret:NAME"
    return f"{noun} {place[0]!r}{inside}: {error.message[:500]}"
