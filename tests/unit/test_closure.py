"""The closure of a flow: which statements it needs, in which order, and what cannot be shipped."""

from __future__ import annotations

import ast
import contextlib
import symtable
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.errors import ClosureError, MissingFlow
from millrace.notebooks.cells import Cell
from millrace.notebooks.closure import analyse, find_closure, find_flows
from millrace.notebooks.effects import effects_of
from millrace.notebooks.export import module_text
from millrace.notebooks.remaking import live_type, live_types


def book(*sources: str) -> list[Cell]:
    return [Cell(number, None, textwrap.dedent(source).strip("\n")) for number, source in enumerate(sources, start=1)]


def texts(*sources: str, flow: str = "f", **options: Any) -> list[str]:
    return [statement.text for statement in find_closure(book(*sources), flow, **options).statements]


def value(*sources: str, flow: str = "f") -> object:
    """What the exported flow returns in a fresh namespace, after checking that the cells together return the same."""
    cells = book(*sources)
    exported: dict[str, Any] = {"__name__": "exported"}
    exec(compile(module_text(find_closure(cells, flow)).text, "<exported>", "exec", dont_inherit=True), exported)
    live: dict[str, Any] = {"__name__": "live"}
    flags = 0
    for cell in cells:
        # As IPython does: a __future__ import holds for all later cells.
        code = compile(cell.source, "<cell>", "exec", flags=flags, dont_inherit=True)
        flags |= code.co_flags & 0x1000000
        exec(code, live)
    found = exported[flow]()
    assert found == live[flow]()
    return found


