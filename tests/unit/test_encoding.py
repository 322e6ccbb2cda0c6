"""Values as JSON that remembers their types."""

from __future__ import annotations

import enum
import json
import pathlib
import re
import subprocess
import sys
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from ipaddress import ip_address, ip_network
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

import numpy
import pandas
import pytest
from pydantic import BaseModel, Field, SecretStr
from pydantic.dataclasses import dataclass as checked_dataclass

from millrace.engine.encoding import Unencodable, UnknownClass, decode, encode, plain

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Word(enum.StrEnum):
    YES = "yes"


class Point(NamedTuple):
    x: int
    y: Any


@dataclass
class Order:
    id: int
    when: datetime
    lines: list[Point] = field(default_factory=list)
    total: Decimal = field(init=False, default=Decimal(0))


@checked_dataclass
class Checked:
    day: date


class Inner(BaseModel):
    when: datetime
    tags: set[str] = set()


class Outer(BaseModel):
    inner: Inner
    kind: Colour = Colour.RED
    given: int = Field(1, alias="givenName")


class Box(BaseModel, Generic[T]):
    content: T


class Trouble(Exception):
    pass


def again(value: Any) -> Any:
    return decode(json.loads(json.dumps(encode(value))))


@pytest.mark.parametrize(
    "value",
    [
        datetime(2026, 1, 2, 3, 4, 5, 6),
        datetime(2026, 1, 2, tzinfo=UTC),
        datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=5, minutes=30))),
        date(2026, 1, 2),
        time(1, 2, 3, 4),
        timedelta(days=-3, microseconds=1),
        UUID(int=5),
        Decimal("1.20"),
        pathlib.Path("/a/b"),
        pathlib.PureWindowsPath("c:/x"),
        1 + 2j,
        b"text",
        b"\xff\x00",
        bytearray(b"\xff"),
        (1, (2, [3])),
        (),
        {1, 2},
        {"a", 1, None},
        frozenset({(1, 2)}),
        deque([1, 2]),
        {1: "a", None: "b", (1, 2): "c"},
        {"__class__": "os.system", "data": "true"},
        {"__exc_type__": "ValueError", "message": "x"},
        {"__class__": 1},
        ip_address("::1"),
        ip_network("10.0.0.0/8"),
        Colour.RED,
        Level.HIGH,
        Word.YES,
        Point(1, date(2026, 1, 1)),
        Order(1, datetime(2026, 1, 1), [Point(1, {2})]),
        Checked(date(2026, 1, 1)),
        Inner(when=datetime(2026, 1, 1), tags={"a"}),
        Outer(inner=Inner(when=datetime(2026, 1, 1)), givenName=3),
        [{"deep": [Outer(inner=Inner(when=datetime(2026, 1, 1)), givenName=3)]}],
        2**200,
        "\ud800",
        float("inf"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_comes_back_equal_and_of_the_same_type(value: Any) -> None:
    found = again(value)
    assert type(found) is type(value)
    assert found == value
    assert repr(found) == repr(value) or isinstance(value, (set, frozenset))


def test_exceptions_come_back_by_class_and_text() -> None:
    found = again([ValueError("no"), Trouble("x")])
    assert [(type(one), str(one)) for one in found] == [(ValueError, "no"), (Trouble, "x")]


class Renamed(BaseModel):
    given: int = Field(1, validation_alias="in", serialization_alias="out")


def test_a_model_that_does_not_read_what_it_writes() -> None:
    value = Renamed.model_validate({"in": 3})
    with pytest.raises(Unencodable, match="Renamed: its model cannot be rebuilt"):
        encode(value)


def test_a_generic_model_comes_back_as_its_class() -> None:
    assert again(Box[int](content=3)).content == 3


@pytest.mark.parametrize(
    ("value", "expected"),
    [(OrderedDict(a=1), {"a": 1}), (Counter("aa"), {"a": 2}), (type("Text", (str,), {})("x"), "x")],
)
def test_a_subclass_of_a_plain_type_comes_back_plain(value: Any, expected: Any) -> None:
    assert again(value) == expected
    assert type(again(value)) is type(expected)


def test_secrets_are_not_stored() -> None:
    class_ = SecretStr("canary")
    with pytest.raises(Unencodable):
        encode(class_)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object(), "it is of type object"),
        ({"a": [1, {"b": (x for x in ())}]}, r"at \['a'\]\[1\]\['b'\] is of type generator"),
        ([print], r"at \[0\] is of type builtin_function_or_method"),
        (numpy.array([object()]), "type object"),
        (pandas.period_range("2026-01", periods=2, freq="M"), "no form in JSON"),
    ],
)
def test_what_has_no_form_says_where_it_is(value: Any, message: str) -> None:
    with pytest.raises(Unencodable) as caught:
        encode(value)
    assert re.search(message, str(caught.value)), str(caught.value)


def test_what_contains_itself() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(RecursionError):
        encode(value)


