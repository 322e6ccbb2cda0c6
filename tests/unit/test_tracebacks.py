"""What people see of an exception: their own lines."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from importlib import import_module
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
    assert len(lines) < 12


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


# -- the place in a line


def raised_by(act: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as caught:
        act()
    return caught.value.with_traceback(caught.tb.tb_next)


def here(text: str) -> str:
    numbers = [number for number, line in enumerate(Path(__file__).read_text().splitlines(), 1) if text in line]
    return f" ({Path(__file__).name}:{numbers[0]})"


def test_the_place_is_the_users_line_and_not_that_of_a_library() -> None:
    assert tracebacks.in_a_line(raised_by(lambda: json.loads("{mine"))).endswith(here('loads("{mine"'))
    level = raised_by(lambda: logging.getLogger("some").setLevel("Loud"))
    assert tracebacks.in_a_line(level).endswith(here('setLevel("Loud")'))


def test_an_exception_without_a_text_is_its_class_and_place() -> None:
    def leaves() -> None:
        raise KeyError

    assert tracebacks.in_a_line(raised_by(leaves)) == "KeyError" + here("    raise KeyError")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two packages in a site-packages: one calls the other."""
    site = tmp_path / "site-packages"
    for name, text in {
        "acme_flows/__init__.py": "from tablelib import parse\ndef start():\n    raise ValueError('at once')\n",
        "acme_flows/steps.py": "import tablelib\n\ndef read(text):\n    return tablelib.parse(text)\n",
        "tablelib.py": "def parse(text):\n    raise ValueError(text)\n",
    }.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    monkeypatch.syspath_prepend(site)
    for name in ("acme_flows", "acme_flows.steps", "tablelib"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_code_of_an_installed_package_is_the_users_where_nothing_else_is(installed: None) -> None:
    acme_flows, steps = import_module("acme_flows"), import_module("acme_flows.steps")

    def place(error: Exception) -> str:
        while error.__traceback__ and error.__traceback__.tb_frame.f_code.co_filename == __file__:
            error = error.with_traceback(error.__traceback__.tb_next)
        return tracebacks.in_a_line(error)

    assert place(raised_by(lambda: steps.read("bad"))) == "ValueError: bad (steps.py:4)"
    assert place(raised_by(acme_flows.start)) == "ValueError: at once (acme_flows/__init__.py:3)"
    # called by code that is not installed, the line is that of the caller
    assert tracebacks.in_a_line(raised_by(lambda: steps.read("good"))).endswith(here('steps.read("good")'))


def logged(error: BaseException, caplog: pytest.LogCaptureFixture) -> str:
    caplog.clear()
    tracebacks.log_failure(logging.getLogger("told"), "Raised", error)
    return caplog.records[0].getMessage()


def test_what_led_to_an_exception_is_logged_with_it(caplog: pytest.LogCaptureFixture) -> None:
    def parses() -> None:
        try:
            int("x")
        except ValueError as error:
            raise LookupError("no number") from error

    text = logged(raised_by(parses), caplog)
    first, _, second = text.partition("The above exception was the direct cause of the following exception:")
    assert 'int("x")' in first and "ValueError: invalid literal" in first
    assert "raise LookupError" in second and second.endswith("LookupError: no number")

    def group() -> None:
        raise ExceptionGroup("two", [raised_by(lambda: int("y")), KeyError("z")])

    text = logged(raised_by(group), caplog)
    assert 'int("y")' in text and "KeyError: 'z'" in text


def test_what_the_engine_met_on_its_way_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    namespace: dict[str, object] = {}
    text = "def ours(act):\n    try: raise EOFError('of the pipe')\n    except EOFError: act()\n"
    exec(compile(text, f"{tracebacks._PACKAGE}/engine/pipe.py", "exec"), namespace)
    called: Callable[[Callable[[], object]], object] = namespace["ours"]  # type: ignore[assignment]
    told = logged(raised_by(lambda: called(lambda: int("w"))), caplog)
    assert "EOFError" not in told and 'int("w")' in told and told.count("Traceback") == 1
