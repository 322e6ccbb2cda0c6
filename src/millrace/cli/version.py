"""`millrace version`."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version as installed
from typing import Annotated

import typer

app = typer.Typer(add_completion=False)


@app.command()
def version(
    output: Annotated[str, typer.Option("--output", "-o", help="text for people, json for programs.")] = "text",
) -> None:
    """Show which Millrace this is."""
    # No import of the models here: this answers at once.
    ours, python = installed("millrace"), platform.python_version()
    print(
        json.dumps({"millrace": ours, "python": python}) if output == "json" else f"millrace {ours} (Python {python})"
    )
