"""The running kernel, seen from code that does not know IPython: the cells it ran and the names that stand in it."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

from millrace.notebooks.cells import Cell, parse, plain
from millrace.notebooks.passages import first_line

_stopped: dict[int, int] = {}


def note_end(number: int, line: int | None) -> None:
    """Remember how a cell ended, so that what did not run is not taken for done.

    Args:
        number: the cell's execution count; `%reset` begins anew.
        line: the line an error stopped it in, counted from 1; 0: nothing of it ran; None: it ran to its end.
    """
    if line is None:
        _stopped.pop(number, None)
    else:
        _stopped[number] = line


def _shell() -> Any:
    get = getattr(sys.modules.get("__main__"), "get_ipython", None)
    return get() if callable(get) else None


def in_kernel() -> bool:
    """Whether this process runs cells."""
    return _shell() is not None


def executed_cells() -> list[Cell] | None:
    """The cells this kernel has run, in the order of their running; None outside a kernel.

    The number of a cell is its execution count, which is what stands beside it in the notebook. Of a cell that stopped
    with an error, only the statements before the one that raised are there.
    """
    shell = _shell()
    if shell is None:
        return None
    sources = list(shell.history_manager.input_hist_raw)
    cells = (
        Cell(index=number, cell_id=None, source=source, execution_count=number)
        for number, source in enumerate(sources)
        if number > 0 and source
    )
    return [_as_far_as_it_ran(cell) for cell in cells if _stopped.get(cell.index) != 0]


def _as_far_as_it_ran(cell: Cell) -> Cell:
    line = _stopped.get(cell.index)
    if line is None:
        return cell
    kept = line - 1
    for statement in parse(plain(cell).code).body:
        if (statement.end_lineno or statement.lineno) >= line:
            kept = min(kept, first_line(statement) - 1)
            break
    return replace(cell, source="\n".join(cell.source.splitlines()[:kept]))


def live_namespace() -> dict[str, Any]:
    """The user's names and values; empty outside a kernel."""
    shell = _shell()
    return {} if shell is None else dict(shell.user_ns)
