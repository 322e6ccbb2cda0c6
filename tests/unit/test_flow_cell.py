"""The `%%flow` line and the three forms of its cell."""

from __future__ import annotations

import asyncio
import inspect
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from millrace.errors import ClosureError, InvalidInput
from millrace.notebooks.flow_cell import FlowCell, parse_flow_cell
from millrace.notebooks.flow_line import parse_flow_line


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """A stand-in for the package, so that these tests are about the generated code alone."""
    module = types.ModuleType("millrace")

    def mark(function: Callable[..., Any] | None = None, **options: Any) -> Any:
        if function is None:
            return lambda inner: mark(inner, **options)
        function.options = options  # type: ignore[attr-defined]
        return function

    module.flow = module.task = mark  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "millrace", module)
    yield module


def run(cell: FlowCell) -> dict[str, Any]:
    """The namespace after executing the cell's tree; the source must mean the same."""
    namespace: dict[str, Any] = {"__name__": "cell"}
    exec(compile(cell.module, "<cell>", "exec", dont_inherit=True), namespace)
    exec(compile(cell.source, "<source>", "exec", dont_inherit=True), {"__name__": "cell"})
    return namespace


class TestLine:
    def test_every_option(self) -> None:
        line = (
            "%%flow etl --name 'my etl' --version 2 --description \"a b\" --retries 3 --retry-delay-seconds 1.5 "
            "--timeout-seconds 60 --log-prints --flow-run-name x --no-validate-parameters --persist-result"
        )
        assert parse_flow_line(line) == (
            "etl",
            {
                "name": "my etl",
                "version": "2",
                "description": "a b",
                "retries": 3,
                "retry_delay_seconds": 1.5,
                "timeout_seconds": 60.0,
                "log_prints": True,
                "flow_run_name": "x",
                "validate_parameters": False,
                "persist_result": True,
            },
        )

    @pytest.mark.parametrize("line", ["etl --retries=2", "--retries 2 etl", "%%flow etl --retries 2"])
    def test_spellings(self, line: str) -> None:
        assert parse_flow_line(line) == ("etl", {"retries": 2})

    def test_nothing(self) -> None:
        assert parse_flow_line("%%flow") == (None, {})

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("etl --retrys 2", "%%flow has no option --retrys. Did you mean --retries"),
            ("--help", "%%flow takes a name and options, and"),
            ("etl --colour red", "%%flow has no option --colour. It has --name, "),
            ("etl --retries two", "%%flow: --retries needs a whole number, 0 or more, not 'two'."),
            ("etl --retries -1", "%%flow: --retries needs a whole number, 0 or more, not '-1'."),
            ("etl --timeout-seconds nan", "%%flow: --timeout-seconds needs a number of seconds, 0 or more, not 'nan'."),
            ("etl --retries", "%%flow: --retries needs a whole number, 0 or more."),
            ("etl daily", "%%flow takes one name, not 2 (etl, daily)"),
            ("etl --name 'x", "No closing quotation. Close the quotes."),
            ("etl --log-prints=maybe", "%%flow: write --log-prints or --no-log-prints, not --log-prints=maybe."),
        ],
    )
    def test_errors(self, line: str, message: str) -> None:
        with pytest.raises(InvalidInput) as error:
            parse_flow_line(line)
        assert message in str(error.value)