class TestScoping:
    def test_only_what_is_needed(self) -> None:
        assert texts("a = 1\nb = 2", "def g(): return a", "def h(): return b", "def f(): return g()") == [
            "a = 1",
            "def g(): return a",
            "def f(): return g()",
        ]

    @pytest.mark.parametrize(
        ("sources", "expected"),
        [
            (("K = 2", "def f(x=K): return x"), 2),
            (("def d(fn): return lambda: fn() + 1", "@d\ndef f(): return 1"), 2),
            (("CONFIG = {}", "CONFIG['a'] = 1", "def f(): return CONFIG"), {"a": 1}),
            (("items = [3]", "items.append(1)\nitems.sort()", "def f(): return items"), [1, 3]),
            (("x = 1", "x += 2", "def f(): return x"), 3),
            (("a, (b, *c) = 1, (2, 3, 4)", "def f(): return a, b, c"), (1, 2, [3, 4])),
            (("out = []", "for i in range(3):\n    out.append(i)", "def f(): return out"), [0, 1, 2]),
            (("if True:\n    def g(): return 1\nelse:\n    def g(): return 2", "def f(): return g()"), 1),
            (("try:\n    import nope as n\nexcept ImportError:\n    n = None", "def f(): return n"), None),
            (("total = (n := 10) + 1", "def f(): return n"), 10),
            (("squares = [y for x in range(3) if (y := x * x)]", "def f(): return y"), 4),
            (("x = 5", "def f(): return [x for x in range(2)] + [x]"), [0, 1, 5]),
            (("n = 3", "class A:\n    n = n\n    def m(self): return self.n + n", "def f(): return A().m()"), 6),
            (
                (
                    "n = 1",
                    "def f():\n    def inner():\n        def g(): return n\n        return g()\n    return inner()",
                ),
                1,
            ),
            (
                (
                    "count = 0",
                    "def bump():\n    global count\n    count += 1\n    return count",
                    "def f(): return bump()",
                ),
                1,
            ),
            (("def init():\n    global state\n    state = 7", "init()", "def f(): return state"), 7),
            (("name = 'x'", "width = 3", "def f(): return f'{name:>{width}}'"), "  x"),
            (
                (
                    "def even(n): return n == 0 or odd(n - 1)",
                    "def odd(n): return n != 0 and even(n - 1)",
                    "def f(): return odd(3)",
                ),
                True,
            ),
            (("def fact(n): return 1 if n < 2 else n * fact(n - 1)", "def f(): return fact(4)"), 24),
            (("from math import *", "def f(): return floor(2.5)"), 2),
            (
                (
                    "from math import floor\nimport os.path\nimport os",
                    "def f(): return floor(1.5), os.path.basename('a/b')",
                ),
                (1, "b"),
            ),
            (("x = 1", "del x", "x = 2", "def f(): return x"), 2),
            (("from __future__ import annotations", "def f(x: Missing = 1): return x"), 1),
            (("from dataclasses import dataclass", "@dataclass\nclass P:\n    x: int = 1", "def f(): return P().x"), 1),
            (("from typing import TypeAlias\nRow: TypeAlias = list", "def f(x: Row = None): return Row([1])"), [1]),
            (
                (
                    "R = {}",
                    "def reg(fn):\n    R[fn.__name__] = fn\n    return fn",
                    "@reg\ndef a(): return 1",
                    "def f(): return R['a']()",
                ),
                1,
            ),
            (("C = {}", "def fill(c, k):\n    c[k] = 1", "fill(C, 'a')", "def f(): return C"), {"a": 1}),
            (("import random", "random.seed(3)", "def f(): return random.random() > 2"), False),
            (("g = lambda: h()", "def h(): return 4", "def f(): return g()"), 4),
            (("x = 1", "def f():\n    x = 2\n    return x"), 2),
            (("match 3:\n    case n: pass", "def f(): return n"), 3),
            (
                (
                    "import contextlib\nwith contextlib.suppress(KeyError):\n    v = {}['a']\n    w = 1",
                    "v = 2",
                    "def f(): return v",
                ),
                2,
            ),
            (("a = b = []", "b.append(1)", "def f(): return a"), [1]),
            (("a = []", "d = {'x': [a]}", "a.append(1)", "def f(): return d"), {"x": [[1]]}),
            (("d = {'x': []}", "row = d['x']", "row.append(1)", "def f(): return d"), {"x": [1]}),
            (("def f():\n    global N\n    N = 1\n    return N",), 1),
            (("def init():\n    global S\n    S = 1", "def f():\n    init()\n    return S"), 1),
            (("D = {'a': lambda: K}", "K = 8", "def f(): return D['a']()"), 8),
        ],
    )
    def test_the_module_gives_what_the_cells_give(self, sources: tuple[str, ...], expected: object) -> None:
        if "contextlib.suppress" in sources[0]:
            # The block is no longer needed once the name is given another value.
            assert texts(*sources) == ["v = 2", "def f(): return v"]
        assert value(*sources) == expected

    def test_a_local_name_needs_nothing(self) -> None:
        assert texts("x = 1", "def f():\n    x = 2\n    return x") == ["def f():\n    x = 2\n    return x"]

    def test_the_later_definition_wins(self) -> None:
        assert texts("x = 1", "def f(): return x", "x = 2") == ["x = 2", "def f(): return x"]

    def test_a_value_made_from_an_older_value_keeps_it(self) -> None:
        assert value("x = 1", "y = x + 1", "x = 10", "def f(): return x, y") == (10, 2)

    def test_calls_at_the_top_level_are_left_out_with_a_note(self) -> None:
        closure = find_closure(book("def f(): return 1", "f()\nprint('x')"), "f")
        assert len(closure.statements) == 1
        assert "cell 2: `f()` is not needed by f and is left out" in closure.notes

    def test_string_annotations_are_taken_along_where_they_can_be(self) -> None:
        assert "class Row: pass" in texts("class Row: pass", "def f(x: 'list[Row] | Nope' = None): return x")

    def test_imports_are_hoisted_once_and_only_those_needed(self) -> None:
        closure = find_closure(
            book(
                "import os, json\nimport json",
                "def g(): return json",
                "from math import floor, ceil",
                "def f(): return g, floor",
            ),
            "f",
        )
        assert closure.imports == ("import json", "from math import floor")
        assert module_text(closure).text.splitlines()[3:5] == ["import json", "from math import floor"]

    def test_an_import_that_is_replaced_stays_where_it_was(self) -> None:
        assert value(
            "from math import floor", "a = floor(1.5)", "def floor(x): return 'mine'", "def f(): return a, floor(1)"
        ) == (1, "mine")

    @pytest.mark.parametrize(
        "code",
        [
            "def f(a, b=q):\n    global g\n    g = a\n    def h():\n        return r, [z for z in s if z in t]\n",
            "class A(B):\n    x = y\n    def m(self): return x, A",
            "x = {a: b for a, b in c.items()}",
            "def f():\n    import os.path as p, sys\n    try: pass\n    except E as e: print(e, p, sys)",
            "f = lambda x, *y, z=k, **w: (x, y, z, w, v)",
            "def outer():\n    n = 0\n    def inner():\n        nonlocal n\n        n += m\n    return inner",
        ],
    )
    def test_symtable_agrees(self, code: str) -> None:
        wanted: set[str] = set()

        def collect(table: symtable.SymbolTable) -> None:
            for symbol in table.get_symbols():
                at_top = table.get_type() == "module"
                if symbol.is_referenced() and (at_top or symbol.is_global()):
                    wanted.add(symbol.get_name())
            for child in table.get_children():
                collect(child)

        collect(symtable.symtable(code, "<cell>", "exec"))
        effects = effects_of(ast.parse(code).body[0])
        assert effects.reads | effects.deferred == wanted


