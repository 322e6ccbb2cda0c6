"""The variable by which other processes find a flow: bound at the top level of a module, wherever that is loaded."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from millrace.errors import EntrypointError
from millrace.notebooks import live
from millrace.notebooks.effects import effects_of


@dataclass(frozen=True)
class Variable:
    """Where a flow stands.

    Args:
        module: the name of the module.
        package: that of the package around it; empty where there is none.
        name: the variable, or `Class.method`.
        file: the module's file; None where it has none.
        cell: whether the module is the namespace of a notebook's cells.
    """

    module: str
    package: str
    name: str
    file: Path | None
    cell: bool


def variable_of(flow: Any) -> Variable:
    """The variable that holds a flow. What its function is called says nothing: another variable may be the flow.

    Args:
        flow: the flow.

    Raises:
        EntrypointError: there is none that other processes have as well.
    """
    function = inspect.unwrap(getattr(flow, "fn", flow))
    lost = ""
    for names in _namespaces(function):
        main = names.get("__name__") == "__main__"
        cell = main and live.in_kernel()
        for name in _variables(flow, function, names, cell):
            file = None if cell else _file(names, function)
            why = _passing(file, main).get(name.partition(".")[0]) if file else None
            if why is None:
                return Variable(_module(names, function), names.get("__package__") or "", name, file, cell)
            lost = (
                lost or f" The variable {name!r} {why} of {file}, so it is not there for a worker, or is another flow."
            )
    raise EntrypointError(_unfound(flow, function, lost))


def _module(names: dict[str, Any], function: Any) -> str:
    name = str(names.get("__name__", function.__module__))
    started = names.get("__spec__") if name == "__main__" else None  # by python -m
    return started.name if started is not None else name


def _namespaces(function: Any) -> Iterator[dict[str, Any]]:
    """Those of modules: where the function is defined, then all others, the main script last: it imports from them."""
    seen: set[int] = set()
    modules = [sys.modules.get(function.__module__), *(one for name, one in sys.modules.items() if name != "__main__")]
    dicts = map(_names, modules)
    for names in (getattr(function, "__globals__", {}), *dicts, vars(sys.modules["__main__"])):
        if id(names) not in seen:
            seen.add(id(names))
            yield names


def _names(module: Any) -> dict[str, Any]:
    """The names of a module, without asking one that makes names when it is asked; of what only acts as one, none."""
    try:
        found = object.__getattribute__(module, "__dict__")
    except AttributeError:  # a library of cffi
        return {}
    return found if isinstance(module, ModuleType) else {}


def _variables(flow: Any, function: Any, names: dict[str, Any], cell: bool) -> Iterator[str]:
    path, own = function.__qualname__, function.__name__
    if "." in path and "<" not in path and _is(_at(names, path), flow):
        yield path
    if names.get(own) is flow:
        yield own
    for name, value in list(names.items()):
        # IPython keeps results under _ and __: names of its own, not of the notebook.
        if value is flow and name != own and not (cell and name.startswith("_")):
            yield name


def _at(names: dict[str, Any], path: str) -> Any:
    first, *rest = path.split(".")
    found = names.get(first)
    for part in rest:
        found = getattr(found, part, None)
    return found


def _is(found: Any, flow: Any) -> bool:
    """Whether a method is the flow: each look at a classmethod binds it anew."""
    if found is flow:
        return True
    bound = getattr(found, "fn", None)
    return inspect.ismethod(bound) and bound == flow.fn and found.name == flow.name


def _file(names: dict[str, Any], function: Any) -> Path | None:
    own = names is getattr(function, "__globals__", None)
    try:
        found = inspect.getsourcefile(function) if own else names.get("__file__")
    except TypeError:
        return None
    path = Path(found).absolute() if found else None
    return path if path is not None and path.is_file() else None


def _passing(file: Path, is_main: bool) -> dict[str, str]:
    """Names of a file that have another value, or none, where it is loaded anew, and why."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return {}  # what is no Python is told where it is loaded
    found: dict[str, str] = {}
    _look(tree.body, is_main, found)
    return found


def _look(statements: list[ast.stmt], is_main: bool, found: dict[str, str]) -> None:
    for statement in statements:
        if isinstance(statement, ast.For | ast.AsyncFor):
            targets = [node.id for node in ast.walk(statement.target) if isinstance(node, ast.Name)]
            found |= dict.fromkeys(targets, f"is the variable of the loop in line {statement.lineno}")
        body = getattr(statement, "body", [])
        if isinstance(statement, ast.If) and _only_main(statement.test):
            if is_main:
                where = 'stands below `if __name__ == "__main__":` in line'
                found |= {name: f"{where} {one.lineno}" for one in body for name in effects_of(one).binds}
            body = []
        if isinstance(statement, ast.If | ast.For | ast.AsyncFor | ast.While | ast.With | ast.Try):
            inner = [body, getattr(statement, "orelse", []), getattr(statement, "finalbody", [])]
            for block in (*inner, *(one.body for one in getattr(statement, "handlers", []))):
                _look(block, is_main, found)


def _only_main(test: ast.expr) -> bool:
    nodes = list(ast.walk(test))
    return (
        any(isinstance(one, ast.Name) and one.id == "__name__" for one in nodes)
        and any(isinstance(one, ast.Constant) and one.value == "__main__" for one in nodes)
        and any(isinstance(one, ast.Eq) for one in nodes)
    )


def _unfound(flow: Any, function: Any, lost: str) -> str:
    if not lost and "<locals>" in function.__qualname__:
        where = function.__qualname__.partition(".")[0]
        return (
            f"The flow {function.__name__!r} is defined inside {where!r}; a worker can only find what stands at the "
            "top level of a file. Move it there."
        )
    return (
        f"No variable at the top level of a file is the flow {flow.name!r}, and a worker can only find what is.{lost} "
        f"Write {_word(flow.name)} = … there, with what flow(…)({function.__name__}) or with_options(…) gives."
    )


def _word(name: str) -> str:
    word = name.replace("-", "_")
    return word if word.isidentifier() else "etl"
