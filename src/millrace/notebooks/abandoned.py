"""The notebook of a run whose process was killed: who finds it says how it ended."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

from millrace.notebooks import truth
from millrace.notebooks.cell_events import CellRecord, CellStatus
from millrace.notebooks.parameters import read_book
from millrace.notebooks.save import write_whole
from millrace.notebooks.truth import CellFacts, Ending, Progress

_SEEN: dict[str, Progress] = {"completed": "ran", "failed": "raised", "running": "running"}


def settle(notebook: Path, ending: Ending) -> list[CellRecord]:
    """Write the end of a run into the notebook it left behind; a run that has ended already is left alone.

    The notebook says what was last saved, a quarter of a second before the kill or so; a cell is never said to have run
    when it did not.

    Args:
        notebook: the saved notebook.
        ending: how the run ended, such as `Ending("crashed", CellError("The worker was killed."))`.

    Returns:
        The code cells.

    Raises:
        InvalidInput: there is no such notebook.
        OSError: it cannot be written.
    """
    nb = read_book(notebook)
    about = nb.get("metadata", {}).get("millrace", {})
    cells = [(i, cell) for i, cell in enumerate(nb["cells"]) if cell["cell_type"] == "code"]
    if about.get("state_type") != "RUNNING":
        return [CellRecord(i, str(cell.get("id") or i), _status(cell)) for i, cell in cells]
    now = datetime.datetime.now(datetime.UTC).isoformat()
    records = []
    for index, cell in cells:
        said = cell["metadata"].get("millrace", {}).get("status", "not_run")
        facts = CellFacts(index, str(cell.get("id") or index), _SEEN.get(said, "waiting"))
        record = truth.records([facts], ending.kind)[0]
        records.append(record)
        cell["metadata"]["millrace"] = {"status": record.status}
        if said == "running":
            papermill = truth.papermill_cell(facts, record.status)
            kept = {"start_time": cell["metadata"].get("papermill", {}).get("start_time"), "end_time": now}
            cell["metadata"]["papermill"] = papermill | kept
    nb["metadata"]["millrace"] = truth.millrace_notebook(ending)
    nb["metadata"].setdefault("papermill", {}).update(
        end_time=now, exception=True if ending.state_type != "COMPLETED" else None
    )
    write_whole(notebook, json.dumps(nb, indent=1, ensure_ascii=False, sort_keys=True) + "\n", durable_name=True)
    return records


def _status(cell: dict[str, Any]) -> CellStatus:
    status: CellStatus = cell["metadata"].get("millrace", {}).get("status", "not_run")
    return status
