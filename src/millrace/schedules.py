"""When a deployment runs: `Interval`, `Cron` and `RRule`, each with the options of one schedule of a deployment."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from millrace.schema import schedules
from millrace.schema.deployments import DeploymentScheduleCreate


def Interval(
    interval: timedelta | float,
    /,
    anchor_date: datetime | str | None = None,
    timezone: str | None = None,
    active: bool = True,
    parameters: dict[str, Any] | None = None,
    slug: str | None = None,
) -> DeploymentScheduleCreate:
    """Runs every so often.

    Args:
        interval: a timedelta or a number of seconds.
        anchor_date: one of the fires, from which all others are counted: a datetime or its ISO text.
        timezone: an IANA name; whole days keep their local time there.
        active: whether it fires.
        parameters: over the deployment's parameters, for the runs of this schedule.
        slug: a name for it, kept when the deployment is made again.

    Raises:
        ScheduleError: a value cannot be used.

    Example:
        >>> Interval(10).schedule.describe()
        'every 10 seconds'
    """
    schedule = schedules.interval(interval, anchor_date=anchor_date, timezone=timezone)
    return _made(schedule, active, parameters, slug)


def Cron(
    cron: str,
    /,
    timezone: str | None = None,
    day_or: bool = True,
    active: bool = True,
    parameters: dict[str, Any] | None = None,
    slug: str | None = None,
) -> DeploymentScheduleCreate:
    """Runs at the moments of a cron expression of five fields, or `@daily` and its like.

    Args:
        cron: the expression.
        timezone: an IANA name; UTC when not given.
        day_or: with both day fields given, whether either is enough.
        active, parameters, slug: see `Interval`.

    Raises:
        ScheduleError: the expression cannot be used; the message names the field.

    Example:
        >>> Cron("0 9 * * 1-5", timezone="Europe/Oslo").schedule.timezone
        'Europe/Oslo'
    """
    schedule = schedules.cron(cron, timezone, day_or)
    return _made(schedule, active, parameters, slug)


def RRule(
    rrule: str,
    /,
    timezone: str | None = None,
    active: bool = True,
    parameters: dict[str, Any] | None = None,
    slug: str | None = None,
) -> DeploymentScheduleCreate:
    """Runs by an iCalendar recurrence (RFC 5545).

    Args:
        rrule: the recurrence, such as `FREQ=WEEKLY;BYDAY=MO;BYHOUR=9`.
        timezone: an IANA name; UTC when not given.
        active, parameters, slug: see `Interval`.

    Raises:
        ScheduleError: the recurrence cannot be used.

    Example:
        >>> RRule("FREQ=DAILY;BYHOUR=6").active
        True
    """
    schedule = schedules.rrule(rrule, timezone)
    return _made(schedule, active, parameters, slug)


def _made(schedule: Any, active: bool, parameters: dict[str, Any] | None, slug: str | None) -> DeploymentScheduleCreate:
    said: dict[str, Any] = (
        {} if active else {"active": False}
    )  # that it fires is the default, which does not wake one that rests
    return DeploymentScheduleCreate(schedule=schedule, parameters=parameters or {}, slug=slug, **said)
