"""`millrace event …`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from millrace.cli.output import Format, Output, done
from millrace.cli.reach import reach
from millrace.client.everything import follow_all
from millrace.engine.recorder import recorder
from millrace.errors import InvalidInput
from millrace.events import emit_event
from millrace.schema.events import RESOURCE_ID, ReceivedEvent

app = typer.Typer(no_args_is_help=True, help="Events: what happens, as it happens.")


class Shape(StrEnum):
    """How an event is printed."""

    JSON = "json"
    TEXT = "text"


@app.command()
def stream(
    shape: Annotated[Shape, typer.Option("--format", help="JSON, or a line of text.")] = Shape.JSON,
    output_file: Annotated[Path | None, typer.Option("--output-file", help="Append to this file.")] = None,
    run_once: Annotated[bool, typer.Option("--run-once", help="End after one event.")] = False,
) -> None:
    """Print events as they happen, until interrupted."""
    for event in _listen():
        line = event.model_dump_json() if shape is Shape.JSON else _line(event)
        if output_file is None:
            print(line, flush=True)
        else:
            with output_file.open("a") as file:
                file.write(line + "\n")
        if run_once:
            return


def _listen() -> Iterator[ReceivedEvent]:
    return follow_all(reach())


def _line(event: ReceivedEvent) -> str:
    return f"{event.occurred.isoformat()} {event.event} {event.resource.get(RESOURCE_ID, '')}"


@app.command()
def emit(
    event: Annotated[str, typer.Argument(help="What happened, such as order.arrived.")],
    resource: Annotated[str | None, typer.Option("--resource", "-r", help="Labels, as JSON or key=value.")] = None,
    resource_id: Annotated[str | None, typer.Option("--resource-id", help="The id of the thing.")] = None,
    related: Annotated[str | None, typer.Option("--related", help="Related things, as JSON.")] = None,
    payload: Annotated[str | None, typer.Option("--payload", "-p", help="JSON for whoever reads it.")] = None,
    output: Output = Format.TEXT,
) -> None:
    """Tell that something happened."""
    labels = _labels(resource)
    if resource_id is not None:
        labels[RESOURCE_ID] = resource_id
    others = _json(related, "--related") if related is not None else []
    others = others if isinstance(others, list) else [others]
    if not all(isinstance(one, dict) for one in others):
        raise InvalidInput("--related must be a JSON object, or a list of them.")
    told = _json(payload, "--payload") if payload is not None else {}
    if not isinstance(told, dict):
        raise InvalidInput("--payload must be a JSON object.")
    reach()
    made = emit_event(event, labels, related=others, payload=told)
    if not recorder().flush():
        raise InvalidInput("The event could not be sent in time.")
    done(f"Emitted the event {event!r} ({made.id}).", made, output)


def _labels(text: str | None) -> dict[str, str]:
    if text is None:
        return {}
    if not text.lstrip().startswith(("{", "[")):
        key, sign, value = text.partition("=")
        if not sign:
            raise InvalidInput(f"--resource {text!r} is neither JSON nor key=value.")
        return {key: value}
    found = _json(text, "--resource")
    if not isinstance(found, dict):
        raise InvalidInput("--resource must be a JSON object.")
    return found


def _json(text: str, option: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"{option} is no JSON: {error}") from None
