"""A JSON Schema as a flat list of form fields. Pure; the widgets are drawn from it elsewhere."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from millrace.errors import ParameterError

Kind = Literal["integer", "number", "boolean", "text", "password", "choice", "date", "datetime", "lines", "json"]


@dataclass(frozen=True)
class Field:
    """One field of a form.

    Args:
        name: the parameter.
        kind: how it is edited; `json` is the answer for all that has no field of its own.
        label: what stands beside it.
        required: it has no default.
        nullable: null is a value of it.
        default: its default; None if it has none.
        choices: for `choice`: the values.
        minimum: for numbers.
        maximum: for numbers.
        help: one line about it.
    """

    name: str
    kind: Kind
    label: str
    required: bool = False
    nullable: bool = False
    default: Any = None
    choices: tuple[Any, ...] = field(default=())
    minimum: float | None = None
    maximum: float | None = None
    help: str = ""


def fields(schema: dict[str, Any]) -> list[Field]:
    """The fields of a parameter schema, in the order of the flow's signature.

    Args:
        schema: a JSON Schema of type object, such as `Flow.parameters`.

    Example:
        >>> [f.kind for f in fields({"properties": {"n": {"type": "integer", "default": 3}}})]
        ['integer']
    """
    required = set(schema.get("required", ()))
    properties = schema.get("properties", {})
    ordered = sorted(properties.items(), key=lambda item: item[1].get("position", 0))
    return [_field(name, part, schema, name in required) for name, part in ordered]


def _resolved(part: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    for _ in range(20):
        if "$ref" in part:
            target: Any = root
            for step in part["$ref"].removeprefix("#/").split("/"):
                target = target.get(step, {})
            part = {**target, **{key: value for key, value in part.items() if key != "$ref"}}
        elif len(part.get("allOf", ())) == 1:
            part = {**part["allOf"][0], **{key: value for key, value in part.items() if key != "allOf"}}
        else:
            return part
    return {}


def _without_null(part: dict[str, Any], root: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    choices = part.get("anyOf")
    if not choices:
        return part, False
    rest = [choice for choice in choices if choice.get("type") != "null"]
    if len(rest) == len(choices):
        return part, False
    if len(rest) != 1:
        return {key: value for key, value in part.items() if key != "anyOf"} | {"anyOf": rest}, True
    return {**_resolved(rest[0], root), **{key: value for key, value in part.items() if key != "anyOf"}}, True


def _field(name: str, part: dict[str, Any], root: dict[str, Any], required: bool) -> Field:
    part, nullable = _without_null(_resolved(part, root), root)
    kind = _kind(part, root)
    choices = tuple(part.get("enum", ())) or ((part["const"],) if "const" in part else ())
    if kind == "choice" and None in choices:
        choices, nullable = tuple(choice for choice in choices if choice is not None), True
    if kind == "boolean" and nullable:  # a checkbox has two states
        kind, choices = "choice", (True, False)
    return Field(
        name=name,
        kind=kind,
        label=str(part.get("title") or name),
        required=required,
        nullable=nullable,
        default=part.get("default"),
        choices=choices,
        minimum=part.get("minimum"),
        maximum=part.get("maximum"),
        help=str(part.get("description") or "").split("\n\n")[0],
    )


_FORMATS: dict[str, Kind] = {"date": "date", "date-time": "datetime", "password": "password"}
_PLAIN: dict[str, Kind] = {"integer": "integer", "number": "number", "boolean": "boolean", "string": "text"}


def _kind(part: dict[str, Any], root: dict[str, Any]) -> Kind:
    if "enum" in part or "const" in part:
        return "choice"
    if part.get("writeOnly"):
        return "password"
    kind = part.get("type")
    if kind == "string":
        return _FORMATS.get(str(part.get("format")), "text")
    if kind == "array" and _resolved(part.get("items", {}), root).get("type") == "string":
        return "lines"
    return _PLAIN.get(str(kind), "json")


def parse(spec: Field, text: Any) -> Any:
    """What a person typed, as the parameter's JSON value.

    Args:
        spec: the field.
        text: the widget's value: a text, a truth value, a choice.

    Raises:
        ParameterError: the text is no value of this kind.
    """
    if empty(spec, text) and (spec.nullable or spec.kind not in {"text", "password", "lines"}):
        return _nothing(spec)
    try:
        match spec.kind:
            case "integer":
                return _bounded(spec, int(str(text).strip()))
            case "number":
                return _bounded(spec, float(str(text).strip()))
            case "lines":
                return _lines(str(text))
            case "text" if _says_empty(spec):
                return _unquoted(text)
            case "json":
                return json.loads(text)
            case _:
                return text
    except ParameterError:
        raise
    except ValueError:
        article = "an integer" if spec.kind == "integer" else "a number" if spec.kind == "number" else "JSON"
        raise ParameterError(f"{text!r} is not {article}") from None


def _nothing(spec: Field) -> None:
    if not spec.nullable:
        raise ParameterError("A value is needed.")


def empty(spec: Field, text: Any) -> bool:
    """Whether a widget's value says nothing. A text of blanks says something.

    Args:
        spec: the field.
        text: the widget's value.
    """
    return text is None or (isinstance(text, str) and not (text if spec.kind == "text" else text.strip()))


def _says_empty(spec: Field) -> bool:
    """Whether an empty text has to be written: as two quotation marks, because the empty field says something else."""
    return spec.required or spec.nullable


def _unquoted(text: str) -> str:
    """Two quotation marks are the empty text, and so more of them are one fewer."""
    if len(text) < 2 or text.strip('"'):
        return text
    return text[:-1] if len(text) > 2 else ""


def _lines(text: str) -> list[str]:
    """One item a line; as JSON where an item is no line."""
    if text.strip().startswith("["):
        with contextlib.suppress(ValueError):
            items = json.loads(text)
            if all(isinstance(item, str) for item in items):
                return list(items)
    return [line for line in text.splitlines() if line.strip()]


def _bounded(spec: Field, value: float) -> float:
    if spec.minimum is not None and value < spec.minimum:
        raise ParameterError(f"{value} is below {spec.minimum}")
    if spec.maximum is not None and value > spec.maximum:
        raise ParameterError(f"{value} is above {spec.maximum}")
    return value


def shown(spec: Field, value: Any) -> Any:
    """A parameter's value as the widget shows it; `parse` undoes it."""
    if spec.kind == "boolean":
        return bool(value)
    if spec.kind == "choice":
        return value
    if value is None:
        return "null" if spec.kind == "json" and not spec.nullable else ""
    if spec.kind == "lines":
        text = "\n".join(str(line) for line in value)
        plain = _lines(text) == value and not (_says_empty(spec) and empty(spec, text))
        return text if plain else json.dumps(value)
    if spec.kind == "text" and _says_empty(spec) and not str(value).strip('"') and value != '"':
        return f'{value}"' if value else '""'
    if spec.kind == "json":
        return json.dumps(value)
    return str(value)
