"""`%load_ext millrace`: the magics, and the three names that flows are written with. Prints nothing."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from millrace import plugins
from millrace.jupyter import reprs
from millrace.jupyter.magics import MillraceMagics
from millrace.notebooks.live import note_end

_OFFERED = {
    "flow": "millrace.flows:flow",
    "task": "millrace.tasks:task",
    "get_run_logger": "millrace.engine.loggers:get_run_logger",
}


def load_ipython_extension(shell: Any) -> None:
    """What IPython calls for `%load_ext millrace`.

    Args:
        shell: the running IPython.
    """
    shell.register_magics(MillraceMagics)
    reprs.register(shell.display_formatter)
    shell.events.register("post_run_cell", _note_end)
    for name, reference in _OFFERED.items():
        # Hidden from %who, and never over a name of the user's.
        if name not in shell.user_ns:
            shell.push({name: plugins.load(reference)}, interactive=False)


def unload_ipython_extension(shell: Any) -> None:
    """What IPython calls for `%unload_ext millrace`.

    Args:
        shell: the running IPython.
    """
    reprs.unregister(shell.display_formatter)
    shell.events.unregister("post_run_cell", _note_end)
    for kind, names in MillraceMagics.magics.items():
        for name in names:
            shell.magics_manager.magics[kind].pop(name, None)
    for name, reference in _OFFERED.items():
        if shell.user_ns.get(name) is plugins.load(reference):
            shell.drop_by_id({name: plugins.load(reference)})


def _note_end(result: Any) -> None:
    """Called by IPython after each cell: what a cell that raised did not do is not exported."""
    number = result.execution_count
    if number is None:
        return
    line: int | None = None if result.success else 0
    if line is not None and result.error_in_exec is not None and not result.info.raw_cell.lstrip().startswith("%%"):
        line = _line_in_cell(result.error_in_exec.__traceback__)
    note_end(number, line)


def _line_in_cell(traceback: TracebackType | None) -> int:
    user_names = sys.modules["__main__"].__dict__
    while traceback is not None:
        if traceback.tb_frame.f_globals is user_names:
            return traceback.tb_lineno
        traceback = traceback.tb_next
    return 0
