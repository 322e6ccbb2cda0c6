"""Where the code of a deployment lies: a script stays where it is, code from cells is exported."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from millrace import plugins, settings
from millrace.deployments.variable import Variable, variable_of
from millrace.entrypoints import EntrypointType
from millrace.errors import EntrypointError
from millrace.notebooks import live
from millrace.schema.fields import JsonObject


@dataclass(frozen=True)
class Source:
    """The code of a deployment.

    Args:
        path: the directory that the entrypoint is relative to; None for an importable module.
        entrypoint: such as `etl.py:etl`.
        version: a hash of the code.
        working_dir: where its runs work, so that relative paths of data lead where they led before.
        files: what of the directory belongs to it, where it was exported; empty for a script.
        origins: the cells its lines come from, for messages of the preflight check.
        pull_steps: how a run gets the code, where it does not simply lie in `path`.
        origin: the notebook's directory and the entrypoint in it, where it was taken out of a notebook's file.
    """

    path: Path | None
    entrypoint: str
    version: str | None
    working_dir: Path | None
    files: tuple[str, ...] = ()
    origins: tuple[tuple[int, int], ...] = ()
    pull_steps: tuple[JsonObject, ...] = ()
    origin: tuple[Path, str] | None = None


def of_flow(flow: Any, kind: EntrypointType = EntrypointType.FILE_PATH) -> Source:
    """The code of a flow object.

    Args:
        flow: the flow.
        kind: how to name it: by its file, by its module, which must be importable where it runs, or in its notebook.

    Raises:
        EntrypointError: nobody else could find it.
        ClosureError: it is defined in cells, and one of the names it needs cannot be shipped.
    """
    at = variable_of(flow)
    if kind is EntrypointType.NOTEBOOK_PATH:
        return of_notebook_flow(_open_book(at.name), at.name)
    if kind is EntrypointType.MODULE_PATH:
        if at.module == "__main__":
            raise EntrypointError(
                f"The flow {at.name!r} is in the main script, which has no module path. Import it from a module, or "
                "deploy it by its file."
            )
        return Source(None, _dotted(at), _hash_of(at.file), Path.cwd())
    if at.cell:
        return _exported(flow, at.name)
    if at.file is None or at.file.suffix != ".py":
        raise EntrypointError(
            f"The flow {at.name!r} was defined interactively, so no other process can load it. Put it into a file, or "
            "into a cell of a notebook with %load_ext millrace."
        )
    if at.package and at.module != "__main__":
        # A member of a package: as a lone file its relative imports would fail.
        root = at.file.parents[at.package.count(".") + 1]
        return Source(root, _dotted(at), _hash_of(at.file), root)
    return Source(at.file.parent, f"{at.file.name}:{at.name}", _hash_of(at.file), at.file.parent)


def _dotted(at: Variable) -> str:
    return f"{at.module}{':' if '.' in at.name else '.'}{at.name}"


def _open_book(name: str) -> Path:
    """The notebook that this kernel runs for, as JupyterLab and VS Code tell it."""
    told = os.environ.get("JPY_SESSION_NAME") or live.live_namespace().get("__vsc_ipynb_file__")
    book = Path(str(told)) if told else None
    if book is None or book.suffix != ".ipynb" or not book.is_file():
        raise EntrypointError(
            f"Nobody knows in which notebook the flow {name!r} is. Save the notebook and name it: "
            f"RunnerDeployment.from_entrypoint('book.ipynb:{name}', …); or leave entrypoint_type out, which exports "
            "the flow from the cells."
        )
    return book


def _file(function: Any) -> Path | None:
    try:
        found = inspect.getsourcefile(function)
    except TypeError:
        return None
    path = Path(found).absolute() if found else None
    return path if path is not None and path.is_file() else None


def _hash_of(file: Path | None) -> str | None:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:32] if file else None


def _exported(flow: Any, name: str) -> Source:
    cells = live.executed_cells() or []
    types = plugins.load("millrace.notebooks.remaking:live_types")(live.live_namespace())
    find = plugins.load("millrace.notebooks.closure:find_closure")
    closure = find(cells, name, live=types, directory=Path.cwd())
    export = plugins.load("millrace.notebooks.export:export_module")
    return kept(lambda target: export(closure, target), Path.cwd())


def of_notebook_flow(book: Path, name: str) -> Source:
    """The code of a flow that a notebook file defines; nothing of it is run.

    Args:
        book: the notebook.
        name: the flow.

    Raises:
        MissingFlow: the notebook does not define it.
        ClosureError: one of the names it needs cannot be shipped.
    """
    export = plugins.load("millrace.notebooks.export:export_notebook")
    code = kept(lambda target: export(book, name, target), book.absolute().parent)
    return dataclasses.replace(code, origin=(book.absolute().parent, f"{book.name}:{name}"))


def kept(export: Callable[[Path], Any], working_dir: Path) -> Source:
    """Export into the code directory: a folder per version, there at once or not at all.

    Args:
        export: writes to a directory and tells what it wrote.
        working_dir: where runs of it work.
    """
    code = settings.current().code_directory
    code.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=".export-", dir=code))
    try:
        exported = export(place)
        target = code / exported.version_hash
        _settle(place, target)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return Source(
        target, exported.entrypoint, exported.version_hash, working_dir, tuple(exported.files), tuple(exported.origins)
    )


def _settle(place: Path, target: Path) -> None:
    if target.is_dir():
        return
    place.chmod(0o755)
    try:
        os.rename(place, target)
    except OSError:
        if not target.is_dir():  # else another process made the same version
            raise


def of_notebook(book: Path) -> Source:
    """A whole notebook: a copy without outputs, with the local modules that it imports.

    Args:
        book: the notebook.

    Raises:
        NotFound: there is no such notebook.
        ClosureError: a local module is no Python.
    """
    book = book.expanduser().absolute()
    content = plugins.load("millrace.notebooks.parameters:read_book")(book)
    for cell in content.get("cells", []):
        if cell.get("cell_type") == "code":
            cell["outputs"], cell["execution_count"] = [], None
    files = {book.name: (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()}
    for carried in plugins.load("millrace.deployments.carried:of_notebook")(book):
        files.setdefault(carried.target, carried.content)
    version = plugins.load("millrace.notebooks.export:version_of")(files)
    code = settings.current().code_directory
    code.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=".export-", dir=code))
    try:
        for target, data in files.items():
            (place / target).parent.mkdir(parents=True, exist_ok=True)
            (place / target).write_bytes(data)
        _settle(place, code / version)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return Source(code / version, book.name, version, book.parent, origin=(book.parent, book.name))


def of_function(flow: Any) -> str | None:
    """The version of a flow of a module: a hash of its file.

    Args:
        flow: the flow.
    """
    return _hash_of(_file(getattr(flow, "fn", flow)))


def of_file(file: Path) -> str | None:
    """The version of a script: a hash of its text.

    Args:
        file: the script.
    """
    return _hash_of(file if file.is_file() else None)
