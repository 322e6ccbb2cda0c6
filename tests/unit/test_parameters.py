"""From a call to checked values, and to a JSON schema."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import pathlib
import sys
import typing
from typing import Annotated, Any, Literal, NotRequired, Optional

import numpy
import pandas
import pydantic.v1
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from millrace.engine.docstrings import described
from millrace.engine.parameters import Signature
from millrace.engine.run_names import filled
from millrace.engine.sent_values import jsonable
from millrace.errors import ParameterError


class Region(enum.Enum):
    EU = "eu"
    US = "us"


class Options(BaseModel):
    limit: int = 10
    inner: list[Options] = []


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


def everything(
    day: datetime.date,
    /,
    rows: int | None = None,
    region: Region = Region.EU,
    options: Options | None = None,
    *paths: pathlib.Path,
    point: Point | None = None,
    copy: bool = False,
    share: Annotated[float, Field(ge=0, le=1)] = 0.5,
    **rest: int,
) -> None:
    """Does everything.

    Args:
        day: the day of the
            data
        rows (int): how many
        rest: more
    """


WHOLE = Signature(everything, "flow 'everything'")


def test_values_are_coerced() -> None:
    bound = WHOLE.bind(("2026-11-21", "5", "us", {"limit": "3"}, "a/b"), {"point": {"x": "1"}, "share": 1, "k": "7"})
    assert WHOLE.validated(bound) == {
        "day": datetime.date(2026, 11, 21),
        "rows": 5,
        "region": Region.US,
        "options": Options(limit=3),
        "paths": [pathlib.Path("a/b")],
        "point": Point(1),
        "share": 1.0,
        "rest": {"k": 7},
    }


def test_values_reach_the_function_as_they_were_given() -> None:
    seen: dict[str, Any] = {}

    def fn(a: int, /, b: int = 2, *args: int, c: int = 3, **more: int) -> None:
        seen.update(locals())

    signature = Signature(fn, "fn")
    values = signature.with_defaults(signature.validated(signature.bind(("1", 5, 6, 7), {"z": 9})))
    args, kwargs = signature.arguments(values)
    fn(*args, **kwargs)
    assert seen | {"seen": None} == {"a": 1, "b": 5, "args": (6, 7), "c": 3, "more": {"z": 9}, "seen": None}


def test_defaults_are_taken_as_written() -> None:
    def fn(rows: int = None) -> None:  # type: ignore[assignment]  # noqa: RUF013
        """Common, if wrong."""

    signature = Signature(fn, "fn")
    assert signature.with_defaults(signature.validated({})) == {"rows": None}


def etl(rows: int, region: str = "eu") -> None: ...


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        ((), {}, ["rows", "missing"]),
        ((1, "eu", 3), {}, ["takes 2 positional", "3 were given"]),
        ((1,), {"regoin": "x"}, ["regoin", "did you mean 'region'?"]),
        ((1,), {"zzz": "x"}, ["zzz", "there are rows, region"]),
        ((1,), {"rows": 2}, ["rows", "given twice"]),
    ],
)
def test_a_call_that_does_not_fit(args: tuple[Any, ...], kwargs: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ParameterError) as error:
        Signature(etl, "flow 'etl'").bind(args, kwargs)
    assert str(error.value).startswith("flow 'etl': ")
    for word in words:
        assert word in str(error.value)


def test_one_line_for_each_wrong_value() -> None:
    with pytest.raises(ParameterError) as error:
        Signature(etl, "flow 'etl'").validated({"rows": "12q", "region": 5})
    first, rows, region = str(error.value).splitlines()
    assert first == "flow 'etl': 2 things to fix"
    assert "rows: " in rows and "got '12q' (str)" in rows
    assert "region: " in region and "got 5 (int)" in region


def test_names_and_types_that_are_wrong_are_told_together() -> None:
    def takings(amounts: list[float], currency: str = "usd") -> None: ...

    signature = Signature(takings, "flow 'takings'")
    for check in (
        lambda: signature.bind((), {"amounts": [1], "currency": 3, "amount": 1}, typed=True),
        lambda: signature.validated({"amounts": [1], "currency": 3, "amount": 1}),
    ):
        with pytest.raises(ParameterError) as caught:
            check()
        first, *rest = str(caught.value).splitlines()
        assert first == "flow 'takings': 2 things to fix"
        assert [line.split(":")[0].strip() for line in rest] == ["amount", "currency"]
    # what a future stands for is not known yet, and is no mistake
    with pytest.raises(ParameterError) as caught:
        signature.bind((), {"amounts": object(), "amount": 1}, typed=True)
    assert "things to fix" not in str(caught.value)


def test_a_long_value_is_cut() -> None:
    with pytest.raises(ParameterError) as error:
        Signature(etl, "etl").validated({"rows": "x" * 10_000})
    assert len(str(error.value)) < 300


def test_the_schema_is_the_wires() -> None:
    schema = WHOLE.schema
    assert {key: schema[key] for key in ("title", "type", "required")} == {
        "title": "Parameters",
        "type": "object",
        "required": ["day"],
    }
    assert list(schema["properties"]) == ["day", "rows", "region", "options", "paths", "point", "copy", "share", "rest"]
    assert schema["properties"]["day"] == {
        "title": "day",
        "position": 0,
        "type": "string",
        "format": "date",
        "description": "the day of the data",
    }
    assert schema["properties"]["rows"]["description"] == "how many"
    assert schema["properties"]["region"]["default"] == "eu"
    assert schema["properties"]["share"]["maximum"] == 1
    assert "Options" in schema["definitions"]
    json.dumps(schema)


def test_types_and_defaults_without_a_form_in_json_are_left_open() -> None:
    class Connection: ...

    def fn(c: Connection, d: Any = object()) -> None: ...

    schema = Signature(fn, "fn").schema
    assert schema["properties"]["c"] == {"title": "c", "position": 0}
    assert schema["properties"]["d"] == {"title": "d", "position": 1}
    json.dumps(schema)


def test_numpy_docstrings() -> None:
    head = "Sum.\n\nParameters\n----------\nrows : int\n    how many\n    of them\nother : str\n    more"
    doc = head + "\n\nReturns\n-------\nint\n    it"
    assert described(doc, ["rows", "other"]) == {"rows": "how many of them", "other": "more"}


def test_only_fields_are_filled() -> None:
    class Secret:
        token = "t"

        def __str__(self) -> str:
            return "shown"

    assert filled("{x:03d} {x:%} {y:>3}", {"x": 1}) == "001 100.000000% {y:>3}"
    assert filled("{x:nonsense}", {"x": 1}) == "{x:nonsense}"
    assert filled("{x:>1000000000}", {"x": 1}) == "{x:>1000000000}"
    assert filled("{s} {s.token} {s!r} {} {{x}} {y}", {"s": Secret(), "x": 1}) == "shown {s.token} {s!r} {} {1} {y}"


def test_what_has_no_form_in_json_shows_its_type() -> None:
    assert jsonable({"a": object()}) == {"a": "<object>"}
    assert jsonable(b"\xff\xfe") == "<bytes>"
    assert jsonable({1, 2}) == [1, 2]
    circle: list[Any] = []
    circle.append(circle)
    assert jsonable(circle) == "<list>"
    assert jsonable(2**70) == 2**70
    assert jsonable(float("nan")) == "NaN"


def test_what_would_be_used_up_is_not_read() -> None:
    rows = (row for row in [1, 2])
    lines = iter(["a"])
    assert jsonable(rows) == "<generator>"
    assert jsonable({"rows": [rows, lines], "n": 1}) == {"rows": ["<generator>", "<list_iterator>"], "n": 1}
    assert (list(rows), list(lines)) == ([1, 2], ["a"])


def test_numpy_and_pandas() -> None:
    table = pandas.DataFrame({"a": [1]})
    given = {"n": numpy.int64(3), "x": numpy.float32(1.5), "b": numpy.bool_(True), "t": table}
    assert {name: jsonable(value) for name, value in given.items()} == {"n": 3, "x": 1.5, "b": True, "t": "<DataFrame>"}
    assert jsonable(numpy.arange(3)) == "<ndarray>"

    def fn(n: int, x: float, b: bool, t: pandas.DataFrame) -> None: ...

    found = Signature(fn, "fn").validated(given)
    assert (found["n"], found["x"], found["b"]) == (3, 1.5, True)
    assert found["t"] is table


@dataclasses.dataclass
class Job:
    name: Literal["a", "b"]
    after: Optional[Job] = None  # noqa: UP045 - this form too


class Later(BaseModel):
    big: int
    where: dict[Region, list[Point]] = {}


class Typed(TypedDict):
    rows: NotRequired[int]


def many(
    job: Job,
    later: Later = Later(big=2**70),
    kinds: set[Region] | None = None,
    typed: Typed | None = None,
    span: datetime.timedelta = datetime.timedelta(seconds=1),
    raw: bytes = b"",
    inner: list[Later | int] | None = None,
    *,
    any_: Any = float("inf"),
) -> None: ...


def test_parameters_of_many_types_come_back_from_the_wire() -> None:
    signature = Signature(many, "flow 'many'")
    given = {
        "job": Job("a", Job("b")),
        "later": Later(big=2**64, where={Region.EU: [Point(1, 2)]}),
        "kinds": {Region.US},
        "typed": {"rows": 3},
        "span": datetime.timedelta(days=2, microseconds=1),
        "raw": b"bytes",
        "inner": [Later(big=-(2**63) - 1), 2**100],
        "any_": {"deep": [None, True, 1e300]},
    }
    sent = json.loads(json.dumps({name: jsonable(value) for name, value in given.items()}))
    assert signature.validated(sent) == given
    assert signature.with_defaults(signature.validated({"job": {"name": "a"}}))["later"] == Later(big=2**70)
    json.dumps(signature.schema)
    with pytest.raises(ParameterError, match=r"job\.name: .*'a' or 'b'.*got 'c'"):
        signature.validated({"job": {"name": "c"}})


def test_annotations_that_cannot_be_checked_are_named() -> None:
    class Old(pydantic.v1.BaseModel):
        n: int

    def old(m: Old) -> None: ...

    old.__annotations__ = {"m": Old}
    with pytest.raises(ParameterError, match=r"flow 'old' has a parameter of a pydantic\.v1 model"):
        Signature(old, "flow 'old'").validated({"m": {"n": 1}})

    def odd(m: Any) -> None: ...

    odd.__annotations__ = {"m": typing.TypedDict("Plain", {"n": int})}
    if sys.version_info < (3, 12):
        with pytest.raises(ParameterError, match=r"use `typing_extensions\.TypedDict`"):
            Signature(odd, "flow 'odd'").validated({"m": {"n": 1}})


def test_one_unknown_annotation_says_nothing_of_the_others() -> None:
    class Local(BaseModel):
        n: int

    def fn(rows: int, missing: "Nowhere", local: "Local") -> Any:  # type: ignore[name-defined] # noqa: F821, UP037
        return Local

    found = Signature(fn, "fn").validated({"rows": "3", "missing": "as it is", "local": {"n": "1"}})
    assert found == {"rows": 3, "missing": "as it is", "local": Local(n=1)}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


def test_a_parameter_that_is_given_by_position_is_not_suggested_by_name() -> None:
    def fn(a: int, /, b: int) -> None: ...

    with pytest.raises(ParameterError, match="a: is given by its position, not by its name"):
        Signature(fn, "fn").bind((), {"a": 1, "b": 2})


@given(JSON)
def test_any_json_value_survives(value: Any) -> None:
    def fn(x: Any) -> None: ...

    signature = Signature(fn, "fn")
    sent = json.loads(json.dumps({"x": jsonable(value)}))
    args, kwargs = signature.arguments(signature.validated(sent))
    assert (args, kwargs) == ([], {"x": value})


@given(st.text(min_size=1).filter(str.isidentifier))
def test_any_name_will_do(name: str) -> None:
    namespace: dict[str, Any] = {}
    try:
        exec(f"def fn({name}: int): ...", namespace)
    except SyntaxError:
        return
    signature = Signature(namespace["fn"], "fn")
    (real,) = signature.parameters
    assert signature.validated({real: "3"}) == {real: 3}


def test_what_is_large_is_named_and_not_sent() -> None:
    assert jsonable(list(range(1000))) == list(range(1000))
    assert jsonable([0.5] * 1_000_000) == "<list, 4,000,001 bytes in JSON>"
    assert jsonable("x" * 2**21) == "<str, 2,097,154 bytes in JSON>"