class TestHistory:
    def test_running_a_cell_again_changes_nothing(self) -> None:
        helper, flow = (
            Cell(1, "a", "import math\nK = 1\ndef g(): return K"),
            Cell(2, "b", "def f(): return g(), math.pi"),
        )
        once = module_text(find_closure([helper, flow], "f")).text
        for order in ([helper, flow, helper], [helper, helper, flow, flow], [helper, flow, helper, flow, helper]):
            assert module_text(find_closure(order, "f")).text == once

    def test_an_edited_cell_keeps_its_place(self) -> None:
        old, flow, new = (
            Cell(1, "a", "def g(): return oops"),
            Cell(2, "b", "def f(): return g()"),
            Cell(3, "a", "def g(): return 1"),
        )
        fresh = [Cell(1, "a", new.source), Cell(2, "b", flow.source)]
        assert module_text(find_closure([old, flow, new], "f")).text == module_text(find_closure(fresh, "f")).text

    def test_an_edited_cell_without_an_id_keeps_its_place_by_its_names(self) -> None:
        edited = book("def g(): return oops", "def f(): return g()", "def g(): return 1")
        fresh = book("def g(): return 1", "def f(): return g()")
        assert module_text(find_closure(edited, "f")).text == module_text(find_closure(fresh, "f")).text

    def test_a_counter_that_ran_twice_counts_twice(self) -> None:
        assert value("n = 0", "n += 1", "n += 1", "def f(): return n") == 2

    def test_going_back_to_a_former_value_is_kept(self) -> None:
        assert value("x = 1", "x = 2", "x = 1", "def f(): return x") == 1

    def test_a_container_filled_again_is_filled_once(self) -> None:
        cell = "c = []\nfor i in range(2):\n    c.append(i)"
        assert value(cell, "def f(): return c", cell) == [0, 1]
        assert texts(cell, "def f(): return c", cell) == texts(cell, "def f(): return c")


class TestFlows:
    def test_all_kinds_are_found(self) -> None:
        cells = book(
            "@flow\ndef a(): pass",
            "%%flow b\n1 + 1",
            "@m.flow(name='the c')\ndef c(): pass",
            "d = flow(a)",
            "def e(): pass",
        )
        assert find_flows(cells) == ["a", "b", "c", "d"]

    def test_a_flow_is_found_by_its_registered_name(self) -> None:
        assert find_closure(book("from millrace import flow\n@flow(name='the c')\ndef c(): pass"), "the c").flow == "c"
        assert find_closure(book("%%flow 'daily report'\n1 + 1"), "daily report").flow == "daily_report"

    def test_a_missing_flow_lists_those_there_are(self) -> None:
        with pytest.raises(MissingFlow) as error:
            find_closure(book("@flow\ndef a(): pass", "%%flow b\n1 + 1", "x = = 1"), "etl")
        assert str(error.value).startswith(
            "No cell defines the flow 'etl'. There is a, b. Cell 3 is not Python (line 1: "
        )

    def test_no_flow_at_all(self) -> None:
        with pytest.raises(MissingFlow, match="No cell defines a flow: put @flow above a function"):
            find_closure(book("x = 1"), "etl")

    def test_what_the_extension_offers_is_imported(self) -> None:
        closure = find_closure(book("@task\ndef t(): pass\n@flow\ndef f(): display(t())"), "f")
        assert set(closure.added) == {
            "from millrace import task",
            "from millrace import flow",
            "from IPython.display import display",
        }

    def test_time_above_a_flow_cell(self) -> None:
        assert texts("K = 2", "%%time\n%%flow etl\nn = 1\nn * K", flow="etl")[:2] == ["import millrace", "K = 2"]


