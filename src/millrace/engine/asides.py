"""Functions of the author that a run calls beside its own: hooks and conditions, `def` or `async def`."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import logging
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from millrace.engine.alarms import Alarm
from millrace.engine.context import FlowRunContext, TaskRunContext, run_thread
from millrace.engine.interrupts import RunSuspended, Stopped, Terminated
from millrace.engine.logs import prints_logged
from millrace.engine.tracebacks import log_failure

Aside = tuple[Callable[..., Any], tuple[Any, ...]]

_FROM_OUTSIDE = (KeyboardInterrupt, asyncio.CancelledError, Alarm, Stopped, RunSuspended, Terminated)
"""What stops the code around a run, whatever it is at; all else that an aside raises is its own."""


def aside(fn: Callable[..., Any], *args: Any) -> Any:
    """Calls a function; a coroutine it gives runs on a thread of its own, in the same context, and is waited for.

    Args:
        fn: the function.
        args: its arguments.
    """
    answer = fn(*args)
    if not inspect.isawaitable(answer):
        return answer
    done: concurrent.futures.Future[Any] = concurrent.futures.Future()
    context = copy_context()

    def work() -> None:
        try:
            done.set_result(context.run(lambda: asyncio.run(_awaited(answer))))
        except BaseException as error:
            done.set_exception(error)

    run_thread(work, name="millrace-aside")
    return done.result()


def asides(log: logging.Logger, what: str, calls: list[Aside]) -> Any:
    """Calls several; what one raises is logged and counts as False. Gives the last answer.

    Args:
        log: the run's logger.
        what: what they are to the run: hook, condition.
        calls: the functions, each with its arguments.
    """
    answer: Any = None
    with prints_logged(_logs_prints()):
        for fn, args in calls:
            try:
                answer = aside(fn, *args)
            except _FROM_OUTSIDE:
                raise
            except BaseException as error:
                answer = _failed(log, what, fn, error)
    return answer


async def aasides(log: logging.Logger, what: str, calls: list[Aside]) -> Any:
    """The same where coroutines can be awaited."""
    answer: Any = None
    with prints_logged(_logs_prints()):
        for fn, args in calls:
            try:
                answer = fn(*args)
                answer = await answer if inspect.isawaitable(answer) else answer
            except _FROM_OUTSIDE:
                raise
            except BaseException as error:
                answer = _failed(log, what, fn, error)
    return answer


def _logs_prints() -> bool:
    run = TaskRunContext.get() or FlowRunContext.get()
    return run is not None and run.log_prints


def _failed(log: logging.Logger, what: str, fn: Callable[..., Any], error: BaseException) -> bool:
    log_failure(log, f"The {what} {getattr(fn, '__name__', fn)!r} raised", error)
    return False


async def _awaited(answer: Any) -> Any:
    return await answer
