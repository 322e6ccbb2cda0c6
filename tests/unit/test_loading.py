"""Flows loaded from entrypoints, scripts and texts; and what can be said of them without running a line."""

from __future__ import annotations

import asyncio
import datetime
import inspect
import json
import sys
import traceback
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from millrace import declarations
from millrace.errors import EntrypointError, InvalidInput, MissingFlow, ParameterError, UnspecifiedFlow
from millrace.flows import (
    Flow,
    aload_flow_from_flow_run,
    flow,
    is_entrypoint_async,
    load_flow_arguments_from_entrypoint,
    load_flow_from_entrypoint,
    load_flow_from_flow_run,
    load_flow_from_script,
    load_flow_from_text,
    load_flows_from_script,
    load_function_and_convert_to_flow,
    load_placeholder_flow,
    safe_load_flow_from_entrypoint,
    select_flow,
)
from millrace.schema.deployments import Deployment
from millrace.schema.runs import FlowRun


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Entrypoints are relative to the current directory; what a test imports is forgotten."""
    monkeypatch.chdir(tmp_path)
    before, path = set(sys.modules), list(sys.path)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def write(name: str, text: str) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_what_is_no_script_no_flow_and_no_name() -> None:
    given: Any
    for given, says in ((None, "not from None"), (flow(lambda: 1), "list of flows"), ([1], "1 .int. is none")):
        with pytest.raises(InvalidInput, match=says):
            select_flow(given)
    for load in (load_flow_from_script, load_flows_from_script, load_flow_from_text):
        with pytest.raises(InvalidInput, match=r"is wanted, not 5 \(int\)"):
            load(5)  # type: ignore[operator]
    for wrong in (lambda: select_flow([], 5), lambda: load_flow_from_text("", 5)):  # type: ignore[arg-type]
        with pytest.raises(InvalidInput, match=r"The name of a flow is a text, not 5 \(int\)"):
            wrong()


def test_secrets_are_seen_without_running_the_file() -> None:
    write(
        "hidden.py",
        "import nobody_has_this, pydantic\nfrom pydantic import SecretStr\nfrom millrace import Secret, flow\n"
        "@flow\ndef job(a: SecretStr, b: Secret, c: 'pydantic.SecretStr | None' = None,"
        " d: SecretStr = 'kept-nowhere-91'): ...\n"
        "@flow\ndef bad(b: Secret = 'kept-nowhere-91'): ...\n",
    )
    found = safe_load_flow_from_entrypoint("hidden.py:job")
    assert found is not None
    for name in "ab":
        assert found.parameters["properties"][name]["pattern"] == "^secret:.+"
    with pytest.raises(ParameterError, match="secret:NAME"):
        found.to_deployment("d", parameters={"c": "kept-nowhere-91"})
    assert "kept-nowhere-91" not in json.dumps(found.parameters)
    assert safe_load_flow_from_entrypoint("hidden.py:bad") is None


ETL = """
from millrace import flow

@flow(name="My ETL", retries=2)
def etl(day: str, n: int = 3) -> int:
    '''What it does.'''
    return n

def plain(n):
    return n + 1

class Jobs:
    @staticmethod
    @flow
    def still(n: int): return n
    @classmethod
    @flow
    def own(cls, n: int): return cls.__name__, n