class TestRefusals:
    @pytest.mark.parametrize(
        ("source", "name", "reason"),
        [
            ("import pandas as pd\ndf = pd.read_csv('x.csv')", "df", "it is made by pandas.read_csv(...)"),
            ("import pandas as pd\ndf = pd.DataFrame({'a': [1]})", "df", "it is made by pandas.DataFrame(...)"),
            ("import sqlite3\nconn = sqlite3.connect('x.db')", "conn", "it is made by sqlite3.connect(...)"),
            ("file = open('x')", "file", "it is made by open(...)"),
            ("with open('x') as file:\n    text = file.read()", "text", "it is made by open(...)"),
            ("rows = (x for x in [1])", "rows", "it is a generator, which can be used only once"),
            ("pairs = zip([1], [2])", "pairs", "it is made by zip(...), which can be used only once"),
            (
                "from pathlib import Path\ntext = Path('x').read_text()",
                "text",
                "it is made by Path('x').read_text(...)",
            ),
            ("from datetime import datetime\nnow = datetime.now()", "now", "it is made by datetime.datetime.now(...)"),
            ("import threading\nlock = threading.Lock()", "lock", "it is made by threading.Lock(...)"),
            ("files = !ls", "files", "it is made by `!ls`, which only IPython understands"),
            ("C = {}\nC['x'] = open('x')", "C", "it is made by open(...)"),
            ("@flow\ndef other(): pass\nres = other()", "res", "it is the result of other(...)"),
            ("import asyncio\nx = await asyncio.sleep(0, 1)", "x", "it is awaited, and a module cannot await"),
            ("import requests\nr = requests.get('x')", "r", "it is made by requests.get(...)"),
            ("if __name__ == '__main__':\n    K = 1", "K", "it depends on `__name__`"),
        ],
    )
    def test_a_value_that_cannot_be_made_again(self, source: str, name: str, reason: str) -> None:
        with pytest.raises(ClosureError) as error:
            find_closure(book("# nothing\npass", source, f"def f(): return {name}"), "f")
        text = str(error.value)
        assert text.startswith(f"f needs {name} in cell 2 (`")
        assert f"that cannot be shipped: {reason}" in text
        assert "inside" in text.split(reason)[1]

    @pytest.mark.parametrize(
        "source",
        [
            "from pathlib import Path\nx = Path('a') / 'b'",
            "import re\nx = re.compile('a').match('a')",
            "from datetime import datetime, timedelta\nx = datetime(2024, 1, 1) + timedelta(days=1)",
            "from collections import namedtuple as nt, Counter\nP = nt('P', 'a')\nx = P(1), Counter('ab')",
            "import logging\nx = logging.getLogger(__name__)",
            "from functools import partial\nx = partial(int, base=2)",
            "import numpy as np\nx = np.array([1, 2])",
            "def make(): return open('x')\nx = make()",
            "x = ','.join(sorted(['a', 'b'])).upper()",
            "x = list(map(str, range(3)))",
            "import os\nx = os.environ.get('HOME', '')",
            "from enum import Enum\nclass C(Enum):\n    A = 1\nx = C.A",
            "x = [i * 2 for i in range(3)]",
            "from pydantic import BaseModel\nclass M(BaseModel):\n    a: int = 1\nx = M(a=2)",
        ],
    )
    def test_a_value_that_can_be_made_again(self, source: str) -> None:
        assert find_closure(book(source, "def f(): return x"), "f").missing == ()

    def test_export_forces_a_cell(self) -> None:
        assert "df = pd.read_csv('x')" in texts(
            "#| export\nimport pandas as pd\ndf = pd.read_csv('x')", "def f(): return df"
        )
        tagged = Cell(1, None, "import pandas as pd\ndf = pd.read_csv('x')", tags=frozenset({"export"}))
        assert len(find_closure([tagged, Cell(2, None, "def f(): return df")], "f").statements) == 3

    def test_a_live_frame_is_named_by_its_type_though_a_function_made_it(self) -> None:
        cells = book("def load(): return 1", "df = load()", "def f(): return df")
        with pytest.raises(
            ClosureError, match=r"f needs df in cell 2 \(`df = load\(\)`\), .*: it is a live pandas\.DataFrame\."
        ):
            find_closure(cells, "f", live={"df": "pandas.core.frame.DataFrame"})
        assert find_closure(cells, "f", live={"df": "builtins.int"}).missing == ()

    def test_a_live_name_without_a_cell(self) -> None:
        with pytest.raises(ClosureError) as error:
            find_closure(book("def f(): return ghost"), "f", live={"ghost": "builtins.int"})
        assert str(error.value) == (
            "f needs ghost, which is live in this kernel (a int), but no executed cell defines it. Define it in a cell "
            "and run that, make it inside the flow, or pass it as a parameter."
        )

    def test_a_name_of_a_run_file_points_to_it(self) -> None:
        with pytest.raises(ClosureError, match=r"f needs ghost, but no cell defines it\..*Cell 1 has `%run setup\.py`"):
            find_closure(book("%run setup.py", "def f(): return ghost"), "f")

    def test_every_problem_is_said_at_once(self) -> None:
        closure = analyse(book("a = open('a')\nb = open('b')", "def f(): return a, b, c"), "f")
        assert [problem.name for problem in closure.missing] == ["a", "b", "c"]
        assert [problem.cell for problem in closure.missing] == [1, 1, None]

    def test_a_name_needed_by_a_helper_says_so(self) -> None:
        with pytest.raises(ClosureError, match=r"f needs a in cell 1 \(`a = open\('a'\)`\), which g uses, and that"):
            find_closure(book("a = open('a')", "def g(): return a", "def f(): return g()"), "f")

    @pytest.mark.parametrize("name", ["get_ipython()", "In[1]", "_", "_3", "__"])
    def test_names_of_the_session(self, name: str) -> None:
        with pytest.raises(ClosureError, match=r"which exists only in IPython\. Take it out of the flow"):
            find_closure(book(f"def f(): return {name}"), "f")

    def test_a_deleted_name(self) -> None:
        with pytest.raises(ClosureError, match=r"f needs x, but cell 2 deletes it\."):
            find_closure(book("x = 1", "del x", "def f(): return x"), "f")

    def test_a_name_used_before_it_is_defined(self) -> None:
        with pytest.raises(
            ClosureError, match=r"f needs a \(through b\), but cell 1 uses it before cell 2 defines it\."
        ):
            find_closure(book("b = a", "a = 1", "def f(): return b"), "f")

    def test_a_guarded_name_may_be_missing(self) -> None:
        assert find_closure(
            book("def f():\n    try:\n        return unicode\n    except NameError:\n        return str"), "f"
        )

    def test_a_value_that_is_not_needed_is_no_problem(self) -> None:
        assert texts("df = open('x')\nK = 1", "def f(): return K") == ["K = 1", "def f(): return K"]

    def test_types_of_live_values(self) -> None:
        with contextlib.closing(__import__("socket").socket()) as sock:
            types = live_types({"s": sock, "n": 1, "g": (x for x in ())})
        assert {name: live_type(kind) for name, kind in types.items()} == {
            "s": "socket.socket",
            "n": None,
            "g": "generator",
        }
        assert live_type("pandas.Timestamp") is None
        assert live_type("_io.TextIOWrapper") == "io.TextIOWrapper"


