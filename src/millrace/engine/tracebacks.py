"""The user's own exception as the user knows it: without the frames of the engine around it."""

from __future__ import annotations

import contextlib
import io
import logging
import sysconfig
import traceback
from pathlib import Path
from traceback import StackSummary, TracebackException
from types import TracebackType
from typing import Any, TypeVar

from millrace.errors import MillraceError

E = TypeVar("E", bound=BaseException)

_PACKAGE = Path(__file__).resolve().parent.parent
_OURS = (f"{_PACKAGE / 'engine'}/", str(_PACKAGE / "flows.py"), str(_PACKAGE / "tasks.py"))
_NO_USER = (f"{_PACKAGE}/", "<frozen ")
_INSTALLED = ("site-packages", "dist-packages")
_STANDARD = tuple(f"{sysconfig.get_path(name)}/" for name in ("stdlib", "platstdlib"))
_PLACE = "millrace_place"


def own(error: E) -> E:
    """The same exception, its traceback beginning where the user's code begins; empty if that is in another process.

    Args:
        error: raised by the user's function, through the engine.
    """
    found: TracebackType | None = error.__traceback__
    while found is not None and found.tb_frame.f_code.co_filename.startswith(_OURS):
        found = found.tb_next
    return error.with_traceback(found) if found is not None or _sent_place(error) is not None else error


def of_user(error: BaseException) -> str:
    """What a traceback shows of the user's own code: its frames, from the first cause on, and no frames of ours.

    Args:
        error: what was raised; of an error of ours that has a cause, the cause tells where.
    """
    return _told(error, _NO_USER)


def _told(error: BaseException, hidden: str | tuple[str, ...]) -> str:
    """An exception and what led to it, as Python shows them, without the frames of some files.

    What was raised and caught in those files alone is left out; so is the cause of what came from another process,
    which tells of it itself.
    """
    found = TracebackException.from_exception(error)
    parts: list[tuple[Any, BaseException]] = [(found, error)]
    for part, one in parts:
        pairs = [(part.__cause__, one.__cause__), (part.__context__, one.__context__)]
        pairs += zip(part.exceptions or (), getattr(one, "exceptions", ()), strict=False)
        parts += [(inner, cause) for inner, cause in pairs if inner is not None and cause is not None]
        frames = [frame for frame in part.stack if not frame.filename.startswith(hidden)]
        part.stack = StackSummary.from_list(frames) if frames else None  # shows no header
    for part, one in reversed(parts):
        if part.__cause__ is not None and part.__cause__.stack is None and isinstance(one, MillraceError):
            part.__cause__ = part.__cause__.__cause__
        if part.__context__ is not None and part.__context__.stack is None:
            part.__context__ = part.__context__.__cause__ or part.__context__.__context__
        if _sent_place(one) is not None:
            part.__cause__ = part.__context__ = None
    shown = io.StringIO()
    found.print(file=shown)
    return shown.getvalue()


def text(error: BaseException) -> str:
    """What an exception says, also where saying it raises.

    Args:
        error: what was raised.
    """
    try:
        return str(error)
    except Exception as own_error:
        return f"<its own text raised {type(own_error).__name__}>"


def text_of(error: BaseException) -> str:
    """An exception in one line: its class and message."""
    said = text(error).strip()
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def in_a_line(error: BaseException) -> str:
    """An exception with its class and the place that raised it; an error of ours says what there is to say.

    Args:
        error: what was raised.
    """
    return text(error) if isinstance(error, MillraceError) else text_of(error) + place(error)


def log_failure(log: logging.Logger, what: str, error: BaseException) -> None:
    """Logs an exception at ERROR with its traceback, without our frames.

    Args:
        log: the logger.
        what: what failed.
        error: the exception.
    """
    # of an error that is ours its message says all there is to know of our side
    told = _told(error, f"{_PACKAGE}/" if isinstance(error, MillraceError) else _OURS)
    # whoever looks at the screen gets the exception itself in a moment, or has caught it
    short = f"{what}: {text_of(error)}{place(error)}"
    log.error("%s:\n%s", what, told.rstrip(), extra={"millrace_short": short})


# -- the line of the user's


def place(error: BaseException) -> str:
    """The innermost line of the user's that raised an exception, as ` (etl.py:58)`; empty if none is known.

    Code of an installed package is the user's where nothing else is: then that of the package that was called first.

    Args:
        error: what was raised.
    """
    sent = _sent_place(error)
    if sent is not None:
        return sent
    lines = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    lines = [(file, line) for file, line in lines if not file.startswith(_NO_USER)]
    packages = [_package(file) for file, _ in lines]
    first = next((package for package in packages if package), None)
    for wanted in (None, first):
        for (file, line), package in zip(reversed(lines), reversed(packages), strict=True):
            if package == wanted and not (package is None and file.startswith(_STANDARD)):
                return _written(Path(file), line)
    return _written(Path(lines[-1][0]), lines[-1][1]) if lines else ""


def _package(file: str) -> str | None:
    """The installed package that a file is part of; None if it is of none."""
    parts = Path(file).parts
    at = next((number for number, part in enumerate(parts) if part in _INSTALLED), None)
    return None if at is None else "/".join(parts[: at + 2])


def _written(file: Path, line: int) -> str:
    if "ipykernel_" in file.parent.name:
        return f" (line {line} of the cell)"
    name = f"{file.parent.name}/{file.name}" if file.name == "__init__.py" else file.name
    return f" ({name}:{line})"


# -- what was raised in another process


def sent(error: E, note: str, place: str) -> E:
    """An exception that was raised in another process, with what that knows of it.

    Args:
        error: the exception, which has no frames here.
        note: its traceback, in words.
        place: what `place` said there.
    """
    with contextlib.suppress(Exception):  # a class of the user's that refuses attributes
        error.add_note(note)
        setattr(error, _PLACE, place)
    return error


def _sent_place(error: BaseException) -> str | None:
    found: str | None = getattr(error, _PLACE, None)
    return found
