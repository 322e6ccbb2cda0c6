"""Between rows and the objects of the schema: a column bears the name of its field."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import BaseModel
from sqlalchemy import ColumnElement, Row, Select, Table, select

from millrace.schema.flows import Page
from millrace.store.columns import Json, clamp
from millrace.store.database import Transaction
from millrace.suggestions import did_you_mean

M = TypeVar("M", bound=BaseModel)

LIMIT = 200
_COMPARED = 1000


def values(model: BaseModel, table: Table, *, only: Iterable[str] | None = None) -> dict[str, Any]:
    """What a table keeps of an object.

    Args:
        model: the object.
        table: its table.
        only: just these fields; None for all that have a column.
    """
    fields = _fields(type(model), table)
    if only is not None:
        chosen = set(only)
        fields = [pair for pair in fields if pair[0] in chosen]
    return {name: _dumped(getattr(model, name)) if is_json else getattr(model, name) for name, is_json in fields}


@lru_cache(maxsize=256)
def _fields(kind: type[BaseModel], table: Table) -> list[tuple[str, bool]]:
    """The fields of a class that have a column, and whether it holds JSON."""
    return [(each.name, isinstance(each.type, Json)) for each in table.columns if each.name in kind.model_fields]


def stored(table: Table, name: str, value: Any) -> Any:
    """One value as its column takes it."""
    return _dumped(value) if isinstance(table.columns[name].type, Json) else value


def _dumped(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


def model(kind: type[M], row: Row[Any], **extra: Any) -> M:
    """The object in a row.

    Args:
        kind: its class.
        row: has the columns of its table, and may have more.
        extra: fields that are worked out.
    """
    return kind.model_validate({**row._mapping, **extra})


def suggested(tx: Transaction, column: ColumnElement[str], name: str, *conditions: ColumnElement[bool]) -> str:
    """The names that are most like one that is not there, as the end of a message.

    Args:
        tx: the transaction.
        column: the names that there are.
        name: as somebody wrote it.
        conditions: which rows count.
    """
    known = select(column).where(*conditions).order_by(column).limit(_COMPARED)
    return did_you_mean(name, tx.connection.scalars(known).all())


def page(statement: Select[Any], part: Page) -> Select[Any]:
    """A statement that answers one part of the matches."""
    limit = LIMIT if part.limit is None else min(part.limit, LIMIT)
    return statement.limit(limit).offset(clamp(part.offset or 0))
