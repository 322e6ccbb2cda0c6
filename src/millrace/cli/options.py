"""Options that several commands share, and the reading of what was typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from millrace import plugins
from millrace.errors import InvalidInput

Parameters = Annotated[
    list[str] | None,
    typer.Option("--param", "-p", metavar="NAME=VALUE", help="A parameter; the value is text or JSON. Repeatable."),
]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="A tag. Repeatable.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=200, help="At most this many.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


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
            raise InvalidInput(f"{option} {text!r} is not of the form name=value.")
        if name in found:
            raise InvalidInput(f"{option} {name} is given twice.")
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


def confirm(question: str, yes: bool) -> None:
    """Asks on a terminal, unless told not to; elsewhere nobody is asked.

    Args:
        question: what is about to happen.
        yes: do not ask.
    """
    if not yes and typer.get_text_stream("stdin").isatty():
        typer.confirm(question, abort=True, err=True)
