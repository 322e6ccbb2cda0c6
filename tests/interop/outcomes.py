"""How the scenarios of one test session went, written down for `scripts/generate_interop.py`.

A session may be of several test processes: each adds what it knows. What another session wrote is not mixed with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import keeper
import pytest

_collected: list[str] = []
_known: dict[str, str] = {}


def _name(nodeid: str) -> str:
    return nodeid.split("interop/", 1)[1]


def collected(nodeids: Iterable[str]) -> None:
    """These tests are part of the session."""
    _collected.extend(_name(nodeid) for nodeid in nodeids)


def note(report: pytest.TestReport) -> None:
    """One of them went so; setting up and tearing down count where they went wrong."""
    if "interop/" in report.nodeid and (report.when == "call" or report.outcome != "passed"):
        name = _name(report.nodeid)
        if _known.get(name, "passed") == "passed":
            _known[name] = report.outcome


def write(path: Path) -> None:
    """Adds what this process knows to what others of its session wrote."""
    if not _known:
        return
    with keeper.alone(path.with_suffix(".lock")):
        before = json.loads(path.read_text()) if path.exists() else {}
        same = before if before.get("session") == keeper.SESSION else {}
        whole = {
            "session": keeper.SESSION,
            "collected": sorted({*_collected, *same.get("collected", [])}),
            "outcomes": {**same.get("outcomes", {}), **_known},
        }
        path.write_text(json.dumps(whole, indent=1))
