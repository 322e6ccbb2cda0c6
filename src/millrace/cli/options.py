"""Options that several commands share, and the reading of what was typed."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

from millrace import plugins
from millrace.cli import FAILED
from millrace.errors import InvalidInput
from millrace.schema.fields import now

Parameters = Annotated[
    list[str] | None,
    typer.Option("--param", "-p", metavar="NAME=VALUE", help="A parameter; the value is text or JSON. Repeatable."),
]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="A tag. Repeatable.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=200, help="At most this many.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

_TEXTS = ("env.", "labels.")
_UNITS = {"": 1, "s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60}
_UNITS |= {"h": 3600, "hour": 3600, "d": 86400, "day": 86400}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)")


def pairs(texts: Sequence[str] | None, option: str = "-p") -> dict[str, str]:
    """`name=value` words as a dict.

    Args:
        texts: the words.
        option: the option they came with, for the message.

    Raises:
        InvalidInput: a word has no `=`, or a name comes twice.

    Example:
        >>> pairs(["n=5", "url=a=b"])
        {'n': '5', 'url': 'a=b'}
    """
    found: dict[str, str] = {}
    for text in texts or []:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise InvalidInput(f"{option} {text!r} is not of the form name=value.".lstrip())
        if name in found:
            raise InvalidInput(f"{option} {name} is given twice.".lstrip())
        found[name] = value
    return found


def values(schema: Mapping[str, Any] | None, texts: Sequence[str] | None) -> dict[str, Any]:
    """Parameters as typed, read by their schema: text stays text where the parameter is text, else it is JSON.

    Args:
        schema: the parameters of the flow, as JSON Schema.
        texts: `name=value` words.

    Raises:
        ParameterError: a name is unknown or a value has the wrong type.
    """
    given = pairs(texts)
    if not given:
        return {}
    read: dict[str, Any] = plugins.load("millrace.notebooks.parameters:from_text")(schema or {}, given)
    return read


def variables(texts: Sequence[str] | None) -> dict[str, Any] | None:
    """Job variables as typed: `env.KEY=value` is one key of `env`, a text; other values are JSON, or else text.

    Args:
        texts: `name=value` words.

    Raises:
        InvalidInput: a word has no `=`, or two names contradict each other.
    """
    if not texts:
        return None
    given = {name: _read(name, text) for name, text in pairs(texts, "--job-variable").items()}
    expanded: dict[str, Any] = plugins.load("millrace.schema.job_variables:expand")(given)
    return expanded


def _read(name: str, text: str) -> Any:
    if name.startswith(_TEXTS):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def moment(text: str | None, option: str = "--at") -> datetime | None:
    """A moment as typed: ISO 8601; without a zone it is local.

    Args:
        text: such as `2026-11-21T18:00` or `2026-11-21T17:00Z`.
        option: the option it came with, for the message.

    Raises:
        InvalidInput: it is none.
    """
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        raise InvalidInput(
            f"{option} {text!r} is no moment; write 2026-11-21T18:00 (local) or 2026-11-21T17:00Z."
        ) from None


def later(text: str, option: str = "--in") -> datetime:
    """The moment that is so much later than now.

    Args:
        text: seconds, or a number with its unit, such as `90`, `5 min` or `2 hours`.
        option: the option it came with, for the message.

    Raises:
        InvalidInput: it is no length of time.
    """
    found = _SPAN.fullmatch(text.strip().lower())
    size = _UNITS.get(found[2]) or _UNITS.get(found[2].removesuffix("s")) if found else None
    if found is None or size is None:
        raise InvalidInput(f"{option} {text!r} is no length of time; write 90, '5 min' or '2 hours'.")
    try:
        return now() + timedelta(seconds=float(found[1]) * size)
    except OverflowError:
        raise InvalidInput(f"{option} {text!r} is longer than the calendar.") from None


def confirm(question: str, yes: bool) -> None:
    """Asks before something is done that cannot be undone.

    Args:
        question: what is about to happen.
        yes: do not ask.

    Raises:
        InvalidInput: nobody can be asked; what is typed into a pipe is no answer.
        typer.Exit: the answer was no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise InvalidInput(f"{question} There is no terminal to ask on: say so with --yes.")
    if not typer.confirm(question, err=True):
        print("Nothing was done.", file=sys.stderr)
        raise typer.Exit(FAILED)