value = 5
"""


# -- running the file


def test_a_flow_of_a_file() -> None:
    write("flows/etl_load.py", ETL)
    found = load_flow_from_entrypoint("flows/etl_load.py:etl")
    assert isinstance(found, Flow) and (found.name, found.retries) == ("My ETL", 2)
    assert found.fn("monday") == 3


def test_a_flow_of_a_module_with_a_dot_or_a_colon() -> None:
    write("pack_of_flows/__init__.py", "")
    write("pack_of_flows/etl_one.py", ETL)
    one = load_flow_from_entrypoint("pack_of_flows.etl_one.etl")
    assert one is load_flow_from_entrypoint("pack_of_flows.etl_one:etl")
    assert load_flow_from_entrypoint("pack_of_flows.etl_one:Jobs.own").fn(4) == ("Jobs", 4)


@pytest.mark.parametrize(("name", "expected"), [("Jobs.still", 4), ("Jobs.own", ("Jobs", 4))])
def test_a_method_of_a_class(name: str, expected: Any) -> None:
    write("etl_methods.py", ETL)
    assert load_flow_from_entrypoint(f"etl_methods.py:{name}").fn(4) == expected


def test_a_flow_of_a_notebook_and_a_whole_notebook() -> None:
    code = ["RATE = 4", "%%flow\ndef takings(n: int = 2):\n    return n * RATE", "raise SystemExit('never run')"]
    cells = [
        {"cell_type": "code", "source": text, "metadata": {}, "outputs": [], "execution_count": None, "id": f"c{i}"}
        for i, text in enumerate(code)
    ]
    cells[0]["metadata"] = {"tags": ["parameters"]}
    book = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}
    Path("book.ipynb").write_text(json.dumps(book))
    assert load_flow_from_entrypoint("book.ipynb:takings").fn(3) == 12
    assert load_flow_from_entrypoint("book.ipynb").parameters["properties"]["RATE"]["default"] == 4
    assert not is_entrypoint_async("book.ipynb:takings")
    assert load_flow_arguments_from_entrypoint("book.ipynb:takings") == {"name": "takings"}


def written_book(name: str, *cells: str) -> Path:
    made = [
        {"cell_type": "code", "source": text, "metadata": {}, "outputs": [], "execution_count": None, "id": f"c{i}"}
        for i, text in enumerate(cells)
    ]
    return write(name, json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": made}))


def test_errors_of_a_flow_of_a_notebook_name_its_cell_and_line() -> None:
    book = written_book(
        "errors.ipynb",
        "import json\nimport math, re\n",
        "# how much\nRATE = 4\n\ndef share(n):\n    # of all\n    return RATE / n\n",
        "%load_ext millrace",
        "%%flow\n\ndef takings(n: int = 2):\n    whole = math.floor(n)\n    return share(whole)\n",
        "from millrace import flow\n@flow\ndef other(n: int): return 1 if n else 1 / 0; x = 1; y = 2",
        "%%flow plain\nlimit = 0\nprint(limit)\nresult = 1 / limit\n",
    ).absolute()
    takings = load_flow_from_entrypoint("errors.ipynb:takings")
    assert takings.fn(2) == 2.0
    with pytest.raises(ZeroDivisionError) as caught:
        takings.fn(0)
    frames = [(one.filename, one.lineno, one.line) for one in traceback.extract_tb(caught.value.__traceback__)][1:]
    assert frames == [
        (f"{book}, cell 4", 5, "return share(whole)"),
        (f"{book}, cell 2", 6, "return RATE / n"),
    ]
    assert "def takings" in inspect.getsource(takings.fn)
    with pytest.raises(ZeroDivisionError) as caught:
        load_flow_from_entrypoint("errors.ipynb:other").fn(0)
    assert traceback.extract_tb(caught.value.__traceback__)[-1].lineno == 3
    with pytest.raises(ZeroDivisionError) as caught:
        load_flow_from_entrypoint("errors.ipynb:plain").fn()
    last = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (last.filename, last.lineno, last.line) == (f"{book}, cell 6", 4, "result = 1 / limit")


@pytest.mark.parametrize(
    ("cells", "cell", "line", "problem"),
    [
        (["import json", "RATE = 4\nSHARE = RATE / 0\n"], 2, 2, "ZeroDivisionError"),
        (["RATE = 1", "def share():\n    return RATE / 0\n", "SHARE = [\n    share(),\n]"], 2, 2, "ZeroDivisionError"),
        (["import json", "\nimport math\nimport a_package_nobody_has as SHARE"], 2, 3, "a_package_nobody_has"),
        (["x = 1", "# of it\nfrom a_package_nobody_has.deeper import SHARE"], 2, 2, "a_package_nobody_has.*Install it"),
    ],
)
def test_a_cell_that_raises_is_named_with_its_line(cells: list[str], cell: int, line: int, problem: str) -> None:
    book = written_book("raises.ipynb", *cells, "%%flow\ndef takings():\n    return SHARE").absolute()
    with pytest.raises(EntrypointError, match=rf"raises\.ipynb, cell {cell}, line {line}: .*{problem}") as caught:
        load_flow_from_entrypoint("raises.ipynb:takings", use_placeholder_flow=False)
    assert (caught.value.file, caught.value.line) == (str(book), line)
    assert caught.value.__cause__ is not None
    found = load_flow_from_entrypoint("raises.ipynb:takings")
    with pytest.raises(EntrypointError, match=rf"cell {cell}, line {line}"):
        found()


def test_what_a_notebook_lacks_is_said() -> None:
    written_book(
        "lacks.ipynb", "RATE = 4", "%%flow\ndef one():\n    return RATE", "def broken(:\n", "%%flow\ndef two(): ..."
    )
    with pytest.raises(MissingFlow, match=r"lacks\.ipynb: No cell defines the flow 'absent'. There is one, two"):
        load_flow_from_entrypoint("lacks.ipynb:absent")
    with pytest.raises(EntrypointError, match=r"absent\.ipynb, which is not a file"):
        load_flow_from_entrypoint("absent.ipynb:one")
    written_book("syntax.ipynb", "%%flow\ndef one():\n    return (1\n")
    with pytest.raises(MissingFlow, match=r"[Cc]ell 1 .*not Python \(line \d: "):
        load_flow_from_entrypoint("syntax.ipynb:one")


MODULES = {
    "raises": ("x = 1\n\ny = 1 / 0\n", 3, "ZeroDivisionError"),
    "syntax": ("x = 1\ndef f(:\n", 2, "SyntaxError"),
    "exits": ("import sys\nsys.exit(3)\n", 2, "SystemExit"),
    "needs": ("\nimport a_package_nobody_has\n", 2, "a_package_nobody_has'. Install it for"),
}


def _by_module(name: str) -> Any:
    return load_flow_from_entrypoint(f"errors_pack.{name}.etl", use_placeholder_flow=False)


LOADERS = {
    "file": lambda name: load_flow_from_entrypoint(f"errors_pack/{name}.py:etl", use_placeholder_flow=False),
    "module": _by_module,
    "script": lambda name: load_flow_from_script(f"errors_pack/{name}.py"),
    "scripts": lambda name: load_flows_from_script(f"errors_pack/{name}.py"),
    "function": lambda name: load_function_and_convert_to_flow(f"errors_pack/{name}.py:etl"),
    "placeholder": lambda name: safe_load_flow_from_entrypoint(f"errors_pack/{name}.py:etl")(),  # type: ignore[misc]
    "text": lambda name: load_flow_from_text(Path(f"errors_pack/{name}.py").read_text()),
}


@pytest.mark.parametrize("what", MODULES)
@pytest.mark.parametrize("loader", LOADERS)
def test_every_loader_names_file_and_line_of_what_raises(loader: str, what: str) -> None:
    text, line, problem = MODULES[what]
    write("errors_pack/__init__.py", "")
    flows = "from millrace import flow; etl = flow(print, name='etl')" if loader != "placeholder" else ""
    behind = "\nfrom millrace import flow\n@flow\ndef etl(): ...\n" if what != "syntax" else ""
    path = write(f"errors_pack/{what}.py", text + (behind if loader == "placeholder" else flows)).absolute()
    if loader == "placeholder" and what == "syntax":
        assert safe_load_flow_from_entrypoint(f"errors_pack/{what}.py:etl") is None
        return
    with pytest.raises(EntrypointError, match=rf":{line}: .*{problem}") as caught:
        LOADERS[loader](what)
    assert caught.value.line == line
    assert caught.value.__cause__ is not None
    assert loader == "text" or caught.value.file == str(path)


def test_a_package_around_a_module_that_raises_is_named() -> None:
    path = write("errors_outer/__init__.py", "x = 1\n1 / 0\n").absolute()
    write("errors_outer/inner.py", ETL)
    with pytest.raises(EntrypointError, match=r"__init__\.py:2: .*ZeroDivisionError") as caught:
        load_flow_from_entrypoint("errors_outer.inner.etl", use_placeholder_flow=False)
    assert (caught.value.file, caught.value.line) == (str(path), 2)
    with pytest.raises(EntrypointError, match="'errors_absent', which is not installed"):
        load_flow_from_entrypoint("errors_absent.inner.etl")


def test_each_loader_says_which_flows_there_are() -> None:
    two = "from millrace import flow\n@flow\ndef a(): ...\n@flow(name='B')\ndef b(): ...\n"
    write("errors_two.py", two)
    for load in (lambda: load_flow_from_script("errors_two.py"), lambda: load_flow_from_text(two)):
        with pytest.raises(UnspecifiedFlow, match=r"2 flows were found in script .*Give the name of one.*'B', 'a'"):
            load()
    for missing in (
        lambda: load_flow_from_script("errors_two.py", "b"),
        lambda: load_flow_from_text(two, "b"),
    ):
        with pytest.raises(MissingFlow, match=r"No flow 'b' was found in script .*There is: 'B', 'a'"):
            missing()
    with pytest.raises(MissingFlow, match=r"'absent' in .*errors_two\.py.*a, b"):
        load_function_and_convert_to_flow("errors_two.py:absent")
    with pytest.raises(MissingFlow, match=r"absent"):
        load_placeholder_flow("errors_two.py:absent", ValueError("x"))
    with pytest.raises(MissingFlow, match=r"absent"):
        load_flow_arguments_from_entrypoint("errors_two.py:absent")
    with pytest.raises(MissingFlow, match=r"absent"):
        is_entrypoint_async("errors_two.py:absent")


def test_a_name_that_is_missing_or_no_flow() -> None:
    path = write("etl_names.py", ETL).absolute()
    with pytest.raises(MissingFlow, match=r"no flow 'absent' in .*etl_names\.py\. It holds: etl"):
        load_flow_from_entrypoint(f"{path}:absent")
    with pytest.raises(MissingFlow, match=r"'plain' in .* is a function but no flow\. Decorate it with @flow"):
        load_flow_from_entrypoint(f"{path}:plain")
    with pytest.raises(MissingFlow, match=r"Jobs\.absent"):
        load_flow_from_entrypoint(f"{path}:Jobs.absent")


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(EntrypointError, match=r"absent\.py, which is not a file") as caught:
        load_flow_from_entrypoint("absent.py:etl")
    assert str(caught.value.file).endswith("absent.py")


def test_two_flows_and_no_name() -> None:
    write("two.py", "from millrace import flow\n@flow\ndef a(): ...\n@flow\ndef b(): ...\n")
    with pytest.raises(UnspecifiedFlow, match=r"holds several flows: a, b\. Name one, as in two\.py:a"):
        load_flow_from_entrypoint("two.py")


RAISES = (
    "from millrace import flow\nimport a_package_nobody_has\n\n@flow(name='N', retries=1)\ndef etl(n: int = 2): ...\n"
)


def test_a_missing_dependency_names_file_line_and_remedy() -> None:
    path = write("needs.py", RAISES).absolute()
    with pytest.raises(EntrypointError, match=r"a_package_nobody_has.*Install it for") as caught:
        load_flow_from_entrypoint("needs.py:etl", use_placeholder_flow=False)
    assert (caught.value.file, caught.value.line) == (str(path), 2)
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_a_missing_dependency_gives_a_placeholder_that_raises_when_called() -> None:
    write("needs_too.py", RAISES)
    found = load_flow_from_entrypoint("needs_too.py:etl")
    assert (found.name, found.retries) == ("N", 1)
    assert found.parameters["properties"]["n"] == {"title": "n", "position": 0, "type": "integer", "default": 2}
    with pytest.raises(EntrypointError, match=r"needs_too\.py:2: .*a_package_nobody_has"):
        found()


def test_no_placeholder_for_what_is_no_python() -> None:
    write("syntax.py", "from millrace import flow\n\n@flow\ndef etl(:\n")
    with pytest.raises(EntrypointError, match=r"syntax\.py:4: .*SyntaxError"):
        load_flow_from_entrypoint("syntax.py:etl")


def test_a_function_becomes_a_flow() -> None:
    write("functions.py", ETL)
    made = load_function_and_convert_to_flow("functions.py:plain")
    assert isinstance(made, Flow) and made.log_prints and made.fn(1) == 2
    assert load_function_and_convert_to_flow("functions.py:etl").name == "My ETL"
    with pytest.raises(MissingFlow, match="no flow 'absent'"):
        load_function_and_convert_to_flow("functions.py:absent")
    with pytest.raises(MissingFlow, match="no flow 'value'"):
        load_function_and_convert_to_flow("functions.py:value")


# -- scripts and texts


def test_the_flows_of_a_script() -> None:
    write("lib_of_flows.py", "from millrace import flow\n@flow\ndef part(): ...\n")
    write("script.py", "from millrace import flow\nfrom lib_of_flows import part\n@flow\ndef main_one(): ...\n")
    assert {one.name for one in load_flows_from_script("script.py")} == {"part", "main-one"}
    assert load_flow_from_script("script.py").name == "main-one", "what it defines comes before what it imports"
    assert load_flow_from_script("script.py", "part").name == "part"
    assert load_flow_from_script(Path("lib_of_flows.py")).name == "part"
    with pytest.raises(
        MissingFlow, match=r"No flow 'x' was found in script 'script\.py'\. There is: 'main-one', 'part'"
    ):
        load_flow_from_script("script.py", "x")
    with pytest.raises(EntrypointError, match=r"no script 'absent\.py'"):
        load_flow_from_script("absent.py")


def test_a_flow_of_a_text() -> None:
    text = "from millrace import flow\n\n@flow\ndef hello(n):\n    return 1 / n\n"
    found = load_flow_from_text(text, "hello")
    assert found.fn(2) == 0.5 and found.version
    assert inspect.getsource(found.fn).startswith("@flow\ndef hello")
    with pytest.raises(ZeroDivisionError) as caught:
        found.fn(0)
    assert "    return 1 / n\n" in "".join(traceback.format_exception(caught.value))
    assert load_flow_from_text(text.encode()).name == "hello"
    assert "flow_script" not in sys.modules
    with pytest.raises(EntrypointError, match=r"flow_script\.py:1: .*NameError"):
        load_flow_from_text("nowhere\n", "x")


def test_selecting() -> None:
    a, b, c = flow(lambda: 1, name="a"), flow(lambda: 2, name="b"), flow(lambda: 3, name="a")
    assert select_flow([a]) is a and select_flow([a, a]) is a
    assert select_flow(iter([a, b]), "b") is b
    with pytest.raises(MissingFlow, match=r"^No flow was found in the attic\."):
        select_flow([], from_message="in the attic")
    with pytest.raises(MissingFlow, match=r"No flow 'x' was found\. There is: 'a', 'b'"):
        select_flow([a, b], "x")
    with pytest.raises(UnspecifiedFlow, match=r"2 flows were found\. Give the name of one of them: 'a', 'b'"):
        select_flow([a, b])
    with pytest.raises(UnspecifiedFlow, match="Several are called 'a'"):
        select_flow([a, c], "a")


# -- without running the file

SOURCE = """
import datetime as dt
import os
from typing import Literal
from millrace import flow as a_flow
import millrace

