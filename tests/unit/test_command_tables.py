"""The tables that commands print, at the widths of people's terminals."""

from __future__ import annotations

import re
import sys
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from millrace.cli import output
from millrace.schema.fields import now
from millrace.schema.states import State, StateType

IDS = [UUID(int=n, version=4) for n in (1, 2)]
DONE = output.state(State(type=StateType.COMPLETED, name="Completed"))
RUNS = ("ID", "FLOW", "NAME", "STATE", "WHEN", "TOOK")
OLD = now() - timedelta(days=3)
LONG = "summarize-the-orders-of-a-quarter"


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def shown(width: int | None, columns: tuple[str, ...], *rows: tuple[object, ...]) -> list[str]:
        """What a terminal so wide shows; None: what a file gets."""
        monkeypatch.setattr(sys.stdout, "isatty", lambda: width is not None)
        monkeypatch.setenv("COLUMNS", str(width or 80))
        monkeypatch.setenv("TERM", "xterm")
        output.table(columns, rows, empty="none")
        said = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)
        return [line.rstrip() for line in said.splitlines()]

    return shown


def test_an_id_without_room_stands_whole_below_its_row(lines: Any) -> None:
    rows = [(IDS[0], "etl", "kind-trout", DONE, OLD, "9 min"), (IDS[1], LONG, "snow", DONE, OLD, "0.1 s")]
    wide = lines(200, RUNS, *rows)
    assert len(wide) == 3 and wide[1].startswith(str(IDS[0])) and LONG in wide[2]
    heading, first, id, second, other = lines(80, RUNS, *rows)
    assert heading.split() == ["FLOW", "NAME", "STATE", "WHEN", "TOOK"]
    assert (id, other) == (f"  {IDS[0]}", f"  {IDS[1]}")
    assert first.split()[:4] == ["etl", "kind-trout", "✓", "Completed"] and first.endswith("(3 d ago)  9 min")
    assert second.startswith("summarize-the") and "…  snow" in second and "✓ Completed" in second
    assert all(len(line) <= 80 for line in (heading, first, id, second, other))


def test_names_stay_whole_where_what_stands_beside_them_can_be_cut(lines: Any) -> None:
    row = (f"{LONG}/nightly", "default", "At 09:00, Monday through Friday (Europe/Oslo)", "active", IDS[0])
    _, line, id = lines(80, ("NAME", "POOL", "SCHEDULES", "", "ID"), row)
    assert line.startswith(f"{LONG}/nightly  default  At 09:00") and line.endswith("…  active")
    assert id.strip() == str(IDS[0])


def test_values_are_folded_and_names_are_not(lines: Any) -> None:
    found = lines(40, ("NAME", "VALUE"), ("n" * 30, "one two three four five six seven eight nine"))
    assert found[1].startswith("nnn") and found[1].count("…") == 1
    assert " ".join(" ".join(line.split()[-9:]) for line in found).count("nine") == 1 and len(found) > 2


def test_a_row_is_one_line_however_a_name_is_written(lines: Any) -> None:
    found = lines(60, ("NAME", "ID"), ("[bold]two\nlines" * 3, IDS[0]))
    assert len(found) == 3 and found[1].startswith("[bold]two lines[bold]two")


def test_a_narrow_screen_cuts_all_columns_alike(lines: Any) -> None:
    _, line, id = lines(44, RUNS, (IDS[0], LONG, "kind-trout", DONE, OLD, "9 min"))
    assert id.strip() == str(IDS[0]) and "summ" in line and "kind" in line and len(line) <= 44


def test_a_file_gets_all_of_it(lines: Any) -> None:
    row = (f"{LONG}/nightly" * 5, "default", "At 09:00, Monday through Friday (Europe/Oslo); " * 5, "active", IDS[0])
    _, line = lines(None, ("NAME", "POOL", "SCHEDULES", "", "ID"), row)
    assert row[0] in line and row[2].rstrip() in line and line.endswith(str(IDS[0])) and "…" not in line
