"""The secret values that this process knows, kept out of everything it writes.

Every value that is loaded is remembered here; log lines, the messages of states, artifacts, parameters and names on the
wire, `print`, and in a notebook's kernel all outputs are masked by it. Values of fewer than four characters are not
masked: they could not be told apart from ordinary text. What a program writes past Python (a subprocess, bytes to a
file descriptor) is not seen, nor is what a flow returns.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any

from millrace import plugins
from millrace.engine.redaction import Redactor
from millrace.errors import ParameterError

SHORTEST = 4
"""Values with fewer characters are not masked."""

_SHORTEST_LINE = 8
_lock = threading.Lock()
_known: frozenset[str] = frozenset()
_redactor = Redactor()


def texts(value: Any) -> Iterator[str]:
    """The texts and numbers in a secret value that are long enough to be masked.

    Args:
        value: any JSON value. Of a text with several lines each long line counts as well.

    Example:
        >>> sorted(texts({"user": "me", "password": "hunter22"}))
        ['hunter22']
    """
    if isinstance(value, dict):
        for entry in value.values():
            yield from texts(entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from texts(entry)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        text = str(value)
        if len(text.strip()) >= SHORTEST:
            yield text
        lines = text.splitlines()
        if len(lines) > 1:
            yield from (line for line in lines if len(line.strip()) >= _SHORTEST_LINE)


def keep_out(value: Any) -> None:
    """From now on this value appears in nothing that this process writes.

    Args:
        value: the secret, any JSON value.
    """
    global _known, _redactor
    with _lock:
        known = _known.union(texts(value))
        if known == _known:
            return
        _redactor = Redactor(known)
        _known = known
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        _mask(stream)
    if "ipykernel" in sys.modules:
        plugins.load("millrace.jupyter.masking:mask_kernel")()


def masked(text: str) -> str:
    """A text without the secrets of this process.

    Args:
        text: any text.
    """
    return _redactor.text(text)


def masked_value(value: Any) -> Any:
    """A JSON value whose texts hold no secret of this process; numbers that are one become the mask.

    Args:
        value: any JSON value; it is not changed.
    """
    return _redactor.value(value) if _redactor else value


def refuse_values(parameters: dict[str, Any]) -> None:
    """Lets no secret value travel as a plain parameter, which would be stored with the run.

    Args:
        parameters: by name, as they would go to the server.

    Raises:
        ParameterError: one holds the value of a secret; it is named.
    """
    for name, value in parameters.items():
        if _hidden_by_pydantic(value):
            raise ParameterError(
                f"The parameter {name!r} holds a {_hidden_by_pydantic(value)}, of which only a mask would arrive. Give "
                "it by reference, as secret:NAME: Secret(value).save('NAME') keeps one."
            )
        known = masked_value(value) if isinstance(value, str | int | float | list | tuple | dict) else value
        if known is not value and known != value:  # NaN is not even itself
            raise ParameterError(
                f"The parameter {name!r} holds the value of a secret, which would be stored with the run. "
                "Give the Secret itself, or load it inside the flow."
            )


def _hidden_by_pydantic(value: Any) -> str | None:
    """The kind of a value that pydantic writes as a mask, in what people give for parameters."""
    if isinstance(value, dict | list | tuple):
        entries = value.values() if isinstance(value, dict) else value
        return next((kind for entry in entries if (kind := _hidden_by_pydantic(entry))), None)
    return type(value).__name__ if hasattr(type(value), "get_secret_value") else None


def _mask(stream: Any) -> None:
    if stream is None or getattr(stream, "_millrace_masked", False):
        return
    write = stream.write

    def masked_write(text: Any) -> int:
        write(masked(text) if isinstance(text, str) else text)
        return len(text)

    # A stream that takes no attributes is left as it is; its lines are masked where they are logged.
    with contextlib.suppress(AttributeError, TypeError):
        stream._millrace_masked = True
        stream.write = masked_write