class TestLocalModules:
    def test_modules_and_packages_travel_with_what_they_import(self, tmp_path: Path) -> None:
        (tmp_path / "helper.py").write_text("import json, numpy\nfrom tools.texts import up\n")
        tools = tmp_path / "tools"
        (tools / "__pycache__").mkdir(parents=True)
        (tools / "__pycache__" / "x.pyc").write_text("")
        (tools / "__init__.py").write_text("from . import texts")
        (tools / "texts.py").write_text("import deeper\ndef up(t): return t.upper()")
        (tools / "words.json").write_text("[]")
        (tmp_path / "deeper.py").write_text("def late():\n    import lazy_one\n")
        (tmp_path / "lazy_one.py").write_text("")
        (tmp_path / "other.py").write_text("")
        (tmp_path / "json.py").write_text("never")
        closure = find_closure(
            book("from helper import up\nimport other", "def f(): return up('x')"), "f", directory=tmp_path
        )
        assert closure.local_modules == (
            "deeper.py",
            "helper.py",
            "lazy_one.py",
            "tools/__init__.py",
            "tools/texts.py",
            "tools/words.json",
        )
        assert closure.distributions == {"numpy"}

    def test_an_import_inside_the_flow(self, tmp_path: Path) -> None:
        (tmp_path / "helper.py").write_text("")
        source = "def f():\n    import helper\n    return helper"
        assert find_closure(book(source), "f", directory=tmp_path).local_modules == ("helper.py",)

    def test_a_local_function_may_make_a_value(self, tmp_path: Path) -> None:
        (tmp_path / "helper.py").write_text("def load(): return 1")
        assert texts("import helper\nx = helper.load()", "def f(): return x", directory=tmp_path)

    def test_star_import_of_a_local_module(self, tmp_path: Path) -> None:
        (tmp_path / "helper.py").write_text("def load(): return 1\n_hidden = 1\n")
        found = texts("load = 0\nprint(len)", "from helper import *", "def f(): return load(), len", directory=tmp_path)
        assert found == ["from helper import *", "def f(): return load(), len"]
        with pytest.raises(ClosureError, match="f needs nope"):
            find_closure(book("from helper import *", "def f(): return nope"), "f", directory=tmp_path)

    def test_a_written_file_is_carried_though_it_was_not_written(self, tmp_path: Path) -> None:
        closure = find_closure(
            book("%%writefile helper.py\nX = 1", "import helper\ndef f(): return helper.X"), "f", directory=tmp_path
        )
        assert closure.local_modules == ("helper.py",)

    def test_a_folder_added_to_the_path(self, tmp_path: Path) -> None:
        (tmp_path / "src").mkdir()
        (tmp_path / "src" / "helper.py").write_text("")
        closure = find_closure(
            book("import sys\nsys.path.append('src')", "import helper\ndef f(): return helper"), "f", directory=tmp_path
        )
        assert closure.local_modules == ("helper.py",)

    def test_a_helper_that_is_no_python(self, tmp_path: Path) -> None:
        (tmp_path / "helper.py").write_text("x = = 1")
        with pytest.raises(ClosureError, match=r"helper\.py, which the flow imports, is no Python"):
            find_closure(book("import helper\ndef f(): return helper"), "f", directory=tmp_path)


