"""What other processes get as parameters: as it was given, or refused by name."""

from __future__ import annotations

import json
import math
import pathlib
from typing import Any

import numpy
import pytest
from pydantic import BaseModel, TypeAdapter

from millrace.deployments.given import checked
from millrace.engine.parameters import Signature
from millrace.engine.sent_values import jsonable, sendable
from millrace.errors import InvalidInput, ParameterError
from millrace.schema.reading import DEEPEST, depth, read_json

TO = "the deployment 'etl/daily'"


def nested(levels: int, kind: type = list) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value] if kind is list else {"k": value}
    return value


class Rows(BaseModel):
    first: int
    last: int | None = None


@pytest.mark.parametrize("kind", [list, dict])
@pytest.mark.parametrize("levels", [1, 130, 199, DEEPEST])
def test_a_deep_value_is_sent_and_noted_as_it_is(levels: int, kind: type) -> None:
    value = nested(levels, kind)
    assert depth(value) == levels
    assert sendable({"x": value}, TO) == {"x": value}
    assert jsonable(value) == value
    envelope = json.dumps({"flow_run": {"parameters": {"x": value}}})
    assert read_json(TypeAdapter(dict[str, Any]), envelope) == {"flow_run": {"parameters": {"x": value}}}


@pytest.mark.parametrize("levels", [DEEPEST + 1, 260, 600])
def test_a_deeper_value_is_shown_by_its_type_and_refused_by_its_name(levels: int) -> None:
    assert jsonable(nested(levels)) == "<list>"
    with pytest.raises(ParameterError, match=f"'x' of {TO} cannot be sent.*nested more than 200 deep.*its path"):
        sendable({"x": nested(levels)}, TO)


def test_json_that_nobody_can_read_is_refused_with_the_limit() -> None:
    with pytest.raises(InvalidInput, match="nested 200 deep"):
        read_json(TypeAdapter(Any), "[" * 100_000 + "]" * 100_000)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (math.nan, "JSON has no form for NaN"),
        ([1.0, {"a": -math.inf}], "JSON has no form for -Infinity"),
        (numpy.float64("nan"), "JSON has no form for NaN"),
        (b"\xff\x00", "the bytes are no UTF-8. Give base64"),
        ({"a": b"\xff"}, "utf-8"),
        ("\ud800", "surrogates"),
        (object(), "no form for a object"),
        (numpy.arange(3), r"tolist\(\) makes it a list"),
    ],
)
def test_what_would_not_arrive_is_refused_by_name(value: Any, said: str) -> None:
    with pytest.raises(ParameterError, match=f"'x' of {TO} cannot be sent, got .*{said}"):
        sendable({"n": 1, "x": value}, TO)


@pytest.mark.parametrize("value", [[1], "n=5", 5])
def test_parameters_are_a_dict(value: Any) -> None:
    with pytest.raises(ParameterError, match="a dict of values by name"):
        sendable(value, TO)


def test_values_of_other_kinds_are_sent_in_their_json() -> None:
    given = {"p": pathlib.PurePosixPath("a/b"), "s": {1}, "n": numpy.int64(3), "b": b"abc", "rows": Rows(first=1)}
    expected = {"p": "a/b", "s": [1], "n": 3, "b": "abc", "rows": {"first": 1, "last": None}}
    assert sendable(given, TO) == expected


def test_pure_paths_come_back_from_the_record() -> None:
    def fn(p: pathlib.PurePosixPath) -> None: ...

    value = pathlib.PurePosixPath("a/b")
    assert Signature(fn, "fn").validated({"p": jsonable(value)}) == {"p": value}


def test_bytes_that_no_text_has_are_not_read_back_as_others() -> None:
    def fn(raw: bytes) -> None: ...

    with pytest.raises(ParameterError, match="raw: the run's record has only '<bytes>'"):
        Signature(fn, "fn").validated({"raw": jsonable(b"\xff")})
    assert Signature(fn, "fn").validated({"raw": jsonable(b"abc")}) == {"raw": b"abc"}


def test_a_deployment_is_not_given_what_json_has_no_form_for() -> None:
    schema = {"properties": {"x": {}, "share": {"type": "number"}}}
    for name in ("x", "share"):
        with pytest.raises(ParameterError, match=f"'{name}' of the flow 'etl'"):
            checked(schema, {name: math.nan}, "etl")
    assert checked(schema, {"x": nested(200)}, "etl") == {"x": nested(200)}
