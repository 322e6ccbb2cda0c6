"""Attributes of modules that are read anew each time, and that an environment variable can replace in tests."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from millrace.errors import SettingsError

VARIABLE = "MILLRACE__RUNTIME__"


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _json(text: str) -> Any:
    return json.loads(text)


@dataclass(frozen=True)
class Attributes:
    """The attributes of one module.

    Args:
        module: its name.
        part: its part of a variable's name: `FLOW_RUN`.
        read: for each attribute, what gives its value, and how a text becomes one.
    """

    module: str
    part: str
    read: Mapping[str, tuple[Callable[[], Any], Callable[[str], Any]]]

    def get(self, name: str) -> Any:
        """One attribute.

        Raises:
            AttributeError: there is none of this name.
            SettingsError: the variable that replaces it holds something else than it should.
        """
        key = f"{VARIABLE}{self.part}__{name.upper()}"
        text = os.environ.get(key)
        if name not in self.read:
            if text is not None:
                return text
            raise AttributeError(f"module {self.module!r} has no attribute {name!r}; it has {', '.join(self.read)}")
        value, converted = self.read[name]
        if text is None:
            return value()
        try:
            return converted(text)
        except ValueError:
            form = {int: "a whole number", _moment: "a time such as 2026-01-31T09:00:00Z"}.get(converted, "JSON")
            raise SettingsError(f"{key}={text!r} is not {form}. Correct or unset it.") from None


TEXT: Callable[[str], Any] = str
NUMBER: Callable[[str], Any] = int
MOMENT: Callable[[str], Any] = _moment
JSON: Callable[[str], Any] = _json
