"""How results are stored: JSON with types, pickles for who asks for them, both compressed, and one's own."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from millrace import plugins
from millrace.engine import encoding
from millrace.errors import InvalidInput, PluginMissing, SerializationError, UnreadableResult

_OWN: dict[str, type[Serializer]] = {}
_COMPRESSIONS = ("zlib", "lzma", "bz2", "gzip")
_REGISTRY = plugins.Registry("serializer", "millrace.serializers", {})


class Serializer:
    """How a result becomes bytes and comes back. Subclass it for one of your own: naming its `type` registers it.

    A result says which serializer wrote it; a process that reads it needs the subclass imported, or a package that
    names it as an entry point of the group `millrace.serializers`.

    Example:
        >>> class Shouting(Serializer):
        ...     type = "shouting"
        ...     def dumps(self, value): return value.upper().encode()
        ...     def loads(self, blob): return blob.decode()
        >>> serializer("shouting").dumps("hello")
        b'HELLO'
    """

    type: ClassVar[str] = ""
    runs_code: ClassVar[bool] = False
    """Reading can execute what is stored; it is read only where somebody asked for that."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        kind = cls.__dict__.get("type", "")
        if kind in _BUILT_IN:
            raise InvalidInput(f"the type {kind!r} of the serializer {cls.__name__} is built in: choose another")
        if kind and cls.__module__ != __name__:
            _OWN[kind] = cls

    def dumps(self, value: Any) -> bytes:
        """A value as bytes."""
        raise NotImplementedError(f"the serializer {type(self).__name__} has no dumps")

    def loads(self, blob: bytes) -> Any:
        """The value of bytes that `dumps` gave."""
        raise NotImplementedError(f"the serializer {type(self).__name__} has no loads")

    def described(self) -> dict[str, Any]:
        """What a reference says of it; a serializer of the same description reads what this one wrote."""
        return {"type": self.type}

    @property
    def executes(self) -> bool:
        """Whether reading can execute what is stored."""
        return self.runs_code


_BUILT_IN: frozenset[str] = frozenset()


@dataclass(frozen=True)
class JSONSerializer(Serializer):
    """JSON that keeps types; see `millrace.engine.encoding`.

    Example:
        >>> from datetime import date
        >>> JSONSerializer().loads(JSONSerializer().dumps({"day": date(2026, 1, 2)}))
        {'day': datetime.date(2026, 1, 2)}
    """

    type: ClassVar[str] = "json"

    def dumps(self, value: Any) -> bytes:
        """A value as JSON."""
        return json.dumps(encoding.encode(value)).encode()

    def loads(self, blob: bytes) -> Any:
        """The value."""
        return encoding.decode(json.loads(blob))

    def plain(self, blob: bytes) -> Any:
        """The value as JSON has it, without types."""
        return encoding.plain(json.loads(blob))


@dataclass(frozen=True)
class PickleSerializer(Serializer):
    """Pickles, of functions and classes of notebooks too. Reading one executes what it says: ask for it only among
    people and machines that trust each other."""

    type: ClassVar[str] = "pickle"
    runs_code: ClassVar[bool] = True

    def dumps(self, value: Any) -> bytes:
        """A value as a pickle, in base64."""
        return base64.encodebytes(plugins.load("cloudpickle:dumps")(value))

    def loads(self, blob: bytes) -> Any:
        """The value."""
        return plugins.load("cloudpickle:loads")(base64.decodebytes(blob))

    def described(self) -> dict[str, Any]:
        """As Prefect describes it."""
        return {"type": self.type, "picklelib": "cloudpickle"}


@dataclass(frozen=True)
class CompressedSerializer(Serializer):
    """Another serializer, compressed.

    Args:
        serializer: the other, or its type.
        compressionlib: zlib, lzma, bz2 or gzip.

    Example:
        >>> small = CompressedSerializer("json", "lzma")
        >>> small.loads(small.dumps([1, 2]))
        [1, 2]
    """

    type: ClassVar[str] = "compressed"
    serializer: Any = field(default_factory=JSONSerializer)
    compressionlib: str = "zlib"

    def __post_init__(self) -> None:
        object.__setattr__(self, "serializer", serializer(self.serializer))
        if self.compressionlib not in _COMPRESSIONS:
            raise InvalidInput(f"there is no compression {self.compressionlib!r}: use {', '.join(_COMPRESSIONS)}")

    def dumps(self, value: Any) -> bytes:
        """A value compressed, in base64."""
        compressed = plugins.load(f"{self.compressionlib}:compress")(_bytes(self.serializer, value))
        return base64.encodebytes(compressed)

    def unpacked(self, blob: bytes) -> bytes:
        """What the other serializer gave."""
        return bytes(plugins.load(f"{self.compressionlib}:decompress")(base64.decodebytes(blob)))

    def loads(self, blob: bytes) -> Any:
        """The value."""
        return self.serializer.loads(self.unpacked(blob))

    def described(self) -> dict[str, Any]:
        """With the other and the compression."""
        inner = self.serializer.described()
        kind = f"compressed/{inner['type']}" if inner["type"] in ("json", "pickle") else "compressed"
        return {"type": kind, "compressionlib": self.compressionlib, "serializer": inner}

    @property
    def executes(self) -> bool:
        """Whether the other can execute what is stored."""
        return bool(self.serializer.executes)


