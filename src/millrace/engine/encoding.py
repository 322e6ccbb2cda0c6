"""Values as JSON that remembers their types: what goes in comes out equal and of the same type, or does not go in.

What JSON has is itself. Anything else is `{"__class__": name, "data": …}`, the form of Prefect's JSON serializer, so
that each reads the other's:

- dates, times, durations, UUIDs, decimals, paths, IP addresses, complex numbers, bytes, tuples, sets, deques;
- dicts whose keys are no texts; numpy scalars and arrays; pandas frames, series and indexes that can be rebuilt
  exactly (which is tried);
- dataclasses, pydantic models, enums, named tuples and exceptions, by the name of their class.

A subclass of a plain type (an `OrderedDict`, a text of some library) comes back as the plain type.

Reading never imports a module because stored text names it, and calls nothing but the classes listed here: a class is
looked for among what is imported already, then in `__main__` (the cells of a notebook) and beside the running flow.
"""

from __future__ import annotations

import base64
import dataclasses
import inspect
import ipaddress
import pathlib
import sys
from collections import deque
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any
from uuid import UUID

from pydantic import BaseModel, PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError

from millrace import plugins
from millrace.engine.context import FlowRunContext, TaskRunContext

_CLASS, _DATA, _ERROR = "__class__", "data", "__exc_type__"
_PLAIN = frozenset({str, int, float, bool, type(None)})
# Names that no class has, so that Prefect, which cannot rebuild these, gives the dict instead of an error.
_PAIRS, _BYTES = "millrace.pairs", "millrace.bytes"
_DURATION: TypeAdapter[timedelta] = TypeAdapter(timedelta)

_Known = tuple[type, Callable[[Any], Any], Callable[[Any], Any]]


class Unencodable(Exception):
    """A value has no such form.

    Args:
        value: the value.
        reason: why, where there is more to say than its type.
    """

    def __init__(self, value: Any, reason: str = "") -> None:
        self.kind = type(value).__qualname__
        self.reason = reason
        self.trail: list[str] = []

    def __str__(self) -> str:
        place = "".join(reversed(self.trail))
        return (
            f"{f'at [{place[1:]}' if place else 'it'} is of type {self.kind}{f': {self.reason}' if self.reason else ''}"
        )


class UnknownClass(Exception):
    """A stored class is not at hand in this process."""


def _ordered(values: Any) -> list[Any]:
    try:
        return sorted(values)
    except TypeError:
        return list(values)


_KNOWN: dict[str, _Known] = {
    "datetime.datetime": (datetime, datetime.isoformat, datetime.fromisoformat),
    "datetime.date": (date, date.isoformat, date.fromisoformat),
    "datetime.time": (time, time.isoformat, time.fromisoformat),
    "datetime.timedelta": (
        timedelta,
        lambda value: _DURATION.dump_python(value, mode="json"),
        _DURATION.validate_python,
    ),
    "uuid.UUID": (UUID, str, UUID),
    "decimal.Decimal": (Decimal, str, Decimal),
    "builtins.complex": (complex, str, complex),
    "builtins.tuple": (tuple, list, tuple),
    "builtins.set": (set, _ordered, set),
    "builtins.frozenset": (frozenset, _ordered, frozenset),
    "builtins.bytes": (bytes, bytes.decode, str.encode),
    "builtins.bytearray": (bytearray, bytearray.decode, lambda text: bytearray(text.encode())),
    "collections.deque": (deque, list, deque),
    **{
        f"pathlib.{kind.__name__}": (kind, str, kind)
        for kind in (pathlib.PurePosixPath, pathlib.PureWindowsPath, pathlib.Path)
    },
    # the other system's paths are paths here too
    "pathlib.PosixPath": (pathlib.PosixPath, str, pathlib.Path),
    "pathlib.WindowsPath": (pathlib.WindowsPath, str, pathlib.Path),
    **{
        f"ipaddress.{kind.__name__}": (kind, str, kind)
        for kind in (
            ipaddress.IPv4Address,
            ipaddress.IPv6Address,
            ipaddress.IPv4Network,
            ipaddress.IPv6Network,
            ipaddress.IPv4Interface,
            ipaddress.IPv6Interface,
        )
    },
}
_NAMES = {kind: name for name, (kind, _, _) in _KNOWN.items()}


