"""`millrace up`, `status` and `down`: the embedded server of the data directory."""

from __future__ import annotations

import os
import time
from typing import Annotated, Any

import typer

from millrace import settings
from millrace.cli import NO_SERVER
from millrace.cli.output import Format, Output, emit, facts, note, say, table
from millrace.client import locate
from millrace.client.endpoint import Runtime
from millrace.client.synchronous import Client
from millrace.errors import ServerUnavailable
from millrace.schema.operations import Counters

up = typer.Typer(add_completion=False)
status = typer.Typer(add_completion=False)
down = typer.Typer(add_completion=False)


@up.command("up")
def _up(
    output: Output = Format.TEXT,
    wait: Annotated[float, typer.Option("--wait", min=0.1, help="Seconds until it must answer.")] = 10.0,
) -> None:
    """Start the embedded server and its worker, if they do not run. They outlive this terminal."""
    for name in ("MILLRACE_API_URL", "PREFECT_API_URL"):
        if os.environ.get(name):
            note(f"millrace: {name} is set: flows use the server there, not the embedded one.")
    before = locate.embedded_status()
    began = time.monotonic()
    locate.start_embedded(wait)
    runtime = locate.embedded_status()
    if runtime is None:
        raise ServerUnavailable("The embedded server started and ended again; `millrace up` shows its log next time.")
    if output is Format.JSON:
        emit({"ran_before": before is not None, **_public(runtime)})
        return
    took = f"started in {time.monotonic() - began:.1f} s" if before is None else "runs already"
    say(f"The embedded server {took}: process {runtime.pid}, data in {settings.current().home}.")
    say("Stop it with `millrace down`; see it with `millrace status`.")


@status.command("status")
def _status(output: Output = Format.TEXT) -> None:
    """Show whether a server runs, and how busy it is. Exit code 4 if none answers."""
    try:
        endpoint = locate.locate(start=False)
        with Client(endpoint, patience=1.0) as client:
            info = client.server_info()
            counters = client.counters()
            workers = {pool.name: client.read_workers(pool.name) for pool in client.read_work_pools(limit=200)}
    except ServerUnavailable as error:
        if output is Format.JSON:
            emit({"running": False, "home": settings.current().home})
        note(f"millrace: {error}")
        raise typer.Exit(NO_SERVER) from None
    runtime = locate.embedded_status() if endpoint.runtime_file else None
    if output is Format.JSON:
        emit(
            {
                "running": True,
                "home": settings.current().home if runtime else info.home,
                "place": endpoint.place,
                **(_public(runtime) if runtime else {"version": info.version}),
                "counters": counters,
                "workers": workers,
            }
        )
        return
    _show(endpoint.place, info.version, runtime, counters)
    rows = [
        (pool, one.name, one.status.value, one.last_heartbeat_time) for pool, some in workers.items() for one in some
    ]
    table(("POOL", "WORKER", "STATUS", "LAST HEARD OF"), rows, empty="No worker was ever heard of.")


def _show(place: str, version: str, runtime: Runtime | None, counters: Counters) -> None:
    facts(
        {
            "server": place,
            "version": version,
            "process": runtime.pid if runtime else None,
            "worker process": runtime.worker_pid if runtime else None,
            "data": settings.current().home if runtime else None,
            "runs": f"{counters.running} running, {counters.pending} pending, {counters.scheduled} scheduled, "
            f"{counters.late} late",
            "deployments": f"{counters.deployments}, {counters.active_schedules} active schedules",
            "next due": counters.next_due,
        }
    )


@down.command("down")
def _down(output: Output = Format.TEXT) -> None:
    """Stop the embedded server and its worker. Runs that execute go on; nothing that was scheduled is lost."""
    stopped = locate.stop_embedded()
    if output is Format.JSON:
        emit({"stopped": stopped})
    else:
        say("Stopped." if stopped else f"No embedded server runs for {settings.current().home}.")


def _public(runtime: Runtime) -> dict[str, Any]:
    return {name: getattr(runtime, name) for name in ("pid", "worker_pid", "socket", "version", "started")}
