"""The user's own exception as the user knows it: without the frames of the engine around it."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from millrace.errors import MillraceError

E = TypeVar("E", bound=BaseException)

_PACKAGE = Path(__file__).resolve().parent.parent
_OURS = (f"{_PACKAGE / 'engine'}/", str(_PACKAGE / "flows.py"), str(_PACKAGE / "tasks.py"))
_NO_USER = (f"{_PACKAGE}/", "<frozen ")


def own(error: E) -> E:
    """The same exception, its traceback beginning where the user's code begins.

    Args:
        error: raised by the user's function, through the engine.
    """
    found: TracebackType | None = error.__traceback__
    while found is not None and found.tb_frame.f_code.co_filename.startswith(_OURS):
        found = found.tb_next
    return error.with_traceback(found) if found is not None else error


def of_user(error: BaseException) -> str:
    """What a traceback shows of the user's own code: its frames, from the first cause on, and no frames of ours.

    Args:
        error: what was raised; of an error of ours that has a cause, the cause tells where.
    """
    chain: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in chain:
        chain.insert(0, at)
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
    said = []
    for one in chain:
        frames = [frame for frame in traceback.extract_tb(one.__traceback__) if not frame.filename.startswith(_NO_USER)]
        if frames:
            said.append("Traceback (most recent call last):\n" + "".join(traceback.format_list(frames)))
        if frames or one is error:
            said.append("".join(traceback.format_exception_only(one)))
    return "".join(said)


def text(error: BaseException) -> str:
    """What an exception says, also where saying it raises.

    Args:
        error: what was raised.
    """
    try:
        return str(error)
    except Exception as own_error:
        return f"<its own text raised {type(own_error).__name__}>"


def in_a_line(error: BaseException) -> str:
    """An exception with its class and the place that raised it; an error of ours says what there is to say.

    Args:
        error: what was raised.
    """
    if isinstance(error, MillraceError):
        return text(error)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_NO_USER)]
    return f"{type(error).__name__}: {text(error)}{_place(frames[-1]) if frames else ''}"


def log_failure(log: logging.Logger, what: str, error: BaseException) -> None:
    """Logs an exception at ERROR with its traceback, without our frames.

    Args:
        log: the logger.
        what: what failed.
        error: the exception.
    """
    # of an error that is ours its message says all there is to know of our side
    ours = f"{_PACKAGE}/" if isinstance(error, MillraceError) else _OURS
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(ours)]
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(frames)] if frames else []
    lines += traceback.format_exception_only(error)
    # whoever looks at the screen gets the exception itself in a moment, or has caught it
    short = f"{what}: {type(error).__name__}: {text(error)}{_place(frames[-1]) if frames else ''}"
    log.error("%s:\n%s", what, "".join(lines).rstrip(), extra={"millrace_short": short})


def _place(frame: traceback.FrameSummary) -> str:
    file = Path(frame.filename)
    return (
        f" (line {frame.lineno} of the cell)" if "ipykernel_" in file.parent.name else f" ({file.name}:{frame.lineno})"
    )
