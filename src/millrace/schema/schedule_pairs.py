"""Which stored schedule a declared one continues: one rule, for the server and for those who deploy to another.

By slug, else an equal one, else the one that it is most like: a schedule whose time was edited is the same schedule.
Where two are as like, the order decides; only slugs tell such schedules apart for sure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from millrace.schema import cron_expression
from millrace.schema.deployments import DeploymentScheduleCreate
from millrace.schema.fields import JsonObject
from millrace.schema.schedules import CronSchedule, IntervalSchedule, Schedule

_DEFAULT_ANCHOR = timedelta(minutes=10)
_PARTS = re.compile(r"[;\s]+")
_MOST = 10_000  # more than what any two schedules share


class Standing(NamedTuple):
    """A stored schedule, as far as it matters for finding it again.

    Attributes:
        schedule: when it fires.
        slug: its name within the deployment, if it has one.
        parameters: of its runs.
        declared: a deployment said it; one that a person added is found by its slug, or by an equal one, alone.
    """

    schedule: Schedule
    slug: str | None
    parameters: JsonObject
    declared: bool = True


def pairs(stored: Sequence[Standing], wanted: Sequence[DeploymentScheduleCreate], now: datetime) -> list[int | None]:
    """For each declared schedule the place of the stored one that it continues; None for a new one.

    Args:
        stored: the schedules of a deployment, in their order.
        wanted: those it declares now.
        now: the current moment.

    Example:
        >>> old = [Standing(CronSchedule(cron=f"0 {hour} * * *"), None, {}) for hour in (9, 17)]
        >>> new = [DeploymentScheduleCreate(schedule=CronSchedule(cron="30 17 * * *"))]
        >>> pairs(old, new, datetime.now().astimezone())
        [1]
    """
    found: list[int | None] = [None] * len(wanted)
    for likeness in (_identity, _kinship):
        ranked = [
            (rank, -index, -place)
            for index, new in enumerate(wanted)
            if found[index] is None
            for place, old in enumerate(stored)
            if place not in found and (rank := likeness(old, new, now)) > 0
        ]
        for _, index, place in sorted(ranked, reverse=True):
            if found[-index] is None and -place not in found:
                found[-index] = -place
    return found


def same(old: Schedule, new: Schedule, now: datetime) -> bool:
    """Whether a schedule fires as a stored one does.

    Prefect's client anchors an interval at the moment of each deployment if nothing else is said. An anchor of just now
    is taken for that: otherwise deploying often would put off the next fire for ever.

    Args:
        old: as it is stored.
        new: as it is declared.
        now: the current moment.
    """
    if old == new:
        return True
    if not (isinstance(new, IntervalSchedule) and isinstance(old, IntervalSchedule)):
        return False
    if (new.interval, new.timezone or "UTC") != (old.interval, old.timezone or "UTC"):
        return False
    return abs(new.anchor_date - now) <= _DEFAULT_ANCHOR


def _identity(old: Standing, new: DeploymentScheduleCreate, now: datetime) -> int:
    """How sure it is that a schedule is a stored one; 0: it is another, or an edited one."""
    if old.slug is not None and old.slug in (new.slug, new.replaces):
        return 3
    if old.slug is not None and new.slug is not None:
        return 0
    return 2 if old.schedule == new.schedule else int(same(old.schedule, new.schedule, now))


def _kinship(old: Standing, new: DeploymentScheduleCreate, now: datetime) -> int:
    """How much a schedule has in common with the stored one that it may be, edited; 0: it cannot be."""
    if not old.declared or (old.slug is not None and new.slug is not None):
        return 0
    kindred = type(old.schedule) is type(new.schedule) and old.parameters == new.parameters
    shared = _marks(old.schedule, old.parameters) & _marks(new.schedule, new.parameters)
    return 1 + len(shared) + (_MOST if kindred else 0)


def _marks(schedule: Schedule, parameters: JsonObject) -> set[tuple[str, str]]:
    """What a schedule is made of, so that two can be compared: an edited one keeps most of it."""
    fields = {**schedule.model_dump(mode="json"), "timezone": schedule.timezone or "UTC"}
    if isinstance(schedule, CronSchedule):
        parts = cron_expression.split(fields.pop("cron"))
        fields |= {f"cron {place}": part for place, part in enumerate(parts)}
    for part in _PARTS.split(fields.pop("rrule", "")):
        fields[f"rrule {part}"] = part
    fields |= {f"parameter {name}": value for name, value in parameters.items()}
    return {(name, json.dumps(value, sort_keys=True)) for name, value in fields.items()}
