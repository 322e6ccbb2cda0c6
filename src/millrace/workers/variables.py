"""Job variables: what a run's infrastructure is made from.

A pool's base job template has two halves: `variables` says, as JSON Schema, what may be set and to what it defaults;
`job_configuration` says with `{{ name }}` where each goes. A deployment's job variables override the pool's defaults
and a run's override those. Only whole names are put in, there are no expressions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, cast

from pydantic import BeforeValidator

from millrace.schema.fields import JsonObject
from millrace.schema.job_variables import expand, merge


def _texts(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return {} if value is None else value
    return {name: one if one is None or isinstance(one, str) else json.dumps(one) for name, one in value.items()}


Environment = Annotated[dict[str, str | None], BeforeValidator(_texts)]
"""Environment variables of a job; null takes one away, and what is no text becomes its JSON."""

_PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z_][\w-]*)\s*\}\}")
MISSING = object()


def configure(template: Mapping[str, Any], *layers: Mapping[str, Any] | None) -> JsonObject:
    """The job configuration of one run.

    Args:
        template: the pool's base job template; an empty one takes the variables as they are.
        layers: the deployment's job variables, then the run's.

    Example:
        >>> configure({"job_configuration": {"cmd": "{{ command }}"}}, {"command": "ls"})
        {'cmd': 'ls'}
    """
    properties = cast("Mapping[str, Any]", template.get("variables", {}).get("properties", {}))
    defaults = {name: entry["default"] for name, entry in properties.items() if "default" in entry}
    values = merge(defaults, *layers)
    configuration = template.get("job_configuration")
    if not configuration:
        return values
    return cast("JsonObject", substitute(configuration, values))


def substitute(value: Any, values: Mapping[str, Any]) -> Any:
    """A template with its placeholders filled; a key whose placeholder has no value is left out.

    Args:
        value: any JSON value.
        values: by name.
    """
    if isinstance(value, dict):
        filled = {key: substitute(entry, values) for key, entry in value.items()}
        return {key: entry for key, entry in filled.items() if entry is not MISSING}
    if isinstance(value, list):
        return [entry for entry in (substitute(entry, values) for entry in value) if entry is not MISSING]
    if not isinstance(value, str):
        return value
    if whole := _PLACEHOLDER.fullmatch(value.strip()):
        return values.get(whole[1], MISSING)
    return _PLACEHOLDER.sub(lambda found: _text(values.get(found[1], "")), value)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


__all__ = ["configure", "expand", "merge", "substitute"]
