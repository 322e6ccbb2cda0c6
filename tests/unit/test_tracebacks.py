"""What people see of an exception: their own lines."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from millrace import entrypoints
from millrace.engine import tracebacks
from millrace.errors import CellFailed, MillraceError


def loaded(place: Path, text: str) -> str:
    (place / "etl.py").write_text(text)
    with pytest.raises(MillraceError) as caught:
        entrypoints.load("etl.py:job", place)
    return tracebacks.of_user(caught.value.with_traceback(caught.tb.tb_next))


def test_of_code_that_cannot_be_loaded_the_lines_of_its_file_are_shown(tmp_path: Path) -> None:
    said = loaded(tmp_path, "def read():\n    return 1 / 0\nread()\n")
    lines = said.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert 'etl.py", line 3, in <module>' in lines[1] and 'etl.py", line 2, in read' in said
    assert "ZeroDivisionError: division by zero" in lines
    assert "millrace/entrypoints.py" not in said and "<frozen" not in said and said.count("Traceback") == 1
    assert len(lines) < 10


def test_where_there_is_no_line_of_the_user_there_is_the_message_alone(tmp_path: Path) -> None:
    said = loaded(tmp_path, "def other(): ...\n")
    assert "Traceback" not in said and "job" in said and len(said.splitlines()) == 1


def test_a_failed_cell_is_logged_without_what_ran_the_notebook(caplog: pytest.LogCaptureFixture) -> None:
    namespace: dict[str, object] = {"CellFailed": CellFailed}
    text = "def ours(): raise CellFailed(3, 'ValueError', 'no rows')"
    exec(compile(text, f"{tracebacks._PACKAGE}/notebooks/flow.py", "exec"), namespace)
    with pytest.raises(CellFailed) as caught:
        namespace["ours"]()  # type: ignore[operator]
    error = caught.value.with_traceback(caught.tb.tb_next)
    tracebacks.log_failure(logging.getLogger("told"), "Raised", error)
    assert [record.getMessage() for record in caplog.records] == [
        "Raised:\nmillrace.errors.CellFailed: cell 3 failed with ValueError: no rows"
    ]
