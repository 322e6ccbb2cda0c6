"""Code made from a cell's code, line by line, that still knows which line of the cell each line comes from."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from millrace.notebooks.cells import parse

# The kinds of nodes that have a place in the text.
_Placed = ast.stmt | ast.expr | ast.arg | ast.keyword | ast.alias | ast.excepthandler | ast.pattern


@dataclass(frozen=True)
class Line:
    """One line of the new code.

    Args:
        text: the line.
        origin: the line of the cell it stands for, from 1.
        shift: how many characters stand before the text of the cell.
    """

    text: str
    origin: int
    shift: int = 0


class Rewritten:
    """Lines in the making.

    Args:
        lines: the lines so far.
    """

    def __init__(self, lines: list[Line]) -> None:
        self.lines = lines

    @classmethod
    def of(cls, code: str) -> Rewritten:
        """The code of a cell as it is."""
        return cls([Line(text, number) for number, text in enumerate(code.splitlines(), start=1)])

    @property
    def source(self) -> str:
        """The new code; it begins with its first line that is not blank and ends with a line end."""
        return "\n".join(line.text for line in self.lines).lstrip("\n").rstrip() + "\n"

    def insert_lines(self, before: int, texts: list[str], at: int) -> None:
        """Puts lines in front of a line of the cell.

        Args:
            before: the line of the cell.
            texts: the lines.
            at: the line of the cell that tracebacks should show for them.
        """
        place = next((n for n, line in enumerate(self.lines) if line.origin >= before), len(self.lines))
        self.lines[place:place] = [Line(text, at) for text in texts]

    def insert_arguments(self, decorator: ast.expr, arguments: str) -> None:
        """Adds keyword arguments to a decorator, which may be a bare name.

        Args:
            decorator: its node in the cell's tree.
            arguments: such as `retries=2, log_prints=True`.
        """
        number = (decorator.end_lineno or decorator.lineno) - 1
        line = self.lines[number]
        raw = line.text.encode()
        end = decorator.end_col_offset or 0
        if isinstance(decorator, ast.Call):
            end -= 1
            arguments = f"{self._separator(decorator)}{arguments}"
        else:
            arguments = f"({arguments})"
        self.lines[number] = Line((raw[:end] + arguments.encode() + raw[end:]).decode(), line.origin, line.shift)

    def _separator(self, call: ast.Call) -> str:
        parts: list[ast.expr | ast.keyword] = [*call.args, *call.keywords]
        last = max(((part.end_lineno or 0, part.end_col_offset or 0) for part in parts), default=None)
        if last is None:
            return ""
        tail = self.lines[last[0] - 1].text.encode()[last[1] :].lstrip()
        return " " if tail.startswith(b",") else ", "

    def append(self, text: str) -> None:
        """Adds a line of our own at the end."""
        self.lines.append(Line(text, self.lines[-1].origin if self.lines else 1))

    def tree(self, start: int) -> ast.Module:
        """The new code parsed, with the line numbers and columns of the cell.

        Args:
            start: the number in its cell of the code's first line.
        """
        tree = parse("\n".join(line.text for line in self.lines) + "\n")
        for node in ast.walk(tree):
            if not isinstance(node, _Placed):
                continue
            first, last = self.lines[node.lineno - 1], self.lines[(node.end_lineno or node.lineno) - 1]
            node.lineno, node.end_lineno = first.origin + start - 1, last.origin + start - 1
            node.col_offset = max(0, node.col_offset - first.shift)
            node.end_col_offset = max(0, (node.end_col_offset or 0) - last.shift)
        return tree
