"""Types written in a parameters cell, read from the syntax tree: nothing of the user's is executed.

Only names whose meaning is known are understood; any other annotation accepts every value.
"""

from __future__ import annotations

import ast
import datetime
import decimal
import pathlib
import types
import uuid
from collections.abc import Callable
from typing import Any, Literal, Union

from pydantic import SecretStr

_NAMES: dict[str, Any] = {
    "int": int,
    "float": float,
    "str": str,
    "bool": bool,
    "bytes": bytes,
    "list": list,
    "List": list,
    "Sequence": list,
    "Iterable": list,
    "dict": dict,
    "Dict": dict,
    "Mapping": dict,
    "tuple": tuple,
    "Tuple": tuple,
    "set": set,
    "Set": set,
    "frozenset": frozenset,
    "None": None,
    "Any": Any,
    "object": Any,
    "date": datetime.date,
    "datetime": datetime.datetime,
    "time": datetime.time,
    "timedelta": datetime.timedelta,
    "Path": pathlib.Path,
    "Decimal": decimal.Decimal,
    "UUID": uuid.UUID,
    "SecretStr": SecretStr,
    "Secret": SecretStr,
}
# Calls that may stand as a default, because building them does nothing but build them.
_BUILDERS: dict[str, Callable[..., Any]] = {
    "date": datetime.date,
    "datetime": datetime.datetime,
    "time": datetime.time,
    "timedelta": datetime.timedelta,
    "Path": pathlib.Path,
    "Decimal": decimal.Decimal,
    "UUID": uuid.UUID,
}
# In this order: True is an int too, and a datetime a date.
_KINDS: list[tuple[type, Any]] = [
    (bool, bool),
    (int, int),
    (float, float),
    (str, str),
    (datetime.datetime, datetime.datetime),
    (datetime.date, datetime.date),
    (datetime.time, datetime.time),
    (datetime.timedelta, datetime.timedelta),
    (pathlib.PurePath, pathlib.Path),
    (list, list),
    (tuple, list),
    (set, set),
    (dict, dict),
    (decimal.Decimal, decimal.Decimal),
    (uuid.UUID, uuid.UUID),
]


class NotLiteral(ValueError):
    """A default that only running the cell could tell."""


def last_name(node: ast.expr) -> str | None:
    """`date` of `date` and of `datetime.date`; None of anything that is no dotted name.

    Args:
        node: an expression.
    """
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    return None


def type_of(node: ast.expr) -> Any:
    """The type an annotation stands for; `Any` where it is not one we know.

    Args:
        node: the annotation.

    Example:
        >>> type_of(ast.parse("float | None", mode="eval").body)
        float | None
    """
    if isinstance(node, ast.Constant):
        return _constant_type(node.value)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _union(type_of(node.left), type_of(node.right))
    if isinstance(node, ast.Subscript):
        return _subscript(node)
    return _NAMES.get(last_name(node) or "", Any)


def _constant_type(value: object) -> Any:
    if value is None:
        return None
    if isinstance(value, str):  # a forward reference
        try:
            return type_of(ast.parse(value, mode="eval").body)
        except SyntaxError:
            return Any
    return Any


def _union(*members: Any) -> Any:
    return Any if Any in members else Union[members]  # noqa: UP007 - the members are only known now


def _subscript(node: ast.Subscript) -> Any:
    name = last_name(node.value)
    inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if name == "Literal":
        try:
            return Literal[tuple(ast.literal_eval(item) for item in inner)]
        except (ValueError, SyntaxError):
            return Any
    if name == "Annotated":
        return type_of(inner[0])
    if name in ("Secret", "SecretStr"):
        return SecretStr
    members = [... if isinstance(item, ast.Constant) and item.value is ... else type_of(item) for item in inner]
    if name == "Optional":
        return _union(members[0], None)
    if name == "Union":
        return _union(*members)
    container = _NAMES.get(name or "", Any)
    if container in (list, dict, tuple, set, frozenset):
        try:
            return types.GenericAlias(container, tuple(members))
        except TypeError:
            return container
    return Any


def value_of(node: ast.expr) -> Any:
    """The value of a default that is a literal, or a date, path or the like built from literals.

    Args:
        node: the expression.

    Raises:
        NotLiteral: it is neither.
    """
    try:
        return ast.literal_eval(node)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        pass
    if isinstance(node, ast.Call):
        builder = _BUILDERS.get(last_name(node.func) or "")
        if builder is not None and all(keyword.arg for keyword in node.keywords):
            try:
                positional = [ast.literal_eval(item) for item in node.args]
                named = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in node.keywords}
                return builder(*positional, **named)
            except (ValueError, TypeError, SyntaxError, ArithmeticError):
                pass
    raise NotLiteral(ast.unparse(node))


def type_of_value(value: object) -> Any:
    """The type a parameter has when only its default says so.

    Args:
        value: the default.
    """
    return next((kind for known, kind in _KINDS if isinstance(value, known)), Any)


def is_secret(annotation: ast.expr | None) -> bool:
    """Whether an annotation says `Secret` or `SecretStr`, also inside a union or an `Annotated`.

    Args:
        annotation: the annotation, None where there is none.
    """
    if annotation is None:
        return False
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        try:
            return is_secret(ast.parse(annotation.value, mode="eval").body)
        except SyntaxError:
            return False
    return any(
        isinstance(node, ast.expr) and last_name(node) in ("Secret", "SecretStr") for node in ast.walk(annotation)
    )
