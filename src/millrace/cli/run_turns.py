"""`millrace flow-run suspend | resume | retry`: what is done to a run that waits or has ended."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from millrace import entrypoints
from millrace.cli.options import Parameters, values
from millrace.cli.output import Format, Output, emit, say
from millrace.cli.reach import reach
from millrace.cli.watch import code, ended, find
from millrace.cli.watch import watch as watched
from millrace.client.handle import RunHandle
from millrace.client.resuming import asked_input
from millrace.client.synchronous import Client
from millrace.engine.running import take_up
from millrace.errors import InvalidInput
from millrace.schema.runs import FlowRun

Run = Annotated[str, typer.Argument(metavar="RUN", help="The run's id, or its name: then the newest of that name.")]
Watch = Annotated[bool, typer.Option("--watch", help="Show what it does until it is over.")]


def suspend(
    run: Run,
    timeout: Annotated[float | None, typer.Option("--timeout", min=0, help="Seconds until it fails, at most.")] = None,
    output: Output = Format.TEXT,
) -> None:
    """End the process of a run before its next task; when it is resumed, a worker runs it from its start."""
    client = reach()
    handle = RunHandle(find(client, run), client)
    handle.suspend(timeout)
    _told(handle, output, f"Resume it: millrace flow-run resume {handle.id}")


def resume(run: Run, param: Parameters = None, watch: Watch = False, output: Output = Format.TEXT) -> None:
    """Let a paused or suspended run go on, with the input it asked for."""
    client = reach()
    handle = RunHandle(find(client, run), client)
    schema, about = asked_input(client, handle.flow_run)
    if schema is None and param:
        raise InvalidInput(f"The run {handle.name!r} asks for no input; leave out -p.")
    if about and not param and output is Format.TEXT:
        say(about)
    handle.resume(values(schema, param) if param else None)
    _watched(client, handle, watch, output)


def retry(
    run: Run,
    entrypoint: Annotated[
        str | None,
        typer.Option("--entrypoint", "-e", metavar="FILE.py:FLOW", help="Run it here, with this flow's code."),
    ] = None,
    watch: Watch = False,
    output: Output = Format.TEXT,
) -> None:
    """Run a run that has ended again: a worker takes it, or, with --entrypoint, this process."""
    client = reach()
    handle = RunHandle(find(client, run), client)
    if entrypoint is not None:
        over = _here(client, handle.flow_run, entrypoint)
        if output is Format.JSON:
            emit(over)
            raise typer.Exit(code(over))
        raise typer.Exit(ended(over))
    handle.retry()
    _watched(client, handle, watch, output)


def _here(client: Client, run: FlowRun, entrypoint: str) -> FlowRun:
    loaded: Any = entrypoints.load(entrypoint, Path.cwd())
    take_up(loaded, run, client)
    return client.read_flow_run(run.id)


def _watched(client: Client, handle: RunHandle, watch: bool, output: Format) -> None:
    if not watch:
        _told(handle, output, "A worker goes on with it." if handle.state.is_scheduled() else "")
        return
    over = watched(client, handle.flow_run, quiet=output is Format.JSON)
    if output is Format.JSON:
        emit(over)
        raise typer.Exit(code(over))
    raise typer.Exit(ended(over))


def _told(handle: RunHandle, output: Format, more: str) -> None:
    if output is Format.JSON:
        emit(handle.flow_run)
    else:
        say(f"The run {handle.name!r} is {handle.state.name}. {more}".rstrip())
