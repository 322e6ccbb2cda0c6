"""Flows as their source declares them: name, options and parameters, read without running a line of it."""

from __future__ import annotations

import ast
import hashlib
import importlib.machinery
import inspect
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from millrace import plugins
from millrace.entrypoints import Entrypoint, located, missing, parse
from millrace.errors import EntrypointError, MissingFlow, UnspecifiedFlow
from millrace.expressions import Expressions, Unreadable

Function = ast.FunctionDef | ast.AsyncFunctionDef
_PACKAGES = ("millrace", "prefect")


@dataclass(frozen=True)
class Declaration:
    """A function of a file and, where it is decorated, the flow it becomes.

    Args:
        entrypoint: where it was looked for.
        file: the file.
        variable: the name that holds it, `Class.method` for one of a class.
        function: its definition; None where the flow is made of something else.
        call: the `flow(...)` that makes it a flow; None where there is none, or nothing is given to it.
        is_flow: whether it is a flow.
        module: the whole file.
    """

    entrypoint: Entrypoint
    file: Path
    variable: str
    function: Function | None
    call: ast.Call | None
    is_flow: bool
    module: ast.Module

    @property
    def is_async(self) -> bool:
        """Whether it is to be awaited."""
        return isinstance(self.function, ast.AsyncFunctionDef)

    @property
    def line(self) -> int:
        """Where it stands, from 1."""
        node = self.function or self.call
        return node.lineno if node is not None else 1

    @property
    def doc(self) -> str | None:
        """Its docstring."""
        return ast.get_docstring(self.function) if self.function else None

    @cached_property
    def version(self) -> str:
        """A hash of the file."""
        return hashlib.sha256(self.file.read_bytes()).hexdigest()[:32]

    @cached_property
    def _expressions(self) -> Expressions:
        named = {node.name for node in ast.walk(self.module) if isinstance(node, ast.alias)}
        said = not named.isdisjoint(("Secret", "millrace"))
        own = {"Secret": plugins.load("millrace.engine.secrets:Secret")} if said else {}
        return Expressions(self.module, own)

    def options(self, wanted: Iterable[str]) -> dict[str, Any]:
        """The options given to `flow(...)`, as far as their values can be read; the name is always there.

        Args:
            wanted: which.
        """
        names = set(wanted)
        found: dict[str, Any] = {}
        for keyword in self.call.keywords if self.call else []:
            if keyword.arg in names:
                try:
                    found[str(keyword.arg)] = self._expressions.value(keyword.value)
                except Unreadable:
                    continue  # the flow's own default stands for it
        if "name" in names and not isinstance(found.get("name"), str):
            function = self.function.name if self.function else self.variable.rpartition(".")[2]
            found["name"] = function.replace("_", "-")
        return found

    def signature(self) -> inspect.Signature:
        """The parameters: a default that cannot be read is None, an annotation that cannot be is any type."""
        if self.function is None:
            return inspect.Signature(
                [
                    inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL),
                    inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD),
                ]
            )
        return inspect.Signature(list(self._parameters(self.function.args)))

    def _parameters(self, given: ast.arguments) -> Iterator[inspect.Parameter]:
        kinds = inspect.Parameter
        positional = [*given.posonlyargs, *given.args]
        defaults: list[ast.expr | None] = [None] * (len(positional) - len(given.defaults))
        bound = "." in self.variable and self._binds()
        for number, (one, default) in enumerate(zip(positional, [*defaults, *given.defaults], strict=True)):
            kind = kinds.POSITIONAL_ONLY if one in given.posonlyargs else kinds.POSITIONAL_OR_KEYWORD
            if not (bound and number == 0):
                yield self._parameter(one, kind, default)
        if given.vararg:
            yield self._parameter(given.vararg, kinds.VAR_POSITIONAL, None)
        for one, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
            yield self._parameter(one, kinds.KEYWORD_ONLY, default)
        if given.kwarg:
            yield self._parameter(given.kwarg, kinds.VAR_KEYWORD, None)

    def _binds(self) -> bool:
        assert self.function is not None
        return any(isinstance(one, ast.Name) and one.id == "classmethod" for one in self.function.decorator_list)

    def _parameter(self, one: ast.arg, kind: Any, default: ast.expr | None) -> inspect.Parameter:
        value: Any = inspect.Parameter.empty
        if default is not None:
            try:
                value = self._expressions.value(default)
            except Unreadable:
                value = None
        annotation: Any = inspect.Parameter.empty
        if one.annotation is not None:
            annotation = self._expressions.type(one.annotation)
            if default is not None and value is None and annotation is not Any:
                annotation = annotation | None
        return inspect.Parameter(one.arg, kind, default=value, annotation=annotation)


# -- finding


