"""Runs that wait for a worker, as commands about pools and queues list them."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Annotated, Any

import typer
from rich.text import Text

from millrace.cli.output import Format, emit, table, when
from millrace.client import locate
from millrace.client.synchronous import Client
from millrace.client.waiting import PATIENCE, Waiting, why
from millrace.errors import InvalidInput, NotFound
from millrace.schema.deployments import Deployment, DeploymentStatus
from millrace.schema.fields import NO_NAME, now
from millrace.schema.queries import DeploymentQuery, FlowRunQuery
from millrace.schema.runs import FlowRun

Hours = Annotated[float, typer.Option("--hours", min=0, max=1_000_000, help="How far to look ahead.")]

_EMBEDDED = "default"  # the pool of the embedded server's worker


def coming(client: Client, pool: str, queue: str | None, hours: float | None, output: Format) -> None:
    """Prints the runs that wait in a pool, the first due first; what is due already stands out.

    They are asked for as anybody asks for runs, not as a worker does: looking must not seem to be polling.

    Args:
        client: the server.
        pool: the pool.
        queue: only in this queue of it.
        hours: how far to look ahead; None: without end.
        output: for people or for programs.
    """
    wanted: dict[str, Any] = {"state": {"type": {"any_": ["SCHEDULED"]}}}
    if hours is not None:
        wanted["next_scheduled_start_time"] = {"before_": now() + timedelta(hours=hours)}
    query: dict[str, Any] = {"flow_runs": wanted, "work_pools": {"name": {"any_": [pool]}}, "limit": 200}
    if queue is not None:
        query["work_pool_queues"] = {"name": {"any_": [queue]}}
    query["sort"] = "NEXT_SCHEDULED_START_TIME_ASC"
    found = client.read_flow_runs(FlowRunQuery.model_validate(query))
    ordered = sorted(found, key=lambda run: run.expected_start_time or now())
    if output is Format.JSON:
        emit(ordered)
        return
    rows = [(_due(run), run.name, run.work_queue_name, run.deployment_id, run.id) for run in ordered]
    table(("DUE", "RUN", "QUEUE", "DEPLOYMENT", "ID"), rows, empty="Nothing waits. Look further ahead with --hours.")


def nobody(client: Client, run: FlowRun) -> Waiting | None:
    """Why nobody takes a run that was made just now; None: somebody does.

    Args:
        client: the server.
        run: the run.
    """
    # the worker of an embedded server that was started by this very command needs a moment to be heard of
    patience = PATIENCE if run.work_pool_name == _EMBEDDED and locate.embedded_status() is not None else 0.0
    deadline = time.monotonic() + patience
    while (reason := why(client, run)) is not None and time.monotonic() < deadline:
        time.sleep(0.2)
    return reason


def is_new_queue(client: Client, pool: str | None, queue: str | None) -> bool:
    """Whether a run that names this queue makes it.

    Args:
        client: the server.
        pool: the pool of the run's deployment.
        queue: the queue; None: none is named.

    Raises:
        InvalidInput: the queue cannot be so named.
    """
    if queue == "":  # as of a variable that is not set: a server takes it for none
        raise InvalidInput(f"The work queue {queue!r} {NO_NAME}.")
    if pool is None or queue is None:
        return False
    try:
        client.read_work_queue_by_name(pool, queue)
    except NotFound:
        return True
    return False


def no_pool(deployment: Deployment) -> str:
    """What stands where a pool's name would: whether anything runs a deployment that has none.

    Args:
        deployment: a deployment without a work pool.
    """
    served = deployment.status is DeploymentStatus.READY
    return "none: a process serves it" if served else "none: nothing runs it, unless a process serves it"


def dependents(client: Client, pool: str) -> str:
    """How many deployments and waiting runs would be left if a pool were deleted, such as `2 deployments and 1 run`.

    Args:
        client: the server.
        pool: the pool.

    Returns:
        The counts with their nouns; empty if nothing depends on it.
    """
    of_pool: dict[str, Any] = {"work_pools": {"name": {"any_": [pool]}}}
    waiting = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    counts = {
        "deployment": client.count_deployments(DeploymentQuery.model_validate(of_pool)),
        "waiting run": client.count_flow_runs(FlowRunQuery.model_validate({**of_pool, **waiting})),
    }
    return " and ".join(f"{count} {noun}{'s' * (count != 1)}" for noun, count in counts.items() if count)


def _due(run: FlowRun) -> Text:
    late = run.expected_start_time is not None and run.expected_start_time < now()
    return Text(when(run.expected_start_time), style="red" if late else "")
