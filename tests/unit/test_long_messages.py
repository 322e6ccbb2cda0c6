"""What a terminal shows of messages that are longer than anybody reads."""

from __future__ import annotations

import pytest

from millrace.cli.watch import shortened

COMMAND = "millrace flow-run logs ID"


@pytest.mark.parametrize(
    "text", ["", "short", "a\nb", "x" * 400, "\n".join("ab" * 20), "long line\n" * 39, "two\r\nlines\n"]
)
def test_what_is_not_too_long_stays_as_it_is(text: str) -> None:
    assert shortened(text, (40, 400), COMMAND) == text


def test_of_many_lines_the_first_and_the_last_are_shown_and_where_the_others_are() -> None:
    text = "\n".join(f"line {n}" for n in range(300))
    shown = shortened(text, (6, 400), COMMAND).splitlines()
    assert shown == ["line 0", "line 1", "line 2", f"… 294 lines more: {COMMAND} …", "line 297", "line 298", "line 299"]


@pytest.mark.parametrize("text", ["abc" * 5000, "\n".join(["y" * 300] * 50), "z" * 3000 + "\nend"])
def test_of_long_lines_the_begin_and_the_end_are_shown(text: str) -> None:
    shown = shortened(text, (40, 1000), COMMAND)
    assert len(shown) < 1100 and f"… {len(text) - 1000} characters more: {COMMAND} …" in shown
    assert shown.startswith(text[:500]) and shown.endswith(text[-500:])