open("touched", "w")
raise SystemExit("never run")
WAIT = 60
NAME = "night"
TWICE = 1
TWICE = 2

@a_flow(
    name=f"{NAME}-etl", retries=1 + 2, retry_delay_seconds=2 * WAIT, timeout_seconds=TWICE, log_prints=True,
    version=os.environ["V"], description="a " + "b", result_storage="memory://",
)
async def first_one(day: dt.date, *more: int, how: "Literal['a']" = "a", limit: int = TWICE, odd: Odd = Odd()): ...

@millrace.flow
def second(a, b: list[int] | None = None, **rest): "Doc."

third = millrace.flow(second, name="Third")
fourth = millrace.flow(name="Fourth", retries=2)(second)

class Jobs:
    @classmethod
    @millrace.flow(name="job")
    def run(cls, n: int): ...

def no_flow(): ...
"""


def test_options_are_read_with_their_types() -> None:
    write("never.py", SOURCE)
    assert load_flow_arguments_from_entrypoint("never.py:first_one") == {
        "name": "night-etl",
        "retries": 3,
        "retry_delay_seconds": 120,
        "log_prints": True,
        "description": "a b",
    }
    only = load_flow_arguments_from_entrypoint("never.py:first_one", ["retries", "result_storage"])
    assert only == {"retries": 3, "result_storage": "memory://"}
    assert load_flow_arguments_from_entrypoint("never.py:second") == {"name": "second"}
    assert load_flow_arguments_from_entrypoint("never.py:third") == {"name": "Third"}
    assert load_flow_arguments_from_entrypoint("never.py:fourth") == {"name": "Fourth", "retries": 2}
    assert load_flow_arguments_from_entrypoint("never.py:Jobs.run") == {"name": "job"}
    assert load_flow_arguments_from_entrypoint("never.py:no_flow") == {"name": "no-flow"}
    assert not Path("touched").exists()


def test_the_colour_of_a_flow() -> None:
    write("never.py", SOURCE)
    assert is_entrypoint_async("never.py:first_one")
    assert not is_entrypoint_async("never.py:second") and not is_entrypoint_async("never.py:Jobs.run")
    with pytest.raises(MissingFlow, match=r"It holds: first_one, second, third, fourth, Jobs\.run"):
        is_entrypoint_async("never.py:absent")
    with pytest.raises(EntrypointError, match="not a file"):
        is_entrypoint_async("absent.py:etl")
    with pytest.raises(UnspecifiedFlow, match="holds several flows"):
        is_entrypoint_async("never.py")


def test_a_module_is_read_without_importing_its_package() -> None:
    write("quiet_pack/__init__.py", "raise SystemExit('never run')")
    write("quiet_pack/inner.py", SOURCE)
    assert is_entrypoint_async("quiet_pack.inner.first_one")
    assert "quiet_pack" not in sys.modules
    with pytest.raises(EntrypointError, match=r"'nowhere_at_all\.flows', which is not installed"):
        is_entrypoint_async("nowhere_at_all.flows.etl")


def test_the_parameters_of_a_placeholder() -> None:
    write("never.py", SOURCE)
    problem = KeyError("why")
    made = load_placeholder_flow("never.py:first_one", raises=problem)
    assert made.isasync and made.retries == 3 and made.version
    assert str(inspect.signature(made.fn)) == (
        "(day: datetime.date, *more: int, how: Literal['a'] = 'a', limit: int | None = None, odd: Any = None)"
    )
    shown = made.parameters["properties"]
    assert shown["day"]["format"] == "date" and shown["how"]["default"] == "a" and "type" not in shown["odd"]
    assert made.parameters["required"] == ["day"]
    with pytest.raises(KeyError) as caught:
        asyncio.run(_awaited(made))
    assert caught.value is problem
    with pytest.raises(KeyError):
        load_placeholder_flow("never.py:second", problem)("whatever", is_="given")
    assert load_placeholder_flow("never.py:second", problem).description == "Doc."
    assert list(load_placeholder_flow("never.py:Jobs.run", problem).parameters["properties"]) == ["n"]
    with pytest.raises(KeyError):
        made.with_options(retries=1)(day=datetime.date.today())


async def _awaited(made: Any) -> Any:
    return await made()


def test_safe_loading_runs_the_file_when_the_flow_is_called() -> None:
    write("later.py", "open('touched', 'a').write('x')\n" + ETL)
    found = safe_load_flow_from_entrypoint("later.py:etl")
    assert found is not None and found.name == "My ETL"
    assert found.validate_parameters({"day": "monday", "n": "4"})["n"] == 4
    with pytest.raises(ParameterError):
        found.validate_parameters({"n": "many", "day": "x"})
    assert not Path("touched").exists()
    assert found.fn("monday", n=7) == 7
    assert Path("touched").read_text() == "x"


@pytest.mark.parametrize("entrypoint", ["absent.py:etl", "never.py:absent", "broken.py:etl", "nowhere.at_all", "???"])
def test_safe_loading_gives_none_where_nothing_is_to_be_seen(entrypoint: str) -> None:
    write("never.py", SOURCE)
    write("broken.py", "def etl(:\n")
    assert safe_load_flow_from_entrypoint(entrypoint) is None


def test_declarations_of_a_file() -> None:
    file = write("etl.py", SOURCE)
    found = declarations.flows_of(file)
    assert [(one.variable, one.options(["name"])["name"]) for one in found] == [
        ("first_one", "night-etl"),
        ("second", "second"),
        ("third", "Third"),
        ("fourth", "Fourth"),
        ("Jobs.run", "job"),
    ]
    assert SOURCE.splitlines()[found[1].line - 1].startswith("def second")
    write("etl.py", "def\n")
    with pytest.raises(EntrypointError, match=r"etl\.py:1: this is no Python"):
        declarations.flows_of(file)


NAMED = """
from millrace import flow

