"""The running kernel, seen from code that does not know IPython: the cells it ran and the names that stand in it."""

from __future__ import annotations

import sys
from typing import Any

from millrace.notebooks.cells import Cell


def _shell() -> Any:
    get = getattr(sys.modules.get("__main__"), "get_ipython", None)
    return get() if callable(get) else None


def in_kernel() -> bool:
    """Whether this process runs cells."""
    return _shell() is not None


def executed_cells() -> list[Cell] | None:
    """The cells this kernel has run, in the order of their running; None outside a kernel.

    The number of a cell is its execution count, which is what stands beside it in the notebook.
    """
    shell = _shell()
    if shell is None:
        return None
    sources = list(shell.history_manager.input_hist_raw)
    return [
        Cell(index=number, cell_id=None, source=source, execution_count=number)
        for number, source in enumerate(sources)
        if number > 0 and source
    ]


def live_namespace() -> dict[str, Any]:
    """The user's names and values; empty outside a kernel."""
    shell = _shell()
    return {} if shell is None else dict(shell.user_ns)
