"""Notebooks for the tests, which write down in a ledger what they really do, and what must agree after a run."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import psutil
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from millrace.notebooks.run import NotebookOutcome, run_notebook

LEDGER = """
import os, sys, time
LEDGER = ""
"""
PEN = """
def ledger(text):
    descriptor = os.open(LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, (text + "\\n").encode()); os.fsync(descriptor); os.close(descriptor)
"""


def noted(name: str, body: str) -> str:
    """A cell that tells the ledger when it starts and when it ends."""
    return f"ledger('{name} start')\n{body}\nledger('{name} end')"


def write_book(
    path: Path, *cells: str, parameters: str | None = None, tags: dict[int, list[str]] | None = None
) -> Path:
    """A notebook; a cell that begins with `md:` is text. `tags` counts the given cells from 0."""
    nb = new_notebook()
    nb.metadata["kernelspec"] = {"name": "python3", "language": "python", "display_name": "Python 3"}
    if parameters is not None:
        nb.cells.append(new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    for number, source in enumerate(cells):
        cell = new_markdown_cell(source[3:]) if source.startswith("md:") else new_code_cell(source)
        cell.metadata["tags"] = (tags or {}).get(number, [])
        nb.cells.append(cell)
    nbformat.write(nb, path)
    return path


@dataclass
class Trial:
    """One run of a notebook of named cells; `check` compares everything it left behind."""

    folder: Path
    bodies: dict[str, str]
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        cells = ["md:# A trial", PEN, *(noted(name, body) for name, body in self.bodies.items())]
        self.book = write_book(self.folder / "book.ipynb", *cells, parameters=LEDGER)
        self.output = self.folder / "out" / "executed.ipynb"
        self.ledger = self.folder / "ledger.txt"

    def run(self, **options: Any) -> NotebookOutcome:
        return run_notebook(
            self.book,
            output=self.output,
            parameters={"LEDGER": str(self.ledger)},
            environment={"MILL_TRIAL": self.mark},
            **options,
        )

    def written(self) -> set[str]:
        return set(self.ledger.read_text().split("\n")) if self.ledger.exists() else set()

    def statuses(self) -> dict[str, str]:
        """The status of each named cell in the saved notebook, which must be valid and agree with itself."""
        nb = json.loads(self.output.read_text(encoding="utf-8"))
        nbformat.validate(nb)
        found = {}
        for cell in nb["cells"]:
            if cell["cell_type"] != "code":
                continue
            status, papermill = cell["metadata"]["millrace"]["status"], cell["metadata"]["papermill"]
            expected = {"completed": "completed", "not_run": "pending", "running": "running"}.get(status, "failed")
            assert papermill["status"] == expected
            if expected == "pending":
                assert cell["outputs"] == [] and cell["execution_count"] is None
            source = "".join(cell["source"])
            if source.startswith("ledger('"):
                found[source.split("'")[1].split()[0]] = status
        return found

    def check_ledger(self) -> dict[str, str]:
        """A cell is completed exactly if the ledger says that it ended, and not run exactly if it never started."""
        statuses = self.statuses()
        written = self.written()
        for name, status in statuses.items():
            assert (status == "completed") == (f"{name} end" in written), (name, status, written)
            assert (status == "not_run") == (f"{name} start" not in written), (name, status, written)
        return statuses

    def check(self, outcome: NotebookOutcome) -> dict[str, str]:
        """Outcome, notebook, page, ledger and process table agree."""
        statuses = self.check_ledger()
        nb = json.loads(self.output.read_text(encoding="utf-8"))
        code = [(i, cell) for i, cell in enumerate(nb["cells"]) if cell["cell_type"] == "code"]
        assert [(r.index, r.cell_id, r.status) for r in outcome.cells] == [
            (i, cell["id"], cell["metadata"]["millrace"]["status"]) for i, cell in code
        ]
        about = nb["metadata"]["millrace"]
        assert (about["state_type"], about["state_name"]) == (outcome.state_type, outcome.state_name)
        assert about["exit_code"] == outcome.exit_code
        assert (outcome.exit_code == 0) == (outcome.state_type == "COMPLETED") == (outcome.error is None)
        assert (nb["metadata"]["papermill"]["exception"] is True) == (outcome.exit_code != 0)
        if outcome.html is not None:
            page = outcome.html.read_text(encoding="utf-8")
            assert f'data-state-name="{outcome.state_name}" data-exit-code="{outcome.exit_code}"' in page
        self.check_gone()
        return statuses

    def check_gone(self, within: float = 0.0) -> None:
        deadline = time.monotonic() + within
        while left := self.processes():
            assert time.monotonic() <= deadline, [process.cmdline() for process in left]
            time.sleep(0.1)

    def processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("MILL_TRIAL") == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found
