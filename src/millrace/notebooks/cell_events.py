"""What a run says of its cells while it goes on: one record when a cell starts, one when it ends."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

CellStatus = Literal["completed", "failed", "timed_out", "cancelled", "not_run"]


@dataclass(frozen=True)
class CellError:
    """Why a run did not complete.

    Args:
        message: one sentence for people.
        cell: its number, counted from 1 over all cells of the executed notebook; None when no cell was running.
        cell_id: its nbformat id.
        ename: the name of the exception's class.
        evalue: the exception's text.
        traceback: its lines, without terminal colours.
    """

    message: str
    cell: int | None = None
    cell_id: str | None = None
    ename: str | None = None
    evalue: str = ""
    traceback: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The error as a JSON object."""
        return {
            "message": self.message,
            "cell": self.cell,
            "cell_id": self.cell_id,
            "ename": self.ename,
            "evalue": self.evalue,
            "traceback": list(self.traceback),
        }


@dataclass(frozen=True)
class CellRecord:
    """How one code cell ended.

    Args:
        index: its position among all cells of the executed notebook, counted from 0 as in the file.
        cell_id: its nbformat id.
        status: what became of it.
    """

    index: int
    cell_id: str
    status: CellStatus

    def as_json(self) -> dict[str, Any]:
        """The record as a JSON object."""
        return {"index": self.index, "cell": self.index + 1, "cell_id": self.cell_id, "status": self.status}


@dataclass(frozen=True)
class CellEvent:
    """A cell has started or ended.

    Args:
        kind: which of the two.
        index: its position among all cells of the executed notebook, from 0.
        cell_id: its nbformat id.
        status: `running` when it started, else how it ended.
        started_at: when it started, in UTC.
        ended_at: when it ended, in UTC.
        execution_count: the number in `In [n]`, when the kernel gave one.
        number: which of the code cells it is, counted from 1.
        total: how many code cells there are.
        ename: the class of the exception, for a cell that did not complete.
        evalue: its text.
        tail: the last text the cell wrote, at most 2,000 characters.
    """

    kind: Literal["started", "finished"]
    index: int
    cell_id: str
    status: CellStatus | Literal["running"]
    started_at: datetime.datetime
    number: int
    total: int
    ended_at: datetime.datetime | None = None
    execution_count: int | None = None
    ename: str | None = None
    evalue: str | None = None
    tail: str = ""


OnEvent = Callable[[CellEvent], None]
OnOutput = Callable[[str, str, int], None]
