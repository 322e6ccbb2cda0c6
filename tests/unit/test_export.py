"""The exported module: verbatim, the same bytes every time, with everything that belongs to it."""

from __future__ import annotations

import ast
from pathlib import Path

import nbformat
import pytest

from millrace.errors import AlreadyExists, ClosureError, InvalidInput, MissingFlow
from millrace.notebooks.cells import Cell
from millrace.notebooks.closure import find_closure
from millrace.notebooks.export import export_module, export_notebook, module_text, version_hash

SOURCES = (
    "%matplotlib inline\nimport math, json\nfrom millrace import flow, task",
    "# rows a day\nLIMIT = 3  # at most\n\nNAMES = ['a',   'b']",
    "@task\n# the doubling\ndef double(x):\n    '''Twice.'''\n    return 2*x   # odd  spacing\n",
    "%%time\n%%flow etl --retries 2\nrows: int = 3\nmath.floor(double(min(rows, LIMIT))), NAMES",
    "etl()",
)


def book(*sources: str) -> list[Cell]:
    return [Cell(number, None, source) for number, source in enumerate(sources, start=1)]


def write_book(path: Path, *sources: str) -> Path:
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(notebook, path)
    return path


def test_an_import_of_everything_stays_an_import_of_its_own() -> None:
    cells = book(
        "from math import floor", "from math import *", "from math import ceil", "def f(x): return floor(ceil(sqrt(x)))"
    )
    text = module_text(find_closure(cells, "f")).text
    assert "from math import floor\nfrom math import *\nfrom math import ceil\n" in text
    cells = book(
        "from os.path import join", "from math import *", "from os.path import split", "def f(): join, split, e"
    )
    assert text_between(module_text(find_closure(cells, "f")).text) == [
        "from os.path import join",
        "from math import *",
        "from os.path import split",
    ]


def text_between(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("from ")]


def test_the_module_is_what_the_user_wrote() -> None:
    assert module_text(find_closure(book(*SOURCES), "etl")).text == (
        "# Exported by Millrace from a notebook: the flow etl and what it needs.\n"
        "# Change the notebook and export again.\n"
        "\n"
        "import math\n"
        "from millrace import task\n"
        "import millrace\n"
        "\n"
        "\n"
        "# %%\n"
        "# rows a day\n"
        "LIMIT = 3  # at most\n"
        "NAMES = ['a',   'b']\n"
        "\n"
        "\n"
        "# %%\n"
        "@task\n"
        "# the doubling\n"
        "def double(x):\n"
        "    '''Twice.'''\n"
        "    return 2*x   # odd  spacing\n"
        "\n"
        "\n"
        "# %%\n"
        "@millrace.flow(name='etl', retries=2)\n"
        "def etl(\n"
        "    rows: int = 3,\n"
        "):\n"
        "    return math.floor(double(min(rows, LIMIT))), NAMES\n"
    )


def test_origins_name_the_cells() -> None:
    written = module_text(find_closure(book(*SOURCES), "etl"))
    lines = written.text.splitlines()
    assert [(lines[line - 1], cell) for line, cell in written.origins] == [
        ("# rows a day", 2),
        ("NAMES = ['a',   'b']", 2),
        ("@task", 3),
        ("@millrace.flow(name='etl', retries=2)", 4),
    ]


def test_the_same_bytes_from_anywhere(tmp_path: Path) -> None:
    first = export_module(find_closure(book(*SOURCES), "etl", directory=tmp_path), tmp_path / "one")
    later = [Cell(cell.index + 40, None, cell.source) for cell in book(*SOURCES)]
    second = export_module(find_closure([*later, *later], "etl", directory=tmp_path), tmp_path / "deep" / "two")
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.version_hash == second.version_hash
    assert len(first.version_hash) == 32
    assert (first.entrypoint, first.files) == ("etl_flows.py:etl", ("etl_flows.py",))


def test_exporting_again_touches_nothing(tmp_path: Path) -> None:
    closure = find_closure(book(*SOURCES), "etl")
    path = export_module(closure, tmp_path).path
    before = path.stat().st_mtime_ns, path.stat().st_ino
    assert export_module(closure, tmp_path).path == path
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before
    assert [file.name for file in tmp_path.iterdir()] == ["etl_flows.py"]


