"""The hooks of a run whose process died without calling them: called in another one, or in another container.

The user's code is never loaded into the worker itself.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from typing import Any

from millrace.errors import MillraceError
from millrace.schema.states import StateType
from millrace.workers.execution import Execution, Kind, configured
from millrace.workers.jobs import HOOKS, Job

log = logging.getLogger("millrace.worker")

LIMIT_SECONDS = 300.0
_LOOK = 0.25


def owed(state: StateType, code: int | None) -> bool:
    """Whether hooks are still to be called after a worker has reported a state.

    A process that is asked to end calls them itself. One that was killed, or that left Python some other way, did not.

    Args:
        state: what was reported.
        code: the exit code of the process, negative for a signal; None: nobody saw it.
    """
    if state is StateType.CRASHED:
        return code not in _ways_to_end(signal.SIGTERM)
    return state is StateType.CANCELLED and code in _ways_to_end(signal.SIGKILL)


def _ways_to_end(number: signal.Signals) -> tuple[int, int]:
    return -number, 128 + number


def begin(kind: Kind, client: Any, job: Job) -> Execution:
    """Starts what calls the hooks.

    Args:
        kind: the kind of the job.
        client: the client.
        job: the job, whose run has ended.

    Raises:
        InvalidInput: it cannot be started, as the job itself could not be now.
    """
    flow_run = client.read_flow_run(job.flow_run_id)
    deployment = client.read_deployment(flow_run.deployment_id) if flow_run.deployment_id else None
    template = client.read_work_pool(job.pool).base_job_template if job.pool else {}
    config: Any = configured(kind.variables, template, deployment, flow_run)
    own = {"name": f"hooks-{config.name or job.flow_run_name}", "command": None, "env": {**config.env, HOOKS: "true"}}
    again = job.model_copy(update={"lease": None, "pid": 0, "create_time": 0.0, "container": None})
    return kind.start(again, config.model_copy(update=own))


def follow(job: Job, start: Callable[[], Execution], left_alone: Callable[[], bool]) -> None:
    """Starts what calls the hooks and waits for its end; after five minutes it is ended.

    Args:
        job: the job.
        start: starts it.
        left_alone: whether the worker leaves; it then goes on alone.
    """
    try:
        execution = start()
    except (MillraceError, OSError) as error:
        log.warning("The hooks of run %s could not be called: %s", job.flow_run_name, error)
        return
    deadline = time.monotonic() + LIMIT_SECONDS
    while not execution.wait(_LOOK):
        if left_alone():
            return
        if time.monotonic() > deadline:
            log.warning("The hooks of run %s took longer than %g s and were ended.", job.flow_run_name, LIMIT_SECONDS)
            execution.end(0.0)
            break
    execution.clear()