# Notebooks by chance: cells define constants, containers and functions from earlier ones, change them and run again.
NAMES = ["a", "b", "c", "d"]


@st.composite
def notebooks(draw: st.DrawFn) -> list[str]:
    """Sources of cells that run without error in their order."""
    kinds: dict[str, str] = {}
    cells: list[str] = []
    for _ in range(draw(st.integers(1, 9))):
        lines: list[str] = []
        for _ in range(draw(st.integers(1, 2))):
            numbers = [n for n in NAMES if kinds.get(n) == "number"]
            lists = [n for n in NAMES if kinds.get(n) == "list"]
            functions = [n for n in ("g", "h", "k") if n in kinds]
            term = st.sampled_from(
                [str(draw(st.integers(0, 9))), *numbers, *(f"sum({n})" for n in lists), *(f"{n}()" for n in functions)]
            )
            expression = f"({draw(term)} + {draw(term)}) % 1000"
            kind = draw(
                st.sampled_from(
                    ["number", "list", "function", "function", "append", "augment", "loop", "branch", "alias", "nest"]
                )
            )
            if kind == "number":
                name = draw(st.sampled_from(NAMES))
                # A function may read the name as a number or a list: it keeps its kind.
                if kinds.setdefault(name, "number") == "number":
                    lines.append(f"{name} = {expression}")
            elif kind == "list":
                name = draw(st.sampled_from(NAMES))
                if kinds.setdefault(name, "list") == "list":
                    lines.append(f"{name} = [{expression}]")
            elif kind == "function":
                # Only functions earlier in the alphabet are called, so that nothing recurs for ever.
                name = draw(st.sampled_from(["g", "h", "k"]))
                callable_ = [f"{n}()" for n in functions if n < name]
                inner = st.sampled_from(["1", *numbers, *(f"sum({n})" for n in lists), *callable_])
                lines.append(
                    f"def {name}(p={draw(st.sampled_from(['0', *numbers]))}):\n"
                    f"    return (p + {draw(inner)} + {draw(inner)}) % 1000"
                )
                kinds[name] = "function"
            elif kind == "alias" and lists:
                name = draw(st.sampled_from(NAMES))
                if kinds.setdefault(name, "list") == "list":
                    lines.append(f"{name} = {draw(st.sampled_from(lists))}")
            elif kind == "nest" and lists and kinds.setdefault("e", "nest"):
                lines.append(f"e = [{draw(st.sampled_from(lists))}]")
            elif kind == "append" and lists:
                lines.append(f"{draw(st.sampled_from(lists))}.append({expression})")
            elif kind == "augment" and numbers:
                lines.append(f"{draw(st.sampled_from(numbers))} += {expression}")
            elif kind == "loop" and lists:
                lines.append(f"for i in range(2):\n    {draw(st.sampled_from(lists))}.append(i)")
            elif kind == "branch" and numbers:
                lines.append(f"if {expression} > 5:\n    {draw(st.sampled_from(numbers))} = {expression}")
        cells.append("\n".join(lines) or "pass")
    again = [cells[draw(st.integers(0, len(cells) - 1))] for _ in range(draw(st.integers(0, 3)))]
    used = ", ".join([*(n for n in [*NAMES, "e"] if n in kinds), *(f"{n}()" for n in ("g", "h", "k") if n in kinds)])
    chosen = draw(st.booleans())
    flow = f"def f():\n    return [{used if chosen else used.partition(', ')[0]}]"
    place = draw(st.integers(len(cells), len(cells) + len(again)))
    history = [*cells, *again]
    history.insert(place, flow)
    return history


