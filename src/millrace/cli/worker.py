"""`millrace worker start | ls`."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from millrace import plugins, settings
from millrace.cli.output import Format, Output, emit, table
from millrace.cli.reach import reach

app = typer.Typer(no_args_is_help=True, help="Workers: they execute the runs of a pool.")


@app.command()
def start(
    pool: Annotated[str, typer.Option("--pool", help="The pool; it is created if there is none.")],
    name: Annotated[
        str | None, typer.Option("--name", help="This worker's name. Default: machine and process.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Runs at once. Default: any number.")] = None,
    type: Annotated[
        str | None, typer.Option("--type", "-t", help="What it starts: process or docker. Default: as the pool says.")
    ] = None,
    queue: Annotated[list[str] | None, typer.Option("--queue", help="Only this queue. Repeatable.")] = None,
) -> None:
    """Execute the runs of a pool until it is interrupted. Runs that still execute then go on."""
    logging.basicConfig(level=settings.current().log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    plugins.load("millrace.workers.worker:Worker")(pool, name, limit, type, queue or None).run()


@app.command("ls")
def list_(
    pool: Annotated[str | None, typer.Option("--pool", help="Only of this pool.")] = None,
    output: Output = Format.TEXT,
) -> None:
    """List the workers that were heard of, with what runs in their pool."""
    client = reach()
    pools = [pool] if pool else [one.name for one in client.read_work_pools(limit=200)]
    found = [(name, one) for name in pools for one in client.read_workers(name, limit=200)]
    if output is Format.JSON:
        emit([{**one.model_dump(mode="json"), "work_pool_name": name} for name, one in found])
        return
    rows = [(one.name, name, one.status.value, one.last_heartbeat_time) for name, one in found]
    table(("WORKER", "POOL", "STATUS", "LAST HEARD OF"), rows, empty="No worker was heard of.")
