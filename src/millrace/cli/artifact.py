"""`millrace artifact …`."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from millrace.cli.options import Limit, Yes, confirm
from millrace.cli.output import Format, Output, done, emit, table
from millrace.cli.reach import reach
from millrace.client.synchronous import Client
from millrace.errors import InvalidInput, NotFound
from millrace.schema.artifacts import Artifact, ArtifactFilter, ArtifactQuery, ArtifactSort
from millrace.schema.flows import TextCondition

app = typer.Typer(no_args_is_help=True, help="Artifacts: what runs leave behind for people.")
Key = Annotated[str, typer.Argument(help="The artifact's key.")]


@app.command("ls")
def list_(
    limit: Limit = 100,
    all_: Annotated[bool, typer.Option("--all", "-a", help="Every one, not only the newest of each key.")] = False,
    output: Output = Format.TEXT,
) -> None:
    """List the newest artifact of each key."""
    query = ArtifactQuery(limit=limit, sort=ArtifactSort.CREATED_DESC)
    found = reach().read_artifacts(query) if all_ else reach().read_latest_artifacts(query)
    if output is Format.JSON:
        emit(found)
        return
    rows = [(getattr(one, "latest_id", one.id), one.key, one.type, one.updated) for one in found]
    table(("ID", "KEY", "TYPE", "CHANGED"), rows, empty="There are no artifacts.")


@app.command()
def inspect(key: Key, limit: Limit = 10, output: Output = Format.JSON) -> None:
    """Show the artifacts of a key with what they hold, latest first."""
    found = _of_key(reach(), key, limit)
    if output is Format.JSON:
        emit(found)
        return
    rows = [(one.id, one.type, one.description, str(one.data)[:200], one.updated) for one in found]
    table(("ID", "TYPE", "DESCRIPTION", "DATA", "CHANGED"), rows, empty="")


def _of_key(client: Client, key: str, limit: int) -> list[Artifact]:
    only = ArtifactFilter(key=TextCondition(any_=[key]))
    found = client.read_artifacts(ArtifactQuery(artifacts=only, limit=limit, sort=ArtifactSort.CREATED_DESC))
    if not found:
        raise NotFound(f"No artifact has the key {key!r}. See them all with: millrace artifact ls")
    return found


@app.command()
def delete(
    key: Annotated[str | None, typer.Argument(help="Every artifact of this key.")] = None,
    id: Annotated[UUID | None, typer.Option("--id", help="Only the artifact of this id.")] = None,
    yes: Yes = False,
    output: Output = Format.TEXT,
) -> None:
    """Delete the artifacts of a key, or one by its id."""
    if (key is None) == (id is None):
        raise InvalidInput("Name what to delete: a key, or --id ID.")
    client = reach()
    if id is not None:
        one = client.read_artifact(id)
        confirm(f"Delete the artifact {id}?", yes)
        client.delete_artifact(id)
        done(f"Deleted the artifact {id}.", [one], output)
        return
    found = _of_key(client, str(key), 200)
    confirm(f"Delete the artifacts of the key {key!r}?", yes)
    gone: list[Artifact] = []
    while found:
        for one in found:
            client.delete_artifact(one.id)
        gone += found
        only = ArtifactFilter(key=TextCondition(any_=[str(key)]))
        found = client.read_artifacts(ArtifactQuery(artifacts=only, limit=200))
    done(f"Deleted {len(gone)} artifact{'s' if len(gone) != 1 else ''} of the key {key!r}.", gone, output)
