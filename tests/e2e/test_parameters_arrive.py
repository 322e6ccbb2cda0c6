"""Any value that a person can enter arrives: form, wire, server, worker, child, function, each of them the real one."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as given_settings
from hypothesis import strategies as st
from yard import Yard, open_yard

from millrace.engine.sent_values import jsonable
from millrace.flows import load_flow_from_entrypoint
from millrace.jupyter.fields import fields, shown
from millrace.jupyter.inputs import Input
from millrace.schema.reading import depth
from millrace.schema.states import StateType

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(2**63, 2**200)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


def wrapped(inner: Any, levels: list[bool]) -> Any:
    for as_dict in levels:
        inner = {"k": inner} if as_dict else [inner]
    return inner


# JSON itself is nested a few levels; what travels may be 200 deep.
LEVELS = st.lists(st.booleans(), min_size=120, max_size=195)
DEEP = st.builds(
    wrapped, JSON.filter(lambda value: depth(value) <= 5), st.lists(st.booleans(), min_size=120, max_size=195)
)
KINDS: dict[str, st.SearchStrategy[Any]] = {
    "Any": JSON,
    "list | dict": DEEP,
    "int": st.integers(),
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "str": st.text(),
    "bool": st.booleans(),
    "int | None": st.none() | st.integers(),
    "None | str": st.none() | st.text(),
    "list[str]": st.lists(st.text()),
    "list[int] | None": st.none() | st.lists(st.integers()),
    "dict[str, Any]": st.dictionaries(st.text(), JSON),
    "dt.date": st.dates(),
    "dt.datetime": st.datetimes().map(lambda when: when.replace(fold=0)),  # ISO 8601 has no fold
    "dt.timedelta": st.timedeltas(dt.timedelta(0), dt.timedelta(days=300)),
    "Path": st.lists(st.sampled_from("abc"), min_size=1).map(lambda parts: Path("/", *parts)),
    "UUID": st.uuids(),
    "Literal['a', 1, None]": st.sampled_from(["a", 1, None]),
    "Colour": st.sampled_from(["red", 1]),
    "Options": st.fixed_dictionaries(
        {"limit": st.integers(), "inner": st.fixed_dictionaries({"names": st.lists(st.text())})}
    ),
    "Point": st.fixed_dictionaries({"x": st.integers(), "when": st.dates()}),
}
FLOW = f"""
import datetime as dt, enum
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from uuid import UUID
from pydantic import BaseModel

class Colour(enum.Enum):
    RED = "red"
    ONE = 1

class Inner(BaseModel):
    names: list[str]

class Options(BaseModel):
    limit: int = 1
    inner: Inner

@dataclass
class Point:
    x: int
    when: dt.date

@flow
def job({", ".join(f"p{number}: {kind}" for number, kind in enumerate(KINDS))}):
    note("got", values=[told(value) for value in locals().values()])

def told(value):
    kind = type(value).__name__
    if isinstance(value, dict):
        return [kind, sorted([key, told(one)] for key, one in value.items())]
    if isinstance(value, list):
        return [kind, [told(one) for one in value]]
    if isinstance(value, enum.Enum):
        return [kind, told(value.value)]
    if hasattr(value, "__dict__") and not isinstance(value, Path):
        return [kind, told(vars(value))]
    return [kind, repr(value)]
"""


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    with pytest.MonkeyPatch.context() as patch:
        for made in open_yard(tmp_path_factory.mktemp("yard"), patch):
            made.start_worker()
            yield made


def told(kind: str, value: Any) -> Any:
    """What the function should say of a value, worked out here without any of the steps between."""
    if kind == "Options":
        inner = ["Inner", ["dict", [["names", told("list[str]", value["inner"]["names"])]]]]
        return ["Options", ["dict", [["inner", inner], ["limit", ["int", repr(value["limit"])]]]]]
    if kind == "Point":
        return ["Point", ["dict", [["when", ["date", repr(value["when"])]], ["x", ["int", repr(value["x"])]]]]]
    if kind == "Colour":
        return ["Colour", [type(value).__name__, repr(value)]]
    if isinstance(value, dict):
        return ["dict", sorted([key, told("Any", one)] for key, one in value.items())]
    if isinstance(value, list):
        return ["list", [told("Any", one) for one in value]]
    assert not isinstance(value, enum.Enum)
    return [type(value).__name__, repr(value)]


@given(st.tuples(*KINDS.values()))
# Each example is a run; one that fails tells enough, and to make it smaller would take minutes.
@given_settings(deadline=None, max_examples=8, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
def test_what_is_entered_reaches_the_function(yard: Yard, values: tuple[Any, ...]) -> None:
    deployed = yard.deployment(FLOW)
    schema = load_flow_from_entrypoint(f"{yard.code / 'd_flow.py'}:job").parameters
    entered: dict[str, Any] = {}
    for spec, value in zip(fields(schema), values, strict=True):
        form = Input.of(spec)
        form.control.value = shown(spec, jsonable(value))
        good, entered[spec.name] = form.check(schema)
        assert good, (spec.name, value, form.note.widget.value)
    run = yard.wait(yard.run(deployed, **entered), seconds=120)
    assert run.state_type is StateType.COMPLETED, (run.state, yard.output(run))
    (entry,) = yard.entries(run, "got")
    for (kind, got), value in zip(zip(KINDS, entry["values"], strict=True), values, strict=True):
        assert got == told(kind, value), (kind, value)
