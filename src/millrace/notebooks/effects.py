"""What one top-level statement does to the names of its module: binds, changes and reads them, now or when called."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from millrace.notebooks.scopes import Call, Import, Reader, last_name


@dataclass(frozen=True)
class Effects:
    """What a statement does to module-level names.

    Args:
        binds: names it may give a value.
        kills: the part of `binds` whose earlier values cannot be seen afterwards.
        mutates: names whose objects it changes in place.
        reads: names read when the statement is executed, `mutates` among them.
        soft: the part of `reads` and `deferred` whose absence is no error (string annotations, guarded reads).
        deferred: names read when a function defined here is called.
        deferred_writes: names bound or changed when a function defined here is called.
        deferred_binds: the part of `deferred_writes` that such a function declares global and gives a value.
        stars: modules whose every name is imported.
        calls: calls of plain names made at once.
        decorators: names at the root of decorators of the form `@name.method`.
        imports: every import in it, also inside functions.
        parameters: of the function it defines, by position.
        changed_parameters: the part of `parameters` whose objects that function changes.
    """

    binds: frozenset[str] = frozenset()
    kills: frozenset[str] = frozenset()
    mutates: frozenset[str] = frozenset()
    reads: frozenset[str] = frozenset()
    soft: frozenset[str] = frozenset()
    deferred: frozenset[str] = frozenset()
    deferred_writes: frozenset[str] = frozenset()
    deferred_binds: frozenset[str] = frozenset()
    stars: tuple[Import, ...] = ()
    calls: tuple[Call, ...] = ()
    decorators: frozenset[str] = frozenset()
    imports: tuple[Import, ...] = ()
    parameters: tuple[str, ...] = ()
    changed_parameters: frozenset[str] = frozenset()

    @property
    def writes(self) -> frozenset[str]:
        """Names whose value or object is another afterwards."""
        return self.binds | self.mutates


def effects_of(node: ast.stmt, *, lazy_annotations: bool = False) -> Effects:
    """What one statement does to the names of its module.

    Args:
        node: a statement of the top level.
        lazy_annotations: `from __future__ import annotations` holds, so that annotations are never computed.

    Example:
        >>> sorted(effects_of(ast.parse("total = sum(n for n in numbers)").body[0]).reads)
        ['numbers', 'sum']
    """
    reader = Reader(lazy_annotations)
    reader.visit(node)
    names = reader.found
    parameters = _parameters(node)
    return Effects(
        binds=frozenset(names.binds),
        kills=frozenset(_kills(node, names.binds)),
        mutates=frozenset(names.mutates),
        reads=frozenset(names.reads | names.mutates),
        soft=frozenset((names.soft - names.hard) | _own(node, names.binds)),
        deferred=frozenset(names.deferred),
        deferred_writes=frozenset(names.deferred_writes),
        deferred_binds=frozenset(names.deferred_binds),
        stars=tuple(names.stars),
        calls=tuple(names.calls),
        decorators=frozenset(names.decorators),
        imports=tuple(imports_in(node)),
        parameters=parameters,
        changed_parameters=frozenset(names.local_changes & set(parameters)),
    )


def free_names(node: ast.stmt) -> frozenset[str]:
    """Module-level names a statement reads, at once or later."""
    effects = effects_of(node)
    return effects.reads | effects.deferred


def imports_in(node: ast.AST) -> list[Import]:
    """Every import below a node, `importlib.import_module("literal")` included."""
    found: list[Import] = []
    for child in ast.walk(node):
        if isinstance(child, ast.Import):
            found.extend(Import(alias.name) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            found.append(Import(child.module or "", child.level, tuple(alias.name for alias in child.names)))
        elif isinstance(child, ast.Call) and last_name(child.func) == "import_module" and child.args:
            first = child.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str) and not first.value.startswith("."):
                found.append(Import(first.value))
    return found


def _parameters(node: ast.stmt) -> tuple[str, ...]:
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return ()
    return tuple(argument.arg for argument in (*node.args.posonlyargs, *node.args.args))


def _own(node: ast.stmt, binds: set[str]) -> set[str]:
    """Names a statement may give a value before it reads them: a loop variable, a walrus, the target of a `with`."""
    if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        return {child.target.id for child in ast.walk(node) if isinstance(child, ast.NamedExpr)}
    return set(binds)


def _kills(node: ast.stmt, binds: set[str]) -> set[str]:
    if isinstance(node, ast.Import):
        # `import a.b` adds to what `import a.c` made: neither hides the other.
        return {alias.asname for alias in node.names if alias.asname}
    if isinstance(
        node, ast.AugAssign | ast.If | ast.For | ast.AsyncFor | ast.While | ast.Try | ast.TryStar | ast.Match
    ):
        return set()
    return set(binds)
