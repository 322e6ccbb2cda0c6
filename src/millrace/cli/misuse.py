"""Values that the models refuse, in the words of the command line."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from millrace.schema.fields import NAME_PATTERN, NO_NAME

_SHOWN = 100  # characters of a value


def told(error: ValueError) -> str | None:
    """What is wrong with what was typed; None if the error is no refusal of a model, but one of this program.

    Args:
        error: what ended a command.

    Example:
        >>> told(ValueError("other")) is None
        True
    """
    if not isinstance(error, ValidationError):
        return None
    return " ".join(_problem(one) for one in error.errors(include_url=False))


def _problem(one: Any) -> str:
    place = ".".join(str(part) for part in one["loc"]) or "The value"
    given = repr(one["input"])
    given = given if len(given) <= _SHOWN else f"{given[: _SHOWN // 2]}…{given[-_SHOWN // 2 :]}"
    if one.get("ctx", {}).get("pattern") == NAME_PATTERN:
        return f"{given} {NO_NAME}."
    return f"{place} cannot be {given}: {str(one['msg']).removeprefix('Value error, ').rstrip('.')}."
