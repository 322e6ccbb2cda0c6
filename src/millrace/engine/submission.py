"""The ways to run a task: in place, awaited, or submitted to a runner."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures.thread  # noqa: F401 - hooks of the end run backwards: its own is there before ours
import os
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from millrace.engine import tracing
from millrace.engine.context import FlowRunContext, TaskRunContext
from millrace.engine.endings import Ending
from millrace.engine.futures import TaskFuture
from millrace.engine.runners import TaskRunner, ThreadPoolTaskRunner, chosen_runner, forget_choice
from millrace.engine.states import error_of
from millrace.engine.task_calls import TaskCall
from millrace.engine.task_runs import TaskRunSession
from millrace.engine.tracebacks import own


def conclude(ending: Ending, return_state: bool) -> Any:
    """What a call gives for how its task ended: the value, or the exception is raised.

    Args:
        ending: of the task run.
        return_state: give the final state instead.
    """
    __tracebackhide__ = True
    if ending.error is not None and not isinstance(ending.error, Exception):
        raise own(ending.error)  # an interrupt goes on to whoever called
    if return_state:
        return ending.state
    if ending.completed:
        return ending.result()
    raise own(ending.result(raise_on_failure=False))


def run_task(call: TaskCall, *, return_state: bool = False) -> Any:
    """Calls a task of a `def` function here and now.

    Args:
        call: the task and its arguments.
        return_state: give the final state instead of the value, and do not raise.
    """
    if (trace := tracing.current()) is not None:
        return trace.call(call.task, "task", call.parameters, call.wait_for)
    __tracebackhide__ = True
    leave_if_suspended()
    return conclude(TaskRunSession(call).run(), return_state)


async def arun_task(call: TaskCall, *, return_state: bool = False) -> Any:
    """The same for an `async def` task."""
    if (trace := tracing.current()) is not None:
        return trace.call(call.task, "task", call.parameters, call.wait_for)
    __tracebackhide__ = True
    leave_if_suspended()
    return conclude(await TaskRunSession(call).arun(), return_state)


def leave_if_suspended() -> None:
    """The place where a run that somebody suspended is left: where its code would begin another task."""
    flow = FlowRunContext.get()
    if flow is not None and TaskRunContext.get() is None:
        flow.stoppable.check_suspension()


@lru_cache(maxsize=1)
def _default_runner() -> TaskRunner:
    """The threads of tasks that are submitted without a flow. The process ends when these tasks have ended."""
    runner = ThreadPoolTaskRunner()
    # Runs before the hook of all pools, which lets no task begin any more: not even one that waited for another.
    at_end: Callable[[Callable[[], object]], object] = getattr(threading, "_register_atexit", atexit.register)
    at_end(runner.close)
    return runner


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_default_runner.cache_clear)


def _softened(ending: Ending) -> BaseException | None:
    """What ended a submitted task if it was no failure; its future tells of it by an exception that can be caught.

    `sys.exit` in a task, or an interrupt raised there, ends that task: whoever waits for it decides what else ends.
    """
    left = ending.error
    if not isinstance(left, KeyboardInterrupt | SystemExit):
        return None
    ending.error = error_of(ending.state)
    ending.error.__cause__ = left
    ending.state._error = ending.error
    return left


def submit_task(call: TaskCall) -> TaskFuture[Any]:
    """Hands a task to the runner of the current flow run; outside of one, to threads of the process.

    Args:
        call: the task and its arguments, which may be futures.
    """
    if (trace := tracing.current()) is not None:
        return trace.call(call.task, "task", call.parameters, call.wait_for)  # type: ignore[no-any-return]
    flow = FlowRunContext.get()
    if flow is not None:
        flow.stoppable.check()
        leave_if_suspended()
    runner = chosen_runner() or (flow.runner if flow is not None and flow.runner is not None else _default_runner())
    carrier = runner.carrier
    own_loop = call.task.isasync and carrier is None
    session = TaskRunSession(call, submitted=True, carrier=carrier)
    future: TaskFuture[Any] = TaskFuture(session.context.id, session.context.name)
    future._peek = session.state
    after = [one for one in session.needs.futures if not one.done()]

    def work() -> None:
        forget_choice()
        try:
            if flow is not None and session.stoppable is not None:
                flow.children.add(session.stoppable)
            ending = asyncio.run(session.arun()) if own_loop else session.run()
        except BaseException as error:  # the future must end whatever happens
            ending = session.lost(error)
        finally:
            if flow is not None and session.stoppable is not None:
                flow.children.discard(session.stoppable)
        future.name = session.context.name
        left = _softened(ending)
        future._set(ending)
        if isinstance(left, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            raise left  # somebody pressed Ctrl-C while a task ran in place

    runner.execute(work, after, isasync=own_loop)
    return future
