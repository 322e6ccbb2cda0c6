"""The schedules of a deployment, from the arguments people give."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from pydantic import TypeAdapter, ValidationError

from millrace.errors import InvalidInput, ScheduleError
from millrace.schema import schedule_words
from millrace.schema import schedules as kinds
from millrace.schema.deployments import DeploymentScheduleCreate

_SCHEDULE: TypeAdapter[Any] = TypeAdapter(kinds.Schedule)
_OPTIONS = {"active", "parameters", "slug", "replaces", "max_scheduled_runs"}


def schedules_from(
    interval: Iterable[float | timedelta] | float | timedelta | None = None,
    cron: Iterable[str] | str | None = None,
    rrule: Iterable[str] | str | None = None,
    schedule: Any = None,
    schedules: Iterable[Any] | None = None,
    *,
    anchor_date: datetime | str | None = None,
    timezone: str | None = None,
) -> list[DeploymentScheduleCreate]:
    """The schedules that one of five arguments describes; none where none is given.

    Args:
        interval: seconds or a timedelta, or several.
        cron: a cron expression, or several.
        rrule: a recurrence, or several.
        schedule: one schedule.
        schedules: several of any kind, such as `Interval(…)` and `Cron(…)`.
        anchor_date: one of the fires of `interval`.
        timezone: the zone of `interval`, `cron` or `rrule`.

    Raises:
        InvalidInput: two of the five are given, or an option fits none of them.
        ScheduleError: one cannot be used.

    Example:
        >>> [s.schedule.describe() for s in schedules_from(interval=10)]
        ['every 10 seconds']
    """
    five = {"interval": interval, "cron": cron, "rrule": rrule, "schedule": schedule, "schedules": schedules}
    given = [name for name, value in five.items() if value is not None]
    if len(given) > 1:
        raise InvalidInput(
            f"Only one of interval, cron, rrule, schedule or schedules can be provided, not {' and '.join(given)}. "
            "Give several kinds as schedules=[Interval(…), Cron(…)]."
        )
    if anchor_date is not None and interval is None:
        raise InvalidInput("anchor_date belongs to interval, which is not given.")
    if timezone is not None and given not in (["interval"], ["cron"], ["rrule"]):
        raise InvalidInput("timezone belongs to interval, cron or rrule; a schedule object has its own.")
    makers: dict[str, Callable[[Any], Any]] = {
        "interval": lambda value: kinds.interval(value, anchor_date=anchor_date, timezone=timezone),
        "cron": lambda value: kinds.cron(value, timezone),
        "rrule": lambda value: kinds.rrule(value, timezone),
    }
    for name, make in makers.items():
        if five[name] is not None:
            return [DeploymentScheduleCreate(schedule=make(value)) for value in _several(five[name])]
    return _told_apart([_one(value) for value in ([schedule] if schedule is not None else schedules or [])])


def _told_apart(found: list[DeploymentScheduleCreate]) -> list[DeploymentScheduleCreate]:
    slugs = [one.slug for one in found if one.slug is not None]
    if twice := next((slug for slug in slugs if slugs.count(slug) > 1), None):
        raise ScheduleError(f"Two of the schedules have the slug {twice!r}. Give each its own, or none.")
    return found


def _of_mapping(given: dict[str, Any]) -> DeploymentScheduleCreate:
    """`{"schedule": {"cron": …}, "active": …}`, or shorter `{"cron": …, "active": …}`."""
    if "schedule" in given:
        timing, given = given["schedule"], {key: one for key, one in given.items() if key != "schedule"}
    else:
        timing = {key: one for key, one in given.items() if key not in _OPTIONS}
        given = {key: one for key, one in given.items() if key in _OPTIONS}
    if unknown := sorted(set(given) - _OPTIONS):
        raise ScheduleError(
            f"A schedule has no option {unknown[0]!r}; there are {', '.join(sorted(_OPTIONS))} beside cron, interval "
            "or rrule and what belongs to these."
        )
    return DeploymentScheduleCreate(schedule=_SCHEDULE.validate_python(timing), **given)


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]


def _one(value: Any) -> DeploymentScheduleCreate:
    if isinstance(value, DeploymentScheduleCreate):
        return value
    try:
        if isinstance(value, Mapping):
            return _of_mapping(dict(value))
        return DeploymentScheduleCreate(schedule=_SCHEDULE.validate_python(value))
    except ValidationError as error:
        said = schedule_words.problems(error)
        raise ScheduleError(
            f"{value!r} is no schedule: {said}{'' if said.endswith(('.', '?')) else '.'} "
            "Give Interval(…), Cron(…) or RRule(…)."
        ) from None
