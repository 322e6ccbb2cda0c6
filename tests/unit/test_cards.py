"""The static cards: what a saved notebook shows. No text of a run becomes markup."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

from millrace.jupyter.display import chip, duration, facts_card, run_card, run_text, state_text, table
from millrace.jupyter.view import Line, Row, RunView, Waiting
from millrace.schema.states import StateType

START = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
HOSTILE = '<img src=x onerror="alert(1)"></td></div><script>alert(2)</script>&amp;'


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not [name for name, _ in attrs if name.startswith("on")]
        self.seen.add(tag)
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def hostile_view() -> RunView:
    view = RunView(HOSTILE, HOSTILE, HOSTILE, HOSTILE, StateType.FAILED, HOSTILE, start=START, end=START)
    view.rows["a"] = Row("a", "task", HOSTILE, HOSTILE, detail=HOSTILE)
    view.lines.append(Line(1, START, HOSTILE, HOSTILE))
    view.waiting = Waiting(HOSTILE, HOSTILE)
    return view


def test_hostile_texts_stay_texts() -> None:
    for text in (
        run_card(hostile_view(), trouble=HOSTILE),
        facts_card(HOSTILE, {HOSTILE: HOSTILE}),
        chip(HOSTILE),
        table([HOSTILE], []),
    ):
        tags = Tags(text)
        assert not tags.open
        assert not tags.seen & {"script", "img"}
        assert HOSTILE in tags.words


def test_a_run_that_goes_on_says_as_of_when() -> None:
    view = RunView("0d9e", "etl", "amber-heron", "Running", StateType.RUNNING, start=START)
    card = run_card(view, START + timedelta(seconds=75))
    assert "1 min 15 s" in card and "as of 09:01:15 UTC" in card and "%millrace watch 0d9e" in card


def test_the_cause_stands_above_and_only_the_last_lines_and_rows() -> None:
    view = RunView("1", "etl", "x", "Failed", StateType.FAILED, "ValueError: no data", start=START, end=START)
    for number in range(60):
        view.rows[str(number)] = Row(str(number), "task", f"task-{number}", "Completed")
        view.lines.append(Line(number, START, "INFO", f"line {number}."))
    words = Tags(run_card(view)).words
    assert words.index("no data") < words.index("task-59")
    assert "30 older ones not shown" in words and "task-29" not in words
    assert "last 50 log lines" in words and "line 9." not in words and "line 10." in words


def test_texts() -> None:
    view = RunView("1", "etl", "x", "Failed", StateType.FAILED, "no data", start=START, end=START)
    assert run_text(view) == "etl / x: Failed after 0.0 s: no data"
    assert state_text("Completed") == "✔ Completed" and state_text("Odd") == "? Odd"
    assert [duration(s) for s in (None, 2.25, 61, 7260)] == ["", "2.2 s", "1 min 01 s", "2 h 01 min"]