class TestDecorated:
    def test_the_decorated_function_is_the_flow(self, marked: types.ModuleType) -> None:
        cell = parse_flow_cell("from millrace import flow\ndef helper(): return 1\n@flow\ndef etl(): return helper()\n")
        assert (cell.name, cell.form) == ("etl", "decorated")
        assert run(cell)["etl"]() == 1

    @pytest.mark.parametrize(
        "decorator",
        [
            "@flow",
            "@flow()",
            "@flow(log_prints=True)",
            "@flow(\n  log_prints=True,\n)",
            "@flow(log_prints=True, )",
            "@m.flow",
        ],
    )
    def test_options_of_the_line_join_those_of_the_decorator(self, decorator: str, marked: types.ModuleType) -> None:
        code = f"from millrace import flow\nimport millrace as m\n{decorator}\ndef etl(): return 1\n"
        cell = parse_flow_cell(code, "etl", {"retries": 2})
        options = run(cell)["etl"].options
        assert options.pop("retries") == 2
        assert options in ({}, {"log_prints": True})

    def test_an_option_given_twice_is_refused(self) -> None:
        with pytest.raises(InvalidInput, match="retries is given on the %%flow line and in the decorator of etl"):
            parse_flow_cell("@flow(retries=1)\ndef etl(): pass", "etl", {"retries": 2})

    def test_the_named_one_of_several(self) -> None:
        assert parse_flow_cell("@flow\ndef a(): pass\n@flow\ndef b(): pass", "a").name == "a"
        assert parse_flow_cell("@flow\ndef a(): pass\n@flow\ndef b(): pass").name == "b"

    def test_another_name_is_a_second_variable(self, marked: types.ModuleType) -> None:
        cell = parse_flow_cell("from millrace import flow\n@flow\ndef etl(): return 5", "nightly")
        assert (cell.name, cell.function) == ("nightly", "etl")
        assert run(cell)["nightly"].options == {"name": "nightly"}


class TestUndecorated:
    def test_the_last_function_becomes_the_flow(self, marked: types.ModuleType) -> None:
        code = "from __future__ import annotations\ndef two(): return 2\n\n# the flow\ndef etl(n=1): return two() * n\n"
        cell = parse_flow_cell(code, "etl", {"retries": 1})
        assert cell.form == "function"
        assert run(cell)["etl"](n=4) == 8
        assert run(cell)["etl"].options == {"name": "etl", "retries": 1}
        assert cell.source.startswith("from __future__ import annotations\nimport millrace\n")

    def test_tasks_are_not_taken_for_the_flow(self) -> None:
        assert parse_flow_cell("def etl(): pass\n@task\ndef load(): pass").name == "etl"

    def test_a_call_below_does_not_make_it_a_plain_body_when_the_name_fits(self) -> None:
        assert parse_flow_cell("def etl(): return 1\netl()", "etl").form == "function"

    def test_an_async_function(self, marked: types.ModuleType) -> None:
        cell = parse_flow_cell("async def etl(): return 3")
        assert asyncio.run(run(cell)["etl"]()) == 3


