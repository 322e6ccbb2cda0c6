"""What commands print: tables for people, or the JSON of the wire for programs. Only results go to stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from millrace.schema.fields import now
from millrace.schema.states import State, StateType

WIDE = 200  # columns where nobody looks at a screen, so that nothing is cut off


_ID, _ENDLESS = "ID", 100_000
_LEAST = 16  # columns that are left of a text, at least, so that the names beside it are whole
_NAMES = frozenset({"NAME", "FLOW", "RUN", "TASK", "TASK RUN", "DEPLOYMENT", "WORKER", "POOL", "QUEUE", "KEY", "TAG"})


class Format(StrEnum):
    """For people or for programs."""

    TEXT = "text"
    JSON = "json"


Output = Annotated[Format, typer.Option("--output", "-o", help="text for people, json for programs.")]

_LOOKS = MappingProxyType(
    {
        StateType.SCHEDULED: ("◷", "yellow"),
        StateType.PENDING: ("…", "yellow"),
        StateType.RUNNING: ("▶", "blue"),
        StateType.COMPLETED: ("✓", "green"),
        StateType.FAILED: ("✗", "red"),
        StateType.CRASHED: ("✗", "red"),
        StateType.CANCELLING: ("◌", "magenta"),
        StateType.CANCELLED: ("⊘", "magenta"),
        StateType.PAUSED: ("⏸", "yellow"),
    }
)


def console() -> Console:
    """Standard output."""
    return Console(width=None if sys.stdout.isatty() else WIDE, highlight=False)


def emit(value: Any) -> None:
    """Prints JSON: a model, a list of models, or plain values.

    Args:
        value: what to print.
    """
    print(json.dumps(_plain(value), indent=2, ensure_ascii=False))


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(entry) for entry in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def say(text: str | Text) -> None:
    """Prints a line for people; brackets in it are text."""
    console().print(text if isinstance(text, Text) else Text(text), soft_wrap=True)


def done(text: str, value: Any, output: Format) -> None:
    """Tells that something was done: a line for people, for programs the thing as it is now.

    Args:
        text: the line.
        value: the thing; of what was deleted, as it was last.
        output: for whom.
    """
    if output is Format.JSON:
        emit(value)
    else:
        say(text)


def note(text: str) -> None:
    """Says something beside the result, on stderr."""
    print(text, file=sys.stderr, flush=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Prints a table, one line for each row where it has ids or fits; then names that are too long end in an ellipsis.

    Ids are there to be copied. Where there is no room for them beside the rest, each stands whole in a line below.
    Where nobody looks at a screen nothing is cut.

    Args:
        columns: the headings.
        rows: the cells; text is shown as it is.
        empty: what to say if there are no rows.
    """
    found = [list(row) for row in rows]
    if not found:
        say(empty)
        return
    screen, place = console(), columns.index(_ID) if _ID in columns else None
    whole = _grid(columns, found, one_line=place is not None)
    needed = screen.measure(whole, options=screen.options.update_width(_ENDLESS)).maximum
    if not sys.stdout.isatty():
        screen.width = max(screen.width, needed)
    if place is None or needed <= screen.width:
        screen.print(whole)
        return
    ids = [str(row.pop(place)) for row in found]
    with screen.capture() as drawn:
        screen.print(_grid([name for name in columns if name != _ID], found, one_line=True))
    heading, *lines = drawn.get().splitlines()
    print(heading)
    for line, id in zip(lines, ids, strict=True):
        print(line)
        screen.print(Text(f"  {id}", style="dim"), soft_wrap=True)


def _grid(columns: Sequence[str], rows: list[list[object]], *, one_line: bool) -> Table:
    cut = {name for name in columns if one_line or name in _NAMES}
    cells = [[_cell(value, name in cut) for name, value in zip(columns, row, strict=True)] for row in rows]
    widths = {name: max(line[n].cell_len for line in cells) for n, name in enumerate(columns)}
    grid = Table(box=None, pad_edge=False, header_style="bold")
    rigid = _rigid(columns, rows, widths) if one_line else set()
    for name in columns:
        grid.add_column(name, overflow="ellipsis" if name in cut else "fold", no_wrap=name in rigid)
    for line in cells:
        grid.add_row(*line)
    return grid


def _rigid(columns: Sequence[str], rows: list[list[object]], widths: Mapping[str, int]) -> set[str]:
    """The columns that stay whole, so that others are cut."""
    room = console().width - 2 * len(columns)
    # what is no plain text (a state, a moment, a number, an id) is short, and no use without its end
    short = {name for n, name in enumerate(columns) if not any(isinstance(row[n], str | dict | list) for row in rows)}
    least = sum(width if name in short | _NAMES else min(width, _LEAST) for name, width in widths.items())
    if least <= room:
        return short | _NAMES
    return short if sum(widths[name] for name in short) * 4 <= room * 3 else set()


def _cell(value: object, one_line: bool) -> Text:
    cell = value.copy() if isinstance(value, Text) else Text(_shown(value, brief=True))
    if one_line:
        cell = Text(" ").join(cell.split("\n"))
        cell.no_wrap, cell.overflow = True, "ellipsis"
    return cell


def facts(entries: Mapping[str, object]) -> None:
    """Prints names and values, one a line; what is None or empty is left out.

    Args:
        entries: the names and values.
    """
    grid = Table(box=None, pad_edge=False, show_header=False)
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    for name, value in entries.items():
        if value is None or value == [] or value == {} or value == "":
            continue
        grid.add_row(Text(name), value if isinstance(value, Text) else Text(_shown(value)))
    console().print(grid)


def _shown(value: object, *, brief: bool = False) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return when(value, brief=brief)
    if isinstance(value, dict | list):
        return json.dumps(_plain(value), ensure_ascii=False)
    return str(value)


def state(value: State | None) -> Text:
    """A state as an icon and its word.

    Args:
        value: the state.
    """
    if value is None:
        return Text("")
    icon, colour = _LOOKS[value.type]
    return Text(f"{icon} {value.name}", style=colour)


def when(moment: datetime | None, *, brief: bool = False) -> str:
    """A moment in the local zone, and how far it is.

    Args:
        moment: an aware datetime; None: nothing is shown.
        brief: leave out the zone, and the day if it is today.
    """
    if moment is None:
        return ""
    seconds = (moment - now()).total_seconds()
    far = f"in {span(seconds)}" if seconds > 0 else f"{span(-seconds)} ago"
    local = moment.astimezone()
    if brief:
        return (
            f"{local:%H:%M:%S} ({far})"
            if local.date() == now().astimezone().date()
            else f"{local:%Y-%m-%d %H:%M} ({far})"
        )
    return f"{local:%Y-%m-%d %H:%M:%S %Z} ({far})"


def stamp(moment: datetime) -> str:
    """A moment to the minute, in UTC, as schedules and backfills mean it.

    Args:
        moment: an aware datetime.

    Example:
        >>> stamp(datetime(2026, 3, 1, 3, 30, tzinfo=UTC))
        '2026-03-01 03:30 UTC'
    """
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def span(seconds: float) -> str:
    """A length of time in its largest fitting unit.

    Example:
        >>> span(7300)
        '2 h'
    """
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 1 or seconds == 0 else f"{seconds:.1f} s"
