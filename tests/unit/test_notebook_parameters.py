"""The parameters cell as a schema, and values checked against it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace import Secret
from millrace.errors import ParameterError
from millrace.notebooks.parameters import from_text, schema_of, schema_of_source, validate

SECRET = {"type": "string", "format": "password", "writeOnly": True, "pattern": "^(env|secret):.+"}


def entry(line: str) -> dict[str, Any]:
    schema = schema_of_source(line)
    json.dumps(schema)
    (found,) = schema["properties"].values()
    assert found.pop("position") == 0 and found.pop("title")
    return dict(found)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("n: int = 3", {"type": "integer", "default": 3}),
        ("n = 3", {"type": "integer", "default": 3}),
        ("n = -3", {"type": "integer", "default": -3}),
        ("x = 0.5", {"type": "number", "default": 0.5}),
        ("on = True", {"type": "boolean", "default": True}),
        ("name = 'a'", {"type": "string", "default": "a"}),
        ("items = [1]", {"type": "array", "items": {}, "default": [1]}),
        ("table = {'a': 1}", {"type": "object", "additionalProperties": True, "default": {"a": 1}}),
        ("nothing = None", {"default": None}),
        ("x: float | None = None", {"anyOf": [{"type": "number"}, {"type": "null"}], "default": None}),
        ("x: Optional[float] = None", {"anyOf": [{"type": "number"}, {"type": "null"}], "default": None}),
        ("mode: Literal['a', 'b'] = 'a'", {"enum": ["a", "b"], "type": "string", "default": "a"}),
        ("tags: list[str] = []", {"type": "array", "items": {"type": "string"}, "default": []}),
        ("tags: 'list[str]' = []", {"type": "array", "items": {"type": "string"}, "default": []}),
        (
            "sizes: typing.Dict[str, int] = {}",
            {"type": "object", "additionalProperties": {"type": "integer"}, "default": {}},
        ),
        ("day: date = date(2024, 1, 2)", {"type": "string", "format": "date", "default": "2024-01-02"}),
        ("day = datetime.date(2024, 1, 2)", {"type": "string", "format": "date", "default": "2024-01-02"}),
        ("day: datetime.date = today()", {"type": "string", "format": "date"}),
        ("path = Path('a/b')", {"type": "string", "format": "path", "default": "a/b"}),
        ("k = 5  # type: float", {"type": "number", "default": 5}),
        ("k = 5  # type: ignore", {"type": "integer", "default": 5}),
        ("k = 5  # how many", {"type": "integer", "default": 5, "description": "how many"}),
        ("k = 5  # type: float # how many", {"type": "number", "default": 5, "description": "how many"}),
        ("frame: pd.DataFrame = None", {"default": None}),
        ("x = compute()", {}),
        ("word: Secret = 'hidden'", SECRET),
        ("word: SecretStr | None = None", SECRET),
        ("%time\nn = 1", {"type": "integer", "default": 1}),
        ("n = (\n  1\n)  # folded", {"type": "integer", "default": 1, "description": "folded"}),
    ],
)
def test_types(line: str, expected: dict[str, Any]) -> None:
    assert entry(line) == expected


def test_an_annotated_name_without_value_is_required_and_order_is_kept() -> None:
    schema = schema_of_source("import os\nb: int\na = b = 1\n_hidden = 2\nc: str")
    assert schema["required"] == ["c"]  # b got a value
    assert [(name, p["position"]) for name, p in schema["properties"].items()] == [("b", 0), ("a", 1), ("c", 2)]
    assert (schema["title"], schema["type"]) == ("Parameters", "object")


def test_nothing_of_the_cell_is_executed() -> None:
    schema_of_source("x = __import__('os')._exit(1)\ny: __import__('os')._exit(1) = 3")


def test_a_cell_that_is_no_python() -> None:
    with pytest.raises(ParameterError, match=r"not valid Python: .*\(line 2\)"):
        schema_of_source("x = 1\ny = = 2")


def test_books() -> None:
    cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": ["n = 1\n", "m = 2"]}
    assert list(schema_of({"cells": [{"cell_type": "markdown", "source": "x"}, cell]})["properties"]) == ["n", "m"]
    assert schema_of({"cells": []}) == {"title": "Parameters", "type": "object", "properties": {}, "required": []}
    r = {"cells": [cell], "metadata": {"kernelspec": {"language": "R"}}}
    assert schema_of(r)["properties"] == {}
    assert schema_of({"cells": [cell]}, secrets=["n"])["properties"]["n"]["writeOnly"] is True


SCHEMA = schema_of_source(
    "n: int = 3\nratio = 0.5\nmode: Literal['a', 1] = 'a'\nday: date = date(2024, 1, 2)\ntags: list[str] = []\n"
    "limit: int | None = None\nword: Secret = ''\nanything = None"
)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("n", "5", 5),
        ("n", 5.0, 5),
        ("ratio", 2, 2.0),
        ("mode", 1, 1),
        ("day", "2025-02-03", "2025-02-03"),
        ("tags", ("a", "b"), ["a", "b"]),
        ("limit", None, None),
        ("limit", "7", 7),
        ("anything", {"a": [1]}, {"a": [1]}),
    ],
)
def test_coercion(name: str, value: Any, expected: Any) -> None:
    assert validate(SCHEMA, {name: value}) == {name: expected}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"m": 1}, "Unknown parameter 'm'. Known parameters: n, ratio, mode"),
        ({"rato": 1}, "Unknown parameter 'rato'. Did you mean 'ratio'?"),
        ({"n": "many"}, "Parameter 'n' cannot be 'many' (str): expected integer."),
        ({"n": 2.5}, "Parameter 'n' cannot be 2.5 (float): expected integer."),
        ({"mode": "c"}, "Parameter 'mode' cannot be 'c' (str): expected one of 'a', 1."),
        ({"day": "soon"}, "expected string (date)"),
        ({"limit": "x"}, "expected integer or null"),
        ({"tags": "a"}, "expected array"),
        ({"anything": object}, "cannot be stored as JSON"),
    ],
)
def test_errors(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ParameterError) as caught:
        validate(SCHEMA, values)
    assert words in str(caught.value)


def test_an_error_never_shows_a_secret() -> None:
    with pytest.raises(ParameterError) as caught:
        validate(SCHEMA, {"word": ["hunter22"]}, stored=False)
    assert "hunter22" not in str(caught.value) and "a secret value" in str(caught.value)


def test_a_secret_that_is_stored_is_a_reference() -> None:
    for value in (["hunter22"], "hunter22", "env:", None):
        with pytest.raises(ParameterError, match="by reference, as env:NAME or secret:NAME") as caught:
            validate(SCHEMA, {"word": value})
        assert "hunter22" not in str(caught.value)
    for good in ("env:PW", "secret:db"):
        assert validate(SCHEMA, {"word": good})["word"] == good
    assert validate(SCHEMA, {"word": Secret.named("db")})["word"] == "secret:db"
    of_flow = {"properties": {"pw": {"anyOf": [{"type": "string", "pattern": "^secret:.+"}, {"type": "null"}]}}}
    assert validate(of_flow, {"pw": None}) == {"pw": None}
    with pytest.raises(ParameterError, match="as secret:NAME:"):
        validate(of_flow, {"pw": "env:PW"})


def test_required() -> None:
    schema = schema_of_source("a: int\nb: str")
    with pytest.raises(ParameterError, match="Parameters 'a', 'b' must be given"):
        validate(schema, {})
    assert validate(schema, {"a": 1}, given=["b"]) == {"a": 1}
    with pytest.raises(ParameterError, match=r"none is declared\. In a notebook, tag the cell"):
        validate(schema_of_source(""), {"a": 1})


def test_text_from_a_command_line() -> None:
    schema = schema_of_source(
        "s = ''\nn = 1\nf: float | None = None\non = False\nl = []\nd: date | None = None\na = None"
    )
    texts = {"s": "5", "n": "5", "f": "null", "on": "true", "l": '["x", 1]', "d": "2025-01-01", "a": "word"}
    assert from_text(schema, texts) == {
        "s": "5", "n": 5, "f": None, "on": True, "l": ["x", 1], "d": "2025-01-01", "a": "word",
    }  # fmt: skip
    with pytest.raises(ParameterError, match="'n' cannot be 'x'"):
        from_text(schema, {"n": "x"})


@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "c"]),
        st.one_of(
            st.integers(-(2**53), 2**53), st.booleans(), st.text(max_size=5), st.lists(st.integers(), max_size=3)
        ),
        min_size=1,
    )
)
def test_defaults_are_valid_values(defaults: dict[str, Any]) -> None:
    schema = schema_of_source("\n".join(f"{name} = {value!r}" for name, value in defaults.items()))
    assert {name: p["default"] for name, p in schema["properties"].items()} == defaults
    assert validate(schema, defaults) == defaults
