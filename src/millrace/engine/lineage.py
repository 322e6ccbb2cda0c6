"""Which task run a value came from, told by the identity of the value, so that the graph of a run shows the data flow.

What can be referred to weakly is. Other values (lists, dicts, texts, numbers) are held, but only as long as someone
else holds them too: each new entry looks at a few of the old ones and drops those that nobody but this table knows.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections import OrderedDict
from typing import Any, NamedTuple
from uuid import UUID

MOST = 10_000
"""Values known at the same time; beyond it some are forgotten, and their edge is missing in the graph."""
MOST_PARTS = 100
"""Elements of a returned collection that are known by themselves."""
_LOOKS = 4
"""Old entries looked at for each new one: more than one, so that the table shrinks when values are let go."""

_CONTAINERS = (list, tuple, dict, set, frozenset)
_FLAT = frozenset({str, bytes, int, float, complex})
_NEVER = frozenset({bool, type(None), type(...), type(NotImplemented), type})


class _Known(NamedTuple):
    source: UUID
    reference: Any
    value: Any


class Lineage:
    """The values that task runs of one flow run returned."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, _Known] = OrderedDict()
        self._lock = threading.RLock()  # dropping a value may run its owner's code, which may come back here

    def __len__(self) -> int:
        return len(self._known)

    def add(self, value: Any, source: UUID, fresh: bool = True) -> None:
        """Notes where a value came from, and each element of a collection.

        Args:
            value: what a task returned.
            source: the task run.
            fresh: nothing else held the value when it was returned. A text or number that something else holds may be a
                constant of the program, and would link what has nothing to do with each other.
        """
        kind = type(value)
        if kind in _NEVER:
            return
        with self._lock:
            if kind not in _FLAT:
                self._note(value, kind, source)
                if kind in _CONTAINERS and len(value) <= MOST_PARTS:
                    for part in list(value.values() if kind is dict else value):
                        self._part(part, source)
            elif fresh and _distinct(value, kind):
                self._note(value, kind, source)
            self._sweep()

    def source(self, value: Any) -> UUID | None:
        """The task run that returned a value, if it is known."""
        known = self._known.get(id(value))
        if known is None:
            return None
        held = known.value if known.reference is None else known.reference()
        return known.source if held is value else None

    def _part(self, part: Any, source: UUID) -> None:
        kind = type(part)
        if kind in _NEVER:
            return
        if kind not in _FLAT or (_distinct(part, kind) and holders(part) <= _ALONE_IN_A_LIST):
            self._note(part, kind, source)

    def _note(self, value: Any, kind: type, source: UUID) -> None:
        if kind in (tuple, frozenset) and not value:
            return  # there is one empty tuple in a process
        key = id(value)
        known = _Known(source, None, value)
        if kind not in _CONTAINERS and kind.__weakrefoffset__:
            known = _Known(source, weakref.ref(value), None)
        self._known[key] = known
        self._known.move_to_end(key)
        if len(self._known) > MOST:
            self._known.popitem(last=False)

    def _sweep(self) -> None:
        for _ in range(min(_LOOKS, len(self._known))):
            key, known = self._known.popitem(last=False)
            alive = holders(known.value) > _ALONE if known.reference is None else known.reference() is not None
            if alive:
                self._known[key] = known


def _distinct(value: Any, kind: type) -> bool:
    """Whether a text or number can have an identity of its own; short ones are shared by the interpreter."""
    if kind is int:
        return not -5 <= value <= 256
    return len(value) > 1 if kind in (str, bytes) else True


def holders(value: Any) -> int:
    """How many references there are to a value, those of the caller and of this function included."""
    return sys.getrefcount(value)


# How many there are at the least, as this interpreter counts: in `_sweep`, in `_part`, and where a task is called.


def _alone() -> int:
    known = _Known(UUID(int=0), None, [])
    return holders(known.value)


def _alone_in_a_list() -> int:
    def part(part: Any) -> int:
        return holders(part)

    whole = [[]]  # type: ignore[var-annotated]
    return next(part(each) for each in list(whole))


def _alone_returned() -> int:
    value: list[int] = []
    return holders(value)


_ALONE, _ALONE_IN_A_LIST, ALONE_RETURNED = _alone(), _alone_in_a_list(), _alone_returned()
