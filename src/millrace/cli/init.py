"""`millrace init`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from millrace import plugins, settings
from millrace.cli.output import Format, Output, emit
from millrace.cli.reach import reach
from millrace.errors import AlreadyExists, InvalidInput

app = typer.Typer(add_completion=False)


@app.command()
def init(
    targets: Annotated[
        list[Path] | None, typer.Argument(help="Scripts and notebooks. Default: those of this directory.")
    ] = None,
    existing: Annotated[
        list[str] | None,
        typer.Option("--from", metavar="FLOW/NAME", help="A deployment that there is, in place of files. Repeatable."),
    ] = None,
    pool: Annotated[
        str | None, typer.Option("--pool", help="The pool to write. Default: that of the settings.")
    ] = None,
    file: Annotated[Path, typer.Option("--file", "-f", help="The file to write.")] = Path("millrace.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Write it even if it is there.")] = False,
    output: Output = Format.TEXT,
) -> None:
    """Write a millrace.yaml of the flows here, or of deployments that there are. No code is run."""
    place = file.expanduser().absolute()
    if place.exists() and not force:
        raise AlreadyExists(f"{file} is there already. Write another one with --file, or over it with --force.")
    if existing and targets:
        raise InvalidInput("Give files, or deployments with --from; not both.")
    text = _stored(existing, place.parent) if existing else _drafted(targets, place.parent, pool)
    place.write_text(text, "utf-8")
    if output is Format.TEXT:
        found_anyway = plugins.load("millrace.deployments.specfile:find")() == place
        option = "" if found_anyway else f" --file {shlex.quote(str(file))}"
        typer.echo(f"Wrote {file}. Look through it, then: millrace deploy --all{option}")
    else:
        emit({"file": str(place)})


def _drafted(targets: list[Path] | None, directory: Path, pool: str | None) -> str:
    chosen = targets or [*sorted(directory.glob("*.py")), *sorted(directory.glob("*.ipynb"))]
    write = plugins.load("millrace.deployments.written:first_draft")
    text: str = write(chosen, directory, pool or settings.current().work_pool)
    return text


def _stored(names: list[str], directory: Path) -> str:
    client = reach()
    entry = plugins.load("millrace.deployments.written:stored_entry")
    triggers_of = plugins.load("millrace.deployments.triggers:declared")
    entries = []
    for name in names:
        flow, slash, own = name.rpartition("/")
        if not slash:
            raise InvalidInput(f"--from {name!r} is no deployment: write FLOW/NAME, as `millrace deployment ls` does.")
        found = client.read_deployment_by_name(flow, own)
        entries.append(entry(found, flow, directory, triggers_of(client, found.id, own)))
    text: str = plugins.load("millrace.deployments.written:dumped")({"deployments": entries})
    return text
