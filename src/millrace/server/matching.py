"""Whether an event or a log line fits a filter: for live streams, which see each thing once, as it is stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import translate
from functools import lru_cache
from re import Pattern
from re import compile as compile_pattern
from typing import TypeVar

from millrace.schema.events import (
    RESOURCE_ID,
    RESOURCE_ROLE,
    Event,
    EventAnyResourceFilter,
    EventFilter,
    EventNameFilter,
    EventRelatedFilter,
    EventResourceFilter,
    Resource,
)
from millrace.schema.flows import IdCondition
from millrace.schema.logs import Log, LogFilter

Labels = Mapping[str, str | list[str]]
F = TypeVar("F")


def event_matches(event: Event, wanted: EventFilter) -> bool:
    """Whether an event fits.

    Args:
        event: the event.
        wanted: the filter; its end in time counts only when it was given, because a live stream has none.
    """
    occurred = wanted.occurred
    if event.occurred < occurred.since:
        return False
    if "until" in occurred.model_fields_set and event.occurred > occurred.until:
        return False
    if wanted.id.id and event.id not in wanted.id.id:
        return False
    return (
        (wanted.event is None or _name_matches(event.event, wanted.event))
        and (wanted.resource is None or _resource_matches(event.resource, wanted.resource))
        and all(any(_related_matches(r, f) for r in event.related) for f in _each(wanted.related))
        and all(
            any(_resource_matches(r, f) for r in (event.resource, *event.related)) for f in _each(wanted.any_resource)
        )
        and (wanted.text is None or wanted.text.query.lower() in event.model_dump_json().lower())
    )


def _each(value: F | list[F] | None) -> list[F]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _name_matches(name: str, wanted: EventNameFilter) -> bool:
    if wanted.prefix and not name.startswith(tuple(wanted.prefix)):
        return False
    if wanted.exclude_prefix and name.startswith(tuple(wanted.exclude_prefix)):
        return False
    if wanted.name and name not in wanted.name:
        return False
    return not (wanted.exclude_name and name in wanted.exclude_name)


def _resource_matches(resource: Resource, wanted: EventResourceFilter | EventAnyResourceFilter) -> bool:
    identity = resource.get(RESOURCE_ID, "")
    if wanted.id and identity not in wanted.id:
        return False
    if wanted.id_prefix and not identity.startswith(tuple(wanted.id_prefix)):
        return False
    return _labels_match(resource, wanted.labels)


def _related_matches(resource: Resource, wanted: EventRelatedFilter) -> bool:
    identity, role = resource.get(RESOURCE_ID), resource.get(RESOURCE_ROLE)
    if wanted.id and identity not in wanted.id:
        return False
    if wanted.role and role not in wanted.role:
        return False
    if wanted.resources_in_roles and [identity, role] not in wanted.resources_in_roles:
        return False
    return _labels_match(resource, wanted.labels)


def _labels_match(resource: Resource, labels: Labels | None) -> bool:
    return all(
        _label_matches(resource.get(label), [values] if isinstance(values, str) else values)
        for label, values in (labels or {}).items()
    )


def _label_matches(value: str | None, patterns: Iterable[str]) -> bool:
    for pattern in patterns:
        negated = pattern.startswith("!")
        hit = value is not None and _pattern(pattern.removeprefix("!")).match(value) is not None
        if hit is not negated:
            return True
    return False


@lru_cache(maxsize=256)
def _pattern(text: str) -> Pattern[str]:
    return compile_pattern(translate(text.replace("[", "[[]")))


def log_matches(log: Log, wanted: LogFilter) -> bool:
    """Whether a log line fits.

    Args:
        log: the line.
        wanted: the filter.
    """
    level, moment = wanted.level, wanted.timestamp
    if level is not None and not (
        (level.ge_ is None or log.level >= level.ge_) and (level.le_ is None or log.level <= level.le_)
    ):
        return False
    if moment is not None and not (
        (moment.before_ is None or log.timestamp <= moment.before_)
        and (moment.after_ is None or log.timestamp >= moment.after_)
    ):
        return False
    return _id_matches(log.flow_run_id, wanted.flow_run_id) and _id_matches(log.task_run_id, wanted.task_run_id)


def _id_matches(value: object, wanted: IdCondition | None) -> bool:
    if wanted is None:
        return True
    if wanted.any_ is not None and value not in wanted.any_:
        return False
    if wanted.not_any_ is not None and value in wanted.not_any_:
        return False
    return wanted.is_null_ is None or wanted.is_null_ is (value is None)
