"""Whatever a form holds arrives: form, wire, child, function. Each step is the one that the program takes."""

from __future__ import annotations

import datetime as dt
import enum
import json
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from millrace import flow
from millrace.engine.sent_values import jsonable
from millrace.jupyter.fields import fields, shown
from millrace.jupyter.inputs import Input

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


class Colour(enum.Enum):
    RED = "red"
    ONE = 1


class Options(BaseModel):
    limit: int = 1
    names: list[str] = []


KINDS: dict[Any, st.SearchStrategy[Any]] = {
    Any: JSON,
    int: st.integers(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: st.text(),
    bool: st.booleans(),
    int | None: st.none() | st.integers(),
    str | None: st.none() | st.text(),
    bool | None: st.none() | st.booleans(),
    int | str: st.integers() | st.text(),
    list[int]: st.lists(st.integers()),
    list[str]: st.lists(st.text()),
    list[str] | None: st.none() | st.lists(st.text()),
    dict[str, Any]: st.dictionaries(st.text(), JSON),
    dt.date: st.dates(),
    dt.datetime: st.datetimes(),
    Literal["a", "b"]: st.sampled_from(["a", "b"]),
    Literal[1, "1", None]: st.sampled_from([1, "1", None]),
    Colour: st.sampled_from(Colour),
    Options: st.builds(Options, limit=st.integers(), names=st.lists(st.text())),
    Options | None: st.none() | st.builds(Options, limit=st.integers()),
}


def arrived(annotation: Any, value: Any, default: list[Any]) -> Any:
    """What the function gets if a person enters a value."""

    def wanted(x): ...  # type: ignore[no-untyped-def]

    wanted.__defaults__ = tuple(default)
    wanted.__annotations__ = {"x": annotation}
    declared = flow(name="wanted")(wanted)
    (spec,) = fields(declared.parameters)
    form = Input.of(spec)
    form.control.value = shown(spec, jsonable(value))
    good, entered = form.check(declared.parameters)
    assert good, form.note.widget.value
    sent = json.dumps({"x": entered} if form.is_given else {})
    given_here = declared.signature.with_defaults(declared.validate_parameters(json.loads(sent)))
    args, kwargs = declared.signature.arguments(given_here)
    return [*args, *kwargs.values()][0]


@pytest.mark.parametrize("has_default", [False, True], ids=["required", "with a default"])
@pytest.mark.parametrize("annotation", KINDS, ids=str)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_value_survives_form_wire_and_child(annotation: Any, has_default: bool, data: st.DataObject) -> None:
    value = data.draw(KINDS[annotation])
    default = [data.draw(KINDS[annotation])] if has_default else []
    got = arrived(annotation, value, default)
    assert got == value and type(got) is type(value)
