"""`millrace worker start`."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from millrace import plugins, settings

app = typer.Typer(no_args_is_help=True, help="Workers: they execute the runs of a pool.")


@app.callback()
def _noun() -> None:
    pass


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
