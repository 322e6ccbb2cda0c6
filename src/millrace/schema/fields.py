"""Field types shared by all models, and the base model."""

from __future__ import annotations

import copy
import os
import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import Annotated, Any, TypeVar, cast
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from millrace.errors import InvalidInput

API_VERSION = "0.8.4"
M = TypeVar("M", bound=BaseModel)
_building = threading.RLock()


class Model(BaseModel):
    """The base of all wire models.

    Unknown fields are ignored: a newer client may say more than we know, and loses nothing by it.
    """

    model_config = ConfigDict(extra="ignore", populate_by_name=True, validate_default=False, defer_build=True)

    @classmethod
    def model_rebuild(
        cls,
        *,
        force: bool = False,
        raise_errors: bool = True,
        _parent_namespace_depth: int = 2,
        _types_namespace: Any = None,
    ) -> bool | None:
        """Builds a model at its first use, one thread at a time: older pydantics do not see to that."""
        with _building:
            return super().model_rebuild(
                force=force,
                raise_errors=raise_errors,
                _parent_namespace_depth=_parent_namespace_depth + 1,
                _types_namespace=_types_namespace,
            )


def _utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _unique(values: list[str]) -> list[str]:
    return list(dict.fromkeys(values))


DateTime = Annotated[datetime, AfterValidator(_utc)]
"""A moment, always UTC; a naive value is taken as UTC."""

LONGEST_NAME = 1024
NAME_PATTERN = r"^[^/%&><]+$"
Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=LONGEST_NAME)]
"""A name that can stand in a path: none of / % & > <."""
NO_NAME = "is no name: it must not be empty, and none of / % & > < may be in it"


def id_of(given: Any, what: str) -> UUID:
    """An id that people give, as a UUID or its text.

    Args:
        given: as given.
        what: whose id it is, for the message.

    Raises:
        InvalidInput: it is none.

    Example:
        >>> str(id_of("0190a1b2-0000-7000-8000-000000000000", "run"))[:8]
        '0190a1b2'
    """
    try:
        return UUID(str(given))
    except ValueError:
        raise InvalidInput(
            f"{given!r:.80} is not the id of a {what}: it has 32 hexadecimal digits, such as {UUID(int=1)}."
        ) from None


Tags = Annotated[list[str], AfterValidator(_unique)]
"""Tags in the order given, each once."""

Labels = Annotated[dict[str, bool | int | float | str], BeforeValidator(lambda v: {} if v is None else v)]
"""Small facts about a thing, keyed by a dotted name."""

JsonObject = dict[str, Any]


def unchecked(kind: type[M], **values: Any) -> M:
    """A model of values that are known to be right: what `model_construct` makes, in a fraction of its time.

    Args:
        kind: the class of the model.
        values: of its fields; the others get their defaults.
    """
    constants, makers, private = _defaults(kind)
    fields = constants | values
    for name, maker in makers:
        if name not in values:
            fields[name] = maker()
    made = kind.__new__(kind)
    put = object.__setattr__
    put(made, "__dict__", fields)
    put(made, "__pydantic_fields_set__", set(values))
    put(made, "__pydantic_extra__", {} if kind.model_config.get("extra") == "allow" else None)
    put(made, "__pydantic_private__", dict(private) if private else None)
    return made


@lru_cache(maxsize=64)
def _defaults(kind: type[BaseModel]) -> tuple[dict[str, Any], list[tuple[str, Callable[[], Any]]], dict[str, Any]]:
    constants: dict[str, Any] = {}
    makers: list[tuple[str, Callable[[], Any]]] = []
    for name, field in kind.model_fields.items():
        if field.default_factory is not None:
            makers.append((name, cast("Callable[[], Any]", field.default_factory)))
        elif isinstance(field.default, list | dict | set):
            makers.append((name, partial(copy.deepcopy, field.default)))
        elif not field.is_required():
            constants[name] = field.default
    return constants, makers, {name: one.get_default() for name, one in kind.__private_attributes__.items()}


def now() -> datetime:
    """The current moment in UTC. Logic takes the moment as an argument; only borders call this."""
    return datetime.now(UTC)


_own = random.Random()
_bits = _own.getrandbits
"""Random bits for ids. A system call for each would let other threads go first, four times a task."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _own.seed(os.urandom(64)))
_own.seed(os.urandom(64))


def new_id() -> UUID:
    """A fresh id that sorts by time of creation (UUID version 7, RFC 9562 section 5.7)."""
    value = (time.time_ns() // 1_000_000) << 80 | _bits(80)
    value = value & ~(0xF << 76) | (0x7 << 76)
    return UUID(int=value & ~(0x3 << 62) | (0x2 << 62))


_ADJECTIVES = [
    "amber",
    "brisk",
    "calm",
    "clear",
    "copper",
    "crisp",
    "deep",
    "eager",
    "early",
    "fair",
    "fleet",
    "gentle",
    "glad",
    "golden",
    "green",
    "hazel",
    "keen",
    "kind",
    "lively",
    "lucid",
    "mellow",
    "merry",
    "mild",
    "misty",
    "mossy",
    "nimble",
    "noble",
    "polished",
    "quick",
    "quiet",
    "rapid",
    "ready",
    "rustic",
    "sandy",
    "silver",
    "sleek",
    "smooth",
    "snowy",
    "spry",
    "steady",
    "still",
    "stout",
    "sunny",
    "swift",
    "tidy",
    "tranquil",
    "true",
    "vivid",
    "warm",
    "willow",
    "windy",
    "wise",
    "young",
]
_NOUNS = [
    "alder",
    "badger",
    "beaver",
    "bream",
    "brook",
    "chub",
    "crane",
    "dace",
    "dipper",
    "dove",
    "duck",
    "eel",
    "elm",
    "fern",
    "finch",
    "fox",
    "grayling",
    "gull",
    "hare",
    "hawk",
    "heron",
    "ibis",
    "jay",
    "kestrel",
    "kite",
    "lark",
    "lynx",
    "marten",
    "mayfly",
    "mink",
    "moth",
    "newt",
    "osprey",
    "otter",
    "owl",
    "perch",
    "pike",
    "plover",
    "rail",
    "reed",
    "robin",
    "roach",
    "rudd",
    "salmon",
    "sedge",
    "shrew",
    "snipe",
    "stoat",
    "stork",
    "swan",
    "swift",
    "teal",
    "tench",
    "trout",
    "vole",
    "wagtail",
    "warbler",
    "willow",
    "wren",
]


def run_name(seed: int | None = None) -> str:
    """A name for a run that people can say: an adjective and a creature of the stream.

    Args:
        seed: makes the name repeatable.

    Example:
        >>> run_name(1) == run_name(1)
        True
    """
    source = random.Random(seed)
    return f"{source.choice(_ADJECTIVES)}-{source.choice(_NOUNS)}"


def seconds(value: timedelta | float | None) -> float | None:
    """A span as seconds."""
    return value.total_seconds() if isinstance(value, timedelta) else value
