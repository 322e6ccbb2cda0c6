"""The pure part of the deployment form: schema to fields, text to values, fields to the call."""

from __future__ import annotations

import ast
from datetime import UTC, datetime
from typing import Any

import pytest

from millrace.errors import InvalidInput, ParameterError, ScheduleError
from millrace.jupyter.call import DeployCall, distance, preview
from millrace.jupyter.fields import Field, fields, parse, shown

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["rows", "when"],
    "properties": {
        "when": {"type": "string", "format": "date-time", "position": 1},
        "rows": {"type": "integer", "position": 0, "minimum": 1, "maximum": 9, "description": "How many.\n\nMore."},
        "region": {"enum": ["eu", "us"], "default": "eu", "position": 2},
        "ratio": {"anyOf": [{"type": "number"}, {"type": "null"}], "default": None, "position": 3},
        "names": {"type": "array", "items": {"type": "string"}, "default": ["a"], "position": 4},
        "options": {"$ref": "#/definitions/Options", "default": {"limit": 3}, "position": 5},
        "token": {"type": "string", "writeOnly": True, "format": "password", "position": 6},
        "fast": {"type": "boolean", "default": True, "position": 7},
        "mixed": {"anyOf": [{"type": "integer"}, {"type": "string"}], "default": 1, "position": 8},
        "level": {"allOf": [{"$ref": "#/definitions/Level"}], "position": 9},
    },
    "definitions": {
        "Options": {"type": "object", "properties": {"limit": {"type": "integer"}}},
        "Level": {"enum": [1, 2]},
    },
}


def test_fields_of_a_schema() -> None:
    found = fields(SCHEMA)
    assert [(f.name, f.kind) for f in found] == [
        ("rows", "integer"),
        ("when", "datetime"),
        ("region", "choice"),
        ("ratio", "number"),
        ("names", "lines"),
        ("options", "json"),
        ("token", "password"),
        ("fast", "boolean"),
        ("mixed", "json"),
        ("level", "choice"),
    ]
    rows, *_ = found
    assert rows.required and rows.help == "How many." and (rows.minimum, rows.maximum) == (1, 9)
    assert found[3].nullable and found[9].choices == (1, 2)


def test_a_reference_to_itself_ends() -> None:
    schema = {"properties": {"x": {"$ref": "#/definitions/A"}}, "definitions": {"A": {"$ref": "#/definitions/A"}}}
    assert fields(schema)[0].kind == "json"


@pytest.mark.parametrize("spec", fields(SCHEMA), ids=lambda spec: spec.name)
def test_what_is_shown_reads_back(spec: Field) -> None:
    if spec.default is not None:
        assert parse(spec, shown(spec, spec.default)) == spec.default


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("integer", " 12 ", 12),
        ("number", "1.5", 1.5),
        ("lines", "a\n\nb c\n", ["a", "b c"]),
        ("json", '{"a": [1, null]}', {"a": [1, None]}),
        ("text", "", ""),
        ("text", "  kept  ", "  kept  "),
        ("boolean", False, False),
    ],
)
def test_parse(kind: Any, text: Any, value: Any) -> None:
    assert parse(Field("x", kind, "x"), text) == value


def test_not_set_is_null_where_null_is_a_value() -> None:
    for kind in ("integer", "datetime", "json", "lines"):
        assert parse(Field("x", kind, "x", nullable=True), " ") is None  # type: ignore[arg-type]
    text = Field("x", "text", "x", nullable=True)
    assert [parse(text, typed) for typed in ("", " ", '""', '"')] == [None, " ", "", '"']
    assert parse(Field("x", "text", "x"), '""') == '""', "where the empty field is the empty text, nothing is special"


