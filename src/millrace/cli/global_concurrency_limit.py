"""`millrace global-concurrency-limit …`, or `millrace gcl …`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from millrace.cli.options import Yes, confirm
from millrace.cli.output import Format, Output, done, emit, facts, say, table
from millrace.cli.reach import reach
from millrace.errors import InvalidInput
from millrace.schema.limits import GlobalLimit

app = typer.Typer(no_args_is_help=True, help="Limits that `concurrency` and `rate_limit` heed.")
Name = Annotated[str, typer.Argument(help="The limit's name.")]
ActiveSlots = Annotated[int | None, typer.Option("--active-slots", min=0, help="How many are taken.")]
Decay = Annotated[
    float | None,
    typer.Option("--slot-decay-per-second", min=0, help="How many taken slots become free again each second."),
]


@app.command()
def create(
    name: Name,
    limit: Annotated[int, typer.Option("--limit", "-l", min=0, help="How many slots there are.")],
    disable: Annotated[bool, typer.Option("--disable", help="It holds nobody up until it is enabled.")] = False,
    active_slots: ActiveSlots = None,
    slot_decay_per_second: Decay = None,
    output: Output = Format.TEXT,
) -> None:
    """Create a limit."""
    made = reach().create_limit(
        name=name,
        limit=limit,
        active=not disable,
        active_slots=active_slots or 0,
        slot_decay_per_second=slot_decay_per_second or 0.0,
    )
    if output is Format.JSON:
        emit(made)
    else:
        say(f"Created the concurrency limit {name!r}. Use it: with concurrency({name!r}): …")


@app.command("ls")
def list_(output: Output = Format.TEXT) -> None:
    """List all limits, those of tags too."""
    found = reach().read_limits(limit=200)
    if output is Format.JSON:
        emit(found)
        return
    rows = [(one.name, one.active, one.limit, one.active_slots, one.slot_decay_per_second or None) for one in found]
    table(("NAME", "ACTIVE", "LIMIT", "TAKEN", "DECAY/S"), rows, empty="There are no concurrency limits.")


@app.command()
def inspect(name: Name, output: Output = Format.TEXT) -> None:
    """Show a limit, and how many of its slots are taken now."""
    limit = _read(name)
    if output is Format.JSON:
        emit(limit)
        return
    facts(
        {
            "name": limit.name,
            "id": limit.id,
            "active": limit.active,
            "limit": limit.limit,
            "taken": f"{limit.active_slots}",
            "decay per second": limit.slot_decay_per_second or None,
            "created": limit.created,
            "updated": limit.updated,
        }
    )


@app.command()
def update(
    name: Name,
    enable: Annotated[bool, typer.Option("--enable", help="It holds people up.")] = False,
    disable: Annotated[bool, typer.Option("--disable", help="It holds nobody up.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", "-l", min=0, help="How many slots there are.")] = None,
    active_slots: ActiveSlots = None,
    slot_decay_per_second: Decay = None,
    output: Output = Format.TEXT,
) -> None:
    """Change a limit."""
    if enable and disable:
        raise InvalidInput("--enable and --disable contradict each other.")
    said: dict[str, Any] = {
        "active": True if enable else False if disable else None,
        "limit": limit,
        "active_slots": active_slots,
        "slot_decay_per_second": slot_decay_per_second,
    }
    changes = {field: value for field, value in said.items() if value is not None}
    if not changes:
        raise InvalidInput("Nothing to change: give --limit, --active-slots, --slot-decay-per-second, --enable …")
    reach().update_limit(name, **changes)
    done(f"Updated the concurrency limit {name!r}.", _read(name), output)


@app.command()
def enable(name: Name, output: Output = Format.TEXT) -> None:
    """Let a limit hold people up."""
    _switch(name, True, "enabled", output)


@app.command()
def disable(name: Name, output: Output = Format.TEXT) -> None:
    """Let a limit hold nobody up."""
    _switch(name, False, "disabled", output)


def _switch(name: str, active: bool, word: str, output: Format) -> None:
    if _read(name).active is active:
        raise InvalidInput(f"The concurrency limit {name!r} is {word} already.")
    reach().update_limit(name, active=active)
    done(f"The concurrency limit {name!r} is {word}.", _read(name), output)


@app.command()
def delete(name: Name, yes: Yes = False, output: Output = Format.TEXT) -> None:
    """Forget a limit: nobody is held up any more."""
    found = _read(name)
    confirm(f"Delete the concurrency limit {name!r}?", yes)
    reach().delete_limit(name)
    done(f"Deleted the concurrency limit {name!r}.", found, output)


def _read(name: str) -> GlobalLimit:
    return reach().read_limit(name)
