"""Names of runs: by a template, or by a function."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

_FIELD = re.compile(r"\{(\w+)(?::([^{}]*))?\}")
_WIDEST = 1000
"""A field that is wider than any name is not filled: a typing error could ask for a text of gigabytes."""


def filled(template: str, values: Mapping[str, Any]) -> str:
    """A text with `{name}` and `{name:format}` replaced by values. Nothing else is special: no attributes, no code.

    Args:
        template: the text.
        values: by name; unknown names, and formats a value does not know, stay as they are written.

    Example:
        >>> filled("load {day} {share:.0%} {other}", {"day": "Monday", "share": 0.5})
        'load Monday 50% {other}'
    """

    def fill(match: re.Match[str]) -> str:
        if match[1] not in values:
            return match[0]
        try:
            if any(int(number) > _WIDEST for number in re.findall(r"\d+", match[2] or "")):
                return match[0]
            return format(values[match[1]], match[2]) if match[2] else str(values[match[1]])
        except (TypeError, ValueError):
            return match[0]

    return _FIELD.sub(fill, template)


def run_name(naming: Callable[..., str] | str | None, what: str, values: Mapping[str, Any]) -> str | None:
    """The name of a run by a template or a function, which may take `parameters`; None: there is none.

    Args:
        naming: the template or function.
        what: what to call it in messages.
        values: the parameters.

    Raises:
        TypeError: the function gave something else than a text.
    """
    if naming is None or isinstance(naming, str):
        return naming and filled(naming, values)
    wants = inspect.signature(naming).parameters
    name = naming(parameters=dict(values)) if "parameters" in wants else naming()
    if not isinstance(name, str):
        raise TypeError(f"{what} gave {name!r}; it must give a text")
    return name
