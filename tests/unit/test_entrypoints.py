"""Entrypoints: their four forms, loading, and reading a file without running it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from millrace import declarations, entrypoints
from millrace.deployments import source
from millrace.errors import EntrypointError, MissingFlow, UnspecifiedFlow

# What counts is `run_claimed`: a flow is whatever has it.
FLOW = """
class Flow:
    def __init__(self, fn):
        self.fn, self.name = fn, fn.__name__
    def run_claimed(self, flow_run, lease, client):
        return self.fn()

def flow(fn):
    return Flow(fn)
"""


@pytest.fixture(autouse=True)
def _clean_imports() -> Iterator[None]:
    modules, path = set(sys.modules), list(sys.path)
    yield
    for name in set(sys.modules) - modules:
        if name.startswith(("etl", "acme", "helper", "broken", "several", "none", "millrace_file_")):
            del sys.modules[name]
    sys.path[:] = path


@pytest.mark.parametrize(
    ("text", "kind", "location", "name"),
    [
        ("etl.py:etl", "file", "etl.py", "etl"),
        ("./flows/etl.py:etl", "file", "./flows/etl.py", "etl"),
        ("/srv/a b/etl.py:etl", "file", "/srv/a b/etl.py", "etl"),
        (r"C:\flows\etl.py:etl", "file", r"C:\flows\etl.py", "etl"),
        ("etl.py", "file", "etl.py", None),
        ("acme.flows.etl", "module", "acme.flows", "etl"),
        ("acme.flows:etl", "module", "acme.flows", "etl"),
        ("book.ipynb:etl", "cell", "book.ipynb", "etl"),
        ("my book.ipynb", "notebook", "my book.ipynb", None),
    ],
)
def test_the_four_forms(text: str, kind: str, location: str, name: str | None) -> None:
    parsed = entrypoints.parse(text)
    assert (parsed.kind, parsed.location, parsed.name) == (kind, location, name)
    assert entrypoints.parse(str(parsed)) == parsed


@pytest.mark.parametrize("text", ["", "etl", "etl.py:", "etl.py:a b", ":etl", "a..b", "etl.py:1x"])
def test_what_is_no_entrypoint(text: str) -> None:
    with pytest.raises(EntrypointError, match="is no entrypoint"):
        entrypoints.parse(text)


def test_loading_a_file_and_what_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "helper_one.py").write_text("VALUE = 41\n")
    (tmp_path / "etl_one.py").write_text(
        f"{FLOW}\nimport helper_one\n\n@flow\ndef etl():\n    return helper_one.VALUE + 1\n"
    )
    loaded = entrypoints.load("etl_one.py:etl", tmp_path)
    assert loaded.run_claimed(None, None, None) == 42  # type: ignore[arg-type]


def test_the_only_flow_needs_no_name(tmp_path: Path) -> None:
    (tmp_path / "etl_two.py").write_text(f"{FLOW}\n@flow\ndef only():\n    return 1\n")
    assert entrypoints.load("etl_two.py", tmp_path).name == "only"


def test_a_file_named_as_a_standard_module_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text(f"{FLOW}\n@flow\ndef etl():\n    return 1\n")
    assert entrypoints.load("json.py:etl", tmp_path).name == "etl"
    assert sys.modules["json"] is json


def test_two_files_of_one_name(tmp_path: Path) -> None:
    for folder, value in (("a", 1), ("b", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "etl_three.py").write_text(f"{FLOW}\n@flow\ndef etl():\n    return {value}\n")
    values = [entrypoints.load(f"{folder}/etl_three.py:etl", tmp_path).run_claimed(None, None, None) for folder in "ab"]  # type: ignore[arg-type]
    assert values == [1, 2]


def test_loading_a_module(tmp_path: Path) -> None:
    (tmp_path / "acme").mkdir()
    (tmp_path / "acme" / "__init__.py").touch()
    (tmp_path / "acme" / "flows.py").write_text(f"{FLOW}\n@flow\ndef etl():\n    return 5\n")
    assert entrypoints.load("acme.flows.etl", tmp_path).name == "etl"


def test_a_missing_module_is_named(tmp_path: Path) -> None:
    with pytest.raises(EntrypointError, match="'nowhere_at_all', which is not installed"):
        entrypoints.load("nowhere_at_all.flows.etl", tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(EntrypointError, match=r"absent\.py, which is not a file"):
        entrypoints.load("absent.py:etl", tmp_path)


def test_a_missing_flow_lists_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "several.py").write_text(f"{FLOW}\n@flow\ndef a(): ...\n\n@flow\ndef b(): ...\n")
    with pytest.raises(MissingFlow, match=r"no flow 'c' in .*several\.py\. It holds: a, b"):
        entrypoints.load("several.py:c", tmp_path)
    with pytest.raises(UnspecifiedFlow, match="several flows: a, b"):
        entrypoints.load("several.py", tmp_path)


def test_a_plain_function_is_told_how_to_become_a_flow(tmp_path: Path) -> None:
    (tmp_path / "none.py").write_text("def etl(): ...\n")
    with pytest.raises(MissingFlow, match=r"is a function but no flow\. Decorate it with @flow"):
        entrypoints.load("none.py:etl", tmp_path)


def test_what_stands_there_is_told_for_what_it_is(tmp_path: Path) -> None:
    classes = "class K:\n    @flow\n    def m(self): ...\n\nclass Empty: ...\n"
    (tmp_path / "kinds.py").write_text(f"from millrace import flow\n@flow(name='bee')\ndef b(): ...\n\n{classes}")
    for name, said in [
        ("K", r"'K' in .* is a class and no flow\. Name a method: K\.m\."),
        ("Empty", "is a class and no flow. Decorate a method with @flow"),
        ("bee", r"'bee' is the name of the flow b in .*; an entrypoint names the variable: kinds\.py:b"),
        ("c", r"It holds: b, K\.m\."),
    ]:
        with pytest.raises(MissingFlow, match=said):
            entrypoints.load(f"kinds.py:{name}", tmp_path)
    assert entrypoints.load("kinds.py", tmp_path).name == "bee"  # type: ignore[attr-defined]
    assert declarations.find("kinds.py", tmp_path).variable == "b"
    with pytest.raises(MissingFlow, match=r"It holds: b, K\.m"):
        declarations.find("kinds.py:c", tmp_path)


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("x = 1\ny = 1 / 0\n", 2, "ZeroDivisionError"),
        ("def f(:\n", 1, "SyntaxError"),
        ("import nope_nope\n", 1, "nope"),
    ],
)
def test_a_file_that_raises_names_its_line_and_cause(tmp_path: Path, text: str, line: int, problem: str) -> None:
    (tmp_path / "broken.py").write_text(text)
    with pytest.raises(EntrypointError, match=rf"broken\.py:{line}: .*{problem}") as caught:
        entrypoints.load("broken.py:etl", tmp_path)
    assert caught.value.__cause__ is not None
    assert "broken" not in sys.modules


def test_a_file_that_exits_is_an_error_too(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import sys\nsys.exit(3)\n")
    with pytest.raises(EntrypointError, match=r"broken\.py:2: .*SystemExit"):
        entrypoints.load("broken.py:etl", tmp_path)


def test_a_flow_inside_a_function_cannot_be_deployed() -> None:
    class Inner:
        name = "inner"

        @staticmethod
        def fn() -> None: ...

    def make() -> Inner:
        def inner() -> None: ...

        found = Inner()
        found.fn = inner  # type: ignore[method-assign]
        return found

    with pytest.raises(EntrypointError, match="top level of a file"):
        source.of_flow(make())
