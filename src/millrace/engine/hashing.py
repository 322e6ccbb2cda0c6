"""A hash of a value by what it holds: equal in every process and on every day, for equal values.

Dicts and sets count whatever their order. Arrays and frames count by their contents. An object of any other class
counts by its class and by what copying it would carry over; what cannot be copied so (a lock, a file, a generator, a
connection) cannot be hashed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import struct
import sys
from collections.abc import Iterable
from datetime import date, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import partial
from pathlib import PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import BaseModel

from millrace.errors import InvalidInput

_ATOMS = (
    bool,
    int,
    str,
    bytes,
    complex,
    UUID,
    Decimal,
    Fraction,
    date,
    time,
    timedelta,
    timezone,
    ZoneInfo,
    range,
    slice,
)


class Unhashable(InvalidInput):
    """A value has no stable hash; says which."""


def stable_hash(*values: Any) -> str:
    """A hash of values by what they hold.

    Args:
        values: anything that can be copied.

    Raises:
        Unhashable: something in it cannot be.

    Example:
        >>> stable_hash({"a": 1, "b": [2, 3]}) == stable_hash({"b": [2, 3], "a": 1})
        True
    """
    try:
        return _Hash().of(tuple(values)).hex()
    except RecursionError:
        raise Unhashable("it nests too deeply to be hashed") from None


class _Hash:
    """One pass over one value; an object met again within itself counts by where it was met first."""

    def __init__(self) -> None:
        self.open: dict[int, int] = {}
        self.alive: list[Any] = []

    def of(self, value: Any) -> bytes:
        kind = type(value)
        if value is None or kind in _ATOMS:
            return _digest(kind.__name__, repr(value).encode("utf-8", "surrogatepass"))
        if kind is float:
            return _digest("float", struct.pack(">d", value))
        if kind in (bytearray, memoryview):
            return _digest("bytes", repr(bytes(value)).encode())
        before = self.open.get(id(value))
        if before is not None:
            return _digest("again", str(len(self.open) - before).encode())
        self.open[id(value)] = len(self.open)
        try:
            return self.compound(value, kind)
        finally:
            del self.open[id(value)]

    def compound(self, value: Any, kind: type) -> bytes:
        if kind in (list, tuple):
            return _digest(kind.__name__, b"".join(map(self.of, value)))
        if kind is dict:
            return self.mapping("dict", value)
        if kind in (set, frozenset):
            return _digest("set", b"".join(sorted(map(self.of, value))))
        if isinstance(value, Enum):
            return self.named("enum", value.__class__, value.name)
        if isinstance(value, PurePath):
            return _digest("path", str(value).encode("utf-8", "surrogatepass"))
        if isinstance(value, BaseModel):
            return self.named("model", kind, {**value.__dict__, **(value.__pydantic_extra__ or {})})
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {one.name: getattr(value, one.name, None) for one in dataclasses.fields(value)}
            return self.named("dataclass", kind, fields)
        return self.code(value) or self.columns(value) or self.copied(value, kind)

    def mapping(self, name: str, value: dict[Any, Any]) -> bytes:
        return _digest(name, b"".join(sorted(self.of(key) + self.of(each) for key, each in value.items())))

    def named(self, name: str, kind: type, held: Any) -> bytes:
        return _digest(f"{name}:{kind.__module__}.{kind.__qualname__}", self.of(held))

    def code(self, value: Any) -> bytes | None:
        """Functions by what they do and hold, classes and modules by their names."""
        if isinstance(value, type):
            return _digest("class", f"{value.__module__}.{value.__qualname__}".encode())
        if isinstance(value, ModuleType):
            return _digest("module", value.__name__.encode())
        if isinstance(value, BuiltinFunctionType):
            return _digest("builtin", self.of((value.__qualname__, value.__module__ or value.__self__)))
        if isinstance(value, FunctionType):
            cells = [_cell(cell) for cell in value.__closure__ or ()]
            return _digest("function", self.of((value.__code__, value.__defaults__, value.__kwdefaults__, cells)))
        if isinstance(value, MethodType):
            return _digest("method", self.of((value.__func__, value.__self__)))
        if isinstance(value, partial):
            return _digest("partial", self.of((value.func, value.args, value.keywords)))
        if isinstance(value, CodeType):
            held = (value.co_code, value.co_consts, value.co_names, value.co_varnames, value.co_freevars)
            return _digest("code", self.of(held))
        return None

    def columns(self, value: Any) -> bytes | None:
        """Arrays and frames, if their libraries are loaded; nobody else has values of their classes."""
        numpy, pandas = sys.modules.get("numpy"), sys.modules.get("pandas")
        if numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic)):
            shape = repr((str(value.dtype), value.shape)).encode()
            if value.dtype.hasobject:
                return _digest("array", shape + self.of(value.tolist()))
            return _digest("array", shape + numpy.ascontiguousarray(value).tobytes())
        if pandas is not None and isinstance(value, (pandas.DataFrame, pandas.Series, pandas.Index)):
            return self.frame(value, pandas)
        return None

    def frame(self, value: Any, pandas: Any) -> bytes:
        if isinstance(value, pandas.DataFrame):
            head: Any = [*map(str, value.columns), *map(str, value.dtypes)]
        else:
            head = [str(value.name), str(value.dtype)]
        try:
            rows = pandas.util.hash_pandas_object(value, index=True).to_numpy().tobytes()
        except TypeError:  # cells that have no hash of their own, such as lists
            rows = self.of(value.to_dict() if hasattr(value, "to_dict") else value.tolist())
        return _digest(f"pandas:{type(value).__name__}", self.of(head) + rows)

    def copied(self, value: Any, kind: type) -> bytes:
        """Any other object by its class and what `copy` would carry over."""
        try:
            reduced = value.__reduce_ex__(4)
        except Exception as error:
            raise Unhashable(f"a value of type {kind.__qualname__} cannot be hashed ({error})") from None
        if isinstance(reduced, str):
            return _digest("global", f"{kind.__module__}.{reduced}".encode())
        made, args, state, items, pairs = (*reduced, None, None, None)[:5]
        self.alive.append(reduced)  # what `__reduce_ex__` made must not lend its id to something else meanwhile
        name = f"{kind.__module__}.{kind.__qualname__}"
        parts: Iterable[Any] = (args, state, list(items or ()))
        held = self.mapping("pairs", dict(pairs)) if pairs is not None else b""
        return _digest(f"object:{name}", self.of(made) + b"".join(self.of(part) for part in parts) + held)


def _cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _digest(kind: str, data: bytes) -> bytes:
    found = hashlib.sha256(kind.encode())
    found.update(b"\0")
    found.update(data)
    return found.digest()
