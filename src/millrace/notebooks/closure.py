"""The closure of a flow: every statement of the executed cells that it needs, and what of it cannot be shipped."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from millrace.errors import ClosureError, MissingFlow
from millrace.notebooks.carried import LocalModules, local_modules, public_names, search_roots
from millrace.notebooks.cells import MAGIC_VALUE, Cell
from millrace.notebooks.flow_cell import is_flow, registered_name
from millrace.notebooks.remaking import Vocabulary, live_type, objection
from millrace.notebooks.scopes import Import, last_name
from millrace.notebooks.slicing import Need, Slice, Slicer, ordered
from millrace.notebooks.statements import History, Statement, history_of

# Names a module has, or Python itself.
_GIVEN = frozenset(dir(builtins)) | {"__file__", "__annotations__", "__builtins__", "__path__", "__cached__"}
# What `%load_ext millrace` offers without an import.
_OURS = frozenset({"flow", "task", "get_run_logger"})
_SESSION = frozenset({"get_ipython", "In", "Out", "exit", "quit", "_", "__", "___", "_ih", "_oh", "_dh", "_exit_code"})


@dataclass(frozen=True)
class Problem:
    """A name that cannot be shipped.

    Args:
        name: the variable.
        cell: the number of its cell; None where no cell makes it.
        message: what is wrong and the remedy.
    """

    name: str
    cell: int | None
    message: str


@dataclass(frozen=True)
class Closure:
    """What a flow needs.

    Args:
        flow: the variable that holds the flow.
        statements: what to write, in the order of the module.
        added: imports that no cell has, such as that of `display`.
        local: modules beside the notebook, with those that they import.
        directory: the notebook's directory, where known.
        notes: what was left out, one sentence each.
        missing: names that cannot be shipped.
    """

    flow: str
    statements: tuple[Statement, ...]
    added: tuple[str, ...] = ()
    local: LocalModules = field(default_factory=LocalModules)
    directory: Path | None = None
    notes: tuple[str, ...] = ()
    missing: tuple[Problem, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """The names that its statements give values to."""
        return frozenset(name for statement in self.statements for name in statement.effects.binds)

    @property
    def imports(self) -> tuple[str, ...]:
        """Its top-level imports as text, in order, each once."""
        texts = [s.text for s in self.statements if isinstance(s.node, ast.Import | ast.ImportFrom)]
        return tuple(dict.fromkeys([*texts, *self.added]))

    @property
    def local_modules(self) -> tuple[str, ...]:
        """The files it carries, relative to the module."""
        return tuple(file.target for file in self.local.files)

    @property
    def distributions(self) -> frozenset[str]:
        """Top-level names of modules that have to be installed where it runs."""
        return self.local.others

    def require_complete(self) -> None:
        """Refuses a closure with names that cannot be shipped.

        Raises:
            ClosureError: naming each variable, its cell and the remedy.
        """
        if self.missing:
            raise ClosureError("\n".join(problem.message for problem in self.missing))


def find_closure(
    cells: Sequence[Cell], flow: str, *, live: Mapping[str, str] | None = None, directory: str | Path | None = None
) -> Closure:
    """Everything a flow needs from the executed cells.

    Args:
        cells: the executed cells in the order of execution, with the text as typed; a cell that ran twice stands there
            twice. Of a notebook file: its code cells.
        flow: the flow's variable or the name it is registered under.
        live: the names in the kernel and the types of their values (`live_types`); None without a kernel.
        directory: the notebook's directory, where local modules are looked for; None: none are carried.

    Returns:
        The statements in the order of the module, and what travels with them.

    Raises:
        MissingFlow: no cell defines it; the message lists the flows there are.
        ClosureError: a name cannot be shipped; the message names the variable, its cell and the remedy.

    Example:
        >>> cells = [Cell(1, None, "RATE = 3"), Cell(2, None, "x = 1"), Cell(3, None, "def pay(h): return h * RATE")]
        >>> [statement.text for statement in find_closure(cells, "pay").statements]
        ['RATE = 3', 'def pay(h): return h * RATE']
    """
    closure = analyse(cells, flow, live=live, directory=directory)
    closure.require_complete()
    return closure


def analyse(
    cells: Sequence[Cell], flow: str, *, live: Mapping[str, str] | None = None, directory: str | Path | None = None
) -> Closure:
    """As `find_closure`, but names that cannot be shipped are listed in `missing` instead of raised."""
    history = history_of(cells)
    place = Path(directory) if directory is not None else None
    return _Search(history, live, place).closure(_variable(history, flow))


def find_flows(cells: Sequence[Cell]) -> list[str]:
    """The variables that hold flows: functions under `@flow` and `%%flow` cells, in order.

    Args:
        cells: code cells.
    """
    return _flows(history_of(cells))


def _flows(history: History) -> list[str]:
    names: list[str] = []
    for statement in history.statements:
        if statement.flow_name is not None:
            names.append(statement.flow_name)
        elif is_flow(statement.node) or _makes_flow(statement.node):
            names += sorted(statement.effects.binds)
    return list(dict.fromkeys(names))


def _variable(history: History, flow: str) -> str:
    if any(flow in statement.effects.binds for statement in history.statements):
        return flow
    for statement in history.statements:
        if registered_name(statement.node) == flow:
            return statement.flow_name or min(statement.effects.binds)
    known = _flows(history)
    listed = f"There is {', '.join(known)}." if known else "No cell defines a flow: put @flow above a function."
    broken = "".join(f" {sentence}" for sentence in history.broken)
    raise MissingFlow(f"No cell defines the flow {flow!r}. {listed}{broken}")


class _Search:
    """One analysis: the history, what is live, and the problems found on the way."""

    def __init__(self, history: History, live: Mapping[str, str] | None, directory: Path | None) -> None:
        self._history = history
        self._live = live
        self._directory = directory
        self._statements = history.statements
        self._roots = search_roots(directory, [statement.node for statement in self._statements])
        self._written = dict(history.written)
        self._words = self._vocabulary()
        self._refused: dict[int, tuple[Statement, str, str]] = {}

    def closure(self, flow: str) -> Closure:
        """The closure of a variable."""
        found = Slicer(self._statements, self._star_names, self._stop).search(flow)
        positions = [*found.wanted, *self._futures(found)]
        wanted = [self._statements[position] for position in ordered(positions, self._statements)]
        added: list[str] = []
        problems = [self._refusal(flow, found.wanted, position) for position in self._in_order()]
        # A function of the flow may itself give a global its value.
        given = {name for statement in wanted for name in statement.effects.deferred_binds}
        for name, need in sorted(found.unbound.items()):
            if name in given:
                continue
            line, problem = self._unbound(flow, name, need)
            added += [line] if line else []
            problems += [problem] if problem else []
        imports = [item for statement in wanted for item in statement.effects.imports]
        imports += [Import(line.split()[1]) for line in added]
        return Closure(
            flow=flow,
            statements=tuple(wanted),
            added=tuple(added),
            local=local_modules(imports, self._roots, self._written),
            directory=self._directory,
            notes=(*self._history.notes, *self._left_out(flow, found)),
            missing=tuple(problems),
        )

    # -- what names stand for --------------------------------------------------------------------------------------

    def _vocabulary(self) -> Vocabulary:
        imports: dict[str, str] = {}
        runs: set[str] = set()
        defined: set[str] = set()
        for statement in self._statements:
            node = statement.node
            if isinstance(node, ast.Import):
                imports |= {
                    a.asname or a.name.partition(".")[0]: a.name if a.asname else a.name.partition(".")[0]
                    for a in node.names
                }
            elif isinstance(node, ast.ImportFrom):
                imports |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names if a.name != "*"}
            else:
                defined |= statement.effects.binds
            if statement.flow_name is not None and not statement.is_import:
                runs.add(statement.flow_name)
            if is_flow(node) or _is_task(node):
                runs |= statement.effects.binds
        all_imports = [item for statement in self._statements for item in statement.effects.imports]
        local = local_modules(all_imports, self._roots, self._written).names
        return Vocabulary(imports, frozenset(runs), local, frozenset(defined))

    def _star_names(self, star: Import) -> frozenset[str] | None:
        return public_names(star.module, self._roots, self._written)

    def _futures(self, found: Slice) -> list[int]:
        # IPython keeps a `from __future__` import for all later cells.
        last = max(found.wanted, default=0)
        return [p for p, s in enumerate(self._statements[:last]) if s.is_future and p not in found.wanted]

    # -- what cannot be shipped --------------------------------------------------------------------------------------

    def _stop(self, position: int, name: str) -> bool:
        statement = self._statements[position]
        if position in self._refused:
            return True
        variable = name if name in statement.effects.writes else min(statement.effects.writes, default=name)
        reason = self._reason(statement, variable)
        if reason is not None:
            self._refused[position] = (statement, variable, reason)
        return reason is not None

    def _reason(self, statement: Statement, variable: str) -> str | None:
        node = statement.node
        if isinstance(node, ast.Import | ast.ImportFrom):
            return None
        reason = objection(node, self._words)
        if statement.forced:
            return reason if reason and reason.startswith(("it is awaited", "it is made by `")) else None
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Delete):
            return reason
        kind = live_type(self._live.get(variable)) if self._live is not None else None
        if kind is not None and variable in statement.effects.binds:
            return f"it is a live {kind}"
        return reason

    def _in_order(self) -> list[int]:
        return sorted(self._refused)

    def _refusal(self, flow: str, wanted: Mapping[int, Need], position: int) -> Problem:
        statement, variable, reason = self._refused[position]
        cell = statement.cell.index
        through = "" if wanted[position].needed_by in (flow, variable) else f", which {wanted[position].needed_by} uses"
        place = f"{variable} in cell {cell} (`{_snippet(statement)}`){through}"
        if "which only IPython understands" in reason:
            remedy = "Make it inside the flow in plain Python, with subprocess.run(...) for instance."
        elif reason.startswith("it is awaited"):
            remedy = "Await it inside an async flow or task, or pass it as a parameter."
        else:
            remedy = (
                "Make it inside the flow or a task, or pass it as a parameter. To run that line again wherever "
                f"the flow runs, put `#| export` at the top of cell {cell}."
            )
        return Problem(variable, cell, f"{flow} needs {place}, and that cannot be shipped: {reason}. {remedy}")

    def _unbound(self, flow: str, name: str, need: Need) -> tuple[str | None, Problem | None]:
        """An import that gives the name, or why there is none."""
        session = name in _SESSION or (name.startswith("_") and name.strip("_i").isdigit())
        if name == MAGIC_VALUE or (not session and (name in _GIVEN or name.startswith("__"))):
            return None, None
        if name == "display":
            return "from IPython.display import display", None
        if name in _OURS:
            return f"from millrace import {name}", None
        user = "" if need.needed_by in (flow, name) else f" (through {need.needed_by})"
        if session:
            remedy = "Take it out of the flow, or do in plain Python what it is used for."
            return None, Problem(name, None, f"{flow} needs {name}{user}, which exists only in IPython. {remedy}")
        return None, self._nowhere(flow, name, user, need)

    def _nowhere(self, flow: str, name: str, user: str, need: Need) -> Problem:
        deleted = [s.cell.index for s in self._statements if isinstance(s.node, ast.Delete) and name in s.effects.binds]
        hints = [
            f" Cell {cell} has `{line}`, which may make it: import it from there." for cell, line in self._history.runs
        ]
        hints += [f" {sentence}" for sentence in self._history.broken]
        if deleted:
            text = f"cell {deleted[-1]} deletes it. Take the `del` away or define it again"
            return Problem(name, deleted[-1], f"{flow} needs {name}{user}, but {text}.")
        later = [s.cell.index for s in self._statements[need.before :] if name in s.effects.binds]
        if later:
            place = f"cell {self._statements[need.before].cell.index} uses it before cell {later[0]} defines it"
            return Problem(name, later[0], f"{flow} needs {name}{user}, but {place}. Move the definition up.")
        if self._live is not None and name in self._live:
            kind = live_type(self._live[name]) or self._live[name].removeprefix("builtins.")
            state = f"which is live in this kernel (a {kind}), but no executed cell defines it"
        else:
            state = "but no cell defines it"
        remedy = "Define it in a cell and run that, make it inside the flow, or pass it as a parameter."
        return Problem(name, None, f"{flow} needs {name}{user}, {state}. {remedy}{''.join(hints)}")

    def _left_out(self, flow: str, found: Slice) -> list[str]:
        notes: list[str] = []
        for position, statement in enumerate(self._statements):
            if position not in found.wanted and isinstance(statement.node, ast.Expr):
                notes.append(
                    f"cell {statement.cell.index}: `{_snippet(statement)}` is not needed by {flow} and is left out"
                )
        return list(dict.fromkeys(notes))


def _makes_flow(node: ast.stmt) -> bool:
    """Whether a statement is `x = flow(f)` or `x = other.with_options(...)`."""
    value = node.value if isinstance(node, ast.Assign) else None
    return isinstance(value, ast.Call) and last_name(value.func) in ("flow", "with_options")


def _is_task(node: ast.stmt) -> bool:
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    return any(last_name(d.func if isinstance(d, ast.Call) else d) == "task" for d in node.decorator_list)


def _snippet(statement: Statement) -> str:
    code = [line for line in statement.text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    text = code[0].strip() if code else statement.text.strip()
    text = text.replace(f"{MAGIC_VALUE}(", "").rstrip(")").replace("'", "") if MAGIC_VALUE in text else text
    return text if len(text) <= 70 else text[:67] + "..."
