"""JSON that came over the wire, read as what it should be."""

from __future__ import annotations

import json
from typing import Any

from pydantic import TypeAdapter, ValidationError

from millrace.errors import InvalidInput

DEEPEST = 200
"""How deep a value may be nested that travels as a parameter."""


def read_json(kind: TypeAdapter[Any], data: bytes | str) -> Any:
    """A value from its JSON.

    The quick reader of pydantic takes 200 levels, of which the wire's own envelope needs some: what is deeper is read
    by Python's, which takes several times as many.

    Args:
        kind: what it should be.
        data: the JSON.

    Raises:
        ValidationError: it is something else.
        InvalidInput: it is nested too deeply for both.
    """
    try:
        return kind.validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] != "json_invalid" or "recursion" not in first["msg"]:
            raise
    try:
        return kind.validate_python(json.loads(data))
    except RecursionError:
        raise InvalidInput(
            f"The JSON is nested too deeply: values may be nested {DEEPEST} deep. Write the data to a file, and send "
            "its path."
        ) from None


def depth(value: Any) -> int:
    """How deep a JSON value is nested: 0 for a number or text, 1 for a list of them.

    Args:
        value: a JSON value.
    """
    deep, level = 0, [value]
    while level := [one for one in level if isinstance(one, dict | list)]:
        deep += 1
        level = [part for one in level for part in (one.values() if isinstance(one, dict) else one)]
    return deep
