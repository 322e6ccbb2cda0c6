"""The top-level statements of executed cells, in the order in which they ran, with what each does to names."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from millrace.errors import InvalidInput
from millrace.notebooks.cells import Cell, PlainCell, parse, plain
from millrace.notebooks.effects import Effects, effects_of
from millrace.notebooks.flow_cell import parse_flow_cell
from millrace.notebooks.flow_line import parse_flow_line
from millrace.notebooks.passages import passages
from millrace.notebooks.sharing import shared_objects


@dataclass(frozen=True)
class Statement:
    """One statement of one cell.

    Args:
        node: its tree.
        text: its text, verbatim.
        cell: the cell it comes from.
        effects: what it does to names.
        run: which execution of a cell it belongs to.
        slot: where its cell stood when it was first executed: what orders an export.
        forced: the user says that it may run again anywhere.
        flow_name: the variable of the flow, on statements of a `%%flow` cell.
    """

    node: ast.stmt
    text: str
    cell: Cell
    effects: Effects
    run: int = 0
    slot: int = 0
    forced: bool = False
    flow_name: str | None = None

    @property
    def is_import(self) -> bool:
        """Whether it is an import that may stand at the top of a module."""
        return isinstance(self.node, ast.Import | ast.ImportFrom) and not self.effects.stars

    @property
    def is_future(self) -> bool:
        """Whether it is a `from __future__` import."""
        return isinstance(self.node, ast.ImportFrom) and self.node.module == "__future__"


@dataclass(frozen=True)
class History:
    """What was executed.

    Args:
        statements: in the order of execution.
        notes: what was left out.
        runs: `%run` lines and their cells.
        written: files that `%%writefile` cells make, by name.
        broken: a sentence for each cell that is no Python or whose `%%flow` makes no flow, with the reason.
    """

    statements: tuple[Statement, ...]
    notes: tuple[str, ...] = ()
    runs: tuple[tuple[int, str], ...] = ()
    written: tuple[tuple[str, str], ...] = ()
    broken: tuple[str, ...] = ()


def history_of(cells: Sequence[Cell]) -> History:
    """The statements of cells in the order given.

    Args:
        cells: executed cells; one that ran twice stands there twice.

    A cell that cannot be read, or whose `%%flow` makes no flow, did nothing when it ran and does nothing here.
    """
    statements: list[Statement] = []
    notes: list[str] = []
    runs: list[tuple[int, str]] = []
    written: list[tuple[str, str]] = []
    broken: list[str] = []
    slots: dict[str, int] = {}
    for position, cell in enumerate(cells):
        text = plain(cell)
        notes += text.notes
        runs += [(cell.index, line) for line in text.runs]
        if text.kind == "file":
            written.append((text.line.split()[-1] if text.line else "", text.code))
            continue
        try:
            # IPython keeps a `from __future__` import for all later cells.
            lazy = any(_is_lazy(statement.node) for statement in statements)
            found = list(_statements(text, position, lazy))
        except SyntaxError as error:
            broken.append(f"Cell {cell.index} is not Python (line {error.lineno}: {error.msg}).")
            notes.append(f"cell {cell.index}: not Python (line {error.lineno}: {error.msg}), left out")
            continue
        except InvalidInput as error:
            broken.append(f"Cell {cell.index} makes no flow: {error}")
            notes.append(f"cell {cell.index}: makes no flow, left out")
            continue
        # An edited cell keeps the place it had, so that an export does not depend on how often cells were run again.
        slot = slots.setdefault(_identity(cell, found, position), position)
        statements += [replace(statement, slot=slot) for statement in found]
    return History(
        tuple(without_repeats(with_changes(statements))),
        tuple(dict.fromkeys(notes)),
        tuple(runs),
        tuple(written),
        tuple(broken),
    )


def _identity(cell: Cell, statements: Sequence[Statement], position: int) -> str:
    """What a cell is known by when it comes again: its id, else the names it gives values to."""
    names = sorted({name for s in statements if not s.is_import for name in s.effects.kills})
    return cell.cell_id or " ".join(names) or f"#{position}"


def _statements(text: PlainCell, run: int, lazy: bool) -> Iterable[Statement]:
    code, flow_name = text.code, None
    if text.kind == "flow":
        name, options = parse_flow_line(text.line)
        flow = parse_flow_cell(text.code, name, options)
        code, flow_name = flow.source, flow.name
    tree = parse(code)
    lazy = lazy or any(_is_lazy(node) for node in tree.body)
    for passage in passages(code, tree):
        if isinstance(passage.node, ast.Pass):
            continue
        for node, words in _single_imports(passage.node, passage.text):
            effects = effects_of(node, lazy_annotations=lazy)
            yield Statement(node, words, text.cell, effects, run, forced=text.forced, flow_name=flow_name)


def _is_lazy(node: ast.stmt) -> bool:
    if not isinstance(node, ast.ImportFrom) or node.module != "__future__":
        return False
    return any(alias.name == "annotations" for alias in node.names)


def _single_imports(node: ast.stmt, text: str) -> list[tuple[ast.stmt, str]]:
    """An import of several names as several imports of one, so that a flow takes along only those it needs."""
    if not isinstance(node, ast.Import | ast.ImportFrom) or node.names[0].name == "*":
        return [(node, text)]
    found: list[tuple[ast.stmt, str]] = []
    for alias in node.names:
        single: ast.Import | ast.ImportFrom
        if isinstance(node, ast.Import):
            single = ast.Import(names=[alias])
        else:
            single = ast.ImportFrom(module=node.module, names=[alias], level=node.level)
        found.append((ast.copy_location(single, node), ast.unparse(single)))
    return found


def without_repeats(statements: Sequence[Statement]) -> list[Statement]:
    """The statements without those that ran again unchanged and to no effect.

    A cell that is run twice must not change the export. A repeated run is left out when nothing between the two touched
    a name it writes or reads, and when it does not build on its own former result (`count += 1` does).

    Args:
        statements: in the order of execution.
    """
    deferred = deferred_names(statements)
    kept: list[Statement] = []
    former: dict[tuple[str, ...], int] = {}
    for run in _runs(statements):
        texts = tuple(statement.text for statement in run)
        start = former.get(texts)
        if start is not None and _idle(run, kept[start + len(run) :], deferred):
            continue
        former[texts] = len(kept)
        kept += run
    return _without_repeated_imports(kept)


def _without_repeated_imports(statements: list[Statement]) -> list[Statement]:
    kept: list[Statement] = []
    last: dict[str, str] = {}
    for statement in statements:
        names = statement.effects.binds
        if statement.is_import and names and all(last.get(name) == statement.text for name in names):
            continue
        for name in statement.effects.writes:
            last[name] = statement.text
        if statement.effects.stars:
            last.clear()
        kept.append(statement)
    return kept


def _runs(statements: Sequence[Statement]) -> list[list[Statement]]:
    """The statements grouped by executed cell."""
    return [list(group) for _, group in itertools.groupby(statements, key=lambda statement: statement.run)]


def _idle(run: Sequence[Statement], between: Sequence[Statement], deferred: dict[str, set[str]]) -> bool:
    written: set[str] = set()
    outside: set[str] = set()
    for statement in run:
        effects = statement.effects
        if effects.stars:
            return False
        reads = effects.reads - _loop_variables(statement.node)
        outside |= reach(reads, deferred) - written
        written |= effects.kills
    everything = {name for statement in run for name in statement.effects.writes}
    if outside & everything:
        return False
    touched = {name for statement in between for name in statement.effects.writes}
    return not touched & (outside | everything) and not any(statement.effects.stars for statement in between)


def _loop_variables(node: ast.stmt) -> set[str]:
    if not isinstance(node, ast.For | ast.AsyncFor):
        return set()
    return {child.id for child in ast.walk(node.target) if isinstance(child, ast.Name)}


def reach(names: Iterable[str], deferred: dict[str, set[str]]) -> set[str]:
    """Names with all that functions among them read when they are called."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += deferred.get(name, ())
    return found


