"""Column types, and the few SQL expressions that SQLite and Postgres write differently."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic_core import to_jsonable_python
from sqlalchemy import BigInteger, ColumnElement, Connection, Dialect, Select, String, Text, func, literal, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import functions
from sqlalchemy.types import TypeDecorator

from millrace.errors import InvalidInput

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LARGEST = 2**63 - 1
_ENCODER = json.JSONEncoder(separators=(",", ":"), default=to_jsonable_python)


class Moment(TypeDecorator[datetime]):
    """A moment, as microseconds since 1970 in UTC: sorts and compares as the moments do."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else microseconds(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else _EPOCH + timedelta(microseconds=value)


class Whole(TypeDecorator[int]):
    """A whole number; what does not fit into 64 bits is stored and compared as the nearest that does."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:
        return None if value is None else clamp(value)


class Json(TypeDecorator[Any]):
    """A JSON value as text; None is NULL."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else dumps(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else json.loads(value)


class Searched(Json):
    """A JSON value that filters look into: its texts are as those of `Words`, or one row could spoil all queries."""

    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return super().process_bind_param(_cleaned(value), dialect)


class Words(TypeDecorator[str]):
    """Text that people or programs wrote: what no database can hold (NUL, lone surrogates) becomes U+FFFD."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else _clean(value)


def _clean(text: str) -> str:
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, list | tuple):
        return [_cleaned(item) for item in value]
    if isinstance(value, dict):
        return {_cleaned(key): _cleaned(item) for key, item in value.items()}
    return value


def microseconds(moment: datetime) -> int:
    """A moment as it is stored: microseconds since 1970 in UTC."""
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // _MICROSECOND


def clamp(value: int) -> int:
    """The nearest whole number of 64 bits."""
    return max(-_LARGEST, min(_LARGEST, value))


def dumps(value: Any) -> str:
    """A JSON text without spaces, in ASCII; the same value gives the same text.

    Raises:
        InvalidInput: the value is nested too deep.
    """
    try:
        return _ENCODER.encode(value)
    except (RecursionError, ValueError) as error:
        raise InvalidInput(f"A value cannot be stored as JSON: {error}. Make it flatter.") from None


class _Items(functions.FunctionElement[Any]):
    """The items of a JSON array, as a table with the column `value`."""

    inherit_cache = True
    name = "items"


@compiles(_Items)
def _items(element: Any, compiler: Any, **options: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **options)})"


@compiles(_Items, "postgresql")
def _items_postgres(element: Any, compiler: Any, **options: Any) -> str:
    return f"jsonb_array_elements_text(({compiler.process(element.clauses, **options)})::jsonb)"


class _Member(functions.FunctionElement[str]):
    """The text of one member of a JSON object."""

    inherit_cache = True
    name = "member"
    type = String()


@compiles(_Member)
def _member(element: Any, compiler: Any, **options: Any) -> str:
    column, key = (compiler.process(part, **options) for part in element.clauses)
    return f"(SELECT m.value FROM json_each({column}) AS m WHERE m.key = {key})"


@compiles(_Member, "postgresql")
def _member_postgres(element: Any, compiler: Any, **options: Any) -> str:
    column, key = (compiler.process(part, **options) for part in element.clauses)
    return f"(({column})::jsonb ->> {key})"


def member(column: ColumnElement[Any], key: str) -> ColumnElement[str]:
    """The text of a member of the JSON object in a column."""
    return _Member(column, literal(key, String()))


def items(column: ColumnElement[Any]) -> Any:
    """The items of the JSON array in a column: a table with the column `value`."""
    return _Items(column).table_valued("value")


def any_item(column: ColumnElement[Any], values: list[str]) -> ColumnElement[bool]:
    """Whether the JSON array in a column holds one of these texts."""
    table = items(column)
    wanted: Select[Any] = select(literal(1)).select_from(table).where(table.c.value.in_(values))
    return wanted.exists()


def contains(column: ColumnElement[Any], part: str) -> ColumnElement[bool]:
    """Whether a text holds another, whatever the case."""
    return func.lower(column).contains(part.lower(), autoescape=True)


def insert(connection: Connection, table: Any) -> Any:
    """An insert that knows `on_conflict_do_nothing` and `on_conflict_do_update`."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
