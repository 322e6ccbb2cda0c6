"""`millrace variable …`."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from millrace.cli.options import Limit, Tags, Yes, confirm
from millrace.cli.output import Format, Output, done, emit, facts, say, table
from millrace.cli.reach import reach
from millrace.errors import AlreadyExists, NotFound
from millrace.schema.variables import VariableQuery, VariableSort
from millrace.suggestions import did_you_mean
from millrace.variables import Variable

app = typer.Typer(no_args_is_help=True, help="Variables: small named JSON values that flows share.")
Name = Annotated[str, typer.Argument(help="The variable's name.")]


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


@app.command("set")
def set_(
    name: Name,
    value: Annotated[str, typer.Argument(help="JSON; what is no JSON is text.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Change it if it is there.")] = False,
    tag: Tags = None,
    output: Output = Format.TEXT,
) -> None:
    """Store a variable."""
    reach()
    try:
        stored = Variable.set(name, _read(value), tags=tag, overwrite=overwrite)
    except AlreadyExists:
        raise AlreadyExists(f"There is a variable named {name!r}. Change it with --overwrite.") from None
    if output is Format.JSON:
        emit(stored)
    else:
        say(f"Set the variable {name!r}.")


@app.command()
def get(name: Name, output: Output = Format.TEXT) -> None:
    """Print the value of a variable: a text as it is, anything else as JSON."""
    value = _stored(name).value
    if output is Format.JSON or not isinstance(value, str):
        print(json.dumps(value, ensure_ascii=False))
    else:
        print(value)


def _stored(name: str) -> Any:
    client = reach()
    try:
        return client.read_variable_by_name(name)
    except NotFound:
        hint = did_you_mean(name, [one.name for one in client.read_variables(limit=200)])
        raise NotFound(f"No variable is named {name!r}.{hint} See them all with: millrace variable ls") from None


@app.command()
def inspect(name: Name, output: Output = Format.TEXT) -> None:
    """Show a variable and when it changed."""
    found = _stored(name)
    if output is Format.JSON:
        emit(found)
        return
    shown = json.dumps(found.value, ensure_ascii=False)
    facts({"name": found.name, "value": shown, "tags": ", ".join(found.tags), "id": found.id, "changed": found.updated})


@app.command("ls")
def list_(limit: Limit = 100, output: Output = Format.TEXT) -> None:
    """List variables, by name."""
    found = reach().read_variables(VariableQuery(limit=limit, sort=VariableSort.NAME_ASC))
    if output is Format.JSON:
        emit(found)
        return
    rows = [
        (one.name, json.dumps(one.value, ensure_ascii=False)[:80], ", ".join(one.tags), one.updated) for one in found
    ]
    table(("NAME", "VALUE", "TAGS", "CHANGED"), rows, empty="There are no variables.")


@app.command()
def unset(name: Name, yes: Yes = False, output: Output = Format.TEXT) -> None:
    """Forget a variable."""
    found = _stored(name)
    confirm(f"Forget the variable {name!r}?", yes)
    reach().delete_variable(found.id)
    done(f"Unset the variable {name!r}.", found, output)


app.command("delete", hidden=True)(unset)
