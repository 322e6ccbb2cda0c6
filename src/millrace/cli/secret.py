"""`millrace secret …`. A value never stands on the command line, where other users of the machine could read it."""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated

import typer

from millrace import plugins
from millrace.cli.options import Yes, confirm
from millrace.cli.output import Format, Output, done, emit, table
from millrace.cli.reach import reach
from millrace.engine.secrets import Secret, saved
from millrace.errors import AlreadyExists, InvalidInput

app = typer.Typer(no_args_is_help=True, help="Secrets: values kept encrypted, shown nowhere.")
Name = Annotated[str, typer.Argument(help="The secret's name.")]


@app.command("set")
def set_(
    name: Name,
    from_env: Annotated[str | None, typer.Option("--from-env", metavar="VARIABLE", help="Take its value.")] = None,
    from_stdin: Annotated[bool, typer.Option("--stdin", help="Read the value from standard input.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The value is JSON.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace it if it is there.")] = False,
    output: Output = Format.TEXT,
) -> None:
    """Keep a secret; its value is asked for, or read from a variable or standard input."""
    if from_env is not None and from_stdin:
        raise InvalidInput("Give --from-env or --stdin, not both.")
    reach()
    text = _value(from_env, from_stdin)
    if not text:
        raise InvalidInput(f"The value of the secret {name!r} is empty.")
    try:
        value = json.loads(text) if as_json else text
    except ValueError:
        raise InvalidInput(f"The value of the secret {name!r} is no JSON.") from None
    try:
        Secret(value).save(name, overwrite=overwrite)
    except AlreadyExists:
        raise AlreadyExists(f"There is a secret named {name!r}. Replace it with --overwrite.") from None
    done(f"Saved the secret {name!r}.", {"name": name}, output)


def _value(variable: str | None, from_stdin: bool) -> str:
    if variable is not None:
        if variable not in os.environ:
            raise InvalidInput(f"The environment variable {variable} is not set.")
        return os.environ[variable]
    if from_stdin:
        return sys.stdin.read().removesuffix("\n")
    if not sys.stdin.isatty():
        raise InvalidInput("There is no terminal to ask on: give the value with --stdin or --from-env VARIABLE.")
    asked: str = typer.prompt("Value", hide_input=True, confirmation_prompt=True, err=True)
    return asked


@app.command("ls")
def list_(output: Output = Format.TEXT) -> None:
    """List the names of the secrets."""
    found = saved(reach())
    if output is Format.JSON:
        emit([{"id": one.id, "name": one.name, "created": one.created, "updated": one.updated} for one in found])
        return
    table(("NAME", "CHANGED"), [(one.name, one.updated) for one in found], empty="There are no secrets.")


@app.command()
def delete(name: Name, yes: Yes = False, output: Output = Format.TEXT) -> None:
    """Forget a secret."""
    reach()
    confirm(f"Delete the secret {name!r}?", yes)
    Secret.delete(name)
    done(f"Deleted the secret {name!r}.", {"name": name}, output)


@app.command("new-key")
def new_key() -> None:
    """Print a fresh key for MILLRACE_ENCRYPTION_KEY of a shared server."""
    print(plugins.load("cryptography.fernet:Fernet").generate_key().decode())
