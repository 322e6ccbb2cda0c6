"""Exported flows in a clean process in another directory."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from millrace.errors import PreflightFailed
from millrace.notebooks.cells import Cell
from millrace.notebooks.check import CheckReport, check_clean_process, check_exported
from millrace.notebooks.closure import find_closure
from millrace.notebooks.export import export_module, export_notebook


def check(directory: Path, *sources: str, flow: str = "etl", **options: object) -> CheckReport:
    cells = [Cell(number, None, source) for number, source in enumerate(sources, start=1)]
    exported = export_module(find_closure(cells, flow, directory=directory), directory / "out")
    return check_exported(exported, **options)  # type: ignore[arg-type]


def test_the_same_value_in_a_clean_process(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("def half(x): return x / 2")
    sources = ("from helper import half", "K = [4, 6]", "def etl(n=1): return {'v': [half(k) * n for k in K]}")
    report = check(tmp_path, *sources, parameters={"n": 2}, call=True, expected={"v": [4.0, 6.0]})
    assert (report.ok, report.same, report.value_repr) == (True, True, "{'v': [4.0, 6.0]}")
    report = check(tmp_path, *sources, call=True, expected={"v": []})
    assert (report.ok, report.same) == (False, False)
    with pytest.raises(PreflightFailed, match=r"gave \{'v': \[2\.0, 3\.0\]\} in a clean process, not"):
        report.require()


def test_an_import_alone_calls_nothing(tmp_path: Path) -> None:
    report = check(tmp_path, "def etl(): raise RuntimeError('called')")
    assert (report.ok, report.value_repr, report.same) == (True, None, None)
    report.require()


def test_a_missing_package_is_named_with_its_cell(tmp_path: Path) -> None:
    report = check(tmp_path, "x = 1", "def etl():\n    import not_there_at_all\n", call=True)
    assert (report.ok, report.error_type, report.cell) == (False, "ModuleNotFoundError", 2)
    assert report.message.startswith(
        "etl_flows.py:etl: the module 'not_there_at_all' is missing in a clean process in cell 2."
    )


def test_a_failing_statement_is_named_with_its_cell(tmp_path: Path) -> None:
    report = check(tmp_path, "def etl():\n    return 1 / 0", call=True)
    assert (report.error_type, report.cell) == ("ZeroDivisionError", 1)
    assert "failed in a clean process in cell 1 with ZeroDivisionError: division by zero" in report.message


def test_an_undefined_name(tmp_path: Path) -> None:
    (tmp_path / "bad_flows.py").write_text("def etl(): return nowhere\n")
    report = check_clean_process(tmp_path, "bad_flows.py:etl", call=True, origins=[(1, 7)])
    assert report.message.startswith(
        "bad_flows.py:etl: the name 'nowhere' is not defined in cell 7 in a clean process."
    )


def test_the_environment_of_this_process_does_not_help(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "only_here.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hidden"))
    monkeypatch.chdir(tmp_path / "hidden")
    report = check(tmp_path, "def etl():\n    import only_here", call=True)
    assert report.error_type == "ModuleNotFoundError"


def test_carried_data_is_found_in_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("1,2")
    closure = find_closure([Cell(1, None, "def etl(): return open('rows.csv').read()")], "etl", directory=tmp_path)
    report = check_exported(export_module(closure, tmp_path / "out", carry=["rows.csv"]), call=True, expected="1,2")
    assert report.ok
    assert not check_exported(export_module(closure, tmp_path / "bare"), call=True).ok


def test_an_async_flow(tmp_path: Path) -> None:
    assert check(tmp_path, "async def etl(): return (1, {2})", call=True, expected=(1, {2})).ok


@pytest.mark.parametrize(
    ("source", "kind"),
    [("import os\ndef etl(): os._exit(3)", "ProcessDied"), ("def etl(): raise SystemExit(0)", "SystemExit")],
)
def test_a_process_that_ends_itself(tmp_path: Path, source: str, kind: str) -> None:
    report = check(tmp_path, source, call=True)
    assert (report.ok, report.error_type) == (False, kind)


def test_a_process_that_does_not_end(tmp_path: Path) -> None:
    report = check(tmp_path, "import time\ndef etl(): time.sleep(60)", call=True, timeout=2.0)
    assert (report.ok, report.error_type) == (False, "TimeoutExpired")


def test_a_notebook_with_a_flow_cell(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("def half(x): return x / 2")
    book = nbformat.v4.new_notebook()
    book.cells = [
        nbformat.v4.new_code_cell(source)
        for source in (
            "%load_ext millrace\n%matplotlib inline\nfrom helper import half\nimport math",
            "RATES = {'a': 2}\nRATES['b'] = 3",
            "def rate(name):\n    return RATES[name]",
            "%%time\n%%flow etl --retries 1 --log-prints\nname: str = 'a'\nrows = 4\nvalue = half(rows) * rate(name)\n"
            "print(value)\n{'value': math.floor(value)}",
            "etl()",
        )
    ]
    nbformat.write(book, tmp_path / "book.ipynb")
    exported = export_notebook(tmp_path / "book.ipynb", "etl", tmp_path / "out")
    report = check_exported(exported, {"name": "b"}, call=True, expected={"value": 6})
    assert report.ok, report.message


def test_a_check_starts_no_server_and_leaves_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path / "home"))
    report = check(
        tmp_path,
        "from millrace import flow, task\n@task\ndef double(x):\n    print('seen')\n    return 2 * x",
        "@flow\ndef etl(n: int = 2):\n    return double(n)",
        call=True,
        expected=4,
    )
    assert (report.ok, report.output) == (True, "seen\n")
    assert not (tmp_path / "home").exists()