@pytest.mark.parametrize(
    ("spec", "text", "message"),
    [
        (Field("x", "integer", "x"), "12q", "'12q' is not an integer"),
        (Field("x", "number", "x"), "much", "'much' is not a number"),
        (Field("x", "json", "x"), "{a}", "'{a}' is not JSON"),
        (Field("x", "integer", "x"), "", "A value is needed"),
        (Field("x", "integer", "x", minimum=1), "0", "0 is below 1"),
        (Field("x", "number", "x", maximum=2), "2.5", "2.5 is above 2"),
    ],
)
def test_what_cannot_be_read_says_why(spec: Field, text: str, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        parse(spec, text)


class Recorder:
    """Stands where the flow stands in the printed code."""

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}

    def deploy(self, **given: Any) -> None:
        self.given = given


@pytest.mark.parametrize(
    "call",
    [
        DeployCall("etl", "nightly"),
        DeployCall("etl", "nightly", "gpu", {"rows": 3, "name": "it's", "at": None}),
        DeployCall("etl", "n", kind="Every", text="1.5", unit="minutes"),
        DeployCall("etl", "n", kind="Every", text="2", unit="days", timezone="Europe/Oslo"),
        DeployCall("etl", "n", kind="Cron", text="0 9 * * 1-5", timezone="Europe/Oslo"),
        DeployCall("etl", "n", kind="RRule", text="FREQ=WEEKLY;BYDAY=MO;BYHOUR=9"),
    ],
)
def test_the_printed_cell_makes_the_same_call(call: DeployCall) -> None:
    etl = Recorder()
    exec(call.code(), {"etl": etl})
    assert etl.given == call.arguments()


def test_the_printed_cell_of_a_notebook() -> None:
    code = DeployCall("report.ipynb", "weekly", kind="Cron", text="0 8 * * 1", notebook=True).code()
    ast.parse(code)
    assert code.startswith("import millrace\n\nmillrace.deploy_notebook(\n    'report.ipynb',\n    name='weekly',")


def test_a_secret_is_not_printed() -> None:
    call = DeployCall("etl", "n", parameters={"token": "hunter2", "rows": 1}, secrets=frozenset({"token"}))
    assert "hunter2" not in call.code() and "getpass.getpass('token')" in call.code()
    assert call.arguments()["parameters"]["token"] == "hunter2"
    ast.parse(call.code())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (DeployCall("etl", " "), "needs a name"),
        (DeployCall("etl", "n", kind="Cron", text=" "), "When should it run"),
        (DeployCall("etl", "n", kind="Every", text="often"), "'often' is not a number of minutes"),
        (DeployCall("etl", "n", kind="Cron", text="61 * * * *"), "minute"),
        (DeployCall("etl", "n", kind="Cron", text="0 9 * * *", timezone="Mars/Base"), "Mars/Base"),
    ],
)
def test_a_call_that_cannot_be_made_says_why(call: DeployCall, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        call.arguments()


def test_preview_has_local_time_utc_distance_and_the_odd_days() -> None:
    schedule = DeployCall("", kind="Cron", text="30 2 * * *", timezone="Europe/Oslo").schedule()
    assert schedule is not None
    lines = preview(schedule, datetime(2027, 3, 26, 12, tzinfo=UTC), 3)
    assert lines[0][:3] == ("Sat 27 Mar 2027 02:30:00 Europe/Oslo", "Sat 01:30:00", "in 14 h")
    assert lines[1][3]  # the clocks go forward at two


def test_preview_without_a_zone_is_in_the_readers() -> None:
    schedule = DeployCall("", kind="Every", text="10", unit="seconds").schedule()
    assert schedule is not None
    (line,) = preview(schedule, datetime(2027, 3, 26, 12, tzinfo=UTC), 1)
    assert line[1] == "Fri 12:00:10" and line[2] == "in 10 s"


@pytest.mark.parametrize(("seconds", "text"), [(5, "5 s"), (300, "5 min"), (7300, "2 h"), (300_000, "3 d")])
def test_distance(seconds: float, text: str) -> None:
    assert distance(seconds) == text


def test_schedule_error_is_the_schedules_own() -> None:
    with pytest.raises(ScheduleError):
        DeployCall("", kind="RRule", text="FREQ=SOMETIMES").schedule()
