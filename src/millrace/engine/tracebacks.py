"""The user's own exception as the user knows it: without the frames of the engine around it."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path
from types import TracebackType
from typing import TypeVar

E = TypeVar("E", bound=BaseException)

_PACKAGE = Path(__file__).resolve().parent.parent
_OURS = (f"{_PACKAGE / 'engine'}/", str(_PACKAGE / "flows.py"), str(_PACKAGE / "tasks.py"))


def own(error: E) -> E:
    """The same exception, its traceback beginning where the user's code begins.

    Args:
        error: raised by the user's function, through the engine.
    """
    found: TracebackType | None = error.__traceback__
    while found is not None and found.tb_frame.f_code.co_filename.startswith(_OURS):
        found = found.tb_next
    return error.with_traceback(found) if found is not None else error


def log_failure(log: logging.Logger, text: str, error: BaseException) -> None:
    """Logs an exception at ERROR with its traceback, without our frames.

    Args:
        log: the logger.
        text: what failed.
        error: the exception.
    """
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_OURS)]
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(frames)] if frames else []
    lines += traceback.format_exception_only(error)
    # whoever looks at the screen gets the exception itself in a moment, or has caught it
    short = f"{text}: {type(error).__name__}: {error}{_place(frames[-1]) if frames else ''}"
    log.error("%s:\n%s", text, "".join(lines).rstrip(), extra={"millrace_short": short})


def _place(frame: traceback.FrameSummary) -> str:
    file = Path(frame.filename)
    return (
        f" (line {frame.lineno} of the cell)" if "ipykernel_" in file.parent.name else f" ({file.name}:{frame.lineno})"
    )
