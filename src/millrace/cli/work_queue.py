"""`millrace work-queue …`."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from millrace import settings
from millrace.cli.options import Yes, confirm
from millrace.cli.output import Format, Output, done, emit, facts, say, table
from millrace.cli.reach import reach
from millrace.cli.waiting import Hours, coming
from millrace.client.synchronous import Client
from millrace.schema.pools import WorkQueue, WorkQueueCreate, WorkQueueUpdate

app = typer.Typer(no_args_is_help=True, help="Queues: the parts of a work pool, each with a priority and a limit.")
Name = Annotated[str, typer.Argument(metavar="QUEUE", help="The queue's name, or its id.")]
Pool = Annotated[
    str | None, typer.Option("--pool", "-p", help="Its work pool. Default: the setting MILLRACE_WORK_POOL.")
]


def _pool(name: str | None) -> str:
    return name or settings.current().work_pool


def _found(client: Client, name: str, pool: str | None) -> WorkQueue:
    try:
        return client.read_work_queue(UUID(name))
    except ValueError:
        return client.read_work_queue_by_name(_pool(pool), name)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="A name for the queue.")],
    pool: Pool = None,
    limit: Annotated[int | None, typer.Option("--limit", "-l", min=0, help="Runs at once.")] = None,
    priority: Annotated[
        int | None, typer.Option("--priority", "-q", min=1, help="1 goes first. Default: after all others.")
    ] = None,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    output: Output = Format.TEXT,
) -> None:
    """Create a queue in a work pool."""
    body = WorkQueueCreate(name=name, description=description, concurrency_limit=limit, priority=priority)
    made = reach().create_work_queue(_pool(pool), body)
    if output is Format.JSON:
        emit(made)
    else:
        say(f"Created the work queue {name!r} of the pool {_pool(pool)!r}, with priority {made.priority}.")


@app.command("ls")
def list_(
    pool: Pool = None,
    match: Annotated[str, typer.Option("--match", "-m", help="Only queues whose name begins so.")] = "",
    output: Output = Format.TEXT,
) -> None:
    """List the queues of a work pool, the first to be served first."""
    found = [one for one in reach().read_work_queues(_pool(pool), limit=200) if one.name.startswith(match)]
    if output is Format.JSON:
        emit(found)
        return
    rows = [
        (one.name, one.priority, one.status and one.status.value, one.active_slots, one.concurrency_limit, one.id)
        for one in found
    ]
    table(("NAME", "PRIORITY", "STATUS", "RUNNING", "LIMIT", "ID"), rows, empty="There are no such work queues.")


@app.command()
def inspect(name: Name, pool: Pool = None, output: Output = Format.TEXT) -> None:
    """Show a queue and how it does."""
    client = reach()
    found = _found(client, name, pool)
    if output is Format.JSON:
        emit(found)
        return
    health = client.read_work_queue_status(found.id)
    facts(
        {
            "name": found.name,
            "id": found.id,
            "pool": found.work_pool_name,
            "description": found.description,
            "priority": found.priority,
            "status": found.status and found.status.value,
            "running": f"{found.active_slots or 0} of {_limit(found)}",
            "late runs": health.late_runs_count,
            "last polled": found.last_polled,
            "created": found.created,
        }
    )


def _limit(queue: WorkQueue) -> str:
    return "any number" if queue.concurrency_limit is None else str(queue.concurrency_limit)


@app.command()
def slots(name: Name, pool: Pool = None, output: Output = Format.TEXT) -> None:
    """Show which runs hold the slots of a queue."""
    client = reach()
    found = _found(client, name, pool)
    held = client.work_pool_concurrency(str(found.work_pool_name), flow_run_limit=200).queues
    (own,) = [one for one in held if one.queue_id == found.id]
    if output is Format.JSON:
        emit(own)
        return
    rows = [(one.name, one.state_name, one.state_timestamp, one.id) for one in own.flow_runs]
    table(("RUN", "STATE", "SINCE", "ID"), rows, empty=f"No slot of {found.name!r} is held.")


@app.command()
def preview(name: Name, pool: Pool = None, hours: Hours = 1, output: Output = Format.TEXT) -> None:
    """List the runs that wait in a queue."""
    client = reach()
    found = _found(client, name, pool)
    coming(client, str(found.work_pool_name), found.name, hours, output)


@app.command("read-runs")
def read_runs(name: Name, pool: Pool = None, output: Output = Format.TEXT) -> None:
    """List the runs that wait in a queue, whenever they are due."""
    client = reach()
    found = _found(client, name, pool)
    coming(client, str(found.work_pool_name), found.name, None, output)


@app.command()
def pause(name: Name, pool: Pool = None, output: Output = Format.TEXT) -> None:
    """Let the runs of a queue wait."""
    _update(name, pool, WorkQueueUpdate(is_paused=True), f"Paused the work queue {name!r}.", output)


@app.command()
def resume(name: Name, pool: Pool = None, output: Output = Format.TEXT) -> None:
    """Let the runs of a queue go again."""
    _update(name, pool, WorkQueueUpdate(is_paused=False), f"Resumed the work queue {name!r}.", output)


@app.command("set-concurrency-limit")
def set_concurrency_limit(
    name: Name,
    limit: Annotated[int, typer.Argument(min=0, help="Runs at once.")],
    pool: Pool = None,
    output: Output = Format.TEXT,
) -> None:
    """Set how many runs of a queue may run at once."""
    change = WorkQueueUpdate(concurrency_limit=limit)
    _update(name, pool, change, f"The work queue {name!r} has {limit} slots.", output)


@app.command("clear-concurrency-limit")
def clear_concurrency_limit(name: Name, pool: Pool = None, output: Output = Format.TEXT) -> None:
    """Let any number of runs of a queue run at once."""
    change = WorkQueueUpdate(concurrency_limit=None)
    _update(name, pool, change, f"The work queue {name!r} has no limit of its own.", output)


@app.command("set-priority")
def set_priority(
    name: Name,
    priority: Annotated[int, typer.Argument(min=1, help="1 goes first.")],
    pool: Pool = None,
    output: Output = Format.TEXT,
) -> None:
    """Set which queue of its pool is served first."""
    change = WorkQueueUpdate(priority=priority)
    _update(name, pool, change, f"The work queue {name!r} has priority {priority}.", output)


def _update(name: str, pool: str | None, body: WorkQueueUpdate, text: str, output: Format) -> None:
    client = reach()
    id = _found(client, name, pool).id
    client.update_work_queue(id, body)
    done(text, client.read_work_queue(id), output)


@app.command()
def delete(name: Name, pool: Pool = None, yes: Yes = False, output: Output = Format.TEXT) -> None:
    """Remove a queue; what waits in it moves to the default queue of its pool."""
    client = reach()
    found = _found(client, name, pool)
    confirm(f"Delete the work queue {found.name!r}?", yes)
    client.delete_work_queue(found.id)
    done(f"Deleted the work queue {found.name!r}.", found, output)
