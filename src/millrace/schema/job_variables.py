"""Job variables: how dotted names and layers of them become one set. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from millrace.errors import InvalidInput
from millrace.schema.fields import JsonObject

_MERGED = ("env", "labels")


def expand(variables: Mapping[str, Any]) -> JsonObject:
    """Dotted names as nested objects.

    Args:
        variables: job variables; `env.KEY` means the key KEY of env.

    Raises:
        InvalidInput: a dotted name leads through something that is no object.

    Example:
        >>> expand({"env.A": "1", "env": {"B": "2"}})
        {'env': {'B': '2', 'A': '1'}}
    """
    result: JsonObject = {k: dict(v) if isinstance(v, Mapping) else v for k, v in variables.items() if "." not in k}
    for name, value in variables.items():
        if "." not in name:
            continue
        *parents, last = name.split(".")
        place = result
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise InvalidInput(f"The job variable {name!r} cannot be set: {parent!r} is no object.")
        place[last] = value
    return result


def merge(*layers: Mapping[str, Any] | None) -> JsonObject:
    """Later layers over earlier ones; env and labels key by key, all else as a whole.

    Args:
        layers: the deployment's job variables, then the run's.

    Example:
        >>> merge({"env": {"A": "1"}}, {"env.B": "2"})
        {'env': {'A': '1', 'B': '2'}}
    """
    result: JsonObject = {}
    for layer in layers:
        for name, value in expand(layer or {}).items():
            before = result.get(name)
            if name in _MERGED and isinstance(before, dict) and isinstance(value, dict):
                value = {**before, **value}
            result[name] = value
    return result


def has_placeholder(value: Any) -> bool:
    """Whether a value, or something in it, is known only when a placeholder is filled in.

    Args:
        value: of a job variable.

    Example:
        >>> has_placeholder({"env": ["{{ prefect.variables.a }}"]}), has_placeholder({"a": 1})
        (True, False)
    """
    if isinstance(value, Mapping):
        return any(has_placeholder(entry) for entry in value.values())
    if isinstance(value, list):
        return any(has_placeholder(entry) for entry in value)
    return isinstance(value, str) and "{{" in value
