"""Arrays of numpy and tables of pandas as JSON. Loaded when a value of theirs is stored or read.

A table is stored only if it can be rebuilt exactly: that is tried before it is written.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any

import numpy

from millrace import plugins
from millrace.engine.encoding import decode, encode

PREFIX = "millrace.arrays."


def packed(value: Any) -> tuple[str, Any]:
    """The name and the form of an array, a scalar, a frame, a series or an index.

    Args:
        value: of a class of numpy or pandas.

    Raises:
        TypeError: it has no form from which it can be rebuilt.
    """
    if isinstance(value, numpy.generic) and value.dtype.kind in "biufcSUmM":
        return f"{PREFIX}scalar", _bytes(numpy.asarray(value))
    if type(value) is numpy.ndarray:
        return f"{PREFIX}array", _array(value)
    if type(value).__module__.partition(".")[0] == "pandas":
        for name, (kind, pack, unpack) in _tables().items():
            if isinstance(value, kind):
                data = pack(value)
                _check(value, unpack(data))
                return f"{PREFIX}{name}", data
    raise TypeError(f"{type(value).__module__}.{type(value).__qualname__} has no form in JSON")


def unpacked(name: str, data: Any) -> Any:
    """What `packed` took.

    Args:
        name: as it gave.
        data: the form.
    """
    kind = name.removeprefix(PREFIX)
    if kind == "scalar":
        return _loaded(data)[()]
    if kind == "array":
        return _array_of(data)
    return _tables()[kind][2](data)


def _bytes(array: Any) -> str:
    file = io.BytesIO()
    numpy.save(file, array, allow_pickle=False)
    return base64.b64encode(file.getvalue()).decode("ascii")


def _loaded(text: str) -> Any:
    return numpy.load(io.BytesIO(base64.b64decode(text)), allow_pickle=False)


def _array(value: Any) -> dict[str, Any]:
    if value.dtype.hasobject:
        return {"shape": list(value.shape), "items": [encode(one) for one in value.ravel()]}
    return {"npy": _bytes(value)}


def _array_of(data: dict[str, Any]) -> Any:
    if "npy" in data:
        return _loaded(data["npy"])
    made = numpy.empty(len(data["items"]), dtype=object)
    for row, one in enumerate(data["items"]):
        made[row] = decode(one)
    return made.reshape(data["shape"])


# -- pandas

_Table = tuple[Any, Callable[[Any], Any], Callable[[Any], Any]]


def _tables() -> dict[str, _Table]:
    pandas = plugins.load("pandas")
    return {
        "missing": (
            (type(pandas.NaT), type(pandas.NA)),
            str,
            lambda text: {"NaT": pandas.NaT, "<NA>": pandas.NA}[text],
        ),
        "timestamp": (pandas.Timestamp, lambda value: value.isoformat(), pandas.Timestamp),
        "timedelta": (pandas.Timedelta, lambda value: value.isoformat(), pandas.Timedelta),
        "frame": (pandas.DataFrame, _frame, _frame_of),
        "series": (pandas.Series, _series, _series_of),
        "index": (pandas.Index, _index, _index_of),
    }


def _check(value: Any, again: Any) -> None:
    testing = plugins.load("pandas.testing")
    kind = type(value).__name__
    try:
        if kind == "DataFrame":
            testing.assert_frame_equal(value, again, check_exact=True)
        elif kind == "Series":
            testing.assert_series_equal(value, again, check_exact=True)
        elif kind.endswith("Index"):
            testing.assert_index_equal(value, again, exact=True)
        elif value is not again and value != again:
            raise AssertionError
    except AssertionError:
        raise TypeError(f"this {kind} cannot be rebuilt exactly from JSON") from None


def _frame(frame: Any) -> dict[str, Any]:
    return {
        "columns": _index(frame.columns),
        "index": _index(frame.index),
        "data": [_column(frame.iloc[:, place].array) for place in range(frame.shape[1])],
    }


def _frame_of(data: dict[str, Any]) -> Any:
    columns = {place: _column_of(one) for place, one in enumerate(data["data"])}
    frame = plugins.load("pandas").DataFrame(columns, index=_index_of(data["index"]))
    frame.columns = _index_of(data["columns"])
    return frame


def _series(series: Any) -> dict[str, Any]:
    return {"name": encode(series.name), "index": _index(series.index), "values": _column(series.array)}


def _series_of(data: dict[str, Any]) -> Any:
    pandas, values = plugins.load("pandas"), _column_of(data["values"])
    return pandas.Series(values, index=_index_of(data["index"]), name=decode(data["name"]), dtype=values.dtype)


def _index(index: Any) -> dict[str, Any]:
    kind = type(index).__name__
    if kind == "MultiIndex":
        levels = [_column(index.get_level_values(level).array) for level in range(index.nlevels)]
        return {"names": encode(list(index.names)), "levels": levels}
    said = {"name": encode(index.name)}
    if kind == "RangeIndex":
        return {**said, "range": [index.start, index.stop, index.step]}
    frequency = getattr(index, "freqstr", None)
    return {**said, "values": _column(index.array), **({"freq": frequency} if frequency else {})}


def _index_of(data: dict[str, Any]) -> Any:
    pandas = plugins.load("pandas")
    if "levels" in data:
        return pandas.MultiIndex.from_arrays([_column_of(one) for one in data["levels"]], names=decode(data["names"]))
    if "range" in data:
        return pandas.RangeIndex(*data["range"], name=decode(data["name"]))
    values = _column_of(data["values"])
    made = pandas.Index(values, name=decode(data["name"]), dtype=values.dtype)
    if "freq" in data:
        made.freq = data["freq"]
    return made


def _column(values: Any) -> dict[str, Any]:
    kind = values.dtype
    if isinstance(kind, numpy.dtype):
        return _array(values.to_numpy())
    if kind.name == "category":
        categories = _index(values.categories)
        return {"dtype": "category", "codes": _bytes(values.codes), "categories": categories, "ordered": kind.ordered}
    if kind.name.startswith("datetime64["):
        return {"dtype": kind.name, "since": _bytes(values.asi8)}
    missing = values.isna()
    items = [None if gone else encode(one) for one, gone in zip(values, missing, strict=True)]
    return {"dtype": kind.name, "items": items}


def _column_of(data: dict[str, Any]) -> Any:
    pandas, kind = plugins.load("pandas"), data.get("dtype")
    if kind is None:
        return _array_of(data)
    if kind == "category":
        categories = _index_of(data["categories"])
        return pandas.Categorical.from_codes(_loaded(data["codes"]), categories, ordered=data["ordered"])
    if "since" in data:
        unit, zone = kind.removeprefix("datetime64[").removesuffix("]").split(", ")
        moments = pandas.DatetimeIndex(_loaded(data["since"]).view(f"M8[{unit}]"))
        return moments.tz_localize("UTC").tz_convert(zone).array
    return pandas.array([decode(one) for one in data["items"]], dtype=kind)
