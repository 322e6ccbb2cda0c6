"""`millrace config …`: settings that are kept in the data directory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated

import typer

from millrace import settings
from millrace.cli.options import pairs
from millrace.cli.output import Format, Output, done, emit, table
from millrace.errors import SettingsError

app = typer.Typer(no_args_is_help=True, help="Settings: what is kept in the data directory, and what holds now.")
_PREFIXES = ("MILLRACE_", "PREFECT_")


def _name(text: str) -> str:
    upper = text.upper()
    for prefix in _PREFIXES:
        upper = upper.removeprefix(prefix)
    return upper.lower()


@app.command()
def view(output: Output = Format.TEXT) -> None:
    """Show every setting and where its value comes from; secrets are not shown."""
    now = settings.current()
    kept = settings.kept(now.home)
    shown = now.model_dump(mode="json")
    rows = [(f"MILLRACE_{name.upper()}", value, _origin(name, kept)) for name, value in shown.items()]
    if output is Format.JSON:
        emit([{"name": name, "value": value, "from": origin} for name, value, origin in rows])
    else:
        table(("SETTING", "VALUE", "FROM"), rows, empty="")


def _origin(name: str, kept: dict[str, object]) -> str:
    if f"MILLRACE_{name.upper()}" in os.environ:
        return "environment"
    return settings.FILE if name in kept else "default"


@app.command("set")
def set_(
    assignments: Annotated[list[str], typer.Argument(metavar="NAME=VALUE", help="Such as MILLRACE_WORK_POOL=big.")],
    output: Output = Format.TEXT,
) -> None:
    """Keep settings in the data directory. An environment variable still comes first."""
    changes = {_name(name): value for name, value in pairs(assignments, "").items()}
    _keep(changes, output)


@app.command()
def unset(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Such as MILLRACE_WORK_POOL.")],
    output: Output = Format.TEXT,
) -> None:
    """Forget settings that were kept."""
    home = settings.current().home
    changes: dict[str, str | None] = {_name(name): None for name in names}
    if missing := sorted(changes.keys() - settings.kept(home).keys()):
        raise SettingsError(f"MILLRACE_{missing[0].upper()} is not in {home / settings.FILE}.")
    _keep(changes, output)


def _keep(changes: Mapping[str, str | None], output: Format) -> None:
    file = settings.keep(settings.current().home, changes)
    for name in changes:
        if f"MILLRACE_{name.upper()}" in os.environ:
            typer.echo(f"millrace: MILLRACE_{name.upper()} of the environment comes first.", err=True)
    said = ", ".join(f"MILLRACE_{name.upper()}" for name in changes)
    verb = "Forgot" if None in changes.values() else "Set"
    done(f"{verb} {said} in {file}.", {"file": str(file), "settings": sorted(settings.kept(file.parent))}, output)
