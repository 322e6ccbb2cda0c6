"""Names that may share an object, so that a change through one of them can be seen through another."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from millrace.notebooks.scopes import root_name


def shared_objects(statements: Iterable[ast.stmt], apart: Iterable[str]) -> dict[str, frozenset[str]]:
    """Groups of names that may share an object: after `b = a` or `d = {"a": a}`, a change of `a` is one of the others.

    Args:
        statements: the top-level statements.
        apart: names that are never grouped, such as modules and functions.

    Returns:
        For every name in a group, the group.

    Example:
        >>> groups = shared_objects(ast.parse("a = []; b = {'x': a}; c = len(a)").body, ())
        >>> sorted(groups["a"]), "c" in groups
        (['a', 'b'], False)
    """
    alone = set(apart)
    groups: dict[str, set[str]] = {}
    for statement in statements:
        for node in _executed(statement):
            names = {name for name in _together(node) if name not in alone}
            if len(names) < 2:
                continue
            merged = set(names).union(*(groups.get(name, set()) for name in names))
            for name in merged:
                groups[name] = merged
    return {name: frozenset(group) for name, group in groups.items()}


def _executed(node: ast.AST) -> Iterable[ast.AST]:
    yield node
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        for child in ast.iter_child_nodes(node):
            yield from _executed(child)


def _together(node: ast.AST) -> set[str]:
    """Names that one node makes share an object."""
    if isinstance(node, ast.Assign):
        return set().union(*(_held(target) for target in node.targets), _held(node.value))
    if isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
        return _held(node.target) | _held(node.value)
    if isinstance(node, ast.For):
        return _held(node.target) | _held(node.iter)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        # `rows.append(row)`: the container holds the row from now on.
        root = root_name(node.func)
        return set().union(*(_held(argument) for argument in node.args), {root} if root else set())
    return set()


def _held(node: ast.expr) -> set[str]:
    """Names whose objects an expression gives or holds; a computed value is an object of its own."""
    if isinstance(node, ast.Name | ast.Attribute | ast.Subscript):
        name = root_name(node)
        return {name} if name is not None else set()
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return set().union(*(_held(element) for element in node.elts))
    if isinstance(node, ast.Dict):
        return set().union(*(_held(value) for value in node.values))
    if isinstance(node, ast.IfExp):
        return _held(node.body) | _held(node.orelse)
    if isinstance(node, ast.BoolOp):
        return set().union(*(_held(value) for value in node.values))
    if isinstance(node, ast.Starred):
        return _held(node.value)
    return set()