def encode(value: Any) -> Any:
    """A value as a tree of what JSON has.

    Args:
        value: anything listed above, nested as you like.

    Raises:
        Unencodable: something in it has no such form; says where.
        RecursionError: it contains itself.
    """
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is list:
        return _each(value)
    if kind is dict:
        return _mapping(value)
    if kind in _NAMES:
        return _known(value, _NAMES[kind])
    if kind.__module__.partition(".")[0] in ("numpy", "pandas"):
        return _array(value)
    return _instance(value) or _downgraded(value)


def _array(value: Any) -> dict[str, Any]:
    try:
        name, data = plugins.load("millrace.engine.arrays:packed")(value)
    except TypeError as error:
        raise Unencodable(value, str(error)) from None
    return {_CLASS: name, _DATA: data}


def _each(values: Any) -> list[Any]:
    made: list[Any] = []
    try:
        for value in values:
            made.append(value if type(value) in _PLAIN else encode(value))
    except Unencodable as error:
        error.trail.append(f"[{len(made)}]")
        raise
    return made


def _mapping(value: dict[Any, Any]) -> dict[str, Any]:
    if not all(type(key) is str for key in value) or _CLASS in value or _ERROR in value:
        return {_CLASS: _PAIRS, _DATA: [[encode(key), encode(one)] for key, one in value.items()]}
    made: dict[str, Any] = {}
    key = ""
    try:
        for key, one in value.items():
            made[key] = one if type(one) in _PLAIN else encode(one)
    except Unencodable as error:
        error.trail.append(f"[{key!r}]")
        raise
    return made


def _known(value: Any, name: str) -> dict[str, Any]:
    try:
        data = _KNOWN[name][1](value)
    except UnicodeDecodeError:
        return {_CLASS: _BYTES, _DATA: [name, base64.b64encode(value).decode("ascii")]}
    return {_CLASS: name, _DATA: _each(data) if isinstance(data, list) else data}


def _instance(value: Any) -> dict[str, Any] | None:
    """The form of an instance of a class that the user wrote; None if it is of no such kind."""
    kind = type(value)
    if isinstance(value, BaseException):
        return {_ERROR: _name_of(kind), "message": str(value)}
    if isinstance(value, type):
        return None
    data: Any
    if isinstance(value, BaseModel):
        kind = value.__pydantic_generic_metadata__["origin"] or kind
        data = _dumped(value)
    elif isinstance(value, Enum):
        data = encode(value.value)
    elif dataclasses.is_dataclass(value):
        data = _mapping({field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init})
    elif isinstance(value, tuple) and hasattr(kind, "_fields"):
        data = _each(value)
    else:
        return None
    try:
        _rebuilt(kind, decode(data))
    except UnknownClass:
        raise
    except Exception as error:
        raise Unencodable(value, f"it cannot be rebuilt from its own fields ({_one_line(error)})") from None
    return {_CLASS: _name_of(kind), _DATA: data}


def _name_of(kind: type) -> str:
    name = f"{kind.__module__}.{kind.__qualname__}"
    if _found(name) is not kind:
        reason = "its class can be found in no module, so that no reader could rebuild it: define it at the top level"
        error = Unencodable(None, reason)
        error.kind = kind.__qualname__
        raise error
    return name


def _dumped(value: BaseModel) -> Any:
    # A model with aliases is read by name or by alias, as its own configuration says; a field that is not read at all
    # would silently get its default.
    reason = "what it writes is not what it reads"
    for by_alias in (False, True):
        try:
            data = value.model_dump(mode="json", by_alias=by_alias, round_trip=True)
            restored = type(value).model_validate(data)
            again = restored.model_dump(mode="json", by_alias=by_alias, round_trip=True)
        except Exception as error:
            reason = _one_line(error)
        else:
            if restored == value or repr(again) == repr(data):
                return encode(data)
    raise Unencodable(value, f"its model cannot be rebuilt ({reason})")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _downgraded(value: Any) -> Any:
    for plain in (str, int, float):
        if isinstance(value, plain):
            return plain.__str__(value) if plain is str else plain(value)
    if isinstance(value, dict):
        return _mapping(dict(value))
    if isinstance(value, list):
        return _each(value)
    for kind in (tuple, set, frozenset, datetime, bytes, pathlib.PurePath):
        if isinstance(value, kind):
            return _known(value, _NAMES[kind] if kind is not pathlib.PurePath else "pathlib.Path")
    raise Unencodable(value)


