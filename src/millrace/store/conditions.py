"""The conditions of filters as SQL: on an id, a text, a moment, tags."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import ColumnElement, String, and_, cast, false, not_, or_, true

from millrace.schema.flows import (
    BoolCondition,
    Filter,
    IdCondition,
    NumberCondition,
    Operator,
    TagsCondition,
    TextCondition,
    TimeCondition,
)
from millrace.store.columns import any_item, contains

Condition = ColumnElement[bool]
Parts = list[Condition]


def combined(parts: Iterable[Condition | None], operator: Operator = Operator.AND) -> Condition:
    """Several conditions as one; without any, everything matches."""
    present = [part for part in parts if part is not None]
    if not present:
        return true()
    return or_(*present) if operator is Operator.OR else and_(*present)


def null(column: ColumnElement[Any], wanted: bool) -> Condition:
    """Whether there is no value, or that there is one."""
    return column.is_(None) if wanted else column.is_not(None)


def ids(column: ColumnElement[Any], condition: IdCondition | None) -> Condition | None:
    """On an id."""
    if condition is None:
        return None
    parts: Parts = []
    if condition.any_ is not None:
        parts.append(column.in_(condition.any_))
    if condition.not_any_ is not None:
        parts.append(column.not_in(condition.not_any_))
    if condition.is_null_ is not None:
        parts.append(null(column, condition.is_null_))
    return combined(parts, condition.operator)


def text(column: ColumnElement[Any], condition: TextCondition | None) -> Condition | None:
    """On a text."""
    if condition is None:
        return None
    parts: Parts = []
    if condition.any_ is not None:
        parts.append(column.in_(condition.any_))
    if condition.not_any_ is not None:
        parts.append(column.not_in(condition.not_any_))
    if condition.like_ is not None:
        parts.append(contains(column, condition.like_))
    if condition.startswith_ is not None:
        parts.append(or_(false(), *(column.startswith(part, autoescape=True) for part in condition.startswith_)))
    if condition.is_null_ is not None:
        parts.append(null(column, condition.is_null_))
    if condition.exists_ is not None:
        parts.append(null(column, not condition.exists_))
    return combined(parts, condition.operator)


def tags(column: ColumnElement[Any], condition: TagsCondition | None) -> Condition | None:
    """On tags."""
    if condition is None:
        return None
    parts: Parts = []
    if condition.all_ is not None:
        parts.append(and_(true(), *(any_item(column, [tag]) for tag in condition.all_)))
    if condition.any_ is not None:
        parts.append(any_item(column, condition.any_))
    if condition.is_null_ is not None:
        empty = cast(column, String) == "[]"
        parts.append(empty if condition.is_null_ else not_(empty))
    return combined(parts, condition.operator)


def moment(column: ColumnElement[Any], condition: TimeCondition | None) -> Condition | None:
    """On a moment."""
    if condition is None:
        return None
    parts: Parts = []
    if condition.before_ is not None:
        parts.append(column <= condition.before_)
    if condition.after_ is not None:
        parts.append(column >= condition.after_)
    if condition.is_null_ is not None:
        parts.append(null(column, condition.is_null_))
    return combined(parts)


def switch(column: ColumnElement[Any], condition: BoolCondition | None) -> Condition | None:
    """On a switch, or on whether there is a value."""
    if condition is None:
        return None
    parts: Parts = []
    if condition.eq_ is not None:
        parts.append(column.is_(condition.eq_))
    if condition.exists_ is not None:
        parts.append(null(column, not condition.exists_))
    return combined(parts)


def number(column: ColumnElement[Any], condition: NumberCondition | None) -> Condition | None:
    """On a number."""
    if condition is None:
        return None
    parts: Parts = []
    if condition.ge_ is not None:
        parts.append(column >= condition.ge_)
    if condition.le_ is not None:
        parts.append(column <= condition.le_)
    if condition.is_null_ is not None:
        parts.append(null(column, condition.is_null_))
    return combined(parts)


def all_of(filter: Filter | None, *parts: Callable[[Any], Condition | None]) -> Condition | None:
    """The conditions of one filter, combined as it says; None without a filter.

    Args:
        filter: what a client sent.
        parts: each makes one condition of it.
    """
    if filter is None:
        return None
    return combined([part(filter) for part in parts], filter.operator)
