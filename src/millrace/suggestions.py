"""What somebody may have meant by a name that is not there."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LISTED = 10


def did_you_mean(name: str, known: Iterable[str], most: int = 3) -> str:
    """The names that are most like one that is not there, as a sentence that follows another; empty if none is.

    Args:
        name: as it was written.
        known: the names that there are.
        most: how many are named, at most.

    Example:
        >>> did_you_mean("nigthly", ["nightly", "weekly"])
        " Did you mean 'nightly'?"
    """
    close = difflib.get_close_matches(name, dict.fromkeys(known), n=most, cutoff=0.6)
    return f" Did you mean {' or '.join(map(repr, close))}?" if close else ""


def near_or_listed(name: str, known: Iterable[str], heading: str, command: str) -> str:
    """The names that are most like one that is not there; else the first of those there are, and how many more.

    Args:
        name: as it was written.
        known: the names that there are.
        heading: what they are, such as `Deployments here`.
        command: what lists all of them.

    Example:
        >>> near_or_listed("x", ["weekly"], "Deployments here", "millrace deployment ls")
        ' Deployments here: weekly.'
    """
    names = sorted(known)
    if hint := did_you_mean(name, names):
        return hint
    more = f" and {len(names) - _LISTED} more ({command})" if len(names) > _LISTED else ""
    return f" {heading}: {', '.join(names[:_LISTED])}{more}." if names else ""
