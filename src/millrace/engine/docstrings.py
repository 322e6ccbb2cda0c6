"""What docstrings say of parameters."""

from __future__ import annotations

import re
from collections.abc import Iterable

_GOOGLE = re.compile(r"^(\s*)\*{0,2}(\w+)\s*(?:\([^)]*\))?:\s*(.*)$")
_NUMPY = re.compile(r"^\*{0,2}(\w+)\s*(?::.*)?$")


def described(doc: str, names: Iterable[str]) -> dict[str, str]:
    """What a docstring in Google's or numpy's style says of each parameter.

    Args:
        doc: the docstring, dedented.
        names: the parameters.

    Example:
        >>> described("Sum.\\n\\nArgs:\\n    rows: how many\\n        rows to read", ["rows"])
        {'rows': 'how many rows to read'}
    """
    known, lines = set(names), doc.splitlines()
    for number, line in enumerate(lines):
        if line.strip() in ("Args:", "Arguments:", "Parameters:"):
            return _google(lines[number + 1 :], known)
        if line.strip() == "Parameters" and number + 1 < len(lines) and set(lines[number + 1].strip()) == {"-"}:
            return _numpy(lines[number + 2 :], known)
    return {}


def _google(lines: list[str], known: set[str]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    current: str | None = None
    depth = 0
    for line in lines:
        if line.strip() and not line.startswith((" ", "\t")):
            break
        match = _GOOGLE.match(line)
        if match and match[2] in known and (current is None or len(match[1]) <= depth):
            current, depth = match[2], len(match[1])
            found[current] = [match[3]]
        elif current and line.strip() and len(line) - len(line.lstrip()) > depth:
            found[current].append(line.strip())
        elif line.strip():
            current = None if match else current
    return {name: " ".join(filter(None, text)) for name, text in found.items() if any(text)}


def _numpy(lines: list[str], known: set[str]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    current: str | None = None
    for number, line in enumerate(lines):
        following = lines[number + 1].strip() if number + 1 < len(lines) else ""
        if line.strip() and not line.startswith(" ") and following and set(following) == {"-"}:
            break
        match = _NUMPY.match(line)
        if match:
            current = match[1] if match[1] in known else None
        elif current and line.strip():
            found.setdefault(current, []).append(line.strip())
    return {name: " ".join(text) for name, text in found.items()}
