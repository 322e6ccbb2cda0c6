"""Which handlers a line of a run reaches beside our own.

Any library may install a handler of the root logger that writes to the screen: `logging.warning()` itself does, with a
layout that knows no runs. Lines of runs look the same with and without it: what is on the screen is `ConsoleHandler`'s.
Handlers that write elsewhere, and those that somebody gave to Millrace's own loggers, get every line.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator

_STANDARD = ("stdout", "stderr", "__stdout__", "__stderr__")


def on_screen(record: logging.LogRecord) -> bool:
    """Whether a handler of the user's own writes this line to the screen.

    Args:
        record: the line.
    """
    found = reached(logging.getLogger(record.name))
    return any(record.levelno >= handler.level and writes_to_screen(handler) for handler in found)


def writes_to_screen(handler: logging.Handler) -> bool:
    """Whether a handler writes to what the program was started with, or to a kernel's cell.

    Args:
        handler: any.
    """
    stream = getattr(handler, "stream", None) or getattr(getattr(handler, "console", None), "file", None)
    return stream is not None and any(stream is getattr(sys, name) for name in _STANDARD)


def reached(logger: logging.Logger | None, onward: bool = False) -> Iterator[logging.Handler]:
    """The handlers that lines of a logger reach, without our own.

    Args:
        logger: the logger.
        onward: whether lines come here by an `OnwardHandler`.
    """
    while logger is not None:
        for handler in logger.handlers:
            skipped = onward and logger is logging.root and writes_to_screen(handler)
            if not skipped and not getattr(handler, "of_millrace", False):
                yield handler
        goes_on = any(isinstance(handler, OnwardHandler) for handler in logger.handlers)
        onward = onward or goes_on
        logger = logger.parent if logger.propagate or goes_on else None


class OnwardHandler(logging.Handler):
    """Hands lines on to the loggers above, in the place of `propagate`, but not to the root's handlers of the screen.

    Args:
        logger: the logger that it is for.
    """

    of_millrace = True

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__()
        self._logger = logger

    def handle(self, record: logging.LogRecord) -> bool:
        """Hands one line on; under no lock, which those handlers have themselves."""
        printed = getattr(record, "millrace_printed", False)
        has = self._logger.handlers  # some give one handler to every logger that does not propagate, as pytest does
        for handler in (one for one in reached(self._logger.parent, onward=True) if one not in has):
            if record.levelno >= handler.level and not (printed and writes_to_screen(handler)):
                handler.handle(record)
        return True


def show_alone(logger: logging.Logger, alone: bool) -> None:
    """Lets the lines of a logger be shown by its own handlers only, or by those of the root as well.

    Args:
        logger: one of ours. Where somebody has turned `propagate` off, it stays so.
        alone: which.
    """
    for old in [handler for handler in logger.handlers if isinstance(handler, OnwardHandler)]:
        logger.removeHandler(old)
        logger.propagate = True
    if alone and logger.propagate:
        logger.addHandler(OnwardHandler(logger))
        logger.propagate = False