class TestPlainBody:
    def test_parameters_and_result(self, marked: types.ModuleType) -> None:
        code = "day: str\nrows = 3  # how many\nrate: float = 1\nnothing = None\ntotal = rows * rate\n(day,\n total)"
        etl = run(parse_flow_cell(code, "etl"))["etl"]
        assert str(inspect.signature(etl)) == "(day: str, rows: int = 3, rate: float = 1, nothing=None)"
        assert etl("mon", rows=5) == ("mon", 5)
        assert "    rows: int = 3,  # how many\n" in parse_flow_cell(code, "etl").source

    def test_parameters_end_at_the_first_other_statement(self, marked: types.ModuleType) -> None:
        etl = run(parse_flow_cell("a = 1\nb = a + 1\nc = 3\nb + c", "etl"))["etl"]
        assert str(inspect.signature(etl)) == "(a: int = 1)"
        assert etl(2) == 6

    def test_a_default_that_uses_a_parameter_is_part_of_the_body(self, marked: types.ModuleType) -> None:
        etl = run(parse_flow_cell("a: int = 1\nb: int = a + 1\nb", "etl"))["etl"]
        assert list(inspect.signature(etl).parameters) == ["a"]
        assert etl(4) == 5

    def test_a_container_is_fresh_in_every_run(self, marked: types.ModuleType) -> None:
        etl = run(parse_flow_cell("items = [\n  1,\n]\nitems.append(2)\nlen(items)", "etl"))["etl"]
        assert (etl(), etl()) == (2, 2)

    def test_tasks_and_helpers_move_to_the_module_unless_they_use_the_body(self, marked: types.ModuleType) -> None:
        code = (
            "import math\nfrom millrace import task\n\n@task\ndef double(x): return 2 * x\nrows = 3\n"
            "def scaled(x): return x * rows\ndef other(x): return scaled(x)\ndouble(rows) + other(1) + math.floor(1.5)"
        )
        namespace = run(parse_flow_cell(code, "etl"))
        assert "double" in namespace and "math" in namespace
        assert "scaled" not in namespace and "other" not in namespace
        assert namespace["etl"]() == 10

    def test_texts_over_several_lines_are_not_indented(self, marked: types.ModuleType) -> None:
        code = "n = 1\ntext = '''a\n b\n'''\nmore = f'''x\n{n}\n'''\ntext + more"
        assert run(parse_flow_cell(code, "etl"))["etl"]() == "a\n b\nx\n1\n"

    def test_await_makes_it_async(self, marked: types.ModuleType) -> None:
        code = "import asyncio\nn = 2\nawait asyncio.sleep(0)\nn"
        assert asyncio.run(run(parse_flow_cell(code, "etl"))["etl"]()) == 2

    def test_a_docstring_and_an_early_return(self, marked: types.ModuleType) -> None:
        etl = run(parse_flow_cell('"""What it does."""\nn = 1\nif n > 5:\n    return "big"\n"small"', "etl"))["etl"]
        assert (etl.__doc__, etl(9), etl(1)) == ("What it does.", "big", "small")

    def test_without_an_expression_there_is_no_result(self, marked: types.ModuleType) -> None:
        assert run(parse_flow_cell("x = 1\ny = x", "etl"))["etl"]() is None

    def test_semicolons(self, marked: types.ModuleType) -> None:
        assert run(parse_flow_cell("a = 1; b = a + 1; b", "etl"))["etl"](3) == 4

    def test_a_name_that_is_no_python_name(self, marked: types.ModuleType) -> None:
        cell = parse_flow_cell("1 + 1", "daily report")
        assert cell.name == "daily_report"
        assert run(cell)["daily_report"].options == {"name": "daily report"}

    def test_magics_in_the_body_are_taken_out(self, marked: types.ModuleType) -> None:
        assert run(parse_flow_cell("%matplotlib inline\nn = 1\n!ls\nn", "etl"))["etl"]() == 1

    @pytest.mark.parametrize(
        ("code", "name", "error", "message"),
        [
            ("1 + 1", None, InvalidInput, "needs a name: %%flow NAME"),
            ("", "etl", InvalidInput, "is empty"),
            ("@task\ndef a(): pass", "etl", InvalidInput, "holds tasks but no flow"),
            ("files = !ls\nfiles", "etl", ClosureError, "The flow etl makes files with `!ls` (line 1"),
        ],
    )
    def test_errors(self, code: str, name: str | None, error: type[Exception], message: str) -> None:
        with pytest.raises(error) as found:
            parse_flow_cell(code, name)
        assert message in str(found.value)


def test_tracebacks_show_the_lines_of_the_cell(marked: types.ModuleType) -> None:
    cell = parse_flow_cell("n = 0\nx = 1\n\n1 / n", "etl", first_line_number=2)
    try:
        run(cell)["etl"]()
    except ZeroDivisionError as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        assert (frame.filename, frame.lineno, frame.name) == ("<cell>", 5, "etl")
    else:
        pytest.fail("no error")


def test_a_syntax_error_has_the_line_of_the_cell() -> None:
    with pytest.raises(SyntaxError) as error:
        parse_flow_cell("x = 1\ny = = 2", "etl", first_line_number=2)
    assert error.value.lineno == 3
