"""`millrace worker start | ls | inspect`."""

from __future__ import annotations

import logging
from typing import Annotated, Any

import typer

from millrace import plugins, settings
from millrace.cli.output import Format, Output, emit, facts, table
from millrace.cli.reach import reach
from millrace.client.synchronous import Client
from millrace.errors import NotFound
from millrace.schema.pools import BusyWorker
from millrace.suggestions import did_you_mean

app = typer.Typer(no_args_is_help=True, help="Workers: they execute the runs of a pool.")


@app.command()
def start(
    pool: Annotated[str, typer.Option("--pool", "-p", help="The pool; it is created if there is none.")],
    name: Annotated[
        str | None, typer.Option("--name", "-n", help="This worker's name. Default: machine and process.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", "-l", min=1, help="Runs at once. Default: any number.")
    ] = None,
    type: Annotated[
        str | None, typer.Option("--type", "-t", help="What it starts: process or docker. Default: as the pool says.")
    ] = None,
    queue: Annotated[
        list[str] | None, typer.Option("--queue", "--work-queue", "-q", help="Only this queue. Repeatable.")
    ] = None,
) -> None:
    """Execute the runs of a pool until it is interrupted. Runs that still execute then go on."""
    logging.basicConfig(level=settings.current().log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    plugins.load("millrace.workers.worker:Worker")(pool, name, limit, type, queue or None).run()


@app.command("ls")
def list_(
    pool: Annotated[str | None, typer.Option("--pool", "-p", help="Only of this pool.")] = None,
    output: Output = Format.TEXT,
) -> None:
    """List the workers that were heard of, with their queues and how many runs they have under way."""
    found = _found(reach(), pool)
    if output is Format.JSON:
        emit([_plain(one, name) for name, one in found])
        return
    rows = [
        (one.name, name, one.status.value, _queues(one), len(one.flow_runs), one.last_heartbeat_time)
        for name, one in found
    ]
    table(("WORKER", "POOL", "STATUS", "QUEUES", "RUNS", "LAST HEARD OF"), rows, empty="No worker was heard of.")


@app.command()
def inspect(
    name: Annotated[str, typer.Argument(metavar="WORKER", help="The worker's name.")],
    pool: Annotated[str | None, typer.Option("--pool", "-p", help="Its pool, where several have one so named.")] = None,
    output: Output = Format.TEXT,
) -> None:
    """Show a worker, the queues it takes runs of, and the runs it has under way."""
    known = _found(reach(), pool)
    found = [(where, one) for where, one in known if one.name == name]
    if not found:
        hint = did_you_mean(name, [one.name for _, one in known])
        raise NotFound(f"No worker is named {name!r}.{hint} millrace worker ls shows those that were heard of.")
    if output is Format.JSON:
        emit([_plain(one, where) for where, one in found])
        return
    for where, one in found:
        facts(
            {
                "name": one.name,
                "id": one.id,
                "pool": where,
                "status": one.status.value,
                "queues": _queues(one),
                "last heard of": one.last_heartbeat_time,
                "says so every": f"{one.heartbeat_interval_seconds} s" if one.heartbeat_interval_seconds else None,
                "first heard of": one.created,
            }
        )
        runs = [(run.name, run.state_name, run.state_timestamp, run.id) for run in one.flow_runs]
        table(("RUN", "STATE", "SINCE", "ID"), runs, empty="It has no run under way.")


def _found(client: Client, pool: str | None) -> list[tuple[str, BusyWorker]]:
    pools = [pool] if pool else [one.name for one in client.read_work_pools(limit=200)]
    return [(name, one) for name in pools for one in _of_pool(client, name)]


def _of_pool(client: Client, pool: str) -> list[BusyWorker]:
    try:
        return client.read_busy_workers(pool)
    except NotFound:  # no such pool; or a server that does not tell what workers do
        return [BusyWorker(**dict(one)) for one in client.read_workers(pool, limit=200)]


def _queues(worker: BusyWorker) -> str:
    return "all" if worker.queue_names is None else ", ".join(worker.queue_names)


def _plain(worker: BusyWorker, pool: str) -> dict[str, Any]:
    return {**worker.model_dump(mode="json"), "work_pool_name": pool}
