"""Entrypoints: the text that says where a flow is.

    flows/etl.py:etl        a function in a file
    acme.flows.etl          a function in an importable module; acme.flows:etl too
    book.ipynb:etl          a flow that a notebook defines, taken out of it as a module
    book.ipynb              a whole notebook as a flow

Paths are relative to the directory of the deployment's code. `inspect` reads a file without running it.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import pkgutil
import re
import sys
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol, cast

from millrace.errors import EntrypointError, MissingFlow, UnspecifiedFlow
from millrace.schema.runs import FlowRun, Lease
from millrace.schema.states import State

Kind = Literal["file", "module", "cell", "notebook"]
_NAME = r"[^\W\d]\w*"


class Runnable(Protocol):
    """What an entrypoint leads to: a flow, or a notebook that is one."""

    name: str

    def run_claimed(self, flow_run: FlowRun, lease: Lease | None, client: Any) -> State:
        """Execute a run that exists and report its states."""


@dataclass(frozen=True)
class Entrypoint:
    """A parsed entrypoint.

    Args:
        kind: what it leads to.
        location: the file, or the dotted name of the module.
        name: the function; None: the only flow there is, or the whole notebook.
    """

    kind: Kind
    location: str
    name: str | None = None

    def __str__(self) -> str:
        joint = "." if self.kind == "module" else ":"
        return f"{self.location}{joint}{self.name}" if self.name else self.location


@dataclass(frozen=True)
class Sketch:
    """A flow as its source shows it.

    Args:
        function: the name of the function.
        flow: the name of the flow, as far as it is written out.
        line: where it stands, from 1.
        description: the first paragraph of its docstring.
    """

    function: str
    flow: str
    line: int
    description: str | None = None


def parse(text: str) -> Entrypoint:
    """Read an entrypoint.

    Args:
        text: as the module's docstring shows.

    Raises:
        EntrypointError: it is none of the four forms.

    Example:
        >>> parse("flows/etl.py:etl").name
        'etl'
        >>> parse("book.ipynb").kind
        'notebook'
    """
    text = text.strip()
    if text.endswith(".ipynb"):
        return Entrypoint("notebook", text)
    if text.endswith(".py"):
        return Entrypoint("file", text)
    location, colon, name = text.rpartition(":")
    if colon and location.endswith((".py", ".ipynb")) and re.fullmatch(_NAME, name):
        return Entrypoint("cell" if location.endswith(".ipynb") else "file", location, name)
    if colon and re.fullmatch(rf"{_NAME}(\.{_NAME})*", location) and re.fullmatch(_NAME, name):
        return Entrypoint("module", location, name)
    if re.fullmatch(rf"{_NAME}(\.{_NAME})+", text):
        location, _, name = text.rpartition(".")
        return Entrypoint("module", location, name)
    raise EntrypointError(
        f"{text!r} is no entrypoint. Write one as file.py:function, package.module.function, book.ipynb:function "
        "or book.ipynb."
    )


def load(entrypoint: str | Entrypoint, directory: Path | str | None = None) -> Runnable:
    """The flow that an entrypoint leads to; its file is run.

    Args:
        entrypoint: the entrypoint.
        directory: where relative paths begin; the current directory when not given. It becomes importable.

    Raises:
        EntrypointError: the file is not there, or it raises: the message names its line.
        MissingFlow: it holds no such flow; the message lists those it holds.
        UnspecifiedFlow: no function is named and it holds several.
    """
    parsed = parse(entrypoint) if isinstance(entrypoint, str) else entrypoint
    base = Path(directory or ".").expanduser().absolute()
    _importable(base)
    if parsed.kind == "module":
        return _flow_in(_import(parsed), parsed, None)
    path = (base / Path(parsed.location).expanduser()).absolute()
    if not path.is_file():
        raise EntrypointError(f"The entrypoint {str(parsed)!r} leads to {path}, which is not a file.")
    if parsed.kind == "notebook":
        return cast("Runnable", pkgutil.resolve_name("millrace.notebooks.flow:NotebookFlow")(path))
    if parsed.kind == "cell":
        return _from_notebook(path, parsed)
    return _flow_in(_execute(path), parsed, path)


def _importable(directory: Path) -> None:
    if str(directory) in sys.path[:1]:
        return
    if str(directory) in sys.path:
        sys.path.remove(str(directory))
    sys.path.insert(0, str(directory))


def _import(parsed: Entrypoint) -> ModuleType:
    try:
        return importlib.import_module(parsed.location)
    except ModuleNotFoundError as error:
        if error.name and (parsed.location == error.name or parsed.location.startswith(error.name + ".")):
            raise EntrypointError(
                f"The entrypoint {str(parsed)!r} names the module {error.name!r}, which is not installed here "
                f"({sys.executable})."
            ) from None
        raise _raised(parsed.location, None, error) from error
    except Exception as error:
        spec = importlib.util.find_spec(parsed.location)
        raise _raised(parsed.location, Path(spec.origin) if spec and spec.origin else None, error) from error


def _execute(path: Path) -> ModuleType:
    _importable(path.parent)
    name = _module_name(path)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise EntrypointError(f"{path} cannot be loaded as a Python file.")
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        if before is None:
            sys.modules.pop(name, None)
        else:
            sys.modules[name] = before
        if isinstance(error, KeyboardInterrupt):
            raise
        raise _raised(str(path), path, error) from error
    return module


def _module_name(path: Path) -> str:
    # Under its own name, so that what its neighbours import is the same module; unless that name is taken.
    stem = path.stem
    known = sys.modules.get(stem)
    taken = stem in sys.stdlib_module_names or (known is not None and getattr(known, "__file__", None) != str(path))
    if stem.isidentifier() and not taken:
        return stem
    return f"millrace_file_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"


def _raised(what: str, path: Path | None, error: BaseException) -> EntrypointError:
    line: int | None = None
    if isinstance(error, SyntaxError):
        line = error.lineno
        what = error.filename or what
    else:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if path and f.filename == str(path)]
        line = frames[-1].lineno if frames else None
    place = f"{what}:{line}" if line else what
    return EntrypointError(f"{place}: loading the flow's code raised {type(error).__name__}: {error}")


def _from_notebook(path: Path, parsed: Entrypoint) -> Runnable:
    export = pkgutil.resolve_name("millrace.notebooks.export:export_notebook")
    target = Path(tempfile.mkdtemp(prefix="millrace-book-"))
    exported = export(path, parsed.name, target)
    return load(exported.entrypoint, target)


def is_flow(value: object) -> bool:
    """Whether a value can be run as a flow.

    Args:
        value: anything; a class is no flow.
    """
    return not isinstance(value, type) and callable(getattr(value, "run_claimed", None))


def _flow_in(module: ModuleType, parsed: Entrypoint, path: Path | None) -> Runnable:
    where = str(path or parsed.location)
    flows = {name: value for name, value in vars(module).items() if is_flow(value)}
    if parsed.name is None:
        own = {name: value for name, value in flows.items() if _defined_in(value, module)} or flows
        if len(own) > 1:
            raise UnspecifiedFlow(
                f"{where} holds several flows: {', '.join(own)}. Name one, as in {parsed}:{next(iter(own))}."
            )
        if not own:
            raise MissingFlow(f"{where} holds no flow. Decorate a function with @flow.")
        return cast("Runnable", next(iter(own.values())))
    if parsed.name in flows:
        return cast("Runnable", flows[parsed.name])
    raise MissingFlow(_missing(parsed.name, where, module, flows))


def _defined_in(value: object, module: ModuleType) -> bool:
    return getattr(getattr(value, "fn", value), "__module__", module.__name__) == module.__name__


def _missing(name: str, where: str, module: ModuleType, flows: dict[str, Any]) -> str:
    if callable(getattr(module, name, None)):
        return f"{name!r} in {where} is a function but no flow. Decorate it with @flow."
    held = f"It holds: {', '.join(flows)}." if flows else "It holds no flow; decorate a function with @flow."
    return f"There is no flow {name!r} in {where}. {held}"


# -- without running


def inspect(path: Path | str) -> list[Sketch]:
    """The flows that a Python file defines, read from its source.

    Args:
        path: the file.

    Raises:
        EntrypointError: it is not there or is no Python.
    """
    file = Path(path)
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except OSError as error:
        raise EntrypointError(f"{file} cannot be read: {error.strerror}.") from None
    except (SyntaxError, ValueError) as error:
        raise EntrypointError(f"{file}:{getattr(error, 'lineno', 1)}: this is no Python: {error}.") from None
    return [sketch for statement in tree.body if (sketch := _sketch(statement))]


def _sketch(statement: ast.stmt) -> Sketch | None:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        for decorator in statement.decorator_list:
            call = decorator if isinstance(decorator, ast.Call) else None
            if _is_flow_name(call.func if call else decorator):
                name = _written_name(call) or statement.name.replace("_", "-")
                text = ast.get_docstring(statement)
                return Sketch(statement.name, name, statement.lineno, text.split("\n\n")[0] if text else None)
    if (
        isinstance(statement, ast.Assign)
        and isinstance(statement.value, ast.Call)
        and isinstance(statement.targets[0], ast.Name)
        and _is_flow_name(statement.value.func)
    ):
        variable = statement.targets[0].id
        return Sketch(variable, _written_name(statement.value) or variable, statement.lineno)
    return None


def _is_flow_name(node: ast.expr) -> bool:
    return (isinstance(node, ast.Name) and node.id == "flow") or (
        isinstance(node, ast.Attribute) and node.attr == "flow"
    )


def _written_name(call: ast.Call | None) -> str | None:
    for keyword in call.keywords if call else []:
        if keyword.arg == "name" and isinstance(keyword.value, ast.Constant) and isinstance(keyword.value.value, str):
            return keyword.value.value
    return None


__all__ = ["Entrypoint", "Runnable", "Sketch", "inspect", "is_flow", "load", "parse"]
