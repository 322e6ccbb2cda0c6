"""Where people read what deploying says: a terminal, a file, or the output of a cell."""

from __future__ import annotations

import sys

from rich.console import Console

from millrace.notebooks import live

_COLUMNS = 88  # what fits beside the prompts of a notebook, with the list of files open


def screen() -> Console:
    """Standard output, as text. In a notebook its colours are those that its theme has for terminals.

    Rich would show HTML there, whose dark colours are the same on dark pages, and a wide margin around each line.
    """
    if live.in_kernel() and not sys.stdout.isatty():
        return Console(force_jupyter=False, force_terminal=True, color_system="standard", width=_COLUMNS)
    return Console()
