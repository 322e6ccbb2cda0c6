"""What a run logs, on the screen: stderr of a script, under the cell of a notebook.

12:00:01.123 | INFO    | Flow run 'amber-heron' - read 10 rows
"""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import Any

from millrace.engine.context import FlowRunContext
from millrace.engine.log_handlers import on_screen
from millrace.engine.logs import line_text, run_of

_COLOURS = {logging.WARNING: "33", logging.ERROR: "31", logging.CRITICAL: "1;31", logging.DEBUG: "2"}


class ConsoleHandler(logging.Handler):
    """Writes lines of runs to the screen, unless a handler that the user gave to their logger does.

    Args:
        level: the lowest level that is shown.
    """

    of_millrace = True

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one line. What was printed is on the screen already; what no run logged is shown as Python does."""
        try:
            flow, task = run_of(record)
            if flow is None and task is None and record.levelno < logging.WARNING:
                return
            if getattr(record, "millrace_printed", False) or on_screen(record):
                return
            if flow is None or flow is FlowRunContext.get():
                _write(record, flow, task)
            else:
                # A thread that has the logger but not the context: in a notebook that tells whose cell it is.
                flow.home.copy().run(_write, record, flow, task)
        except Exception:  # a screen that is gone must not fail the user's code
            self.handleError(record)


def _write(record: logging.LogRecord, flow: Any, task: Any) -> None:
    kernel = type(sys.stdout).__module__.startswith("ipykernel")
    # A notebook shows stderr as a red block: for what is wrong only.
    stream = sys.stdout if kernel and record.levelno < logging.WARNING else sys.stderr
    if stream is None:
        return
    if kernel and stream is sys.stderr:
        sys.stdout.flush()  # what was said before comes before
    stream.write(_line(record, flow, task, coloured(stream)) + "\n")
    if stream is sys.stderr:
        stream.flush()  # not a kernel's stdout: a flush there waits, and lines go out in a moment anyway


def _line(record: logging.LogRecord, flow: Any, task: Any, colour: bool) -> str:
    moment = time.strftime("%H:%M:%S", time.localtime(record.created))
    level = f"{record.levelname:<7}"
    if colour and record.levelno in _COLOURS:
        level = f"\x1b[{_COLOURS[record.levelno]}m{level}\x1b[0m"
    if not record.name.startswith("millrace.") or (task is None and flow is None):
        who = record.name
    else:
        who = f"Task run {task.name!r}" if task is not None else f"Flow run {flow.flow_run.name or str(flow.run_id)!r}"
    text = record.__dict__.get("millrace_short") or line_text(record, logging.LogRecord.getMessage)
    return f"{moment}.{int(record.msecs):03d} | {level} | {who} - {text}"


def coloured(stream: Any) -> bool:
    """Whether a stream is a terminal that shows colours.

    Args:
        stream: where lines go.
    """
    terminal = getattr(stream, "isatty", lambda: False)()
    return bool(terminal) and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
