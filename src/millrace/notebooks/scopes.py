"""Scoping over the syntax tree: which names of a statement reach its module, and how.

`symtable` gives the same answer for plain reads (a test compares them), but it cannot parse a top-level `await`, and
it does not tell a name that is read at once from one that is read when a function is called, nor a container that is
changed from one that is looked at.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

# Methods that change the object they are called on, wherever the call stands.
_MUTATORS = frozenset({
    "append", "appendleft", "extend", "extendleft", "insert", "update", "setdefault", "pop", "popleft", "popitem",
    "remove", "discard", "clear", "sort", "reverse", "rotate", "difference_update", "intersection_update", "subtract",
    "symmetric_difference_update", "move_to_end", "__setitem__",
})  # fmt: skip
# Methods that count as a change only where the call is a statement of its own: settings of libraries and objects.
_CONFIGURERS = frozenset({
    "seed", "use", "setLevel", "setlocale", "addHandler", "addFilter", "addLevelName", "basicConfig", "dictConfig",
    "filterwarnings", "simplefilter", "model_rebuild", "update_forward_refs", "setrecursionlimit", "set",
    "install", "load_dotenv", "manual_seed", "reset_defaults",
})  # fmt: skip
_CONFIGURING = ("set_", "add_", "register", "enable", "disable", "configure")
# Functions of libraries that change their first argument.
_CHANGES_FIRST = frozenset({
    "shuffle", "heappush", "heapify", "heappop", "heapreplace", "heappushpop", "insort", "insort_left", "insort_right",
    "setattr", "delattr",
})  # fmt: skip


@dataclass(frozen=True)
class Import:
    """One import as written, wherever it stands: `from .a import b` is module `a`, level 1, names `("b",)`."""

    module: str
    level: int = 0
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Call:
    """A call of a plain name, with the names its positional arguments start from (None for anything else)."""

    function: str
    arguments: tuple[str | None, ...] = ()


def root_name(node: ast.expr) -> str | None:
    """The name an expression starts from: `CONFIG` for `CONFIG["a"].b`; None where it starts from something else."""
    while True:
        if isinstance(node, ast.Attribute | ast.Subscript | ast.Starred):
            node = node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            node = node.func
        else:
            return node.id if isinstance(node, ast.Name) else None


def last_name(node: ast.expr) -> str:
    """The last part of a dotted name: `b` for `a.b`; empty for other expressions."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


@dataclass
class _Scope:
    """A scope below the module: its own names and those it declares global or nonlocal."""

    kind: Literal["function", "class"]
    names: set[str]
    globals: set[str]


@dataclass
class Found:
    """What the reader has gathered."""

    binds: set[str] = field(default_factory=set)
    mutates: set[str] = field(default_factory=set)
    reads: set[str] = field(default_factory=set)
    soft: set[str] = field(default_factory=set)
    hard: set[str] = field(default_factory=set)
    deferred: set[str] = field(default_factory=set)
    deferred_writes: set[str] = field(default_factory=set)
    deferred_binds: set[str] = field(default_factory=set)
    local_changes: set[str] = field(default_factory=set)
    stars: list[Import] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    decorators: set[str] = field(default_factory=set)


