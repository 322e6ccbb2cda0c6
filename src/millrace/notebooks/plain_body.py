"""The plain body of a `%%flow` cell, and how it becomes a function."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from millrace.notebooks.effects import Effects, effects_of, free_names
from millrace.notebooks.passages import passages
from millrace.notebooks.rewritten import Line, Rewritten

_INDENT = "    "
_SCALARS = (bool, int, float, str, bytes, list, dict, set, tuple)


@dataclass(frozen=True)
class Parameter:
    """A parameter of the function.

    Args:
        name: its name.
        annotation: its type as text; empty where none is known.
        default: its default as text; None where it must be given.
        comment: the comment behind it, with its `#`; empty where there is none.
        line: the line of the cell.
        mutable: the default is a container, of which each run needs one of its own.
    """

    name: str
    annotation: str
    default: str | None
    comment: str
    line: int
    mutable: bool = False

    @property
    def text(self) -> str:
        """As it stands in the head of the function."""
        kind = f": {self.annotation}" if self.annotation else ""
        value = f" = {self.default}" if self.default is not None and kind else f"={self.default or ''}"
        return f"{self.name}{kind}{value if self.default is not None else ''},{self.comment and '  ' + self.comment}"


class PlainBody:
    """The statements of a plain body, sorted into module, parameters and body.

    Args:
        code: the cell's plain code.
        statements: its top-level statements.
    """

    def __init__(self, code: str, statements: list[ast.stmt]) -> None:
        self._code = code
        self._lines = code.splitlines()
        self._statements = statements
        self._module: list[ast.stmt] = []
        self._parameters: list[Parameter] = []
        self._body: list[ast.stmt] = []
        self._docstring: ast.stmt | None = None
        self._effects: dict[ast.stmt, Effects] = {node: effects_of(node) for node in statements}
        self._sort()

    def as_function(self, name: str, decoration: str) -> Rewritten:
        """The cell as a module with one flow.

        Args:
            name: the function's name.
            decoration: the line above it.
        """
        texts = {passage.node: passage for passage in passages(self._code, ast.Module(self._statements, []))}
        lines: list[Line] = []
        for node in sorted(self._module, key=lambda node: not _is_future(node)):
            passage = texts[node]
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                lines += [Line("", passage.first_line)] * 2
            lines += [Line(text, passage.first_line + n) for n, text in enumerate(passage.text.split("\n"))]
        after = sum(_is_future(node) for node in self._module)
        head = [Line("import millrace", 1)]
        if any(parameter.mutable for parameter in self._parameters):
            head.insert(0, Line("import copy", 1))
        lines[after:after] = head
        return Rewritten(lines + self._function(name, decoration))

    def _function(self, name: str, decoration: str) -> list[Line]:
        awaits = any(_awaits(node) for node in self._body)
        lines = [Line("", 1), Line("", 1), Line(decoration, 1)]
        keyword = "async def" if awaits else "def"
        if self._parameters:
            lines.append(Line(f"{keyword} {name}(", 1))
            # Required parameters first: Python wants it so, and every caller may name them anyway.
            ordered = sorted(self._parameters, key=lambda parameter: parameter.default is not None)
            for parameter in ordered:
                # A default may go over several lines, strings among them: those lines keep their place.
                texts = (_INDENT + parameter.text).split("\n")
                lines += [Line(text, parameter.line + n) for n, text in enumerate(texts)]
            lines.append(Line("):", 1))
        else:
            lines.append(Line(f"{keyword} {name}():", 1))
        lines += self._inside()
        return lines

    def _inside(self) -> list[Line]:
        lines = [*self._verbatim(self._docstring)] if self._docstring is not None else []
        for parameter in self._parameters:
            if parameter.mutable:
                lines.append(Line(f"{_INDENT}{parameter.name} = copy.deepcopy({parameter.name})", parameter.line))
        last = self._body[-1] if self._body else None
        for node in self._body:
            lines += self._verbatim(node, result=node is last and isinstance(node, ast.Expr))
        return lines or [Line(f"{_INDENT}pass", 1)]

    def _verbatim(self, node: ast.stmt, result: bool = False) -> list[Line]:
        """A statement's lines, indented, except where a line begins inside a string."""
        passage = next(p for p in passages(self._code, ast.Module(self._statements, [])) if p.node is node)
        inside = _lines_in_strings(node)
        lines: list[Line] = []
        for number, text in enumerate(passage.text.split("\n"), start=passage.first_line):
            indent = "" if number in inside or not text.strip() else _INDENT
            word = "return " if result and number == node.lineno else ""
            lines.append(Line(indent + word + text, number, len(indent + word)))
        return lines

    # -- sorting -------------------------------------------------------------------------------------------------

    def _sort(self) -> None:
        rest = list(self._statements)
        if len(rest) > 1 and _is_docstring(rest[0]):
            self._docstring = rest.pop(0)
        leading = True
        candidates: list[ast.stmt] = []
        for node in rest:
            parameter = self._parameter(node) if leading else None
            if parameter is not None:
                self._parameters.append(parameter)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                candidates.append(node)
            elif _is_future(node) or (leading and isinstance(node, ast.Import | ast.ImportFrom)):
                self._module.append(node)
            else:
                leading = False
                self._body.append(node)
        self._move(candidates)
        self._body.sort(key=lambda node: (node.lineno, node.col_offset))

    def _move(self, candidates: list[ast.stmt]) -> None:
        """Definitions that use nothing of the body go to the module; the others stay where they were."""
        staying = {parameter.name for parameter in self._parameters}
        for node in self._body:
            staying |= self._effects[node].binds
        moving = list(candidates)
        while True:
            bound = [self._effects[node].binds for node in moving]
            kept = [n for n, node in enumerate(moving) if (free_names(node) | bound[n]) & staying]
            if not kept:
                break
            for number in reversed(kept):
                staying |= bound[number]
                self._body.append(moving.pop(number))
        self._module += moving

    def _parameter(self, node: ast.stmt) -> Parameter | None:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.simple:
            if not self._usable(node):
                return None
            annotation = self._text(node.annotation)
            default = None if node.value is None else self._text(node.value)
            value = _literal(node.value)
            return self._made(node, node.target.id, annotation, default, isinstance(value, list | dict | set))
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            value = _literal(node.value)
            if value is _NOTHING:
                return None
            annotation = type(value).__name__ if type(value) in _SCALARS else ""
            mutable = isinstance(value, list | dict | set)
            return self._made(node, node.targets[0].id, annotation, self._text(node.value), mutable)
        return None

    def _made(self, node: ast.stmt, name: str, annotation: str, default: str | None, mutable: bool) -> Parameter:
        behind = self._lines[(node.end_lineno or 1) - 1].encode()[node.end_col_offset :].decode().strip()
        comment = behind if behind.startswith("#") else ""
        # A name assigned twice is a parameter with the later value.
        self._parameters = [parameter for parameter in self._parameters if parameter.name != name]
        return Parameter(name, annotation, default, comment, node.lineno, mutable)

    def _usable(self, node: ast.AnnAssign) -> bool:
        """Whether type and default can be computed where the function is defined."""
        inside = {parameter.name for parameter in self._parameters}
        for other in self._statements:
            if isinstance(other, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inside |= self._effects[other].binds
        return not self._effects[node].reads & inside and not _awaits(node)

    def _text(self, node: ast.expr) -> str:
        return ast.get_source_segment(self._code, node) or ast.unparse(node)


_NOTHING = object()


def _literal(node: ast.expr | None) -> object:
    try:
        return _NOTHING if node is None else ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError):
        return _NOTHING


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_future(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


def _awaits(node: ast.AST) -> bool:
    """Whether a statement awaits, apart from functions defined in it."""
    if isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith):
        return True
    if isinstance(node, ast.comprehension) and node.is_async:
        return True
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        return False
    return any(_awaits(child) for child in ast.iter_child_nodes(node))


def _lines_in_strings(node: ast.stmt) -> set[int]:
    """Lines that begin inside a string, whose value an indentation would change."""
    found: set[int] = set()
    for child in ast.walk(node):
        if isinstance(child, ast.JoinedStr) or (
            isinstance(child, ast.Constant) and isinstance(child.value, str | bytes)
        ):
            found |= set(range(child.lineno + 1, (child.end_lineno or child.lineno) + 1))
    return found
