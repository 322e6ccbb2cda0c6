"""What of a block's data is secret, and the data with that masked. Pure."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from millrace.schema.blocks import MASK
from millrace.schema.fields import JsonObject

_ALL = "*"


def secret_paths(fields: JsonObject) -> list[tuple[str, ...]]:
    """The paths of secret values that a block schema names.

    Args:
        fields: of the schema.

    Example:
        >>> secret_paths({"secret_fields": ["value", "child.password"]})
        [('value',), ('child', 'password')]
    """
    named = fields.get("secret_fields")
    return [tuple(one.split(".")) for one in named if isinstance(one, str)] if isinstance(named, list) else []


def _places(data: Any, path: tuple[str, ...]) -> Iterator[tuple[JsonObject, str]]:
    """Where in the data a path leads: each a dict and a key of it."""
    if not isinstance(data, dict):
        return
    first, rest = path[0], path[1:]
    if first == _ALL:
        for key in data:
            yield data, key
    elif first in data:
        if not rest or (rest[0] == _ALL and not isinstance(data[first], dict)):
            yield data, first
        else:
            yield from _places(data[first], rest)


def masked(data: JsonObject, fields: JsonObject) -> JsonObject:
    """The data with a mask for each secret value; null stays null.

    Args:
        data: of a block document.
        fields: of its schema.

    Example:
        >>> masked({"value": "hunter22", "user": "me"}, {"secret_fields": ["value"]})
        {'value': '********', 'user': 'me'}
    """
    found = copy.deepcopy(data)
    for path in secret_paths(fields):
        for holder, key in _places(found, path):
            if holder[key] is not None:
                holder[key] = MASK
    return found


def restored(sent: JsonObject, known: JsonObject, fields: JsonObject) -> JsonObject:
    """Data that somebody read masked and sends back: where a secret is its mask, the known value stays.

    Args:
        sent: the new data.
        known: the data as it was.
        fields: of the schema.
    """
    found = copy.deepcopy(sent)
    for path in secret_paths(fields):
        before = {key: holder[key] for holder, key in _places(known, path)}
        for holder, key in _places(found, path):
            if holder[key] == MASK and key in before:
                holder[key] = before[key]
    return found
