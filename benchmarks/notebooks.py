"""Notebooks of 2 and of 100 trivial cells: ours, papermill, and the bare kernel."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nbformat

from benchmarks import peer
from benchmarks.measure import Row, program

KERNEL = """
import json, sys, time
from jupyter_client import KernelManager
cells = int(sys.argv[1]) if len(sys.argv) > 1 else CELLS
start = time.perf_counter()
manager = KernelManager(); manager.start_kernel()
client = manager.client(); client.start_channels(); client.wait_for_ready()
ready = time.perf_counter()
for n in range(cells):
    client.execute_interactive(f"x = {n}")
done = time.perf_counter()
print("RESULT" + json.dumps([done - start, done - ready]))
client.stop_channels(); manager.shutdown_kernel(now=True)
"""
PAPERMILL = """
import json, time
import papermill
start = time.perf_counter()
papermill.execute_notebook(BOOK, OUT, progress_bar=False)
print("RESULT" + json.dumps(time.perf_counter() - start))
"""
OURS = """
import json, time
from pathlib import Path
from millrace.notebooks.run import run_notebook
start = time.perf_counter()
outcome = run_notebook(Path(BOOK), output=Path(OUT), html=False)
assert outcome.state_type == "COMPLETED", outcome
print("RESULT" + json.dumps(time.perf_counter() - start))
"""


def _result(text: str) -> object:
    return json.loads(text.split("RESULT", 1)[1])


def _timed(python: str | Path, text: str, book: Path, times: int) -> float:
    text = text.replace("BOOK", repr(str(book))).replace("OUT", repr(str(book.with_suffix(".out.ipynb"))))
    found = sorted(float(str(_result(program(python, text, peer.environment(book.parent))))) for _ in range(times))
    return 1000 * found[len(found) // 2]


def rows(place: Path) -> list[Row]:
    """The table's rows."""
    found = []
    for cells, target in ((2, "≤ 1,200 ms cold"), (100, "≤ 1.2 × the bare kernel")):
        book = place / f"{cells}.ipynb"
        metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        nbformat.write(
            nbformat.v4.new_notebook(
                cells=[nbformat.v4.new_code_cell(f"x = {n}") for n in range(cells)], metadata=metadata
            ),
            book,
        )
        ours = _timed(sys.executable, OURS, book, 3)
        theirs = _timed(peer.python(), PAPERMILL, book, 3)
        bare = sorted(_result(program(sys.executable, KERNEL.replace("CELLS", str(cells)))) for _ in range(3))[1]  # type: ignore[type-var]
        limit = 1000 * bare[0]  # type: ignore[index]
        found.append(
            Row(
                f"notebook of {cells} cells, start to saved",
                ours,
                theirs,
                limit,
                target,
                "new kernel each; peer: papermill",
            )
        )
    return found
