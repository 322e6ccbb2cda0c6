"""A cell as data, and what it says in plain Python once IPython's own syntax is taken out.

IPython itself stays in `jupyter/`; a notebook file can be read where no IPython is. The scanner here keeps every line
where it was, so that line numbers of the plain code are line numbers of the cell.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from millrace import plugins
from millrace.errors import InvalidInput, NotFound

MAGIC_VALUE = "__millrace_magic__"
"""The name that stands for a value made by IPython: `files = !ls` reads `files = __millrace_magic__('!ls')`."""

# Cell magics that run the cell's own code in the user's namespace: what lies under them is an ordinary cell.
_WRAPPERS = frozenset({"time", "capture", "prun", "memit", "scalene", "snakeviz", "heat", "mprun", "pyinstrument"})
# Line magics whose argument is a statement that really runs.
_LINE_WRAPPERS = frozenset({"time", "prun", "memit", "pyinstrument", "snakeviz"})
# What a user types without % and IPython's automagic understands; only looked for where the cell is no Python.
_AUTOMAGIC = re.compile(r"^\s*(pip|conda|mamba|uv|ls|ll|cd|pwd|cat|mkdir|rmdir|rm|cp|mv|clear|load_ext|matplotlib)\b")
_MAGIC_ASSIGNMENT = re.compile(r"^(\s*)([A-Za-z_][\w\s,.\[\]'\"*]*?)\s*=\s*([!%](?!=).*)$", re.DOTALL)
_HELP = re.compile(r"^\s*(\?{1,2}\s*[%\w.*]+|%{0,2}[\w.*\[\]()'\"]+\?{1,2})\s*$")
_CELL_MAGIC = re.compile(r"^%%\s*([\w.]+|!)\s*(.*)$")
_FORCE = re.compile(r"^#\|\s*export\b", re.MULTILINE)


@dataclass(frozen=True)
class Cell:
    """One code cell.

    Args:
        index: its number as a reader counts, from 1: its place in the file, or its execution count in a kernel.
        cell_id: the id in the notebook file, where known.
        source: the text as typed, magics and all.
        execution_count: the number in brackets, where it ran.
        tags: the cell's tags; `export` says that its statements may run again anywhere.

    Example:
        >>> Cell(1, None, "x = 1").source
        'x = 1'
    """

    index: int
    cell_id: str | None
    source: str
    execution_count: int | None = None
    tags: frozenset[str] = frozenset()


@dataclass(frozen=True)
class PlainCell:
    """A cell without IPython's syntax.

    Args:
        cell: where it comes from.
        kind: `python`; `flow` under `%%flow`; `file` under `%%writefile`; `other` for text that is no Python.
        code: plain Python with as many lines as the cell has; for `file` the text of the file; empty for `other`.
        line: what stands behind `%%flow` or `%%writefile`.
        notes: what was taken out, one sentence each.
        runs: the `%run` lines, which may make names that no cell shows.
    """

    cell: Cell
    kind: Literal["python", "flow", "file", "other"]
    code: str
    line: str = ""
    notes: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()

    @property
    def forced(self) -> bool:
        """Whether the user says that everything in this cell may run again wherever the flow runs."""
        return "export" in self.cell.tags or _FORCE.search(self.cell.source) is not None


@dataclass
class _Scan:
    """Where a scan stands: the lines so far and what was said about them."""

    label: str
    lines: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)

    def drop(self, line: str) -> None:
        indent = line[: len(line) - len(line.lstrip())]
        text = line.strip()
        self.notes.append(f"{self.label}: `{text}` is for the session and is left out")
        # A function may consist of nothing but a magic; `pass` keeps it a function and the line in its place.
        self.lines.append(f"{indent}pass  # {text}")
        if re.match(r"%(run|load|store|macro|pylab|sql)\b", text):
            self.runs.append(text)


def read_cells(path: str | Path) -> list[Cell]:
    """The code cells of a notebook file, in the order of the file.

    Args:
        path: the `.ipynb` file.

    Returns:
        Code cells only; each is numbered by its place among all cells, from 1.

    Raises:
        NotFound: there is no such file.
        InvalidInput: the file is no notebook.
    """
    file = Path(path)
    if not file.is_file():
        raise NotFound(f"There is no notebook {str(path)!r}. Give the path of an .ipynb file.")
    try:
        # Loaded here: a script that deploys needs cells, but no notebook file.
        book = plugins.load("nbformat:read")(str(file), as_version=4)
    except Exception as error:  # nbformat raises whatever its parsers raise
        problem = f"{type(error).__name__}: {error}"
        raise InvalidInput(f"{str(path)!r} cannot be read as a notebook ({problem}).") from None
    return [
        Cell(
            index=number,
            cell_id=cell.get("id"),
            source=cell.source,
            execution_count=cell.get("execution_count"),
            tags=frozenset(cell.get("metadata", {}).get("tags", ())),
        )
        for number, cell in enumerate(book.cells, start=1)
        if cell.cell_type == "code"
    ]


def plain(cell: Cell) -> PlainCell:
    """What the cell says in Python.

    Args:
        cell: the cell, with the text as typed.

    Returns:
        The code with magics taken out line by line; what was taken out is in `notes`.

    Example:
        >>> plain(Cell(1, None, "%matplotlib inline\\nx = 1")).code
        'pass  # %matplotlib inline\\nx = 1'
    """
    label = f"cell {cell.index}"
    lines = cell.source.splitlines()
    kind, rest, notes = _cell_magics(lines, label)
    if kind == "file":
        text = "\n".join(lines[rest[1] :])
        return PlainCell(cell, "file", text + "\n", line=rest[0], notes=tuple(notes))
    if kind == "other":
        return PlainCell(cell, "other", "", notes=tuple(notes))
    scan = _scan(lines, label)
    code = "\n".join(scan.lines)
    if not is_python(code):
        scan = _scan(_without_automagic(lines), label)
        code = "\n".join(scan.lines)
    return PlainCell(cell, kind, code, line=rest[0], notes=(*notes, *scan.notes), runs=tuple(scan.runs))


def plain_text(body: str) -> str:
    """The text under a `%%flow` line without IPython's syntax, line for line.

    Args:
        body: what IPython hands to the cell magic.
    """
    return plain(Cell(0, None, body)).code


def parse(code: str, filename: str = "<cell>") -> ast.Module:
    """Plain code as a tree; `await` may stand at the top level, as in a notebook.

    Args:
        code: plain Python.
        filename: what tracebacks should call it.

    Raises:
        SyntaxError: it is no Python.
    """
    flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    tree = compile(code, filename, "exec", flags, dont_inherit=True)
    assert isinstance(tree, ast.Module)
    return tree


def is_python(code: str) -> bool:
    """Whether plain code can be parsed."""
    try:
        parse(code)
    except (SyntaxError, ValueError):
        return False
    return True


def _cell_magics(
    lines: list[str], label: str
) -> tuple[Literal["python", "flow", "file", "other"], tuple[str, int], list[str]]:
    """Reads the `%%` lines at the head and blanks them; gives the kind, (argument, lines read) and notes."""
    notes: list[str] = []
    kind: Literal["python", "flow"] = "python"
    argument = ""
    for number, line in enumerate(lines):
        found = _CELL_MAGIC.match(line)
        if found is None:
            if line.strip():
                break
            continue
        name = found[1]
        if name == "flow":
            kind, argument = "flow", found[2]
        elif name == "writefile":
            return "file", (found[2], number + 1), notes
        elif name not in _WRAPPERS:
            notes.append(f"{label}: a %%{name} cell is no Python of this kernel and is left out")
            return "other", ("", number), notes
        else:
            notes.append(f"{label}: `{line.strip()}` only wraps the cell and is left out")
        lines[number] = ""
    return kind, (argument, 0), notes


def _scan(lines: list[str], label: str) -> _Scan:
    scan = _Scan(label)
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if not _suspicious(line) or not _begins_statement(scan.lines):
            scan.lines.append(line)
            continue
        first = line
        blanks = 0
        while first.endswith("\\") and number < len(lines):
            first = first[:-1].rstrip() + " " + lines[number].strip()
            number += 1
            blanks += 1
        _replace(scan, first)
        scan.lines.extend([""] * blanks)
    return scan


def _suspicious(line: str) -> bool:
    text = line.strip()
    return (
        text.startswith(("%", "!", "?", ",", ";", "/"))
        or _HELP.match(line) is not None
        or _MAGIC_ASSIGNMENT.match(line) is not None
    )


def _begins_statement(before: Iterable[str]) -> bool:
    """Whether the next line begins a statement, which it does not inside brackets, a string or after a backslash."""
    text = "\n".join(before)
    if text.endswith("\\"):
        return False
    try:
        for _ in tokenize.generate_tokens(io.StringIO(text + "\n").readline):
            pass
    except tokenize.TokenError:
        return False
    except SyntaxError:  # odd indentation; the parser will say so
        return True
    return True


def _replace(scan: _Scan, line: str) -> None:
    assigned = _MAGIC_ASSIGNMENT.match(line)
    if assigned is not None and not line.strip().startswith(("%", "!")):
        scan.lines.append(f"{assigned[1]}{assigned[2]} = {MAGIC_VALUE}({assigned[3].strip()!r})")
        return
    wrapped = re.match(r"^(\s*)%(\w+)\s+(.*)$", line)
    if wrapped is not None and wrapped[2] in _LINE_WRAPPERS and is_python(wrapped[3]):
        scan.notes.append(f"{scan.label}: `%{wrapped[2]}` only wraps its statement and is left out")
        scan.lines.append(wrapped[1] + wrapped[3])
        return
    scan.drop(line)


def _without_automagic(lines: list[str]) -> list[str]:
    return [
        re.sub(r"^(\s*)", r"\1%", line, count=1) if _AUTOMAGIC.match(line) and not is_python(line.strip()) else line
        for line in lines
    ]
