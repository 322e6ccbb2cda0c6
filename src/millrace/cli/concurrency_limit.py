"""`millrace concurrency-limit …`: limits of tags."""

from __future__ import annotations

from typing import Annotated

import typer

from millrace.cli.options import Limit, Yes, confirm
from millrace.cli.output import Format, Output, done, emit, facts, say, table
from millrace.cli.reach import reach

app = typer.Typer(no_args_is_help=True, help="How many runs at once there may be of tasks with a tag.")
Tag = Annotated[str, typer.Argument(help="The tag.")]


@app.command()
def create(
    tag: Tag,
    concurrency_limit: Annotated[int, typer.Argument(help="How many at once.")],
    output: Output = Format.TEXT,
) -> None:
    """Limit a tag, or change its limit."""
    made = reach().create_tag_limit(tag=tag, concurrency_limit=concurrency_limit)
    if output is Format.JSON:
        emit(made)
    else:
        say(f"Of tasks with the tag {tag!r}, at most {concurrency_limit} run at once.")


@app.command("ls")
def list_(
    limit: Limit = 15,
    offset: Annotated[int, typer.Option("--offset", min=0, help="Leave out so many.")] = 0,
    output: Output = Format.TEXT,
) -> None:
    """List the limits of all tags."""
    found = reach().read_tag_limits(limit=limit, offset=offset)
    if output is Format.JSON:
        emit(found)
        return
    rows = [(one.tag, one.id, one.concurrency_limit, len(one.active_slots)) for one in found]
    table(("TAG", "ID", "LIMIT", "RUNNING"), rows, empty="No tag has a limit.")


@app.command()
def inspect(tag: Tag, output: Output = Format.TEXT) -> None:
    """Show the limit of a tag, and the task runs that hold its slots."""
    limit = reach().read_tag_limit(tag)
    if output is Format.JSON:
        emit(limit)
        return
    facts(
        {
            "tag": limit.tag,
            "id": limit.id,
            "limit": limit.concurrency_limit,
            "created": limit.created,
            "updated": limit.updated,
        }
    )
    table(("TASK RUN",), [(one,) for one in limit.active_slots], empty="No task run holds a slot.")


@app.command()
def reset(tag: Tag, output: Output = Format.TEXT) -> None:
    """Free all slots of a tag, whoever holds them."""
    client = reach()
    client.reset_tag_limit(tag)
    done(f"All slots of the tag {tag!r} are free.", client.read_tag_limit(tag), output)


@app.command()
def delete(tag: Tag, yes: Yes = False, output: Output = Format.TEXT) -> None:
    """Forget the limit of a tag."""
    client = reach()
    found = client.read_tag_limit(tag)
    confirm(f"Delete the limit of the tag {tag!r}?", yes)
    client.delete_tag_limit(tag)
    done(f"The tag {tag!r} has no limit any more.", found, output)
