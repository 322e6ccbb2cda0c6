"""The `%%flow` line: the name and options it gives to the flow of its cell."""

from __future__ import annotations

import difflib
import math
import shlex
from collections.abc import Callable, Iterator

from millrace.errors import InvalidInput

OptionValue = str | int | float | bool

_ON = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def _whole(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError("must not be negative")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or value < 0:
        raise ValueError("must be a number of seconds, 0 or more")
    return value


# The options of `@flow` that are one value; the others are given in a decorator.
_VALUES: dict[str, tuple[Callable[[str], OptionValue], str]] = {
    "name": (str, "a name"),
    "version": (str, "a text"),
    "description": (str, "a text"),
    "flow_run_name": (str, "a text"),
    "retries": (_whole, "a whole number, 0 or more"),
    "retry_delay_seconds": (_seconds, "a number of seconds, 0 or more"),
    "timeout_seconds": (_seconds, "a number of seconds, 0 or more"),
}
_SWITCHES = ("log_prints", "validate_parameters", "persist_result")


def parse_flow_line(line: str) -> tuple[str | None, dict[str, OptionValue]]:
    """The name and the options of a `%%flow` line.

    Args:
        line: the line, with or without `%%flow` at its head.

    Returns:
        The name, or None where none is given, and the keyword arguments for `@flow`.

    Raises:
        InvalidInput: an option is unknown, lacks its value or has one that cannot be used, or there are two names.

    Example:
        >>> parse_flow_line("%%flow etl --retries 2 --log-prints")
        ('etl', {'retries': 2, 'log_prints': True})
    """
    try:
        words = shlex.split(line.strip())
    except ValueError as error:
        raise InvalidInput(f"%%flow: {line.strip()!r} cannot be read: {error}. Close the quotes.") from None
    if words and words[0] == "%%flow":
        del words[0]
    names: list[str] = []
    options: dict[str, OptionValue] = {}
    waiting = iter(words)
    for word in waiting:
        if word.startswith("-"):
            key, value = _option(word, waiting)
            options[key] = value
        else:
            names.append(word)
    if len(names) > 1:
        raise InvalidInput(
            f"%%flow takes one name, not {len(names)} ({', '.join(names)}). Put a text with blanks in quotes."
        )
    return (names[0] if names else None), options


def _option(word: str, waiting: Iterator[str]) -> tuple[str, OptionValue]:
    flag, equals, attached = word.partition("=")
    key = flag.lstrip("-").replace("-", "_")
    if key.removeprefix("no_") in _SWITCHES:
        return _switch(flag, key, attached if equals else None)
    if key in ("help", "h"):
        raise InvalidInput(f"%%flow takes a name and options, and defines no flow when asked for help.{_listed()}")
    if key not in _VALUES:
        raise InvalidInput(f"%%flow has no option {flag}.{_suggestion(key)}")
    read, expected = _VALUES[key]
    text = attached if equals else next(waiting, None)
    if text is None:
        raise InvalidInput(f"%%flow: {flag} needs {expected}.")
    try:
        return key, read(text)
    except ValueError:
        raise InvalidInput(f"%%flow: {flag} needs {expected}, not {text!r}.") from None


def _switch(flag: str, key: str, text: str | None) -> tuple[str, bool]:
    name = key.removeprefix("no_")
    if text is None:
        return name, not key.startswith("no_")
    if key.startswith("no_") or text.lower() not in _ON:
        raise InvalidInput(
            f"%%flow: write --{name.replace('_', '-')} or --no-{name.replace('_', '-')}, not {flag}={text}."
        )
    return name, _ON[text.lower()]


def _suggestion(key: str) -> str:
    known = [*_VALUES, *_SWITCHES, *(f"no_{name}" for name in _SWITCHES)]
    close = difflib.get_close_matches(key, known, n=2, cutoff=0.6)
    if close:
        return " Did you mean " + " or ".join("--" + name.replace("_", "-") for name in close) + "?"
    return _listed()


def _listed() -> str:
    options = ", ".join("--" + name.replace("_", "-") for name in [*_VALUES, *_SWITCHES])
    return f" It has {options}; everything else goes into @flow(...)."
