"""`%load_ext millrace`: the magics, and the three names that flows are written with. Prints nothing."""

from __future__ import annotations

from typing import Any

from millrace import plugins
from millrace.jupyter import reprs
from millrace.jupyter.magics import MillraceMagics

_OFFERED = {
    "flow": "millrace.flows:flow",
    "task": "millrace.tasks:task",
    "get_run_logger": "millrace.engine.context:get_run_logger",
}


def load_ipython_extension(shell: Any) -> None:
    """What IPython calls for `%load_ext millrace`.

    Args:
        shell: the running IPython.
    """
    shell.register_magics(MillraceMagics)
    reprs.register(shell.display_formatter)
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
    for kind, names in MillraceMagics.magics.items():
        for name in names:
            shell.magics_manager.magics[kind].pop(name, None)
    for name, reference in _OFFERED.items():
        if shell.user_ns.get(name) is plugins.load(reference):
            shell.drop_by_id({name: plugins.load(reference)})