# -- and back


def decode(tree: Any) -> Any:
    """The value of a tree that `encode` made.

    Args:
        tree: what the JSON parser gave.

    Raises:
        UnknownClass: a class it names is not imported in this process.
        ValueError, TypeError: the tree is none of ours.
    """
    if isinstance(tree, list):
        return [one if type(one) in _PLAIN else decode(one) for one in tree]
    if not isinstance(tree, dict):
        return tree
    if len(tree) == 2 and isinstance(name := tree.get(_CLASS), str) and _DATA in tree:
        return _revived(name, tree[_DATA])
    if len(tree) == 2 and isinstance(name := tree.get(_ERROR), str) and "message" in tree:
        kind = _found(name)
        if kind is None or not issubclass(kind, BaseException):
            raise UnknownClass(name)
        return kind(tree["message"])
    return {key: one if type(one) in _PLAIN else decode(one) for key, one in tree.items()}


def plain(tree: Any) -> Any:
    """The same without the types, for people and other programs: a date is its text.

    Args:
        tree: what the JSON parser gave.
    """
    if isinstance(tree, list):
        return [plain(one) for one in tree]
    if isinstance(tree, dict):
        inner = len(tree) == 2 and _CLASS in tree and _DATA in tree
        return plain(tree[_DATA]) if inner else {key: plain(one) for key, one in tree.items()}
    return tree


def _revived(name: str, data: Any) -> Any:
    if name in _KNOWN:
        return _KNOWN[name][2](decode(data))
    if name == _PAIRS:
        return {decode(key): decode(value) for key, value in data}
    if name == _BYTES:
        raw = base64.b64decode(data[1])
        return bytearray(raw) if data[0] == "builtins.bytearray" else raw
    if name.startswith("pathlib."):
        return pathlib.Path(data)
    if name.startswith("millrace.arrays."):
        return plugins.load("millrace.engine.arrays:unpacked")(name, data)
    kind = _found(name)
    if kind is None:
        raise UnknownClass(name)
    return _rebuilt(kind, decode(data))


def _rebuilt(kind: type, data: Any) -> Any:
    if issubclass(kind, BaseModel):
        return kind.model_validate(data)
    if issubclass(kind, Enum):
        return kind(data)
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return kind(*data)
    if dataclasses.is_dataclass(kind):
        try:
            return _adapter(kind).validate_python(data)
        except (ValidationError, PydanticSchemaGenerationError, PydanticUserError):
            return kind(**data)
    raise UnknownClass(f"{kind.__module__}.{kind.__qualname__}")


@lru_cache(maxsize=256)
def _adapter(kind: type) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _found(name: str) -> type | None:
    """A class by its full name among what is imported; never imports."""
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        if ".".join(parts[:cut]) in sys.modules:
            found = _within(vars(sys.modules[".".join(parts[:cut])]), parts[cut:])
            if found is not None:
                return found
    for names in _nearby():
        for cut in range(1, len(parts)):
            found = _within(names, parts[cut:])
            if found is not None:
                return found
    return None


def _within(names: dict[str, Any], path: list[str]) -> type | None:
    found: Any = names.get(path[0])
    for part in path[1:]:
        found = inspect.getattr_static(found, part, None) if isinstance(found, type) else None
    return found if isinstance(found, type) else None


def _nearby() -> Iterator[dict[str, Any]]:
    yield vars(sys.modules["__main__"])
    task, flow = TaskRunContext.get(), FlowRunContext.get()
    for fn in (getattr(task and task.task, "fn", None), getattr(flow and flow.flow, "fn", None)):
        if fn is not None:
            yield getattr(fn, "__globals__", {})
