"""What the expressions of a file mean, told from its text: constants, sums of them, and types of the standard library.

Nothing of the file is run, and nothing it imports is imported.
"""

from __future__ import annotations

import ast
import builtins
import collections.abc
import datetime
import decimal
import operator
import pathlib
import typing
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pydantic

# What an annotation may name and still be understood without the file's own imports.
_TYPES: dict[str, Any] = {
    name: getattr(builtins, name)
    for name in ("bool", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "object", "set", "str")
} | {"tuple": tuple, "type": type}
_MODULES: dict[str, Any] = {one.__name__: one for one in (typing, datetime, decimal, pathlib, uuid, collections.abc)}
_COLLECTIONS: dict[type[ast.expr], Callable[[Any], Any]] = {ast.List: list, ast.Tuple: tuple, ast.Set: set}
_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}


_HIDING = {"SecretStr": pydantic.SecretStr, "SecretBytes": pydantic.SecretBytes, "Secret": pydantic.Secret}


@dataclass(frozen=True)
class _Hiding:
    """What a file gets when it imports pydantic or this package: the types of secrets, and nothing else."""

    types: Mapping[str, Any]

    def __getattr__(self, name: str) -> Any:
        if name in self.types:
            return self.types[name]
        raise AttributeError(name)


class Unreadable(Exception):
    """An expression has no value that its text alone tells."""


@dataclass(frozen=True)
class Expressions:
    """The expressions of one file.

    Args:
        module: the whole file.
        own: the types that `from millrace import` gives it.
    """

    module: ast.Module
    own: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def _constants(self) -> dict[str, ast.expr | None]:
        """What the file assigns to names at its top level; None for a name that is assigned twice."""
        found: dict[str, ast.expr | None] = {}
        for statement in self.module.body:
            targets: list[ast.expr] = []
            if isinstance(statement, ast.Assign):
                targets = statement.targets
            elif isinstance(statement, ast.AnnAssign | ast.AugAssign):
                targets = [statement.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    plain = statement.value if isinstance(statement, ast.Assign | ast.AnnAssign) else None
                    found[target.id] = None if target.id in found else plain
        return found

    def value(self, node: ast.expr, depth: int = 0) -> Any:
        """The value of an expression.

        Args:
            node: the expression.
            depth: how far within it; names may lead in a circle.

        Raises:
            Unreadable: its text alone does not tell.
        """
        if depth > 20:
            raise Unreadable
        match node:
            case ast.Constant(value):
                return value
            case ast.Name(name) if (constant := self._constants.get(name)) is not None:
                return self.value(constant, depth + 1)
            case ast.UnaryOp(ast.USub(), operand):
                return _applied(operator.neg, self.value(operand, depth + 1))
            case ast.BinOp(left, how, right) if type(how) in _OPERATORS:
                return _combined(_OPERATORS[type(how)], self.value(left, depth + 1), self.value(right, depth + 1))
            case ast.List(elements) | ast.Tuple(elements) | ast.Set(elements):
                return _COLLECTIONS[type(node)](self.value(one, depth + 1) for one in elements)
            case ast.Dict(keys, values) if all(keys):
                pairs = zip(keys, values, strict=True)
                return {self.value(k, depth + 1): self.value(v, depth + 1) for k, v in pairs if k is not None}
            case ast.JoinedStr(parts):
                return "".join(self._text(part, depth + 1) for part in parts)
        raise Unreadable

    def _text(self, part: ast.expr, depth: int) -> str:
        if isinstance(part, ast.FormattedValue):
            if part.format_spec is not None or part.conversion not in (-1, 115):
                raise Unreadable
            return str(self.value(part.value, depth))
        return str(self.value(part, depth))

    @cached_property
    def _names(self) -> dict[str, Any]:
        """The names of types: built in, and imported from the modules that hold them."""
        found = dict(_TYPES)
        modules = {**_MODULES, "pydantic": _Hiding(_HIDING), "millrace": _Hiding(self.own)}
        for node in ast.walk(self.module):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name in modules and "." not in (alias.asname or alias.name):
                        found[alias.asname or alias.name] = modules[alias.name]
            elif isinstance(node, ast.ImportFrom) and node.module in modules:
                for alias in node.names:
                    if hasattr(modules[node.module], alias.name):
                        found[alias.asname or alias.name] = getattr(modules[node.module], alias.name)
        return found

    def type(self, node: ast.expr) -> Any:
        """The type that an annotation names; Any where it cannot be had without running the file.

        Args:
            node: the annotation.
        """
        plain = (ast.Name, ast.Attribute, ast.Subscript, ast.Tuple, ast.List, ast.Constant, ast.Load, ast.BitOr)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            try:
                node = ast.parse(node.value, mode="eval").body
            except SyntaxError:
                return Any
        if not all(isinstance(part, (*plain, ast.BinOp)) for part in ast.walk(node)):
            return Any
        try:
            # Names, attributes and subscripts of types of the standard library: nothing of the file is run.
            found = eval(compile(ast.Expression(node), "<annotation>", "eval"), {"__builtins__": {}}, dict(self._names))
        except Exception:  # whatever it names is not to be had without running the file
            return Any
        return type(None) if found is None else found


def _applied(how: Callable[[Any], Any], value: Any) -> Any:
    try:
        return how(value)
    except TypeError:
        raise Unreadable from None


def _combined(how: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    numbers = isinstance(left, int | float) and isinstance(right, int | float)
    joined = how is operator.add and type(left) is type(right) and isinstance(left, str | list | tuple)
    if not (numbers or joined):
        raise Unreadable
    try:
        return how(left, right)
    except ArithmeticError:
        raise Unreadable from None
