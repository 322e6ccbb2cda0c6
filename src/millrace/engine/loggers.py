"""The loggers that people use: of the current run, and our own."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from millrace import settings
from millrace.engine import tracing
from millrace.engine.context import (
    FlowRunContext,
    RunLogger,
    TaskRunContext,
    name_of_process,
    run_logger,
    run_of_process,
)
from millrace.engine.logs import Attached, Spool, belongs_to
from millrace.engine.recorder import recorder
from millrace.errors import MissingContext

_RUN_LOGGERS = ("millrace.flow_runs", "millrace.task_runs")


def get_run_logger(context: FlowRunContext | TaskRunContext | None = None, **kwargs: Any) -> RunLogger:
    """The logger of the current task run, or else flow run.

    Its lines go to the server and to the screen: to stderr of a script, under the cell of a notebook. It keeps its run,
    so that a thread may use it that was given it.

    Args:
        context: another run than the current one.
        kwargs: attributes of each record.

    Raises:
        MissingContext: no run is in progress here.

    Example:
        >>> @flow
        ... def etl():
        ...     get_run_logger().info("read %d rows", 10)
    """
    if context is not None and not isinstance(context, FlowRunContext | TaskRunContext):
        raise TypeError(f"context must be a FlowRunContext or TaskRunContext; got {type(context).__name__}")
    flow = context if isinstance(context, FlowRunContext) else FlowRunContext.get()
    task = context if isinstance(context, TaskRunContext) else TaskRunContext.get()
    if isinstance(context, FlowRunContext):
        task = None
    if flow is not None or task is not None:
        return run_logger(flow, task, **kwargs)
    if tracing.current() is not None or all(logging.getLogger(name).disabled for name in _RUN_LOGGERS):
        return RunLogger(_silent(), {})
    # A thread that somebody started in a run's own process, or a process that it started.
    found: Any = belongs_to() or _attached()
    if found is not None:
        return run_logger(found, None, **kwargs)
    raise MissingContext(
        "get_run_logger() was called outside of a flow or task. Call it inside the function, or use "
        "logging.getLogger() here. A thread you started yourself has no run of its own: give it the logger, or start "
        "it with contextvars.copy_context().run. A test that calls the plain function wants disable_run_logger()."
    )


def _silent() -> logging.Logger:
    found = logging.getLogger("millrace.silent")
    found.disabled = True
    return found


@lru_cache(maxsize=1)
def _attached() -> Attached | None:
    """The run that started this process: the kernel of a notebook that runs as a flow, a program of a run."""
    run = run_of_process()
    if run is None:
        return None
    recorder()  # its log handler is in place before the first line
    try:
        attempt = int(json.loads(os.environ.get("MILLRACE__LEASE", "")).get("attempt", 0))
    except (ValueError, AttributeError):
        attempt = 0
    # A file of its own: two processes that send one would wait for nobody.
    spool = Spool(settings.current().run_directory(run) / f"{attempt}.{os.getpid()}.log.jsonl")
    return Attached(run, spool, name_of_process())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_attached.cache_clear)


def get_logger(name: str | None = None) -> logging.Logger:
    """One of Millrace's own loggers; for lines of a run, see `get_run_logger`.

    Args:
        name: below `millrace`; None: that one itself.

    Example:
        >>> get_logger("mine").name
        'millrace.mine'
    """
    if not name or name == "millrace":
        return logging.getLogger("millrace")
    return logging.getLogger(name if name.startswith("millrace.") else f"millrace.{name}")


@contextmanager
def disable_logger(name: str) -> Iterator[None]:
    """While the block is open, a logger is silent.

    Args:
        name: the logger's.
    """
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


@contextmanager
def disable_run_logger() -> Iterator[None]:
    """While the block is open, `get_run_logger` works outside of runs, and nothing it is given goes anywhere.

    For tests of the plain function of a flow or task.

    Example:
        >>> with disable_run_logger():
        ...     get_run_logger().info("nobody hears this")
    """
    with disable_logger("millrace.flow_runs"), disable_logger("millrace.task_runs"):
        yield
