"""Cells as data, and IPython's syntax taken out of them."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from millrace.errors import InvalidInput, NotFound
from millrace.notebooks.cells import Cell, plain, read_cells


def code_of(source: str) -> str:
    return plain(Cell(4, None, source)).code


def test_code_cells_are_numbered_as_a_reader_counts(tmp_path: Path) -> None:
    book = nbformat.v4.new_notebook()
    book.cells = [
        nbformat.v4.new_markdown_cell("# Title"),
        nbformat.v4.new_code_cell("x = 1", metadata={"tags": ["export"]}),
        nbformat.v4.new_code_cell("y = 2", execution_count=7),
    ]
    nbformat.write(book, tmp_path / "book.ipynb")
    first, second = read_cells(tmp_path / "book.ipynb")
    assert (first.index, first.source, first.tags) == (2, "x = 1", frozenset({"export"}))
    assert (second.index, second.execution_count) == (3, 7)
    assert first.cell_id == book.cells[1].id


def test_a_missing_and_a_broken_notebook_have_their_own_errors(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no notebook '.*none\.ipynb'"):
        read_cells(tmp_path / "none.ipynb")
    (tmp_path / "bad.ipynb").write_text("not json")
    with pytest.raises(InvalidInput, match=r"bad\.ipynb' cannot be read as a notebook"):
        read_cells(tmp_path / "bad.ipynb")


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("%matplotlib inline\nx = 1", "pass  # %matplotlib inline\nx = 1"),
        ("!pip install pandas\nx = 1", "pass  # !pip install pandas\nx = 1"),
        ("?len", "pass  # ?len"),
        ("len?", "pass  # len?"),
        ("df.head??", "pass  # df.head??"),
        ("files = !ls *.csv", "files = __millrace_magic__('!ls *.csv')"),
        ("here = %pwd", "here = __millrace_magic__('%pwd')"),
        ("%time y = f(2)", "y = f(2)"),
        ("def f():\n    %time g()\n    return 1", "def f():\n    g()\n    return 1"),
        ("if x:\n    !ls", "if x:\n    pass  # !ls"),
        ("!ls \\\n  -la\nx = 1", "pass  # !ls -la\n\nx = 1"),
        ("%%time\nx = 1", "\nx = 1"),
        ("%%capture out\n%%time\nx = 1", "\n\nx = 1"),
        ("pip install pandas\nimport pandas", "pass  # %pip install pandas\nimport pandas"),
        ("%autoreload 2", "pass  # %autoreload 2"),
    ],
)
def test_magics_are_taken_out_line_by_line(source: str, code: str) -> None:
    assert code_of(source) == code


@pytest.mark.parametrize(
    "source",
    [
        'x = """\n%matplotlib inline\n!ls\n"""',
        "x = (7\n% 3)",
        "x = 7 \\\n% 3",
        "ok = a != b",
        "text = '%d' % 3",
        "why = 1  # really?",
        "ls = [1]\nls",
        "pip = 1\nprint(pip)",
    ],
)
def test_python_that_looks_like_a_magic_is_left_alone(source: str) -> None:
    assert code_of(source) == source


def test_a_flow_cell_keeps_its_line_and_the_place_of_its_body() -> None:
    cell = plain(Cell(4, None, "%%time\n%%flow etl --retries 2\nx = 1"))
    assert (cell.kind, cell.line, cell.code) == ("flow", "etl --retries 2", "\n\nx = 1")


def test_cells_of_other_languages_are_left_out_with_a_note() -> None:
    cell = plain(Cell(4, None, "%%bash\nls"))
    assert (cell.kind, cell.code) == ("other", "")
    assert cell.notes == ("cell 4: a %%bash cell is no Python of this kernel and is left out",)


def test_a_written_file_keeps_its_text() -> None:
    cell = plain(Cell(4, None, "%%writefile helper.py\nX = 1\n!not a magic"))
    assert (cell.kind, cell.line, cell.code) == ("file", "helper.py", "X = 1\n!not a magic\n")


def test_what_is_dropped_is_said() -> None:
    cell = plain(Cell(4, None, "%run setup.py\n%matplotlib inline"))
    assert cell.notes == (
        "cell 4: `%run setup.py` is for the session and is left out",
        "cell 4: `%matplotlib inline` is for the session and is left out",
    )
    assert cell.runs == ("%run setup.py",)


@pytest.mark.parametrize(
    ("cell", "forced"),
    [
        (Cell(1, None, "#| export\nx = 1"), True),
        (Cell(1, None, "x = 1", tags=frozenset({"export"})), True),
        (Cell(1, None, "x = 1"), False),
    ],
)
def test_export_can_be_forced(cell: Cell, forced: bool) -> None:
    assert plain(cell).forced is forced
