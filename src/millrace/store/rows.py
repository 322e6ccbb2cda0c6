"""Between rows and the objects of the schema: a column bears the name of its field."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from pydantic import BaseModel
from sqlalchemy import Row, Select, Table

from millrace.schema.flows import Page
from millrace.store.columns import Json, clamp

M = TypeVar("M", bound=BaseModel)

LIMIT = 200


def values(model: BaseModel, table: Table, *, only: Iterable[str] | None = None) -> dict[str, Any]:
    """What a table keeps of an object.

    Args:
        model: the object.
        table: its table.
        only: just these fields; None for all that have a column.
    """
    wanted = set(table.columns.keys()) & set(type(model).model_fields)
    if only is not None:
        wanted &= set(only)
    return {name: stored(table, name, getattr(model, name)) for name in wanted}


def stored(table: Table, name: str, value: Any) -> Any:
    """One value as its column takes it."""
    if isinstance(table.columns[name].type, Json) and value is not None:
        return value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return value


def model(kind: type[M], row: Row[Any], **extra: Any) -> M:
    """The object in a row.

    Args:
        kind: its class.
        row: has the columns of its table, and may have more.
        extra: fields that are worked out.
    """
    return kind.model_validate({**row._mapping, **extra})


def page(statement: Select[Any], part: Page) -> Select[Any]:
    """A statement that answers one part of the matches."""
    limit = LIMIT if part.limit is None else min(part.limit, LIMIT)
    return statement.limit(limit).offset(clamp(part.offset or 0))
