"""`millrace work-pool …`."""

from __future__ import annotations

from typing import Annotated

import typer

from millrace import plugins
from millrace.cli.options import Yes, confirm
from millrace.cli.output import Format, Output, emit, facts, say, table
from millrace.cli.reach import reach
from millrace.errors import InvalidInput
from millrace.schema.pools import WorkPoolCreate

app = typer.Typer(no_args_is_help=True, help="Pools: where runs wait for workers.")
Name = Annotated[str, typer.Argument(help="The pool's name.")]


@app.command()
def create(
    name: Name,
    type: Annotated[str, typer.Option("--type", "-t", help="What its workers start: process or docker.")] = "process",
    limit: Annotated[int | None, typer.Option("--limit", min=0, help="Runs at once, over all workers.")] = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    paused: Annotated[bool, typer.Option("--paused", help="Its runs wait until it is resumed.")] = False,
    output: Output = Format.TEXT,
) -> None:
    """Create a pool."""
    kinds = plugins.load("millrace.workers.execution:KINDS")
    if type not in kinds.names:
        raise InvalidInput(f"There is no pool type {type!r}; there are {', '.join(kinds.names)}.")
    template = plugins.load("millrace.workers.execution:template_of")(kinds.load(type))
    pool = reach().create_work_pool(
        WorkPoolCreate(
            name=name,
            type=type,
            description=description,
            is_paused=paused,
            concurrency_limit=limit,
            base_job_template=template,
        )
    )
    if output is Format.JSON:
        emit(pool)
    else:
        say(f"Created the work pool {name!r}. Start a worker for it: millrace worker start --pool {name!r}")


@app.command("ls")
def list_(output: Output = Format.TEXT) -> None:
    """List all pools."""
    pools = reach().read_work_pools(limit=200)
    if output is Format.JSON:
        emit(pools)
        return
    rows = [
        (one.name, one.type, one.status and one.status.value, one.concurrency_limit, one.description) for one in pools
    ]
    table(("NAME", "TYPE", "STATUS", "LIMIT", "DESCRIPTION"), rows, empty="There are no work pools.")


@app.command()
def inspect(name: Name, output: Output = Format.TEXT) -> None:
    """Show a pool, its queues and its workers."""
    client = reach()
    pool = client.read_work_pool(name)
    if output is Format.JSON:
        emit(pool)
        return
    slots = client.work_pool_concurrency(name)
    facts(
        {
            "name": pool.name,
            "id": pool.id,
            "type": pool.type,
            "status": pool.status and pool.status.value,
            "description": pool.description,
            "running": f"{slots.active_slots} of {pool.concurrency_limit or 'any number'}",
            "created": pool.created,
        }
    )
    queues = [(one.name, one.priority, one.is_paused, one.concurrency_limit) for one in client.read_work_queues(name)]
    table(("QUEUE", "PRIORITY", "PAUSED", "LIMIT"), queues, empty="It has no queues.")
    workers = [(one.name, one.status.value, one.last_heartbeat_time) for one in client.read_workers(name)]
    table(("WORKER", "STATUS", "LAST HEARD OF"), workers, empty=f"No worker: millrace worker start --pool {name!r}")


@app.command()
def pause(name: Name) -> None:
    """Let a pool's runs wait."""
    reach().update_work_pool(name, is_paused=True)
    say(f"Paused the work pool {name!r}.")


@app.command()
def resume(name: Name) -> None:
    """Let a pool's runs go again."""
    reach().update_work_pool(name, is_paused=False)
    say(f"Resumed the work pool {name!r}.")


@app.command()
def delete(name: Name, yes: Yes = False) -> None:
    """Remove a pool and its queues."""
    client = reach()
    client.read_work_pool(name)
    confirm(f"Delete the work pool {name!r}?", yes)
    client.delete_work_pool(name)
    say(f"Deleted the work pool {name!r}.")
