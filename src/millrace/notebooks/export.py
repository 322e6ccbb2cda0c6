"""A flow of a notebook as a module that a worker can import.

The module holds the user's text, not a printout of its tree, and nothing that changes from one export to the next: no
times, no paths, no execution counts. `# %%` parts the cells, as editors expect it.
"""

from __future__ import annotations

import ast
import hashlib
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from millrace.errors import AlreadyExists, ClosureError, InvalidInput, MissingFlow
from millrace.notebooks.carried import CarriedFile, extra_files
from millrace.notebooks.cells import parse, read_cells
from millrace.notebooks.closure import Closure, find_closure, find_flows
from millrace.notebooks.flow_cell import variable_name
from millrace.notebooks.statements import Statement

_MARK = "# Exported by Millrace "


@dataclass(frozen=True)
class Exported:
    """An exported flow.

    Args:
        path: the module.
        entrypoint: `etl_flows.py:etl`, relative to the module's directory.
        files: everything that belongs to it, relative to that directory, in order; the module among them.
        version_hash: 32 hexadecimal digits over the names and contents of the files.
        notes: what was left out and why, one sentence each.
        origins: pairs (line of the module, cell): from this line on, the text of that cell; for messages.
        distributions: top-level names of modules that must be installed where the flow runs.
    """

    path: Path
    entrypoint: str
    files: tuple[str, ...]
    version_hash: str
    notes: tuple[str, ...] = ()
    origins: tuple[tuple[int, int], ...] = ()
    distributions: frozenset[str] = frozenset()

    @property
    def directory(self) -> Path:
        """Where the module lies."""
        return self.path.parent


@dataclass(frozen=True)
class ModuleText:
    """The text of a module, and which cell each part comes from."""

    text: str
    origins: tuple[tuple[int, int], ...]


def export_notebook(
    path: str | Path, flow_name: str, directory: str | Path, carry: Iterable[str | Path] = ()
) -> Exported:
    """Exports a flow of a notebook file; no kernel is needed and nothing is executed.

    Args:
        path: the notebook.
        flow_name: the flow's variable or registered name.
        directory: where to write; made if it is not there.
        carry: more files and folders to take along, relative to the notebook.

    Raises:
        NotFound: there is no such notebook.
        MissingFlow: the notebook does not hold the flow; the message lists those it holds.
        ClosureError: a name cannot be shipped.
    """
    book = Path(path)
    cells = read_cells(book)
    closure = find_closure(cells, flow_name, directory=book.absolute().parent)
    flows = find_flows(cells)
    if closure.flow not in flows:
        listed = f"Its flows are {', '.join(flows)}." if flows else "It holds no flow yet."
        raise MissingFlow(f"{flow_name} in {book.name} is not a flow: put @flow above it. {listed}")
    return export_module(closure, directory, carry=carry)


def export_module(closure: Closure, directory: str | Path, *, carry: Iterable[str | Path] = ()) -> Exported:
    """Writes a closure as a module, with the files it needs beside it.

    Args:
        closure: what `find_closure` found.
        directory: where to write; made if it is not there. A file that is there with the same content is not touched.
        carry: more files and folders to take along, relative to the notebook's directory.

    Returns:
        The module, its entrypoint, its files and its version.

    Raises:
        ClosureError: the closure has names that cannot be shipped, or a helper has the module's name.
        AlreadyExists: a file of the module's name is there that Millrace did not write.
        InvalidInput: a file to carry does not exist, or two of them want one place.
    """
    closure.require_complete()
    module = f"{variable_name(closure.flow)}_flows.py"
    written = module_text(closure)
    files = _files(closure, module, written.text, carry)
    folder = Path(directory).expanduser()
    _refuse_foreign(folder / module)
    for target, content in files.items():
        write_atomically(folder / target, content)
    return Exported(
        path=(folder / module).absolute(),
        entrypoint=f"{module}:{closure.flow}",
        files=tuple(sorted(files)),
        version_hash=version_of(files),
        notes=closure.notes,
        origins=written.origins,
        distributions=closure.distributions,
    )


def version_hash(closure: Closure, *, carry: Iterable[str | Path] = ()) -> str:
    """The version an export would have, without writing anything: tells whether deployed code differs from the cells.

    Args:
        closure: what `find_closure` found.
        carry: as for `export_module`.
    """
    module = f"{variable_name(closure.flow)}_flows.py"
    return version_of(_files(closure, module, module_text(closure).text, carry))


