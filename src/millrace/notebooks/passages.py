"""Statements as the user wrote them: decorators, the comment above and the comment behind included."""

from __future__ import annotations

import ast
from dataclasses import dataclass


@dataclass(frozen=True)
class Passage:
    """A top-level statement and its text.

    Args:
        node: the statement.
        text: its lines, verbatim, without a line end.
        first_line: where the text begins in the code, from 1.
    """

    node: ast.stmt
    text: str
    first_line: int


def passages(code: str, tree: ast.Module) -> list[Passage]:
    """The top-level statements of a piece of code with their texts.

    Args:
        code: plain Python.
        tree: the same, parsed.

    Example:
        >>> passages("# rows a day\\nLIMIT = 3", ast.parse("# rows a day\\nLIMIT = 3"))[0].text
        '# rows a day\\nLIMIT = 3'
    """
    lines = code.splitlines()
    found: list[Passage] = []
    previous_end = 0
    for number, node in enumerate(tree.body):
        start, end = first_line(node), node.end_lineno or node.lineno
        following = first_line(tree.body[number + 1]) if number + 1 < len(tree.body) else None
        if start == previous_end or following == end:
            # Several statements on one line, parted by semicolons: only this one's characters.
            text = ast.get_source_segment(code, node) or ast.unparse(node)
        else:
            start = _with_comment(lines, start, previous_end)
            text = "\n".join(lines[start - 1 : end]).rstrip()
        found.append(Passage(node, text, start))
        previous_end = end
    return found


def first_line(node: ast.stmt) -> int:
    """The line a statement begins on, its decorators included."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _with_comment(lines: list[str], start: int, previous_end: int) -> int:
    while start - 1 > previous_end:
        above = lines[start - 2].strip()
        if not above.startswith("#") or above.startswith(("#|", "# %%")):
            break
        start -= 1
    return start