class Jobs:
    @flow(name="job")
    @staticmethod
    def run(): ...

@flow(name="night-etl")
def first(): ...

@flow
def second(): ...
"""


@pytest.mark.parametrize("look", [load_flow_from_entrypoint, load_flow_arguments_from_entrypoint, is_entrypoint_async])
def test_reading_and_running_say_the_same_of_a_flow_that_is_not_there(look: Any) -> None:
    write("named.py", NAMED)
    with pytest.raises(MissingFlow, match=r"'night_etl' in .*\. It holds: .*first.*"):
        look("named.py:night_etl")
    write("worded.py", NAMED.replace("night-etl", "nightly").replace('"job"', '"daily"'))
    with pytest.raises(MissingFlow, match=r"'nightly' is the name of the flow first in .*variable: worded\.py:first\."):
        look("worded.py:nightly")
    with pytest.raises(MissingFlow, match=r"'daily' is the name of the flow Jobs\.run in"):
        look("worded.py:daily")
    with pytest.raises(UnspecifiedFlow, match=r"Jobs\.run"):
        look("worded.py")


# -- of a deployment


def _deployed(**more: Any) -> tuple[FlowRun, Any]:
    deployment = Deployment(id=uuid.uuid4(), name="nightly", flow_id=uuid.uuid4(), **more)
    run = FlowRun(id=uuid.uuid4(), flow_id=deployment.flow_id, name="r", deployment_id=deployment.id)
    return run, SimpleNamespace(read_deployment=lambda id: deployment if id == deployment.id else None)


def test_the_flow_of_a_run(here: Path) -> None:
    write("code/etl_of_a_run.py", ETL)
    step = {"prefect.deployments.steps.set_working_directory": {"directory": str(here / "code")}}
    run, client = _deployed(entrypoint="etl_of_a_run.py:etl", pull_steps=[step])
    assert load_flow_from_flow_run(run, client=client).name == "My ETL"
    assert Path.cwd() == here / "code"
    assert asyncio.run(aload_flow_from_flow_run(run, client=client, ignore_storage=True)).name == "My ETL"


def test_the_flow_of_a_run_from_a_path(here: Path) -> None:
    write("code/etl_by_path.py", ETL)
    run, client = _deployed(entrypoint="etl_by_path.py:plain", path="$STORAGE_BASE_PATH/code")
    found = load_flow_from_flow_run(run, client=client, storage_base_path=str(here))
    assert found.log_prints and found.fn(1) == 2, "a plain function becomes a flow"
    assert Path.cwd() == here, "nobody asked for another working directory"


def test_a_run_whose_code_nobody_knows() -> None:
    run, client = _deployed(entrypoint=None)
    with pytest.raises(InvalidInput, match="'nightly' has no entrypoint"):
        load_flow_from_flow_run(run, client=client)
    with pytest.raises(InvalidInput, match="belongs to no deployment"):
        load_flow_from_flow_run(run.model_copy(update={"deployment_id": None}), client=client)


def test_methods_of_an_importable_class_are_bound_to_their_own_instance() -> None:
    write(
        "jobs_of_instances.py",
        "from millrace import flow, task\n\nclass Jobs:\n    def __init__(self, n): self.n = n\n"
        "    @flow\n    def run(self): return self.n\n    @task\n    def part(self): return self.n\n",
    )
    sys.path.insert(0, str(Path.cwd()))
    module = __import__("jobs_of_instances")
    one, two = module.Jobs(1), module.Jobs(2)
    for name in ("run", "part"):
        first, second = getattr(one, name), getattr(two, name)
        assert (first.fn(), second.fn()) == (1, 2), "binding one leaves the other alone"
        assert getattr(module.Jobs, name).fn(two) == 2, "and the one of the class"
