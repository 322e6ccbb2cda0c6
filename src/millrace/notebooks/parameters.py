"""The parameters cell of a notebook as a typed schema, and values checked against it.

The convention is papermill's: the first cell tagged `parameters` assigns the defaults. Its source is read as a syntax
tree and never executed. This module imports neither papermill nor nbformat: forms and the command line use it cheaply.
"""

from __future__ import annotations

import ast
import contextlib
import datetime
import io
import json
import pathlib
import tokenize
import uuid
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Union

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic.errors import PydanticUserError

from millrace.errors import InvalidInput, ParameterError
from millrace.notebooks import references
from millrace.notebooks.annotations import NotLiteral, is_secret, type_of, type_of_value, value_of
from millrace.suggestions import did_you_mean

TAG = "parameters"
Schema = dict[str, Any]
_KEEP_NAN = ConfigDict(ser_json_inf_nan="constants")


@dataclass
class Parameter:
    """One name that the parameters cell assigns.

    Args:
        name: the variable.
        kind: its type.
        required: it is declared without a value.
        secret: its annotation says so.
        description: the comment behind it.
        default: its JSON-able default inside a one-element tuple; empty where it has none or only a run could tell.
        annotation: its annotation as written, or None.
    """

    name: str
    kind: Any = Any
    required: bool = False
    secret: bool = False
    description: str | None = None
    default: tuple[Any, ...] = field(default_factory=tuple)
    annotation: str | None = None


