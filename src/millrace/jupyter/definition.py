"""What `%%flow` does: run the cell in the user's namespace, and say whether its flow could travel."""

from __future__ import annotations

import ast
import contextlib
import inspect
import linecache
from pathlib import Path
from typing import Any

from millrace.errors import MillraceError
from millrace.notebooks import live
from millrace.notebooks.cells import Cell, plain_text
from millrace.notebooks.closure import Closure, analyse
from millrace.notebooks.flow_cell import FlowCell, parse_flow_cell
from millrace.notebooks.flow_line import parse_flow_line
from millrace.notebooks.remaking import live_types

_LONG = 240
_Placed = ast.stmt | ast.expr | ast.arg | ast.keyword | ast.alias | ast.excepthandler | ast.pattern


class CellSyntaxError(Exception):
    """The cell is no Python. Above a SyntaxError of a magic, IPython shows the magic's frames; not above this."""

    def __init__(self, error: SyntaxError, lines: list[str]) -> None:
        super().__init__(str(error))
        self._lines = lines

    def _render_traceback_(self) -> list[str]:
        return self._lines


# The name is what a saved notebook and papermill tell of the cell.
CellSyntaxError.__name__ = "SyntaxError"


def define(shell: Any, line: str, body: str) -> None:
    """Make the flow of a `%%flow` cell.

    Args:
        shell: the running IPython.
        line: what stands behind `%%flow`.
        body: the lines below.

    Raises:
        InvalidInput: the line or the cell is none that makes a flow.
        Exception: what the cell itself raised, its traceback beginning in the cell.
    """
    number, cell = _running_cell(shell, line, body)
    first = _first_line_number(cell)
    # The name IPython gives this cell: its tracebacks then say "Cell In[3], line 5" as for any other.
    name = shell.compile.cache(_readable(cell, body, first), number, raw_code=cell)
    given, options = parse_flow_line(line)
    try:
        found = parse_flow_cell(body, given, options, first_line_number=first)
        tree = _as_one_function(found, name, first) if found.form == "body" else found.module
        code = compile(tree, name, "exec", flags=shell.compile.flags, dont_inherit=True)
    except SyntaxError as error:
        raise _shown(shell, error, name) from None
    try:
        exec(code, shell.user_ns)
    except Exception as error:
        _begin_in_cell(shell, error, name)
        raise
    print(_feedback(found, shell.user_ns[found.name], Cell(number, None, cell, number)))


def closure_of(flow: str, running: Cell | None = None) -> Closure:
    """What a flow needs of the cells that ran.

    Args:
        flow: its variable.
        running: a cell that the history may not hold yet.
    """
    cells = live.executed_cells() or []
    if running is not None and (not cells or cells[-1].source != running.source):
        cells.append(running)
    return analyse(cells, flow, live=live_types(live.live_namespace()), directory=Path.cwd())


def taken_along(closure: Closure) -> str:
    """The cells and files a closure consists of, for people: `cells 2, 3 and penguin_tools.py`."""
    numbers = sorted({statement.cell.index for statement in closure.statements if not _is_ours(statement.node)})
    cells = f"cell{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"
    return " and ".join([cells, *closure.local_modules]) if numbers else " and ".join(closure.local_modules)


def _is_ours(node: ast.AST) -> bool:
    """Whether a statement imports Millrace and nothing else: the module says that once, whoever said it in the book."""
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
    return bool(names) and all(name.split(".")[0] == "millrace" for name in names)


# -- the text of the cell


def _running_cell(shell: Any, line: str, body: str) -> tuple[int, str]:
    """The number and the whole text of the running cell; the body alone says nothing of magics above it."""
    history = shell.history_manager.input_hist_raw if shell.history_manager else []
    typed = str(history[-1]) if history else ""
    if body.strip() in typed and "%%flow" in typed:
        return len(history) - 1, typed
    return shell.execution_count, f"%%flow {line}\n{body}"


def _first_line_number(cell: str) -> int:
    """The number of the line under `%%flow`; other magics may stand above."""
    for number, line in enumerate(cell.splitlines(), start=1):
        if line.lstrip().startswith("%%flow"):
            return number + 1
    return 2


def _readable(cell: str, body: str, first: int) -> str:
    """The cell as Python with the same lines, for `inspect.getsource`."""
    head = [f"# {line}" for line in cell.splitlines()[: first - 1]]
    try:
        return "\n".join([*head, plain_text(body)])
    except SyntaxError:
        return "\n".join([*head, body])


def _as_one_function(found: FlowCell, name: str, first: int) -> ast.Module:
    """Shows a plain body as the function that it becomes: `%%flow` as its head, the cell indented below."""
    lines = linecache.getlines(name)
    head, below = lines[: first - 1], lines[first - 1 :]
    head[-1] = f"def {found.function}():  {head[-1]}"
    text = [*head, *(f"    {line}" for line in below)]
    linecache.cache[name] = (sum(map(len, text)), None, text, name)
    for node in ast.walk(found.module):
        if isinstance(node, _Placed):
            node.col_offset += 4
            node.end_col_offset = (node.end_col_offset or 0) + 4
    for node in found.module.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == found.function:
            for part in (node, *node.decorator_list):
                part.lineno = first - 1
    return found.module


# -- errors


def _shown(shell: Any, error: SyntaxError, name: str) -> CellSyntaxError:
    error.filename = name
    if error.lineno:
        error.text = linecache.getline(name, error.lineno)
    return CellSyntaxError(error, shell.SyntaxTB.structured_traceback(SyntaxError, error, []))


def _begin_in_cell(shell: Any, error: Exception, name: str) -> None:
    """Leaves the frames of the magic out of what IPython shows."""
    if isinstance(error, MillraceError):
        return
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != name:
        trace = trace.tb_next
    if trace is None:
        return

    def render() -> Any:
        return shell.InteractiveTB.structured_traceback(type(error), error, trace, tb_offset=0)

    with contextlib.suppress(AttributeError):
        error._render_traceback_ = render  # type: ignore[attr-defined]


# -- the answer


def _feedback(found: FlowCell, flow: Any, cell: Cell) -> str:
    parameters = ", ".join(inspect.signature(getattr(flow, "fn", flow)).parameters)
    text = f"Flow {getattr(flow, 'name', found.name)!r} is ready: {found.name}({parameters})."
    try:
        closure = closure_of(found.name, cell)
    except Exception as error:  # whatever the analysis makes of other cells: this one ran
        return f"{text}\nIt runs here but cannot be deployed yet: {_short(str(error))}"
    if closure.missing:
        more = f" ({len(closure.missing) - 1} more: %flow_check {found.name})" if len(closure.missing) > 1 else ""
        return f"{text}\nIt runs here but cannot be deployed yet: {closure.missing[0].message}{more}"
    others = {one.cell.index for one in closure.statements if not _is_ours(one.node)} - {cell.index}
    return f"{text} It takes along {taken_along(closure)}." if others or closure.local_modules else text


def _short(text: str) -> str:
    return text if len(text) <= _LONG else text[: _LONG - 1] + "…"