_BUILT_IN = frozenset({"json", "pickle", "compressed", "compressed/json", "compressed/pickle"})


def serializer(given: str | Serializer | type[Serializer]) -> Serializer:
    """The serializer that a flow, a task or a setting names.

    Args:
        given: `json`, `pickle`, `compressed/json`, `compressed/pickle`, the type of one of yours, or a serializer.

    Raises:
        InvalidInput: there is none of this name.

    Example:
        >>> serializer("compressed/pickle").executes
        True
    """
    if isinstance(given, type) and issubclass(given, Serializer):
        return given()
    if isinstance(given, Serializer):
        return given
    if isinstance(given, str):
        return _named(given)
    raise InvalidInput(
        f"result_serializer must be a name such as 'json' or a Serializer; got {type(given).__name__}. "
        "Derive your own from millrace.Serializer"
    )


def _named(kind: str) -> Serializer:
    if kind == "json":
        return JSONSerializer()
    if kind == "pickle":
        return PickleSerializer()
    if kind in ("compressed/json", "compressed/pickle"):
        return CompressedSerializer(kind.removeprefix("compressed/"))
    if kind in _OWN:
        return _OWN[kind]()
    try:
        return serializer(_REGISTRY.load(kind))
    except PluginMissing:
        known = ", ".join(sorted({*_BUILT_IN - {"compressed"}, *_OWN, *_REGISTRY.names}))
        raise InvalidInput(
            f"there is no serializer {kind!r} here. There are {known}; import the module of your own first, or name it "
            "as an entry point of the group 'millrace.serializers'"
        ) from None


def of_description(said: Any) -> Serializer:
    """The serializer that wrote a result, by what its record says; libraries it names are never imported.

    Args:
        said: `{"type": …}` as Millrace or Prefect wrote it.

    Raises:
        InvalidInput, UnreadableResult: there is none such here.
    """
    if not isinstance(said, Mapping) or not isinstance(said.get("type"), str):
        raise UnreadableResult("it does not say how it was serialized")
    kind: str = said["type"]
    if kind == "pickle" and said.get("picklelib", "cloudpickle") not in ("cloudpickle", "pickle"):
        raise UnreadableResult(f"it was pickled with {said['picklelib']!r}; only cloudpickle and pickle are read")
    if kind == "json" and said.get("jsonlib", "json") not in ("json", "orjson"):
        raise UnreadableResult(f"it was written with the JSON library {said['jsonlib']!r}, which is not read")
    if kind.startswith("compressed"):
        inner = said.get("serializer") or {"type": kind.partition("/")[2]}
        return CompressedSerializer(of_description(inner), said.get("compressionlib", "lzma"))
    return serializer(kind)


class _NoBytes(Exception):
    """A serializer of somebody's own gave something else."""


def _bytes(how: Serializer, value: Any) -> bytes:
    blob = how.dumps(value)
    if not isinstance(blob, bytes):
        raise _NoBytes(f"its dumps() gave {type(blob).__name__}, not bytes")
    return blob


def written(how: Serializer, value: Any, of: str) -> bytes:
    """A value as bytes.

    Args:
        how: the serializer.
        value: the value.
        of: whose result it is, for messages.

    Raises:
        SerializationError: it cannot be serialized so; the message says what can be done.
    """
    try:
        return _bytes(how, value)
    except RecursionError:
        reason = "it contains itself, or is nested too deeply"
    except Exception as error:
        reason = (
            str(error) if isinstance(error, encoding.Unencodable | _NoBytes) else f"{type(error).__name__}: {error}"
        )
    other = "" if how.executes else ", ask for pickles with result_serializer='pickle'"
    failure = SerializationError(
        f"the result of {of}, of type {type(value).__name__}, cannot be stored as {how.described()['type']}: {reason}. "
        f"Return plain values, dataclasses or pydantic models, write large data to a file and return its path{other}, "
        "or set persist_result=False"
    )
    failure.value = value
    raise failure