def test_a_class_that_no_reader_could_find() -> None:
    @dataclass
    class Local:
        x: int

    with pytest.raises(Unencodable, match="Local: its class can be found in no module"):
        encode(Local(1))


def test_a_class_that_cannot_be_rebuilt() -> None:
    with pytest.raises(Unencodable, match=r"Stubborn: it cannot be rebuilt from its own fields .*never"):
        encode(Stubborn.made())


@dataclass
class Stubborn:
    x: int

    def __post_init__(self) -> None:
        raise ValueError("never")

    @classmethod
    def made(cls) -> Stubborn:
        made = object.__new__(cls)
        made.x = 1
        return made


# -- arrays and tables

FRAME = pandas.DataFrame(
    {
        "whole": [1, 2, 3],
        "share": [0.1 + 0.2, float("nan"), -0.0],
        "text": ["a", None, "ü"],
        "when": pandas.to_datetime(["2026-01-01", None, "2026-01-03"]),
        "zoned": pandas.to_datetime(["2026-01-01", "2026-01-02", "2026-01-03"]).tz_localize("Europe/Berlin"),
        "took": pandas.to_timedelta(["1s", "2s", None]),
        "maybe": pandas.array([1, None, 3], dtype="Int64"),
        "flag": pandas.array([True, None, False], dtype="boolean"),
        "kind": pandas.Categorical(["x", "y", "x"], categories=["y", "x"], ordered=True),
        "mixed": pandas.Series([1, "a", (1, 2)], dtype=object),
        "small": numpy.array([1, 2, 3], dtype="uint8"),
    }
)


@pytest.mark.parametrize(
    "frame",
    [
        FRAME,
        FRAME.set_index("when"),
        FRAME.set_index(["text", "whole"]),
        FRAME.iloc[:0],
        FRAME[["whole"]].rename(columns={"whole": 7}),
        pandas.DataFrame(),
        pandas.DataFrame(index=["a", "b"]),
        pandas.DataFrame([[1, 2]], columns=["same", "same"]),
        FRAME.groupby("kind", observed=True)[["whole", "share"]].agg(["min", "max"]),
        pandas.DataFrame({"x": range(3)}, index=pandas.date_range("2026-01-01", periods=3, freq="D", tz="UTC")),
    ],
    ids=lambda frame: f"{frame.shape} {type(frame.index).__name__}",
)
def test_frames_come_back_exactly(frame: pandas.DataFrame) -> None:
    pandas.testing.assert_frame_equal(again(frame), frame, check_exact=True)


@pytest.mark.parametrize("name", list(FRAME))
def test_series_come_back_exactly(name: str) -> None:
    pandas.testing.assert_series_equal(again(FRAME[name]), FRAME[name], check_exact=True)


@pytest.mark.parametrize(
    "value",
    [
        numpy.float64(0.1),
        numpy.float32(0.1),
        numpy.int8(3),
        numpy.bool_(True),
        numpy.str_("x"),
        numpy.datetime64("2026-01-01T00", "h"),
        pandas.Timestamp("2026-01-01T00:00:00.000000001"),
        pandas.Timedelta(1, "ns"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_scalars_keep_their_type(value: Any) -> None:
    found = again({"a": value})["a"]
    assert type(found) is type(value) and found == value


def test_missing_values_of_pandas() -> None:
    found = again([pandas.NaT, pandas.NA])
    assert found[0] is pandas.NaT and found[1] is pandas.NA


def test_arrays_keep_type_and_shape() -> None:
    for array in (
        numpy.arange(6, dtype="int16").reshape(2, 3),
        numpy.array([[1, "a"]], dtype=object),
        numpy.array(3.0),
    ):
        found = again(array)
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        assert (found == array).all()


# -- reading what others wrote


def test_no_stored_text_imports_a_module_or_calls_a_function() -> None:
    for name in ("antigravity.geohash", "subprocess.getoutput", "os.system", "builtins.exec", "subprocess.Popen"):
        with pytest.raises(UnknownClass):
            decode({"__class__": name, "data": {"cmd": "true", "args": ["true"]}})
    assert "antigravity" not in sys.modules
    with pytest.raises(UnknownClass):
        decode({"__exc_type__": "os.system", "message": "true"})


def test_a_class_of_a_notebook_is_found_by_its_name() -> None:
    program = (
        "from dataclasses import dataclass\n"
        "from millrace.engine.encoding import decode\n"
        "@dataclass\nclass Order:\n    id: int\n"
        "print(decode({'__class__': 'etl_flows.Order', 'data': {'id': '3'}}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "Order(id=3)\n"


def test_plain_is_what_json_has() -> None:
    value = {"when": datetime(2026, 1, 1), "point": Point(1, 2), "set": {1}}
    assert plain(encode(value)) == {"when": "2026-01-01T00:00:00", "point": [1, 2], "set": [1]}
