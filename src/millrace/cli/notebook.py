"""`millrace notebook …`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from millrace import plugins, settings
from millrace.cli import FAILED
from millrace.cli.options import Parameters, pairs, values
from millrace.cli.output import Format, Output, emit, facts, note, say, table
from millrace.schema.fields import new_id

app = typer.Typer(no_args_is_help=True, help="Notebooks: run, exported, looked into.")
Book = Annotated[Path, typer.Argument(metavar="BOOK", help="The notebook file.")]


@app.command()
def export(
    book: Book,
    flow: Annotated[str, typer.Option("--flow", help="The flow to take out.")],
    output_dir: Annotated[Path, typer.Option("--output-dir", help="Where to write the module.")],
    carry: Annotated[list[str] | None, typer.Option("--carry", help="A file or folder to take along.")] = None,
    output: Output = Format.TEXT,
) -> None:
    """Write a flow of a notebook, and all it needs, as a module."""
    done = plugins.load("millrace.notebooks.export:export_notebook")(book, flow, output_dir, carry=carry or [])
    if output is Format.JSON:
        emit(
            {
                "path": done.path,
                "entrypoint": done.entrypoint,
                "files": done.files,
                "version_hash": done.version_hash,
                "notes": done.notes,
            }
        )
        return
    for text in done.notes:
        note(f"note: {text}")
    say(f"path: {done.path}")
    say(f"entrypoint: {done.entrypoint}")


@app.command()
def run(
    book: Book,
    param: Parameters = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(
            "--secret",
            metavar="NAME=env:VARIABLE|secret:NAME",
            help="A parameter from the environment, or from a secret that was saved. Repeatable.",
        ),
    ] = None,
    timeout: Annotated[float | None, typer.Option("--timeout", min=0.01, help="Seconds for the whole run.")] = None,
    cell_timeout: Annotated[float | None, typer.Option("--cell-timeout", min=0.01, help="Seconds for a cell.")] = None,
    save_to: Annotated[
        Path | None, typer.Option("--save-to", help="The executed notebook. Default: in MILLRACE_HOME.")
    ] = None,
    kernel: Annotated[str | None, typer.Option("--kernel", help="Default: the notebook's own.")] = None,
    output: Output = Format.TEXT,
) -> None:
    """Run a notebook as a flow, here and now. Exit code 0 only if it completed; see also its cells' states."""
    load = plugins.load
    read = load("millrace.notebooks.run:load")(book)
    references = pairs(secret, "--secret")
    schema = load("millrace.notebooks.parameters:schema_of")(read, secrets=references.keys())
    target = save_to or settings.current().run_directory(new_id()) / "executed.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    done = load("millrace.notebooks.run:run_notebook")(
        book,
        output=target,
        parameters=values(schema, param),
        secrets=references,
        timeout=timeout,
        cell_timeout=cell_timeout,
        kernel_name=kernel,
        on_event=_progress if output is Format.TEXT else None,
    )
    if output is Format.JSON:
        emit(load("millrace.notebooks.run:outcome_json")(done))
    else:
        _show(done)
    completed = done.state_type == "COMPLETED"
    raise typer.Exit(0 if completed else done.exit_code or FAILED)


def _progress(event: Any) -> None:
    if event.kind == "finished":
        trouble = f" {event.ename}: {event.evalue or ''}" if event.ename else ""
        print(f"[{event.number}/{event.total}] {event.status}{trouble}", file=sys.stderr, flush=True)


def _show(done: Any) -> None:
    error = done.error.as_json() if done.error else {}
    facts(
        {
            "state": done.state_name,
            "error": error.get("message"),
            "took": f"{done.seconds:.1f} s",
            "notebook": done.notebook,
            "html": done.html,
        }
    )


@app.command()
def params(book: Book, output: Output = Format.TEXT) -> None:
    """Show a notebook's parameters; as JSON: their JSON Schema."""
    read = plugins.load("millrace.notebooks.parameters:read_book")(book)
    schema = plugins.load("millrace.notebooks.parameters:schema_of")(read)
    if output is Format.JSON:
        emit(schema)
        return
    words = plugins.load("millrace.notebooks.parameters:expected")
    required = schema.get("required", [])
    rows = [
        (name, words(entry), "required" if name in required else repr(entry.get("default")), entry.get("description"))
        for name, entry in schema.get("properties", {}).items()
    ]
    table(("NAME", "TYPE", "DEFAULT", "DESCRIPTION"), rows, empty="It has no parameters cell.")