class _Bound(ast.NodeVisitor):
    """Names bound in one scope, without those of scopes inside it."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.globals: set[str] = set()
        self.nonlocals: set[str] = set()

    def visit_Name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Load):
            self.names.add(node.id)

    def _definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        self.names.add(node.name)
        for decorator in node.decorator_list:
            self.visit(decorator)

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _definition

    def visit_Lambda(self, node: ast.Lambda) -> None:
        for default in (*node.args.defaults, *node.args.kw_defaults):
            if default is not None:
                self.visit(default)

    def _comprehension(self, node: ast.expr) -> None:
        # Its loop variables are its own; only a walrus reaches out.
        for child in ast.walk(node):
            if isinstance(child, ast.NamedExpr):
                self.names.add(child.target.id)

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        self.names |= {alias.asname or alias.name.split(".")[0] for alias in node.names if alias.name != "*"}

    visit_Import = visit_ImportFrom = _import

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        self._capture(node.name)
        self.generic_visit(node)

    def visit_MatchAs(self, node: ast.MatchAs) -> None:
        self._capture(node.name)
        self.generic_visit(node)

    def visit_MatchStar(self, node: ast.MatchStar) -> None:
        self._capture(node.name)

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        self._capture(node.rest)
        self.generic_visit(node)

    def visit_Global(self, node: ast.Global) -> None:
        self.globals |= set(node.names)

    def visit_Nonlocal(self, node: ast.Nonlocal) -> None:
        self.nonlocals |= set(node.names)

    def _capture(self, name: str | None) -> None:
        if name is not None:
            self.names.add(name)


class Reader(ast.NodeVisitor):
    """Walks a statement with a stack of scopes and notes what reaches the module."""

    def __init__(self, lazy_annotations: bool = False) -> None:
        self.found = Found()
        self._lazy = lazy_annotations
        self._scopes: list[_Scope] = []
        self._depth = 0
        self._guarded = 0

    # -- names ---------------------------------------------------------------------------------------------------

    def _is_global(self, name: str) -> bool:
        for distance, scope in enumerate(reversed(self._scopes)):
            if name in scope.globals:
                return True
            if name in scope.names and (scope.kind == "function" or distance == 0):
                return False
        return True

    def _read(self, name: str, soft: bool = False) -> None:
        if self._is_global(name):
            (self.found.deferred if self._depth else self.found.reads).add(name)
            (self.found.soft if soft or self._guarded else self.found.hard).add(name)

    def _write(self, name: str | None) -> None:
        if name is not None and self._is_global(name):
            (self.found.deferred_writes if self._depth else self.found.binds).add(name)
            if self._depth:
                self.found.deferred_binds.add(name)

    def _change(self, name: str | None) -> None:
        if name is None:
            return
        if not self._is_global(name):
            self.found.local_changes.add(name)
            return
        (self.found.deferred_writes if self._depth else self.found.mutates).add(name)
        self._read(name)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._read(node.id)
        else:
            self._write(node.id)

    def _part(self, node: ast.Attribute | ast.Subscript) -> None:
        if not isinstance(node.ctx, ast.Load):
            self._change(root_name(node))
        self.generic_visit(node)

    visit_Attribute = visit_Subscript = _part

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self._read(node.target.id)
            # `items += [1]` changes the caller's list as well.
            if not self._is_global(node.target.id):
                self.found.local_changes.add(node.target.id)
        self.generic_visit(node)

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            if alias.name != "*":
                self._write(alias.asname or alias.name.split(".")[0])
            elif isinstance(node, ast.ImportFrom):
                self.found.stars.append(Import(node.module or "", node.level, ("*",)))

    visit_Import = visit_ImportFrom = _import

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        self._write(node.name)
        self.generic_visit(node)

    def visit_MatchAs(self, node: ast.MatchAs) -> None:
        self._write(node.name)
        self.generic_visit(node)

    def visit_MatchStar(self, node: ast.MatchStar) -> None:
        self._write(node.name)

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        self._write(node.rest)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._annotation(node.annotation)
        if node.value is not None:
            self.visit(node.value)
            self.visit(node.target)

    def visit_Try(self, node: ast.Try) -> None:
        guarded = any(handler.type is None or _catches_name_error(handler.type) for handler in node.handlers)
        self._guarded += guarded
        self._all(node.body)
        self._guarded -= guarded
        self._all([*node.handlers, *node.orelse, *node.finalbody])

    # -- calls ---------------------------------------------------------------------------------------------------

    def visit_Expr(self, node: ast.Expr) -> None:
        call = node.value
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and _configures(call.func):
            self._change(root_name(call.func))
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = last_name(node.func)
        if isinstance(node.func, ast.Attribute) and name in _MUTATORS:
            self._change(root_name(node.func))
        if name in _CHANGES_FIRST and node.args:
            self._change(root_name(node.args[0]))
        if isinstance(node.func, ast.Name) and not self._depth and self._is_global(name):
            self.found.calls.append(Call(name, tuple(root_name(argument) for argument in node.args)))
        self.generic_visit(node)

    # -- scopes --------------------------------------------------------------------------------------------------

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._decorators(node.decorator_list)
        self._defaults(node.args)
        self._write(node.name)
        self._scopes.append(_Scope("function", _type_parameters(node), set()))
        for argument in _arguments(node.args):
            if argument.annotation is not None:
                self._annotation(argument.annotation)
        if node.returns is not None:
            self._annotation(node.returns)
        self._inside(node.args, node.body)
        self._scopes.pop()

    visit_FunctionDef = visit_AsyncFunctionDef = _function

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._defaults(node.args)
        self._inside(node.args, [node.body])

    def _inside(self, arguments: ast.arguments, body: Sequence[ast.AST]) -> None:
        scope = _scope("function", body)
        scope.names |= {argument.arg for argument in _arguments(arguments)}
        self._scopes.append(scope)
        self._depth += 1
        self._all(body)
        self._depth -= 1
        self._scopes.pop()

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._decorators(node.decorator_list)
        self._write(node.name)
        self._scopes.append(_Scope("function", _type_parameters(node), set()))
        self._all([*node.bases, *node.keywords])
        self._scopes.append(_scope("class", node.body))
        self._all(node.body)
        del self._scopes[-2:]

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> None:
        self.visit(node.generators[0].iter)
        bound = _Bound()
        for generator in node.generators:
            bound.visit(generator.target)
        self._scopes.append(_Scope("function", bound.names, set()))
        for number, generator in enumerate(node.generators):
            self._all([generator.target, *([] if number == 0 else [generator.iter]), *generator.ifs])
        self._all([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt])
        self._scopes.pop()

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension

    # -- parts ---------------------------------------------------------------------------------------------------

    def _all(self, nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            self.visit(node)

    def _defaults(self, arguments: ast.arguments) -> None:
        self._all(default for default in (*arguments.defaults, *arguments.kw_defaults) if default is not None)

    def _decorators(self, decorators: list[ast.expr]) -> None:
        for decorator in decorators:
            self.visit(decorator)
            if self._depth:
                continue
            called = decorator.func if isinstance(decorator, ast.Call) else decorator
            name = root_name(called)
            if isinstance(decorator, ast.Name):
                self.found.calls.append(Call(decorator.id))
            elif isinstance(called, ast.Attribute) and name is not None and self._is_global(name):
                self.found.decorators.add(name)

    def _annotation(self, node: ast.expr) -> None:
        self._guarded += self._lazy
        self.visit(node)
        self._guarded -= self._lazy
        for child in ast.walk(node):
            if isinstance(child, ast.Constant) and isinstance(child.value, str):
                for name in _names_in_text(child.value):
                    self._read(name, soft=True)


def _names_in_text(text: str) -> set[str]:
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError):
        return set()
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _scope(kind: Literal["function", "class"], body: Sequence[ast.AST]) -> _Scope:
    bound = _Bound()
    for node in body:
        bound.visit(node)
    return _Scope(kind, bound.names - bound.globals - bound.nonlocals, bound.globals)


def _arguments(arguments: ast.arguments) -> list[ast.arg]:
    stars = [argument for argument in (arguments.vararg, arguments.kwarg) if argument is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *stars]


def _type_parameters(node: ast.AST) -> set[str]:
    return {parameter.name for parameter in getattr(node, "type_params", [])}


def _configures(method: ast.Attribute) -> bool:
    if method.attr == "set" and last_name(method.value) == "Variable":
        return False  # `millrace.Variable.set(…)` changes what the server keeps
    return method.attr in _CONFIGURERS or method.attr.startswith(_CONFIGURING)


def _catches_name_error(node: ast.expr) -> bool:
    kinds = node.elts if isinstance(node, ast.Tuple) else [node]
    return any(last_name(kind) in {"NameError", "Exception", "BaseException"} for kind in kinds)
