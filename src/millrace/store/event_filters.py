"""The filter over events as SQL."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Text, and_, cast, false, literal, or_, select, true

from millrace.schema.events import (
    RESOURCE_ID,
    RESOURCE_ROLE,
    EventAnyResourceFilter,
    EventFilter,
    EventNameFilter,
    EventRelatedFilter,
)
from millrace.store.columns import contains, items, member
from millrace.store.conditions import Condition, Parts
from millrace.store.tables import events

Labels = dict[str, str | list[str]]


def condition(filter: EventFilter) -> Condition:
    """What an event must be."""
    occurred = events.c.occurred
    parts: Parts = [occurred >= filter.occurred.since, occurred <= filter.occurred.until]
    if filter.event is not None:
        parts.append(_name(filter.event))
    if filter.resource is not None:
        wanted = filter.resource
        parts.append(_thing(events.c.resource_id, events.c.resource, wanted.id, wanted.id_prefix, wanted.labels))
    for related in _list(filter.related):
        parts.append(_related(related))
    for either in _list(filter.any_resource):
        parts.append(_any_resource(either))
    if filter.id.id:
        parts.append(events.c.id.in_(filter.id.id))
    if filter.text is not None:
        columns = (events.c.event, cast(events.c.resource, Text), cast(events.c.related, Text), events.c.payload)
        for word in filter.text.query.split():
            parts.append(or_(*(contains(cast(column, Text), word) for column in columns)))
    return and_(*parts)


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _starts(column: ColumnElement[Any], prefixes: list[str]) -> Condition:
    return or_(false(), *(column.startswith(prefix, autoescape=True) for prefix in prefixes))


def _name(filter: EventNameFilter) -> Condition:
    parts: Parts = []
    if filter.prefix or filter.name:
        parts.append(or_(_starts(events.c.event, filter.prefix or []), events.c.event.in_(filter.name or [])))
    if filter.exclude_prefix:
        parts.append(~_starts(events.c.event, filter.exclude_prefix))
    if filter.exclude_name:
        parts.append(events.c.event.not_in(filter.exclude_name))
    return and_(true(), *parts)


def _thing(
    name: ColumnElement[Any],
    whole: ColumnElement[Any],
    ids: list[str] | None,
    prefixes: list[str] | None,
    labels: Labels | None,
) -> Condition:
    """On one resource: its id is one of these or begins so, and its labels are these."""
    parts: Parts = []
    if ids or prefixes:
        parts.append(or_(name.in_(ids or []), _starts(name, prefixes or [])))
    for key, wanted in (labels or {}).items():
        parts.append(_label(member(whole, key), _list(wanted)))
    return and_(true(), *parts)


def _label(value: ColumnElement[Any], wanted: list[str]) -> Condition:
    """A value is one of several; a star at the end stands for anything, an exclamation mark excludes."""
    allowed = [_value(value, text) for text in wanted if not text.startswith("!")]
    barred = [~_value(value, text[1:]) for text in wanted if text.startswith("!")]
    return and_(or_(*allowed) if allowed else true(), *barred)


def _value(value: ColumnElement[Any], text: str) -> Condition:
    if text == "*":
        return value.is_not(None)
    if text.endswith("*"):
        return value.startswith(text[:-1], autoescape=True)
    return value == text


def _some(table: Any, *parts: Condition) -> Condition:
    found: Condition = select(literal(1)).select_from(table).where(and_(true(), *parts)).exists()
    return found


def _related(filter: EventRelatedFilter) -> Condition:
    table = items(events.c.related)
    whole = table.c.value
    parts: Parts = [_thing(member(whole, RESOURCE_ID), whole, filter.id, None, filter.labels)]
    if filter.role:
        parts.append(member(whole, RESOURCE_ROLE).in_(filter.role))
    found = [_some(table, *parts)]
    for pair in filter.resources_in_roles or []:
        other = items(events.c.related)
        keys = (RESOURCE_ID, RESOURCE_ROLE)
        matches = [member(other.c.value, key) == str(value) for key, value in zip(keys, pair, strict=False)]
        found.append(_some(other, *matches))
    return and_(*found)


def _any_resource(filter: EventAnyResourceFilter) -> Condition:
    table = items(events.c.related)
    whole = table.c.value
    return or_(
        _thing(events.c.resource_id, events.c.resource, filter.id, filter.id_prefix, filter.labels),
        _some(table, _thing(member(whole, RESOURCE_ID), whole, filter.id, filter.id_prefix, filter.labels)),
    )
