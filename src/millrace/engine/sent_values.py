"""Values of parameters as JSON: a note of what a run was called with, or what is to arrive in another process."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any, NoReturn

from pydantic_core import PydanticSerializationError, to_json

from millrace.engine.secrecy import masked, masked_value
from millrace.errors import ParameterError
from millrace.schema.reading import DEEPEST, depth

MAX_BYTES = 1024 * 1024
PLAIN = {str, int, float, bool, type(None), bytes}
"""Kinds with nothing nested in them."""
_REMEDY = "Give a number, a text, a list or a dict, or write the data to a file and give its path"


def jsonable(value: Any) -> Any:
    """A parameter as the wire carries it: a note of what the run was called with, not its data.

    Args:
        value: any value; what has no form in JSON is shown as `<Type>`, and so is what has more than a mebibyte of it,
            what is nested more than 200 deep, and what would be used up by reading it.
    """
    try:
        # By way of the text: it is the only form that keeps NaN and infinity apart from null.
        text = to_json(_kept(value), inf_nan_mode="strings", fallback=_shown)
        if len(text) > MAX_BYTES:
            return f"<{type(value).__name__}, {len(text):,} bytes in JSON>"
        found = json.loads(text)
        return masked_value(found) if depth(found) <= DEEPEST else f"<{type(value).__name__}>"
    except (PydanticSerializationError, ValueError, TypeError, RecursionError):
        return f"<{type(value).__name__}>"


def noted_only(kind: Any, value: Any) -> bool:
    """Whether a value is what `jsonable` writes for bytes that no text has; it would be read as other bytes.

    Args:
        kind: the annotation.
        value: what stands in the run's record.
    """
    return kind in (bytes, bytearray) and value == f"<{kind.__name__}>"


def _kept(value: Any) -> Any:
    """The value with its iterators named and not read: the function is to read them."""
    kind = type(value)
    if kind in PLAIN:
        return value
    if isinstance(value, Iterator):
        return f"<{kind.__name__}>"
    if kind in (list, tuple) and any(type(one) not in PLAIN for one in value):
        return kind([_kept(one) for one in value])
    if kind is dict:
        return {key: _kept(one) for key, one in value.items()}
    return value


def _shown(value: Any) -> Any:
    """What JSON has no form for."""
    try:
        return _number_or_path(value)
    except TypeError:
        return f"<{type(value).__name__}>"


def sendable(parameters: Mapping[str, Any], to: str) -> dict[str, Any]:
    """Parameters as the JSON that another process gets them from: each arrives as it is, or is refused here.

    Args:
        parameters: by name.
        to: who gets them, for messages.

    Raises:
        ParameterError: it is no dict, or one of the values has no form in JSON; it is named.

    Example:
        >>> from pathlib import PurePosixPath
        >>> sendable({"where": PurePosixPath("a/b"), "days": (1, 2)}, "the deployment 'etl/daily'")
        {'where': 'a/b', 'days': [1, 2]}
    """
    named_values(parameters, to)
    return {name: _sent(name, value, to) for name, value in parameters.items()}


def named_values(parameters: Any, to: str) -> None:
    """Lets only a dict be the parameters, or None.

    Args:
        parameters: as given.
        to: who gets them, for messages.

    Raises:
        ParameterError: it is something else.
    """
    if parameters is not None and not isinstance(parameters, Mapping):
        raise ParameterError(
            f"The parameters of {to} cannot be {_short(parameters)}: they are a dict of values by name, such as "
            "parameters={'n': 5}."
        )
    for name in parameters or ():
        if not isinstance(name, str):
            raise ParameterError(
                f"The parameters of {to} cannot have {_short(name)} among their names: they are texts."
            )


def _sent(name: str, value: Any, to: str) -> Any:
    try:
        text = to_json(value, inf_nan_mode="constants", fallback=_number_or_path)
        found = json.loads(text, parse_constant=_no_number)
    except RecursionError:
        _refuse(name, value, to, _TOO_DEEP)
    except PydanticSerializationError as error:
        said = str(error).removeprefix("Error serializing to JSON: ").partition(": ")
        deep = "depth exceeded" in said[2] or "ircular" in said[2]
        _refuse(name, value, to, _TOO_DEEP if deep else said[2] or said[0])
    except (ValueError, TypeError) as error:
        _refuse(name, value, to, str(error))
    if depth(found) > DEEPEST:
        _refuse(name, value, to, _TOO_DEEP)
    return found


_TOO_DEEP = f"it is nested more than {DEEPEST} deep, or contains itself"


def _refuse(name: str, value: Any, to: str, why: str) -> NoReturn:
    remedy = _REMEDY
    if isinstance(value, bytes | bytearray):
        why, remedy = "the bytes are no UTF-8", "Give base64.b64encode(...).decode(), or the path of a file"
    raise ParameterError(
        f"The parameter {name!r} of {to} cannot be sent, got {_short(value)}: {why.rstrip('.')}. {remedy}."
    ) from None


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"JSON has no form for {name}; None or a text arrives")


def _number_or_path(value: Any) -> Any:
    """Paths as texts; the scalars of numpy and its kin as the numbers they are."""
    if isinstance(value, PurePath):
        return str(value)
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        found = value.item()
        if type(found) in PLAIN:
            return found
    hint = "; tolist() makes it a list" if hasattr(value, "tolist") else ""
    raise TypeError(f"JSON has no form for a {type(value).__name__}{hint}")


def _short(value: Any) -> str:
    try:
        shown = repr(value)
    except Exception:  # a repr of the user's, or a value nested deeper than it can be shown
        return f"a {type(value).__name__}"
    shown = masked(shown)
    return f"{shown if len(shown) <= 80 else shown[:77] + '…'} ({type(value).__name__})"
