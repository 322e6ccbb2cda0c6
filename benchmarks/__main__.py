"""Runs all benchmarks and writes RESULTS.md: `python -m benchmarks [NAME …]`."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import deployments, flows, imports, interop, latency, notebooks, peer, servers, tasks
from benchmarks.measure import Row, markdown, our_versions, program

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


def main() -> None:
    """Run what was named, or all."""
    names = sys.argv[1:] or list(ALL)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        for name in names:
            print(f"{name} ...", file=sys.stderr, flush=True)
            place = Path(folder) / name
            place.mkdir()
            rows += ALL[name](place)
    versions = our_versions() | {
        name: program(peer.python(), f"from importlib.metadata import version; print(version({name!r}))").strip()
        for name in ("prefect", "papermill")
    }
    page = markdown(rows, versions)
    print(page)
    if not sys.argv[1:]:
        (Path(__file__).parent / "RESULTS.md").write_text(page)


main()