def test_the_version_follows_the_code_and_its_files(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("X = 1")
    cells = book("import helper", "def etl(): return helper.X")
    first = version_hash(find_closure(cells, "etl", directory=tmp_path))
    assert first == export_module(find_closure(cells, "etl", directory=tmp_path), tmp_path / "out").version_hash
    (tmp_path / "helper.py").write_text("X = 2")
    assert version_hash(find_closure(cells, "etl", directory=tmp_path)) != first


def test_files_travel_along(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("X = 1")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.csv").write_text("1,2")
    (tmp_path / "note.txt").write_text("x")
    closure = find_closure(book("import helper", "def etl(): return helper.X"), "etl", directory=tmp_path)
    exported = export_module(closure, tmp_path / "out", carry=["data", tmp_path / "note.txt"])
    assert exported.files == ("data/rows.csv", "etl_flows.py", "helper.py", "note.txt")
    assert (tmp_path / "out" / "data" / "rows.csv").read_text() == "1,2"
    with pytest.raises(InvalidInput, match=r"carry: there is no 'nope\.csv'"):
        export_module(closure, tmp_path / "out", carry=["nope.csv"])


def test_exporting_beside_the_notebook(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("X = 1")
    closure = find_closure(book("import helper", "def etl(): return helper.X"), "etl", directory=tmp_path)
    export_module(closure, tmp_path)
    assert (tmp_path / "helper.py").read_text() == "X = 1"


def test_a_file_of_the_user_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "etl_flows.py").write_text("mine")
    with pytest.raises(AlreadyExists, match=r"etl_flows\.py is there and was not exported by Millrace"):
        export_module(find_closure(book("def etl(): pass"), "etl"), tmp_path)
    assert (tmp_path / "etl_flows.py").read_text() == "mine"


def test_a_helper_of_the_modules_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "etl_flows.py").write_text("X = 1")
    closure = find_closure(book("import etl_flows", "def etl(): return etl_flows.X"), "etl", directory=tmp_path)
    with pytest.raises(ClosureError, match=r"etl_flows\.py is a file that etl needs, and also the name of its module"):
        export_module(closure, tmp_path / "out")


def test_future_imports_come_first() -> None:
    text = module_text(
        find_closure(book("import math", "from __future__ import annotations", "def etl(): return math"), "etl")
    ).text
    assert text.splitlines()[3:5] == ["from __future__ import annotations", "import math"]
    compile(text, "etl", "exec")


def test_a_notebook_file(tmp_path: Path) -> None:
    path = write_book(tmp_path / "book.ipynb", *SOURCES)
    exported = export_notebook(path, "etl", tmp_path / "out")
    assert exported.entrypoint == "etl_flows.py:etl"
    # From the file and from the kernel come the same bytes.
    assert exported.path.read_text() == module_text(find_closure(book(*SOURCES), "etl")).text


def test_a_notebook_without_the_flow(tmp_path: Path) -> None:
    path = write_book(tmp_path / "book.ipynb", *SOURCES, "def plain(): pass")
    with pytest.raises(MissingFlow, match=r"No cell defines the flow 'nope'\. There is etl\."):
        export_notebook(path, "nope", tmp_path / "out")
    with pytest.raises(
        MissingFlow, match=r"plain in book\.ipynb is not a flow: put @flow above it\. Its flows are etl\."
    ):
        export_notebook(path, "plain", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_incomplete_closure_writes_nothing(tmp_path: Path) -> None:
    path = write_book(tmp_path / "book.ipynb", "df = open('x')", "%%flow etl\ndf")
    with pytest.raises(ClosureError, match="etl needs df in cell 1"):
        export_notebook(path, "etl", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_semicolons_and_comments() -> None:
    text = module_text(find_closure(book("a = 1; b = 2; c = 3\n\n# far away\n\n# near\nd = 4 # behind"), "b")).text
    assert "b = 2" in text and "a = 1" not in text
    text = module_text(find_closure(book("a = 1; b = 2; c = 3\n\n# far away\n\n# near\nd = 4 # behind"), "d")).text
    assert text.endswith("# %%\n# near\nd = 4 # behind\n")


def test_text_that_is_not_ascii(tmp_path: Path) -> None:
    source = "NAME = 'Grüße 🌍'; x = 1\ndef etl(): return NAME"
    exported = export_module(find_closure(book(source), "etl"), tmp_path)
    assert "NAME = 'Grüße 🌍'\n" in exported.path.read_text(encoding="utf-8")
    ast.parse(exported.path.read_bytes())