def read_book(book: pathlib.Path) -> dict[str, Any]:
    """A notebook file as plain JSON.

    Args:
        book: the file.

    Raises:
        InvalidInput: there is no such file, or it is no notebook.
    """
    try:
        content = json.loads(book.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidInput(f"There is no notebook {book}.") from None
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{book} cannot be read as a notebook: {error}") from None
    if not isinstance(content, dict) or not isinstance(content.get("nbformat"), int):
        raise InvalidInput(f"{book} is no notebook: it has no 'nbformat'.")
    return content


def language_of(book: Mapping[str, Any]) -> str:
    """The language of a notebook's kernel in small letters; `python` when it does not say.

    Args:
        book: the notebook.
    """
    metadata = book.get("metadata", {})
    named = metadata.get("kernelspec", {}).get("language") or metadata.get("language_info", {}).get("name")
    return str(named or "python").lower()


def parameters_source(book: Mapping[str, Any]) -> str | None:
    """The source of the first code cell tagged `parameters`, or None.

    Args:
        book: the notebook.
    """
    for cell in book.get("cells", []):
        if cell.get("cell_type") == "code" and TAG in cell.get("metadata", {}).get("tags", []):
            source = cell.get("source", "")
            return source if isinstance(source, str) else "".join(source)
    return None


def declared(source: str) -> list[Parameter]:
    """The parameters that a cell declares, in order.

    Args:
        source: the cell's source.

    Raises:
        ParameterError: it is no Python.

    Example:
        >>> [p.name for p in declared("n: int = 3  # rows")]
        ['n']
    """
    plain = "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in source.splitlines())
    tree = _parse(plain)
    comments = _comments(plain)
    found: dict[str, Parameter] = {}
    for statement in tree.body:
        for parameter in _of_statement(statement):
            parameter.description = comments.get(statement.end_lineno or statement.lineno)
            found[parameter.name] = parameter
    return list(found.values())


def _parse(source: str) -> ast.Module:
    try:
        return ast.parse(source, type_comments=True)
    except SyntaxError:
        pass
    try:  # a `# type:` comment that is no type
        return ast.parse(source)
    except SyntaxError as error:
        raise ParameterError(f"The parameters cell is not valid Python: {error.msg} (line {error.lineno}).") from None


def _comments(source: str) -> dict[int, str]:
    found: dict[int, str] = {}
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                parts = [part.strip() for part in token.string.split("#")]
                text = " # ".join(part for part in parts if part and not part.startswith("type:"))
                if text:
                    found[token.start[0]] = text
    except (tokenize.TokenError, IndentationError):
        pass
    return found


def _of_statement(statement: ast.stmt) -> Iterator[Parameter]:
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        yield from _parameter(statement.target.id, statement.annotation, statement.value)
    elif isinstance(statement, ast.Assign):
        annotation = None
        if statement.type_comment:
            with contextlib.suppress(SyntaxError):
                annotation = ast.parse(statement.type_comment.split("#")[0].strip(), mode="eval").body
        for target in statement.targets:
            if isinstance(target, ast.Name):
                yield from _parameter(target.id, annotation, statement.value)


def _parameter(name: str, annotation: ast.expr | None, value: ast.expr | None) -> Iterator[Parameter]:
    if name.startswith("_"):
        return
    secret = is_secret(annotation)
    parameter = Parameter(
        name,
        kind=Any if annotation is None else type_of(annotation),
        required=value is None,
        secret=secret,
        annotation=None if annotation is None else ast.unparse(annotation),
    )
    # The default of a secret is a secret.
    if value is not None and not secret:
        try:
            default = value_of(value)
            if annotation is None:
                parameter.kind = type_of_value(default)
            parameter.default = (TypeAdapter(Any).dump_python(default, mode="json"),)
        except (NotLiteral, ValueError):
            pass
    yield parameter


def schema_of(book: Mapping[str, Any], secrets: Collection[str] = ()) -> Schema:
    """The parameter schema of a notebook, in the form the signature of a flow gives.

    Args:
        book: the notebook as JSON.
        secrets: names that are secret although the cell does not say so.

    Raises:
        ParameterError: the parameters cell is no Python.
    """
    source = parameters_source(book)
    if source is None or language_of(book) != "python":
        return schema_of_source("", secrets)
    return schema_of_source(source, secrets)


def schema_of_source(source: str, secrets: Collection[str] = ()) -> Schema:
    """The parameter schema of one cell's source.

    Args:
        source: the cell.
        secrets: names that are secret although the cell does not say so.

    Raises:
        ParameterError: the source is no Python.

    Example:
        >>> schema_of_source("n: int = 3  # rows")["properties"]["n"]
        {'default': 3, 'description': 'rows', 'position': 0, 'title': 'n', 'type': 'integer'}
    """
    properties: Schema = {}
    required: list[str] = []
    definitions: Schema = {}
    for position, parameter in enumerate(declared(source)):
        secret = parameter.secret or parameter.name in secrets
        entry: Schema = {"type": "string"} if secret else _type_schema(parameter.kind)
        definitions.update(entry.pop("$defs", {}))
        if secret:
            entry |= {"format": "password", "writeOnly": True, "pattern": references.PATTERN}
        elif parameter.default:
            entry["default"] = parameter.default[0]
        if parameter.description:
            entry["description"] = parameter.description
        entry |= {"position": position, "title": parameter.name}
        properties[parameter.name] = dict(sorted(entry.items()))
        if parameter.required:
            required.append(parameter.name)
    schema: Schema = {"title": "Parameters", "type": "object", "properties": properties, "required": required}
    if definitions:
        schema["definitions"] = definitions
    return schema


def _type_schema(kind: Any) -> Schema:
    try:
        model = create_model("Parameters", value=(kind, Field(...)))
        schema: Schema = model.model_json_schema(ref_template="#/definitions/{model}")["properties"]["value"]
    except (PydanticUserError, TypeError, ValueError):
        return {}
    schema.pop("title", None)
    return schema


# Checking values. The schema is all there is: the notebook may lie on another machine.

_FORMATS: dict[str, Any] = {
    "date": datetime.date,
    "date-time": datetime.datetime,
    "time": datetime.time,
    "duration": datetime.timedelta,
    "uuid": uuid.UUID,
    "path": pathlib.Path,
}


def type_of_schema(schema: Mapping[str, Any]) -> Any:
    """The Python type that the JSON schema of one parameter stands for; `Any` where it is not one we know.

    Args:
        schema: the schema of one parameter.
    """
    if "const" in schema:
        return Literal[schema["const"]]
    if "enum" in schema:
        return Literal[tuple(schema["enum"])]
    if options := schema.get("anyOf") or schema.get("oneOf"):
        members = tuple(type_of_schema(option) for option in options)
        return Any if Any in members else Union[members]  # noqa: UP007 - the members are only known now
    kind = schema.get("type")
    if kind == "string":
        return _FORMATS.get(str(schema.get("format")), str)
    if kind == "array":
        return list[type_of_schema(schema.get("items") or {})]  # type: ignore[misc]
    if kind == "object":
        values = schema.get("additionalProperties")
        return dict[str, type_of_schema(values)] if isinstance(values, dict) else dict[str, Any]  # type: ignore[misc]
    return {"integer": int, "number": float, "boolean": bool, "null": None}.get(str(kind), Any)


def validate(
    schema: Mapping[str, Any], values: Mapping[str, Any], given: Collection[str] = (), *, stored: bool = True
) -> dict[str, Any]:
    """Values checked and coerced as pydantic does, ready for JSON. Defaults are not filled in.

    Args:
        schema: the parameter schema.
        values: what the user gave.
        given: required names that come from elsewhere, such as secrets by reference; they must be known too.
        stored: they will be stored with a run: a secret must be a reference.

    Raises:
        ParameterError: a name is unknown or missing, or a value has the wrong type.

    Example:
        >>> validate(schema_of_source("n = 3"), {"n": "5"})
        {'n': 5}
    """
    properties: Mapping[str, Any] = schema.get("properties", {})
    for name in [*values, *given]:
        if name not in properties:
            raise ParameterError(_unknown(name, properties))
    missing = [name for name in schema.get("required", []) if name not in values and name not in given]
    if missing:
        names = ", ".join(f"'{name}'" for name in missing)
        raise ParameterError(f"Parameter{'s' * (len(missing) > 1)} {names} must be given: there is no default.")
    hidden = {name for name in values if stored and references.pattern_of(properties[name])}
    checks = {name: references.checked if name in hidden else _checked for name in values}
    found = {name: checks[name](name, properties[name], value) for name, value in values.items()}
    references.refuse_values(found, schema if stored else None)
    return found


def _unknown(name: str, properties: Mapping[str, Any]) -> str:
    if not properties:
        return (
            f"Unknown parameter '{name}': none is declared. In a notebook, tag the cell that assigns the defaults with "
            "'parameters'."
        )
    hint = did_you_mean(name, properties)
    return f"Unknown parameter '{name}'.{hint} Known parameters: {', '.join(properties)}."


def _checked(name: str, schema: Mapping[str, Any], value: Any) -> Any:
    adapter: TypeAdapter[Any] = TypeAdapter(type_of_schema(schema), config=_KEEP_NAN)
    try:
        checked = adapter.validate_python(value)
    except ValidationError as error:
        shown = "a secret value" if schema.get("writeOnly") else repr(value)
        problem = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise ParameterError(
            f"Parameter '{name}' cannot be {shown} ({type(value).__name__}): expected {expected(schema)}. {problem}."
        ) from None
    try:
        return adapter.dump_python(checked, mode="json")
    except ValueError as error:
        raise ParameterError(
            f"Parameter '{name}' cannot be stored as JSON ({type(value).__name__}): {error}. "
            "Pass a number, text, list or dict."
        ) from None


def expected(schema: Mapping[str, Any]) -> str:
    """What a parameter's schema accepts, in words.

    Args:
        schema: the schema of one parameter.

    Example:
        >>> expected({"anyOf": [{"type": "number"}, {"type": "null"}]})
        'number or null'
    """
    if "enum" in schema or "const" in schema:
        return "one of " + ", ".join(repr(option) for option in schema.get("enum", [schema.get("const")]))
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(expected(option) for option in options)
    kind = str(schema.get("type", "any value"))
    return f"{kind} ({schema['format']})" if "format" in schema else kind


def from_text(schema: Mapping[str, Any], texts: Mapping[str, str]) -> dict[str, Any]:
    """Values typed on a command line: text stays text where the parameter is text, else it is read as JSON.

    Args:
        schema: the parameter schema.
        texts: `k=v` pairs.

    Raises:
        ParameterError: a name is unknown or a value has the wrong type.

    Example:
        >>> from_text(schema_of_source("tags = []\\nname = ''"), {"tags": '["a"]', "name": "5"})
        {'tags': ['a'], 'name': '5'}
    """
    values: dict[str, Any] = {}
    for name, text in texts.items():
        entry = schema.get("properties", {}).get(name, {})
        values[name] = _from_text(entry, text)
    validate({**schema, "required": []}, values, stored=False)
    return values


def _from_text(schema: Mapping[str, Any], text: str) -> Any:
    options = schema.get("anyOf") or schema.get("oneOf") or [schema]
    if any(text == option for one in options for option in one.get("enum", [one.get("const")])):
        return text
    kinds = {option.get("type") for option in options}
    if kinds == {"string"} or (kinds == {"string", "null"} and text != "null"):
        return text
    try:
        return json.loads(text)
    except ValueError:
        if text in ("True", "False", "None"):
            return {"True": True, "False": False, "None": None}[text]
        return text
