"""Where the statements of an exported module stand in the notebook, so that errors name the cell and its line."""

from __future__ import annotations

import ast
import linecache
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from millrace.notebooks.cells import Cell, read_cells
from millrace.notebooks.export import Exported
from millrace.notebooks.passages import first_line


class BookLoader(SourceFileLoader):
    """Runs an exported module as if its statements stood in the cells of the notebook.

    Tracebacks show `book.ipynb, cell 3` with the line of the cell, also when the flow runs.

    Args:
        book: the notebook.
        exported: the module.
    """

    def __init__(self, book: Path, exported: Exported) -> None:
        super().__init__(exported.path.stem, str(exported.path))
        self._book = book
        self._origins = exported.origins

    def exec_module(self, module: ModuleType) -> None:
        """Runs the module, statement by statement.

        Args:
            module: the new module.
        """
        text = self.get_data(self.path).decode()
        cells = {cell.index: cell for cell in read_cells(self._book)}
        for cell in cells.values():
            lines = [line + "\n" for line in cell.source.splitlines()]
            linecache.cache[file_of(self._book, cell.index)] = (
                len(cell.source),
                None,
                lines,
                file_of(self._book, cell.index),
            )
        for code in codes(text, self.path, self._book, self._origins, cells):
            exec(code, vars(module))


def file_of(book: Path, cell: int) -> str:
    """What stands for a file in tracebacks.

    Args:
        book: the notebook.
        cell: the number of the cell.
    """
    return f"{book}, cell {cell}"


def codes(
    text: str, path: str, book: Path, origins: Sequence[tuple[int, int]], cells: dict[int, Cell]
) -> Iterator[CodeType]:
    """The statements of an exported module, compiled with the places they have in the notebook.

    Args:
        text: the module.
        path: its file: the place of what stands in no cell.
        book: the notebook.
        origins: `Exported.origins`.
        cells: the cells of the notebook, by number.
    """
    tree = ast.parse(text)
    lines = text.splitlines()
    starts = [start for start, _ in origins]
    reached: dict[int, int] = {}
    flags = 0
    for node in tree.body:
        start = first_line(node)
        number = bisect_right(starts, start) - 1
        found: tuple[int, int] | None = None
        if number >= 0:
            cell = origins[number][1]
            above = lines[start - 1 : node.end_lineno]
            line = _line_in(cells[cell].source, above, reached.get(cell, 0))
            if line is not None:
                found = (cell, line)
                reached[cell] = line
        else:
            found = _import_in(cells.values(), node)
        file = path
        if found is not None:
            file = file_of(book, found[0])
            _moved(node, found[1] - start)
        code = compile(ast.Module([node], []), file, "exec", flags, dont_inherit=True)
        flags |= code.co_flags & _FUTURE
        yield code


_FUTURE = compile("from __future__ import annotations", "", "exec", dont_inherit=True).co_flags & 0x1FF0000
"""What a `from __future__` import leaves to the statements behind it."""


def _line_in(source: str, statement: Sequence[str], after: int) -> int | None:
    """The line of a cell on which a statement begins, found by its text: a `%%flow` cell is no statement verbatim."""
    there = [line.strip() for line in source.splitlines()]
    for offset, line in enumerate(statement):
        wanted = line.strip()
        if not wanted:
            continue
        for alike in (str.__eq__, str.__contains__):
            matches = [number for number, one in enumerate(there, 1) if alike(one, wanted)]
            matches = [number for number in matches if number >= after] or matches
            if matches:
                return matches[0] - offset
    return None


def _moved(node: ast.stmt, by: int) -> None:
    ast.increment_lineno(node, by)
    for one in ast.walk(node):  # the head of a function that a `%%flow` line stands for is above the cell's first line
        if getattr(one, "lineno", 1) < 1:
            one.lineno, one.end_lineno = 1, max(one.end_lineno or 1, 1)  # type: ignore[attr-defined]


def _import_in(cells: Iterable[Cell], node: ast.stmt) -> tuple[int, int] | None:
    """Cell and line of an import, which an export moves to the top."""
    if isinstance(node, ast.ImportFrom):
        names = [node.module or "."]
    elif isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    else:
        return None
    pattern = re.compile(rf"\s*(from|import)\b.*(?<![\w.]){re.escape(names[0])}(?![\w])")
    for cell in cells:
        for number, line in enumerate(cell.source.splitlines(), 1):
            if pattern.match(line):
                return cell.index, number
    return None
