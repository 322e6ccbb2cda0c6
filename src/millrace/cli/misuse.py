"""Values that the models refuse, in the words of the command line."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from millrace.schema.fields import NAME_PATTERN, NO_NAME


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
    if one.get("ctx", {}).get("pattern") == NAME_PATTERN:
        return f"{one['input']!r} {NO_NAME}."
    return f"{place} cannot be {one['input']!r}: {str(one['msg']).removeprefix('Value error, ').rstrip('.')}."
