"""Entrypoints: the text that says where a flow is.

    flows/etl.py:etl        a function in a file
    flows/etl.py:Etl.run    a static method or class method in a file
    acme.flows.etl          a function in an importable module; acme.flows:etl too
    book.ipynb:etl          a flow that a notebook defines, taken out of it as a module
    book.ipynb              a whole notebook as a flow

Paths are relative to the directory of the deployment's code. `millrace.declarations` reads them without running a file.
"""

from __future__ import annotations

import atexit
import hashlib
import importlib
import importlib.util
import inspect
import pkgutil
import re
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.abc import Loader
from pathlib import Path
from types import MethodType, ModuleType
from typing import Any, Literal, Protocol, cast

from millrace.errors import EntrypointError, MissingFile, MissingFlow, UnspecifiedFlow
from millrace.schema.runs import FlowRun, Lease
from millrace.schema.states import State

Kind = Literal["file", "module", "cell", "notebook"]
_NAME = r"[^\W\d]\w*"
_PATH = rf"{_NAME}(\.{_NAME})*"


class EntrypointType(StrEnum):
    """How a deployment names the code of a flow object.

    Attributes:
        FILE_PATH: `path/to/file.py:function`; a flow of a notebook's cells is exported to such a file.
        MODULE_PATH: `package.module.function`, importable where it runs.
        NOTEBOOK_PATH: `path/to/book.ipynb:function`: the notebook's file, as it was saved, is where the flow is.
    """

    FILE_PATH = "file_path"
    MODULE_PATH = "module_path"
    NOTEBOOK_PATH = "notebook_path"


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
        name: the function, or `Class.method`; None: the only flow there is, or the whole notebook.
    """

    kind: Kind
    location: str
    name: str | None = None

    def __str__(self) -> str:
        joint = "." if self.kind == "module" and "." not in (self.name or "") else ":"
        return f"{self.location}{joint}{self.name}" if self.name else self.location


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
    if not isinstance(text, str):
        raise EntrypointError(f"An entrypoint is a text such as 'file.py:function', not {text!r}.")
    text = text.strip()
    if text.endswith(".ipynb"):
        return Entrypoint("notebook", text)
    if text.endswith(".py"):
        return Entrypoint("file", text)
    location, colon, name = text.rpartition(":")
    if colon and location.endswith(".ipynb") and re.fullmatch(_NAME, name):
        return Entrypoint("cell", location, name)
    if colon and location.endswith(".py") and re.fullmatch(_PATH, name):
        return Entrypoint("file", location, name)
    if colon and re.fullmatch(_PATH, location) and re.fullmatch(_PATH, name):
        return Entrypoint("module", location, name)
    if not colon and "." in text and re.fullmatch(_PATH, text):
        location, _, name = text.rpartition(".")
        return Entrypoint("module", location, name)
    raise EntrypointError(
        f"{text!r} is no entrypoint. Write one as file.py:function, package.module.function, book.ipynb:function "
        "or book.ipynb."
    )


def load(
    entrypoint: str | Entrypoint,
    directory: Path | str | None = None,
    made_of: Callable[[Any], Runnable] | None = None,
) -> Runnable:
    """The flow that an entrypoint leads to; its file is run.

    Args:
        entrypoint: the entrypoint.
        directory: where relative paths begin; the current directory when not given. It becomes importable.
        made_of: makes a flow of a plain function; without it one is an error.

    Raises:
        EntrypointError: the file is not there, or it raises: the message names its line.
        MissingFlow: it holds no such flow; the message lists those it holds.
        UnspecifiedFlow: no function is named and it holds several.
    """
    parsed = entrypoint if isinstance(entrypoint, Entrypoint) else parse(entrypoint)
    base = Path(directory or ".").expanduser().absolute()
    if parsed.kind in ("notebook", "cell"):
        _importable(base)
        path = located(parsed, base)
        if parsed.kind == "cell":
            return _from_notebook(path, parsed)
        return cast("Runnable", pkgutil.resolve_name("millrace.notebooks.flow:NotebookFlow")(path))
    module = _module(parsed, base)
    if made_of is not None and parsed.name is not None:
        found = _attribute(module, parsed.name)
        if inspect.isroutine(found) and not is_flow(found):
            return made_of(found)
    return _flow_in(module, parsed)


def located(parsed: Entrypoint, base: Path) -> Path:
    """The file of an entrypoint that has a path.

    Args:
        parsed: the entrypoint.
        base: where relative paths begin.

    Raises:
        EntrypointError: it is not there.
    """
    path = (base / Path(parsed.location).expanduser()).absolute()
    if not path.is_file():
        raise MissingFile(f"The entrypoint {str(parsed)!r} leads to {path}, which is not a file.", str(path))
    return path


def _module(parsed: Entrypoint, base: Path) -> ModuleType:
    _importable(base)
    return _import(parsed) if parsed.kind == "module" else execute(located(parsed, base))


def _importable(directory: Path) -> None:
    if str(directory) in sys.path[:1]:
        return
    if str(directory) in sys.path:
        sys.path.remove(str(directory))
    sys.path.insert(0, str(directory))


def _import(parsed: Entrypoint) -> ModuleType:
    try:
        return importlib.import_module(parsed.location)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        name = error.name if isinstance(error, ModuleNotFoundError) else None
        if name and (parsed.location == name or parsed.location.startswith(name + ".")):
            raise EntrypointError(
                f"The entrypoint {str(parsed)!r} names the module {name!r}, which is not installed here "
                f"({sys.executable})."
            ) from None
        raise _raised(_file_of(parsed.location, error) or parsed.location, error) from error


def _file_of(module: str, error: BaseException) -> str | None:
    """The file of a module that could not be imported; of the package around it, if that is what raised."""
    place = "/".join(module.split("."))
    ends = (f"/{place}.py", f"/{place}/__init__.py")
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    files = [file for file in files if not file.startswith("<") and file != __file__ and "/importlib/" not in file]
    return next((file for file in files if file.endswith(ends)), files[0] if files else None)


def execute(path: Path, loader: Loader | None = None) -> ModuleType:
    """Run a Python file as a module; its directory becomes importable.

    Args:
        path: the file.
        loader: runs it; an ordinary one by default.

    Raises:
        EntrypointError: it raises: the message names its line.
    """
    _importable(path.parent)
    name = _module_name(path)
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
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
        raise _raised(str(path), error) from error
    return module


def _module_name(path: Path) -> str:
    # Under its own name, so that what its neighbours import is the same module; unless that name is taken.
    stem = path.stem
    known = sys.modules.get(stem)
    taken = stem in sys.stdlib_module_names or (known is not None and getattr(known, "__file__", None) != str(path))
    if stem.isidentifier() and not taken:
        return stem
    return f"millrace_file_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"


def _raised(what: str, error: BaseException, book: Path | None = None) -> EntrypointError:
    file, line = what, None
    cell = f"{book}, cell "
    if isinstance(error, SyntaxError):
        file, line = error.filename or what, error.lineno
    else:
        for frame in traceback.extract_tb(error.__traceback__):
            if frame.filename == what or (book and frame.filename.startswith(cell)):
                file, line = frame.filename, frame.lineno
    place = f"{file}:{line}" if line else file
    if book and line and file.startswith(cell):
        place, file = f"{file}, line {line}", str(book)
    remedy = ""
    if isinstance(error, ModuleNotFoundError):
        remedy = f". Install it for {sys.executable}, or put the module beside the file"
    text = f"{place}: loading the flow's code raised {type(error).__name__}: {error}{remedy}"
    return EntrypointError(text, file, line)


def _from_notebook(path: Path, parsed: Entrypoint) -> Runnable:
    export = pkgutil.resolve_name("millrace.notebooks.export:export_notebook")
    target = Path(tempfile.mkdtemp(prefix="millrace-book-"))
    atexit.register(shutil.rmtree, target, ignore_errors=True)  # till then tracebacks want its lines
    try:
        exported = export(path, parsed.name, target)
    except MissingFlow as error:
        raise MissingFlow(f"{path}: {error}") from None
    loader = pkgutil.resolve_name("millrace.notebooks.places:BookLoader")(path, exported)
    try:
        module = execute(exported.path, loader)
    except EntrypointError as error:
        cause = error.__cause__
        raise (_raised(str(exported.path), cause, path) if cause else error) from cause
    return _flow_in(module, parse(exported.entrypoint))


def is_flow(value: object) -> bool:
    """Whether a value can be run as a flow.

    Args:
        value: anything; a class is no flow.
    """
    return not isinstance(value, type) and callable(getattr(value, "run_claimed", None))


def flows_in(module: ModuleType) -> dict[str, Any]:
    """The flows that a module holds, by variable, in the order of their definition.

    Args:
        module: the module, which has run.
    """
    return {name: value for name, value in vars(module).items() if is_flow(value)}


def own_flows(module: ModuleType) -> dict[str, Any]:
    """Those that it defines itself; those that it imports, if it defines none.

    Args:
        module: the module, which has run.
    """
    flows = flows_in(module)
    return {name: value for name, value in flows.items() if _defined_in(value, module)} or flows


def _flow_in(module: ModuleType, parsed: Entrypoint) -> Runnable:
    where = _where(module, parsed)
    if parsed.name is None:
        own = own_flows(module)
        if len(own) > 1:
            names = ", ".join([*own, *_methods(module)])
            raise UnspecifiedFlow(f"{where} holds several flows: {names}. Name one, as in {parsed}:{next(iter(own))}.")
        if not own:
            raise MissingFlow(f"{where} holds no flow. Decorate a function with @flow.")
        return cast("Runnable", next(iter(own.values())))
    found = _attribute(module, parsed.name)
    if is_flow(found):
        return cast("Runnable", found)
    raise MissingFlow(_missing(parsed, where, found, {**flows_in(module), **_methods(module)}))


def _where(module: ModuleType, parsed: Entrypoint) -> str:
    return parsed.location if parsed.kind == "module" else str(module.__file__)


def _attribute(module: ModuleType, name: str) -> Any:
    """What stands under a name or `Class.method`, or None."""
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    # from Python 3.13 on a classmethod binds what it wraps by itself
    if isinstance(found, MethodType) and is_flow(found.__func__):
        found = cast("Any", found.__func__).__get__(found.__self__)
    return found


def _defined_in(value: object, module: ModuleType) -> bool:
    return getattr(getattr(value, "fn", value), "__module__", module.__name__) == module.__name__


def _methods(module: ModuleType) -> dict[str, Any]:
    """The flows in the classes of a module, as `Class.method`."""
    return {
        f"{kind}.{name}": value
        for kind, owner in vars(module).items()
        if isinstance(owner, type) and owner.__module__ == module.__name__
        for name in vars(owner)
        if is_flow(value := _attribute(module, f"{kind}.{name}"))
    }


def _missing(parsed: Entrypoint, where: str, found: object, flows: dict[str, Any]) -> str:
    name = str(parsed.name)
    if isinstance(found, type):
        methods = [variable for variable in flows if variable.startswith(f"{name}.")]
        remedy = f"Name a method: {', '.join(methods)}." if methods else "Decorate a method with @flow, and name it."
        return f"{name!r} in {where} is a class and no flow. {remedy}"
    if callable(found):
        return f"{name!r} in {where} is a function but no flow. Decorate it with @flow."
    return missing(parsed, where, {variable: getattr(flow, "name", "") for variable, flow in flows.items()})


def missing(parsed: Entrypoint, where: str, flows: Mapping[str, str]) -> str:
    """What to say where no variable has the name of an entrypoint.

    Args:
        parsed: the entrypoint.
        where: the file or module.
        flows: the names of the flows that it holds, by variable.
    """
    called = next((variable for variable, name in flows.items() if name == parsed.name), None)
    if called is not None:
        meant = Entrypoint(parsed.kind, parsed.location, called)
        return (
            f"{parsed.name!r} is the name of the flow {called} in {where}; an entrypoint names the variable: {meant}."
        )
    held = f"It holds: {', '.join(flows)}." if flows else "It holds no flow; decorate a function with @flow."
    return f"There is no flow {parsed.name!r} in {where}. {held}"


__all__ = [
    "Entrypoint",
    "Runnable",
    "execute",
    "flows_in",
    "is_flow",
    "load",
    "located",
    "missing",
    "own_flows",
    "parse",
]