def find(entrypoint: str | Entrypoint, directory: Path | str | None = None) -> Declaration:
    """What an entrypoint leads to, read from the source.

    Args:
        entrypoint: `file.py:function`, `file.py:Class.method`, `package.module.function`, `book.ipynb:function`.
        directory: where relative paths begin; the current directory when not given.

    Raises:
        EntrypointError: the file is not there or is no Python.
        MissingFlow: it defines nothing of this name.
        UnspecifiedFlow: no function is named and it holds several flows.

    Example:
        >>> find("flows/etl.py:etl").is_async  # doctest: +SKIP
        False
    """
    parsed = entrypoint if isinstance(entrypoint, Entrypoint) else parse(entrypoint)
    base = Path(directory or ".").expanduser().absolute()
    if parsed.kind == "notebook":
        raise EntrypointError(f"{parsed} is a whole notebook, which has no function. Name one: {parsed}:function.")
    if parsed.kind == "cell":
        return _in_notebook(parsed, located(parsed, base))
    path = located(parsed, base) if parsed.kind == "file" else _module_file(parsed, base)
    tree = _parsed(path)
    flows = [one for one in _all(tree, parsed, path) if one.is_flow]
    if parsed.name is None:
        meant = [one for one in flows if "." not in one.variable]  # a method is meant only where it is named
        if len(meant) > 1:
            names = ", ".join(one.variable for one in flows)
            raise UnspecifiedFlow(f"{path} holds several flows: {names}. Name one: {parsed}:{meant[0].variable}.")
        if not meant:
            raise MissingFlow(f"{path} holds no flow. Decorate a function with @flow.")
        return meant[0]
    named = [one for one in _all(tree, parsed, path) if one.variable == parsed.name]
    if not named:
        raise MissingFlow(missing(parsed, str(path), {one.variable: one.options(["name"])["name"] for one in flows}))
    return next((one for one in reversed(named) if one.is_flow), named[-1])


def flows_of(path: Path | str) -> list[Declaration]:
    """The flows that a Python file declares, in order.

    Args:
        path: the file.

    Raises:
        EntrypointError: it is not there or is no Python.
    """
    file = Path(path)
    return [one for one in _all(_parsed(file), Entrypoint("file", str(path)), file) if one.is_flow]


def _parsed(file: Path) -> ast.Module:
    try:
        return ast.parse(file.read_bytes(), str(file))
    except OSError as error:
        raise EntrypointError(f"{file} cannot be read: {error.strerror}.", str(file)) from None
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        raise EntrypointError(f"{file}:{line}: this is no Python: {error}.", str(file), line) from None


def _module_file(parsed: Entrypoint, base: Path) -> Path:
    """The source of a module; its packages are not imported, as `importlib.util.find_spec` would."""
    searched: list[str] | None = [str(base), *sys.path]
    spec = None
    for part in parsed.location.split("."):
        spec = importlib.machinery.PathFinder.find_spec(part, searched)
        if spec is None:
            break
        searched = list(spec.submodule_search_locations or [])
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        raise EntrypointError(
            f"The entrypoint {str(parsed)!r} names the module {parsed.location!r}, which is not installed here as a "
            f"Python file ({sys.executable})."
        )
    return Path(spec.origin)


def _in_notebook(parsed: Entrypoint, path: Path) -> Declaration:
    export = plugins.load("millrace.notebooks.export:export_notebook")
    with tempfile.TemporaryDirectory(prefix="millrace-book-") as target:
        exported = export(path, parsed.name, Path(target))
        found = find(exported.entrypoint, target)
        found.version  # noqa: B018 - while the file is there
    return found


def _all(tree: ast.Module, entrypoint: Entrypoint, file: Path) -> list[Declaration]:
    flows = _flow_names(tree)
    functions = {one.name: one for one in _statements(tree.body) if isinstance(one, Function)}

    def made(variable: str, function: Function | None, call: ast.Call | None, is_flow: bool) -> Declaration:
        return Declaration(entrypoint, file, variable, function, call, is_flow, tree)

    def decorated(function: Function, within: str = "") -> Declaration:
        for decorator in function.decorator_list:
            if _is_flow(decorator.func if isinstance(decorator, ast.Call) else decorator, flows):
                call = decorator if isinstance(decorator, ast.Call) else None
                return made(within + function.name, function, call, True)
        return made(within + function.name, function, None, False)

    found: list[Declaration] = []
    for statement in _statements(tree.body):
        if isinstance(statement, Function):
            found.append(decorated(statement))
        elif isinstance(statement, ast.ClassDef):
            found += [decorated(one, f"{statement.name}.") for one in statement.body if isinstance(one, Function)]
        elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            call = _flow_call(statement.value, flows)
            if call is not None:
                of = [one.id for one in _given(statement.value) if isinstance(one, ast.Name)]
                found.append(made(statement.targets[0].id, functions.get(of[0]) if of else None, call, True))
    return found


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, those under `if`, `try` and `with` included."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.If | ast.Try | ast.With):
            for part in ("body", "handlers", "orelse", "finalbody"):
                for inner in getattr(statement, part, []):
                    yield from _statements(inner.body if isinstance(inner, ast.ExceptHandler) else [inner])


def _flow_names(tree: ast.Module) -> Mapping[str, str]:
    """What the file calls `flow`, and what it calls the package that has it."""
    found = {"flow": "flow"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in _PACKAGES:
            found |= {alias.asname: "flow" for alias in node.names if alias.name == "flow" and alias.asname}
    return found


def _is_flow(node: ast.expr, flows: Mapping[str, str]) -> bool:
    return (isinstance(node, ast.Name) and node.id in flows) or (
        isinstance(node, ast.Attribute) and node.attr == "flow"
    )


def _flow_call(node: ast.expr, flows: Mapping[str, str]) -> ast.Call | None:
    """`flow(fn, ...)`, or the inner part of `flow(...)(fn)`."""
    if not isinstance(node, ast.Call):
        return None
    if _is_flow(node.func, flows):
        return node
    return _flow_call(node.func, flows)


def _given(node: ast.expr) -> list[ast.expr]:
    return [*node.args, *_given(node.func)] if isinstance(node, ast.Call) else []
