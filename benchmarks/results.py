"""The page of results: a table for each benchmark, and when, where and under what load it was measured."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version

from benchmarks import peer
from benchmarks.measure import Row, program

_PREFACE = """\
# Results

Written by `make bench`, or one table by `python -m benchmarks NAME`. Medians; what a row compares was measured in one
run on one machine. Absolute times are not to be compared between machines, nor between tables of different loads.
"""
_HEAD = ["what", "ours (ms)", "peer (ms)", "peer / ours", "limit (ms)", "target", "how"]


def page(tables: Mapping[str, str]) -> str:
    """The whole page.

    Args:
        tables: by the name of the benchmark, in the order of the page.
    """
    return _PREFACE + "".join(f"\n## {name}\n\n{table}" for name, table in tables.items())


def sections(text: str) -> dict[str, str]:
    """The tables of a page, by name.

    Args:
        text: of the page.
    """
    parts = re.split(r"^## (\w+)\n\n", text, flags=re.MULTILINE)[1:]
    return {name: body.strip("\n") + "\n" for name, body in zip(parts[::2], parts[1::2], strict=True)}


def table(rows: Iterable[Row], circumstances: str) -> str:
    """The rows of one benchmark.

    Args:
        rows: in their order.
        circumstances: as `now_and_here` said before it began.
    """
    lines = [circumstances, "", "| " + " | ".join(_HEAD) + " |", "|" + "---|" * len(_HEAD)]
    return "\n".join([*lines, *("| " + " | ".join(row.cells()) + " |" for row in rows)]) + "\n"


def now_and_here() -> str:
    """When and where this is, how busy the machine is, and the versions of what is compared."""
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "")
    there = {
        name: program(peer.python(), f"from importlib.metadata import version; print(version({name!r}))").strip()
        for name in ("prefect", "papermill")
    }
    versions = {"millrace": version("millrace"), "python": platform.python_version(), **there}
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, load {os.getloadavg()[0]:.1f} at the start; "
        f"{os.cpu_count()} cores, {model or platform.processor()}, {platform.system()} {platform.release()};\n"
        + ", ".join(f"{name} {number}" for name, number in versions.items())
        + "."
    )
