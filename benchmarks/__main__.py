"""Runs benchmarks and writes their tables into RESULTS.md: `python -m benchmarks [NAME …]`, all without a name."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import deployments, flows, imports, interop, latency, notebooks, servers, tasks
from benchmarks.measure import Row
from benchmarks.results import now_and_here, page, sections, table

ALL: dict[str, Callable[[Path], list[Row]]] = {
    "imports": imports.rows,
    "servers": servers.rows,
    "flows": flows.rows,
    "tasks": tasks.rows,
    "latency": latency.rows,
    "deployments": deployments.rows,
    "notebooks": notebooks.rows,
    "interop": interop.rows,
}


PAGE = Path(__file__).parent / "RESULTS.md"


def main() -> None:
    """Run what was named, or all; the page keeps what it has of the others."""
    kept = sections(PAGE.read_text(encoding="utf-8")) if PAGE.exists() else {}
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        for name in sys.argv[1:] or list(ALL):
            print(f"{name} ...", file=sys.stderr, flush=True)
            place = Path(folder) / name
            place.mkdir()
            circumstances = now_and_here()
            kept[name] = table(ALL[name](place), circumstances)
            print(kept[name], flush=True)
            PAGE.write_text(page({one: kept[one] for one in ALL if one in kept}), encoding="utf-8")


main()
