"""The local modules that a whole notebook imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from millrace.notebooks.carried import CarriedFile, local_modules, search_roots
from millrace.notebooks.cells import parse, plain, read_cells
from millrace.notebooks.scopes import Import


def of_notebook(book: Path) -> list[CarriedFile]:
    """Files beside a notebook that its cells import, and those that these import.

    Args:
        book: the notebook.

    Raises:
        ClosureError: a local module is no Python.
    """
    return list(local_modules(imports_in_book(book), search_roots(book.parent, list(statements(book)))).files)


def imports_in_book(book: Path) -> list[Import]:
    """Every import in the cells of a notebook.

    Args:
        book: the notebook.
    """
    return [found for statement in statements(book) for node in ast.walk(statement) for found in _imports(node)]


def statements(book: Path) -> Iterator[ast.stmt]:
    """The statements of a notebook's cells; cells that are no Python are left out.

    Args:
        book: the notebook.
    """
    for cell in read_cells(book):
        try:
            yield from parse(plain(cell).code).body
        except (SyntaxError, ValueError):
            continue  # the run will say so, in its cell


def _imports(node: ast.AST) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        yield from (Import(alias.name) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield Import(node.module or "", node.level, tuple(alias.name for alias in node.names))
