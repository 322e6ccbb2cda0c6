"""Runs that wait for a worker, as commands about pools and queues list them."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import typer
from rich.text import Text

from millrace.cli.output import Format, emit, table, when
from millrace.client.synchronous import Client
from millrace.schema.fields import now
from millrace.schema.queries import FlowRunQuery
from millrace.schema.runs import FlowRun

Hours = Annotated[float, typer.Option("--hours", min=0, help="How far to look ahead.")]


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


def _due(run: FlowRun) -> Text:
    late = run.expected_start_time is not None and run.expected_start_time < now()
    return Text(when(run.expected_start_time), style="red" if late else "")
