"""What a stopped run has under way, stopped with it: submitted tasks, runs within it, processes."""

from __future__ import annotations

import logging
import time

from millrace import plugins
from millrace.engine.context import FlowRunContext
from millrace.engine.interrupts import PART_STOPPED
from millrace.errors import RunCancelled

_log = logging.getLogger("millrace.flow_runs")
STOP_SECONDS = 5.0
_PAUSE = 0.02


def stop_all(context: FlowRunContext) -> None:
    """Interrupts the submitted tasks of a run and the runs within it; returns at once.

    Args:
        context: of the run, whose own code has been left.
    """
    context.stopped = True
    for child in list(context.children):
        child.stop(RunCancelled("The flow run was stopped."))
    for part in list(context.stoppable.parts):
        part.stop(RunCancelled(PART_STOPPED))


def stop_late(context: FlowRunContext, *, processes: bool) -> None:
    """Ends what a run has under way whose own code goes on though it was told to stop: it may be waiting for that.

    Args:
        context: of the run.
        processes: end those that its code started; of a worker's run, the worker does it.
    """
    with context.entered():
        _log.warning(
            "Told to stop %g seconds ago, and its code goes on: it cleans up, swallowed the interrupt (`except:`), or "
            "is on a thread, in a call that blocks and that nothing interrupts. What else is under way is ended now.",
            STOP_SECONDS,
        )
    stop_all(context)
    if processes:
        plugins.load("millrace.engine.offspring:end_of")(context.run_id)


def close_runner(context: FlowRunContext) -> None:
    """Waits for the submitted tasks of a run; for those of a stopped run, a moment."""
    if context.runner is None:
        return
    stopped = context.over and (context.stoppable.reason is not None or bool(context.children))
    stopped = stopped and context.stoppable.suspension is None
    context.runner.close(STOP_SECONDS if stopped else None)


def await_end(context: FlowRunContext, *, processes: bool) -> None:
    """Waits until what a run has under way has ended; what a stopped run has is given a moment, its processes none.

    Args:
        context: of the run.
        processes: end those that its code started; of a worker's run, the worker does it.
    """
    if not context.stopped:
        close_runner(context)
        return
    end_of = plugins.load("millrace.engine.offspring:end_of") if processes else (lambda run_id: 0)
    end_of(context.run_id)  # code that waits for one of them goes on by that
    close_runner(context)
    deadline = time.monotonic() + STOP_SECONDS
    while context.stoppable.parts and time.monotonic() < deadline:
        time.sleep(_PAUSE)
    end_of(context.run_id)
    if context.stoppable.parts or context.children:
        with context.entered():
            _log.warning("Stopped, but code of it goes on in a thread, where nothing interrupts a call that blocks.")