@settings(max_examples=150, deadline=None)
@given(notebooks())
def test_an_exported_notebook_gives_the_same_value(sources: list[str]) -> None:
    value(*sources)


@pytest.mark.parametrize(
    "mistake",
    [
        "%%flow two names\ndef g(): return 1",
        "%%flow --retriess 2\ndef g(): return 1",
        "%%flow\nfiles = !ls",
        "%%flow\n1 + 1",
    ],
)
def test_a_flow_cell_that_failed_spoils_no_other(mistake: str) -> None:
    sources = ("RATE = 3", mistake, "%%flow\ndef f(): return RATE")
    assert find_flows(book(*sources)) == ["f"]
    closure = analyse(book(*sources), "f")
    assert {statement.cell.index for statement in closure.statements} == {1, 3}
    assert "cell 2: makes no flow, left out" in closure.notes
    with pytest.raises(MissingFlow, match="Cell 2 makes no flow: "):
        find_closure(book(*sources), "g")


def test_a_variable_that_is_set_in_a_cell_is_not_set_again_by_every_run() -> None:
    for call in ("millrace.Variable.set('size', 7)", "Variable.set('size', 7)"):
        found = texts(
            "import millrace\nfrom millrace import Variable", call, "def f(): return millrace, Variable.get('size')"
        )
        assert call not in found