def with_changes(statements: Sequence[Statement]) -> list[Statement]:
    """The statements with what the functions they call change: arguments, and globals.

    `fill(CONFIG)` changes CONFIG where `fill` changes its parameter; `@register` changes what `register` appends to.
    Calls of flows and tasks count for nothing: running one is not part of making a module.

    Args:
        statements: in the order of execution.
    """
    functions = {name: s.effects for s in statements if _is_function(s.node) for name in s.effects.binds}
    imported = {name for s in statements if s.is_import for name in s.effects.binds}
    bound = {name for s in statements for name in s.effects.binds}
    groups = shared_objects([s.node for s in statements], imported | set(functions))
    found: list[Statement] = []
    for statement in statements:
        changed = set(statement.effects.decorators - imported)
        given: set[str] = set()
        for call in statement.effects.calls:
            effects = functions.get(call.function)
            if effects is None:
                continue
            given |= _global_changes(call.function, functions)
            pairs = zip(effects.parameters, call.arguments, strict=False)
            changed |= {name for parameter, name in pairs if name and parameter in effects.changed_parameters}
        changed |= given
        changed |= {other for name in changed | statement.effects.mutates for other in groups.get(name, ())}
        changed -= statement.effects.binds
        if changed - statement.effects.mutates:
            effects = statement.effects
            effects = replace(
                effects,
                # What no statement binds is bound by a function that declares it global.
                binds=effects.binds | (given - bound),
                mutates=effects.mutates | (changed - (given - bound)),
                reads=effects.reads | changed,
                soft=effects.soft | changed,
            )
            found.append(replace(statement, effects=effects))
        else:
            found.append(statement)
    return found


def _global_changes(function: str, functions: dict[str, Effects]) -> set[str]:
    below = reach([function], {name: set(effects.deferred) for name, effects in functions.items()})
    return {name for called in below if called in functions for name in functions[called].deferred_writes}


def _is_function(node: ast.stmt) -> bool:
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    return not any("flow" in ast.unparse(d) or "task" in ast.unparse(d) for d in node.decorator_list)


def deferred_names(statements: Sequence[Statement]) -> dict[str, set[str]]:
    """What the functions of a history read when they are called, by name."""
    found: dict[str, set[str]] = {}
    for statement in statements:
        for name in statement.effects.binds:
            found.setdefault(name, set()).update(statement.effects.deferred)
    return found
