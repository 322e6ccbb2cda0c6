"""Where values came from: by identity, without links that are not there, without holding what nobody holds."""

from __future__ import annotations

import gc
import weakref
from typing import Any
from uuid import uuid4

import pytest

from millrace.engine.lineage import ALONE_RETURNED, MOST, Lineage, holders


class Thing:
    """Can be referred to weakly."""


@pytest.mark.parametrize("value", [[1], {"a": 1}, {1}, Thing(), (Thing(), 1), "".join(["a", "b"]), 1000 * 1000])
def test_the_same_value_is_known_and_an_equal_one_is_not(value: Any) -> None:
    lineage, source = Lineage(), uuid4()
    lineage.add(value, source)
    assert lineage.source(value) == source
    assert lineage.source([*value] if isinstance(value, list) else object()) is None


@pytest.mark.parametrize("value", [None, True, 3, 256, "", "a", b"", (), frozenset(), Ellipsis])
def test_what_the_interpreter_shares_is_never_known(value: Any) -> None:
    lineage = Lineage()
    lineage.add(value, uuid4())
    lineage.add([value], uuid4())
    assert lineage.source(value) is None


def test_constants_are_not_known_and_computed_values_are() -> None:
    def constant() -> float:
        return 12345.678

    def computed(n: float) -> float:
        return n * 1.5

    lineage = Lineage()
    for fn, known in ((constant, False), (lambda: computed(3), True)):
        value = fn()
        fresh = holders(value) <= ALONE_RETURNED
        lineage.add(value, uuid4(), fresh)
        assert (lineage.source(value) is not None) is known


def test_parts_of_a_returned_collection_are_known() -> None:
    lineage, source = Lineage(), uuid4()
    value = ([1], {"a": [2]}, sum([0.1, 0.2]))
    lineage.add(value, source)
    assert {lineage.source(part) for part in value} == {source}
    assert lineage.source(value[1]["a"]) is None


def test_nothing_is_held_that_nobody_else_holds() -> None:
    lineage = Lineage()
    thing = Thing()
    seen = weakref.ref(thing)
    lineage.add([thing], uuid4())
    del thing
    kept = [[n] for n in range(10)]
    for one in kept:
        lineage.add(one, uuid4())
    gc.collect()
    assert seen() is None
    assert len(lineage) == len(kept)
    assert all(lineage.source(one) for one in kept)


def test_it_does_not_grow_beyond_its_bound() -> None:
    lineage = Lineage()
    kept = [[n] for n in range(MOST + 50)]
    for one in kept:
        lineage.add(one, uuid4())
    assert len(lineage) == MOST
