"""What a run may say of itself: from what was seen of each cell and how the run ended, to states and exit code.

Pure. A cell is said to have completed only if the kernel answered that it did; one that was running when the run was
stopped takes its status from the way the run ended; one that never started has not run.

    ending     state                exit code                         the cell that was running
    ─────────  ───────────────────  ────────────────────────────────  ─────────────────────────
    completed  COMPLETED Completed  0                                 completed
    exited     COMPLETED Completed  0 (`sys.exit(0)`, `exit()`)       completed
    failed     FAILED    Failed     1, or n of `sys.exit(n)`          failed
    timed_out  FAILED    TimedOut   124                               timed_out
    crashed    CRASHED   Crashed    128 + the signal, else 70         failed
    cancelled  CANCELLED Cancelled  130                               cancelled
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from millrace.notebooks.cell_events import CellError, CellRecord, CellStatus

EndingKind = Literal["completed", "exited", "failed", "timed_out", "crashed", "cancelled"]
Progress = Literal["waiting", "running", "ran", "raised", "skipped"]

_STATES: dict[EndingKind, tuple[str, str]] = {
    "completed": ("COMPLETED", "Completed"),
    "exited": ("COMPLETED", "Completed"),
    "failed": ("FAILED", "Failed"),
    "timed_out": ("FAILED", "TimedOut"),
    "crashed": ("CRASHED", "Crashed"),
    "cancelled": ("CANCELLED", "Cancelled"),
}
_EXIT_CODES: dict[EndingKind, int] = {
    "completed": 0,
    "exited": 0,
    "failed": 1,
    "timed_out": 124,
    "crashed": 70,
    "cancelled": 130,
}
_STOPPED: dict[EndingKind, CellStatus] = {"timed_out": "timed_out", "cancelled": "cancelled"}
# papermill knows four words; a cell that was stopped is a failed one to it.
_PAPERMILL: dict[str, str] = {
    "completed": "completed",
    "not_run": "pending",
    "running": "running",
    "failed": "failed",
    "timed_out": "failed",
    "cancelled": "failed",
}


@dataclass(frozen=True)
class Ending:
    """How a run ended.

    Args:
        kind: the way.
        error: why, unless it completed.
        signal: the signal that killed the kernel.
        code: what the notebook gave to `sys.exit`.
    """

    kind: EndingKind
    error: CellError | None = None
    signal: int | None = None
    code: int | None = None

    @property
    def state_type(self) -> str:
        """COMPLETED, FAILED, CRASHED or CANCELLED."""
        return _STATES[self.kind][0]

    @property
    def state_name(self) -> str:
        """Completed, Failed, TimedOut, Crashed or Cancelled."""
        return _STATES[self.kind][1]

    @property
    def exit_code(self) -> int:
        """0 for a completed run and only for that."""
        if self.kind == "crashed" and self.signal:
            return 128 + self.signal
        if self.kind == "failed" and self.code is not None and 0 < self.code < 256:
            return self.code
        return _EXIT_CODES[self.kind]


@dataclass
class CellFacts:
    """What was seen of one code cell.

    Args:
        index: its position among all cells of the executed notebook, from 0.
        cell_id: its nbformat id.
        progress: `waiting`; `running` from the moment it was sent to the kernel; `ran` or `raised` by the kernel's
            answer; `skipped` when a tag says that it is not to run.
        started_at: when it was sent.
        ended_at: when it ended or was stopped.
    """

    index: int
    cell_id: str
    progress: Progress = "waiting"
    started_at: datetime.datetime | None = None
    ended_at: datetime.datetime | None = None


def status_of(facts: CellFacts, ending: EndingKind | None) -> CellStatus | Literal["running"]:
    """What may be said of a cell.

    Args:
        facts: what was seen of it.
        ending: how the run ended; None while it goes on.

    Example:
        >>> status_of(CellFacts(0, "a", "running"), "crashed")
        'failed'
    """
    if facts.progress in ("waiting", "skipped"):
        return "not_run"
    if facts.progress == "ran":
        return "completed"
    if facts.progress == "raised":
        return "failed"
    return "running" if ending is None else _STOPPED.get(ending, "failed")


def records(cells: Sequence[CellFacts], ending: EndingKind) -> list[CellRecord]:
    """The cells of a run that has ended.

    Args:
        cells: what was seen of each code cell.
        ending: how the run ended.
    """
    found = []
    for facts in cells:
        status = status_of(facts, ending)
        found.append(CellRecord(facts.index, facts.cell_id, "failed" if status == "running" else status))
    return found


def papermill_cell(facts: CellFacts, status: str) -> dict[str, Any]:
    """A cell's `metadata.papermill`, in agreement with our status.

    Args:
        facts: what was seen of the cell.
        status: what `status_of` says of it.
    """
    started, ended = facts.started_at, facts.ended_at
    started_at_all = status != "not_run"
    return {
        "status": _PAPERMILL[status],
        "exception": (_PAPERMILL[status] == "failed") if started_at_all else None,
        "start_time": started.isoformat() if started else None,
        "end_time": ended.isoformat() if ended else None,
        "duration": (ended - started).total_seconds() if started and ended else None,
    }


def papermill_notebook(
    started_at: datetime.datetime, ended_at: datetime.datetime | None, ending: Ending | None
) -> dict[str, Any]:
    """The part of a notebook's `metadata.papermill` that says how the run went.

    Args:
        started_at: when the run started, in UTC.
        ended_at: when it ended; None while it goes on.
        ending: how it ended; None while it goes on.
    """
    return {
        "start_time": started_at.isoformat(),
        "end_time": ended_at.isoformat() if ended_at else None,
        "duration": (ended_at - started_at).total_seconds() if ended_at else None,
        "exception": True if ending is not None and ending.state_type != "COMPLETED" else None,
    }


def millrace_notebook(ending: Ending | None) -> dict[str, Any]:
    """A notebook's `metadata.millrace`: the state of the run and why.

    Args:
        ending: how it ended; None while it goes on.
    """
    if ending is None:
        return {"state_type": "RUNNING", "state_name": "Running", "exit_code": None, "error": None}
    error = ending.error
    return {
        "state_type": ending.state_type,
        "state_name": ending.state_name,
        "exit_code": ending.exit_code,
        "error": None if error is None else {"message": error.message, "cell": error.cell, "ename": error.ename},
    }


def system_exit(evalue: str) -> tuple[EndingKind, int | None]:
    """How a run ends whose cell raised SystemExit.

    Args:
        evalue: the exception's text, as the kernel reports it.

    Example:
        >>> system_exit("3")
        ('failed', 3)
    """
    text = evalue.strip()
    if text in ("", "0", "None", "False"):
        return "exited", 0
    try:
        return "failed", int(text)
    except ValueError:
        return "failed", 1
