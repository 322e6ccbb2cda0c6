"""`millrace server start`: a shared server on a TCP address."""

from __future__ import annotations

import logging
import os
import secrets
import shlex
from pathlib import Path
from typing import Annotated

import typer

from millrace import plugins, settings
from millrace.cli.output import note
from millrace.errors import InvalidInput

app = typer.Typer(no_args_is_help=True, help="A server for several machines or people.")
SHORTEST = 16


@app.callback()
def _noun() -> None:
    pass


@app.command()
def start(
    host: Annotated[str, typer.Option(help="The address to bind.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0: a free one.")] = 4200,
    database_url: Annotated[
        str | None,
        typer.Option(help="Such as postgresql+psycopg://user@host/name. Default: the file in MILLRACE_HOME."),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="A file with the token that clients must show. Default: MILLRACE_HOME/token.")
    ] = None,
    no_token: Annotated[bool, typer.Option("--no-token", help="Let everybody in; refused off loopback.")] = False,
) -> None:
    """Serve the API under http://HOST:PORT/api until it is interrupted.

    Runs are executed by workers: start one with `millrace worker start --pool default` where they are to run.
    """
    if no_token and token_file:
        raise InvalidInput("--token-file and --no-token contradict each other: give one of them.")
    logging.basicConfig(level=settings.current().log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    token, origin = (None, None) if no_token else _token(token_file)

    def ready(url: str) -> None:
        note(f"Millrace serves {url}; stop it with Ctrl-C. For its clients:")
        note(f"    export MILLRACE_API_URL={shlex.quote(url)}")
        if origin is not None:
            note(f'    export MILLRACE_API_TOKEN="$(cat {shlex.quote(str(origin))})"')

    plugins.load("millrace.server.shared:serve")(host, port, database_url, token, on_ready=ready)


def _token(file: Path | None) -> tuple[str, Path | None]:
    """The token and the file it came from; that of the data directory is made on first use."""
    given = settings.current().api_token
    if file is None and given is not None:
        return given.get_secret_value(), None
    path = file or settings.current().home / "token"
    if file is None and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as new:
            new.write(secrets.token_urlsafe(32) + "\n")
    try:
        token = path.read_text().strip()
    except OSError as error:
        raise InvalidInput(
            f"The token file {path} cannot be read: {error.strerror}. Make one: openssl rand -hex 32 > {path}"
        ) from None
    if len(token) < SHORTEST or any(letter.isspace() for letter in token):
        raise InvalidInput(f"The token in {path} must be one word of at least {SHORTEST} characters.")
    if path.stat().st_mode & 0o077:
        note(f"millrace: others can read {path}; run: chmod 600 {path}")
    return token, path
