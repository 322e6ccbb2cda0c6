"""Hashes of values by what they hold, and cache policies made of them."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import threading
from collections import OrderedDict, defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import BaseModel

from millrace import DEFAULT, FLOW_PARAMETERS, INPUTS, NO_CACHE, NONE, RUN_ID, TASK_SOURCE, CachePolicy, Task, task
from millrace.engine.hashing import Unhashable, stable_hash

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@hypothesis_settings(deadline=None)
@given(st.dictionaries(st.text(), JSON))
def test_the_order_of_a_dict_does_not_count(value: dict[str, Any]) -> None:
    assert stable_hash(value) == stable_hash(dict(reversed(value.items())))


class Colour(Enum):
    RED = 1
    BLUE = 2


class Model(BaseModel):
    rows: list[int]
    name: str = "x"


@dataclasses.dataclass
class Data:
    a: Any
    b: Any = None


class Plain:
    def __init__(self, **kwargs: Any) -> None:
        self.__dict__.update(kwargs)


class Slots:
    __slots__ = ("a",)

    def __init__(self, a: Any) -> None:
        self.a = a


def values() -> list[Any]:
    """No two are equal."""
    return [
        None,
        True,
        1,
        1.0,
        "1",
        b"1",
        -0.0,
        0.0,
        "",
        [],
        (),
        {},
        set(),
        [1],
        (1,),
        {1},
        {1: 2},
        {2: 1},
        [[1], 2],
        [1, [2]],
        Decimal("1"),
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2026, 1, 1),
        Path("a"),
        Colour.RED,
        Colour.BLUE,
        Model(rows=[1]),
        Model(rows=[2]),
        Model(rows=[1], name="y"),
        Data(1),
        Data(2),
        Data(1, 1),
        Plain(a=1),
        Plain(a=2),
        Plain(b=1),
        Slots(1),
        Slots(2),
        OrderedDict(a=1),
        defaultdict(int, a=1),
        SimpleNamespace(a=1),
        int,
        str,
        len,
        max,
        partial(max, 1),
        partial(max, 2),
        [1, 2].append,
        lambda: 1,
        lambda: 2,
        lambda x: x,
        np.float32(1),
        np.int64(1),
        np.array([1, 2]),
        np.array([[1], [2]]),
        np.array([1.0, 2.0]),
        np.array([1, 3]),
        np.array(["a", None], dtype=object),
        pd.DataFrame({"a": [1, 2]}),
        pd.DataFrame({"b": [1, 2]}),
        pd.DataFrame({"a": [1, 3]}),
        pd.Series([1, 2]),
        pd.Series([1, 2], name="x"),
        pd.DataFrame({"a": [[1], [2]]}),
        pd.Index([1, 2]),
        ValueError("a"),
        ValueError("b"),
    ]


def test_equal_values_and_no_others_have_one_hash() -> None:
    first, second = [stable_hash(value) for value in values()], [stable_hash(value) for value in values()]
    assert first == second
    assert len(set(first)) == len(first)


def test_an_identity_does_not_count() -> None:
    part = [1]
    assert stable_hash([part, part]) == stable_hash([[1], [1]])
    around: list[Any] = [1]
    around.append(around)
    other: list[Any] = [1]
    other.append(other)
    assert stable_hash(around) == stable_hash(other)


def test_other_processes_hash_the_same() -> None:
    program = (
        "from millrace.engine.hashing import stable_hash\n"
        "def f(x): return x in {'a', 'b', 'c'}\n"
        "print(stable_hash({'a': {1, 'x', None}, 'b': [1.5, 'ä']}, f))"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(seen) == 1


@pytest.mark.parametrize("make", [threading.Lock, lambda: open(os.devnull), lambda: (n for n in [1])])  # noqa: SIM115
def test_what_cannot_be_hashed_is_named(make: Any) -> None:
    thing = make()
    with pytest.raises(Unhashable, match=r"of type (lock|TextIOWrapper|generator) cannot be hashed"):
        stable_hash({"deep": [thing]})
    if hasattr(thing, "close"):
        thing.close()


def test_closures_and_defaults_count() -> None:
    def make(n: int) -> Any:
        return lambda x, y=n: x + n

    assert stable_hash(make(1)) == stable_hash(make(1))
    assert stable_hash(make(1)) != stable_hash(make(2))


def test_policies_add_up() -> None:
    assert repr(DEFAULT) == "Compound(INPUTS + TASK_SOURCE + RUN_ID)"
    assert NONE == NO_CACHE and NONE + INPUTS == INPUTS and INPUTS + NONE == INPUTS
    assert INPUTS - "a" - "b" == INPUTS - "a" - "b" != INPUTS
    assert repr(DEFAULT - "a") == repr((INPUTS - "a") + TASK_SOURCE + RUN_ID)
    assert TASK_SOURCE - "a" == TASK_SOURCE
    with pytest.raises(TypeError, match="name of an argument"):
        INPUTS - 3  # type: ignore[operator]
    with pytest.raises(TypeError):
        INPUTS + "a"  # type: ignore[operator]
    with pytest.raises(ValueError, match="different storage"):
        INPUTS.configure(key_storage="a") + RUN_ID.configure(key_storage="b")
    with pytest.raises(ValueError, match="SERIALIZABLE"):
        INPUTS.configure(isolation_level="SNAPSHOT")  # type: ignore[arg-type]
    both = INPUTS.configure(isolation_level="SERIALIZABLE") + RUN_ID.configure(key_storage="b")
    assert (both.isolation_level, both.key_storage) == ("SERIALIZABLE", "b")
    assert CachePolicy.from_cache_key_fn(lambda context, arguments: "k").cache_key_fn is not None
    assert FLOW_PARAMETERS.compute_key(None, {}, {}) is None  # type: ignore[arg-type]


def test_the_source_of_a_cell_is_what_counts_and_a_rerun_of_it_changes_it() -> None:
    import linecache  # noqa: PLC0415

    def cell(number: int, text: str) -> Any:
        name, names = f"<cell {number}>", {"task": task}
        linecache.cache[name] = (len(text), None, text.splitlines(True), name)
        exec(compile(text, name, "exec"), names)
        return names["step"]

    def key(one: Task[..., Any]) -> str | None:
        return TASK_SOURCE.compute_key(SimpleNamespace(task=one), {}, {})  # type: ignore[arg-type]

    first = cell(1, "@task\ndef step(x):\n    return x + 1\n")
    assert key(first) == key(cell(2, "@task\ndef step(x):\n    return x + 1\n"))
    assert key(first) != key(cell(3, "@task\ndef step(x):\n    return x + 2\n"))
    assert "return x + 1" in str(first.source_code)
