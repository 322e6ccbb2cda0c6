"""`millrace demo`."""

from __future__ import annotations

import typer

from millrace import plugins

app = typer.Typer(add_completion=False)


@app.command()
def demo() -> None:
    """Run the whole path once: a notebook, a schedule, a worker, the results."""
    raise typer.Exit(plugins.load("millrace.cli.demo:demo")())