def module_text(closure: Closure) -> ModuleText:
    """The closure as the text of a module.

    Args:
        closure: what `find_closure` found.

    Raises:
        ClosureError: its statements do not make a module together.
    """
    head = [s for s in closure.statements if s.is_future]
    rest = [s for s in closure.statements if not s.is_future]
    hoisted = 0
    while hoisted < len(rest) and isinstance(rest[hoisted].node, ast.Import | ast.ImportFrom):
        hoisted += 1
    lines = [
        f"{_MARK}from a notebook: the flow {closure.flow} and what it needs.",
        "# Change the notebook and export again.",
    ]
    imports = [*_merged(head), *_merged(rest[:hoisted], closure.added)]
    if imports:
        lines += ["", *imports]
    origins: list[tuple[int, int]] = []
    cell: int | None = None
    before: Statement | None = None
    for statement in rest[hoisted:]:
        if statement.slot != cell:
            lines += ["", "", "# %%"]
            cell = statement.slot
        elif before is not None and _is_block(before, statement):
            lines += ["", ""]
        origins.append((len(lines) + 1, statement.cell.index))
        lines += statement.text.splitlines()
        before = statement
    text = "\n".join(lines) + "\n"
    try:
        compile(parse(text, closure.flow), closure.flow, "exec", dont_inherit=True)
    except SyntaxError as error:
        raise ClosureError(
            f"The cells {closure.flow} needs do not make a module: {error.msg} ({error.text!r})."
        ) from None
    return ModuleText(text, tuple(origins))


def version_of(files: dict[str, bytes]) -> str:
    """32 hexadecimal digits over names and contents.

    Args:
        files: contents by relative path.
    """
    digest = hashlib.sha256()
    for target in sorted(files):
        for part in (target.encode(), files[target]):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    return digest.hexdigest()[:32]


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file so that a reader sees the old content or the new, never a part; the same content is left alone.

    Args:
        path: the file; its folders are made.
        content: its bytes.
    """
    if path.is_file() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp gives 0600; a module in a shared folder is for its readers.
        Path(name).chmod(path.stat().st_mode & 0o777 if path.exists() else 0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _files(closure: Closure, module: str, text: str, carry: Iterable[str | Path]) -> dict[str, bytes]:
    extra = list(carry)
    if extra and closure.directory is None:
        raise InvalidInput(
            "carry needs the notebook's directory: save the notebook, or give absolute paths and a directory."
        )
    chosen: list[CarriedFile] = [*closure.local.files, *extra_files(extra, closure.directory or Path())]
    files = {module: text.encode()}
    for file in chosen:
        if file.target == module:
            raise ClosureError(
                f"{module} is a file that {closure.flow} needs, and also the name of its module. Rename that file."
            )
        if files.setdefault(file.target, file.content) != file.content:
            raise InvalidInput(f"Two files want to be {file.target} beside the module. Rename one of them.")
    return files


def _refuse_foreign(path: Path) -> None:
    if path.is_file() and not path.read_text(encoding="utf-8", errors="replace").startswith(_MARK):
        raise AlreadyExists(
            f"{path} is there and was not exported by Millrace. Move it away or choose another directory."
        )


def _merged(statements: Iterable[Statement], added: Iterable[str] = ()) -> list[str]:
    """Import lines, each once; imports from one module on one line, but none moves past a `*`, which may hide names."""
    lines: dict[str, list[str]] = {}
    done: list[str] = []
    nodes = [statement.node for statement in statements]
    nodes += [node for line in added for node in ast.parse(line).body]
    for node in nodes:
        text = ast.unparse(node)
        start, word, names = text.partition(" import ")
        if names == "*":
            done += [*_lines(lines), text]
            lines = {}
        elif isinstance(node, ast.ImportFrom):
            known = lines.setdefault(start + word, [])
            known += [name for name in names.split(", ") if name not in known]
        else:
            lines.setdefault(text, [])
    return [*done, *_lines(lines)]


def _lines(merged: dict[str, list[str]]) -> list[str]:
    return [start + ", ".join(names) for start, names in merged.items()]


def _is_block(before: Statement, after: Statement) -> bool:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return isinstance(before.node, kinds) or isinstance(after.node, kinds)
