"""A second opinion on cron schedules, found by walking every minute of a window.

It shares no code with `millrace.schema`: its own field matcher, its own way to the rule for days of change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from millrace.schema import schedules

MINUTE = timedelta(minutes=1)

QUIRKS = [
    "Europe/Oslo",
    "America/New_York",
    "Australia/Lord_Howe",  # half an hour
    "Africa/Casablanca",  # twice a year around Ramadan
    "Africa/Cairo",  # at midnight
    "Asia/Beirut",  # at midnight
    "America/Havana",  # 01:00 back to 00:00
    "America/Santiago",  # 24:00 back to 23:00
    "Atlantic/Azores",
    "America/Scoresbysund",
    "Antarctica/Troll",  # two hours
    "Pacific/Chatham",  # 02:45
    "Europe/Dublin",  # negative summer time
    "Asia/Kathmandu",
]

HISTORY = [
    ("America/Sao_Paulo", datetime(2017, 10, 15, 3, tzinfo=UTC)),  # gap at midnight
    ("America/Sao_Paulo", datetime(2018, 2, 18, 2, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC)),  # a whole day left out
    ("Pacific/Kwajalein", datetime(1993, 8, 21, 12, tzinfo=UTC)),  # likewise
    ("America/Caracas", datetime(2016, 5, 1, 7, tzinfo=UTC)),  # half an hour, for good
    ("America/Caracas", datetime(2007, 12, 9, 7, tzinfo=UTC)),
    ("Asia/Pyongyang", datetime(2015, 8, 14, 15, tzinfo=UTC)),
    ("Pacific/Norfolk", datetime(2015, 10, 3, 15, tzinfo=UTC)),
    ("Asia/Tehran", datetime(2022, 3, 21, 20, tzinfo=UTC)),
    ("Europe/Istanbul", datetime(2016, 3, 27, 1, tzinfo=UTC)),
]

SPECS = [
    "* * * * *",
    "*/30 * * * *",
    "*/20 * * * *",
    "7,37 */1 * * *",
    "0 * * * *",
    "15 */2 * * *",
    "0 */6 * * *",
    "0 0-23 * * *",
    "30 2 * * *",
    "15 1 * * *",
    "0 0 * * *",
    "30 0,23 * * *",
    "0 1-5 * * *",
    "*/10 2 * * *",
    "*/7 0-3 * * *",
    "5 3 * * 0",
    "0 2 27-31 3,10 *",
    "59 23 * * *",
]


def numbers(field: str, low: int, high: int) -> set[int]:
    """The numbers of one field; lists, ranges and steps only."""
    found: set[int] = set()
    for term in field.split(","):
        body, _, step = term.partition("/")
        first, _, last = body.partition("-")
        bounds = (low, high) if body == "*" else (int(first), int(last or (high if step else first)))
        found |= set(range(bounds[0], bounds[1] + 1, int(step or 1)))
    return found


def matcher(spec: str) -> Callable[[datetime], bool]:
    """Whether a naive minute matches an expression."""
    fields = spec.split()
    minutes, hours = numbers(fields[0], 0, 59), numbers(fields[1], 0, 23)
    days, months = numbers(fields[2], 1, 31), numbers(fields[3], 1, 12)
    weekdays = {number % 7 for number in numbers(fields[4], 0, 7)}
    both = fields[2] == "*" or fields[4] == "*"

    def matches(t: datetime) -> bool:
        if t.minute not in minutes or t.hour not in hours or t.month not in months:
            return False
        of_month, of_week = t.day in days, (t.weekday() + 1) % 7 in weekdays
        return (of_month and of_week) if both else (of_month or of_week)

    return matches


@lru_cache(maxsize=4)
def readings(zone: str, start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """Every minute of a window, and what the clock on the wall reads then."""
    tz, count = ZoneInfo(zone), (end - start) // MINUTE
    moments = [start + number * MINUTE for number in range(count + 1)]
    return [(moment, moment.astimezone(tz).replace(tzinfo=None)) for moment in moments]


def scan(spec: str, zone: str, start: datetime, end: datetime) -> list[datetime]:
    """The fires in (start, end], minute by minute. `start` must be days away from a change of clocks."""
    matches = matcher(spec)
    hour = spec.split()[1]
    open_hour = hour in ("*", "*/1", "0-23") or (hour.startswith("*/") and int(hour[2:]) < 24)
    clock = readings(zone, start, end)
    fires, (_, before) = [], clock[0]
    highest = before
    for moment, local in clock[1:]:
        if open_hour:
            fired = matches(local) or (local > before + MINUTE and _leaves_a_hole(matches, before + MINUTE, local))
        else:  # whatever the clock has not shown yet, and shows or leaves behind now
            fired = local > highest and any(matches(t) for t in _minutes(highest + MINUTE, local))
        if fired:
            fires.append(moment)
        before, highest = local, max(highest, local)
    return fires


def _minutes(first: datetime, last: datetime) -> Iterator[datetime]:
    while first <= last:
        yield first
        first += MINUTE


def _leaves_a_hole(matches: Callable[[datetime], bool], gap_start: datetime, gap_end: datetime) -> bool:
    """Whether a skipped match has no match in the time in which, without the gap, it would have come."""
    length = gap_end - gap_start
    skipped = [t for t in _minutes(gap_start, gap_end - MINUTE) if matches(t)]
    return any(not any(matches(x) for x in _minutes(gap_end, t + length)) for t in skipped)


def transitions(zone: str, first: int = 2024, last: int = 2037) -> list[datetime]:
    """The instants, to the minute, at which the offset of a zone changes."""
    tz, step = ZoneInfo(zone), timedelta(hours=12)
    moment, found = datetime(first, 1, 1, tzinfo=UTC), []
    while moment.year <= last:
        after = moment + step
        if moment.astimezone(tz).utcoffset() != after.astimezone(tz).utcoffset():
            low, high = moment, after
            while high - low > MINUTE:
                middle = low + (high - low) // MINUTE // 2 * MINUTE
                same = middle.astimezone(tz).utcoffset() == moment.astimezone(tz).utcoffset()
                low, high = (middle, high) if same else (low, middle)
            found.append(high)
        moment = after
    return found


class Table(NamedTuple):
    """What a zone's clock does from 2023 to 2038: zones of one table read the same at every minute between.

    Attributes:
        first: the offset from UTC at the start of 2023.
        changes: each change of it, and the offset from then on.
    """

    first: timedelta | None
    changes: tuple[tuple[datetime, timedelta | None], ...]


def table(zone: str) -> Table:
    """The table of a zone."""
    tz = ZoneInfo(zone)
    changes = tuple((moment, moment.astimezone(tz).utcoffset()) for moment in transitions(zone, 2023, 2038))
    return Table(datetime(2023, 1, 1, tzinfo=UTC).astimezone(tz).utcoffset(), changes)


def differences(zone: str, around: datetime, spec: str, reach: timedelta = timedelta(hours=28)) -> str | None:
    """What we say and what the scan says around a moment, where the two differ."""
    start, end = around - reach, around + reach
    ours, theirs = schedules.cron(spec, zone).occurrences(start, end), scan(spec, zone, start, end)
    if ours == theirs:
        return None
    odd = sorted(set(ours) ^ set(theirs))[:4]
    sides = [f"{'ours' if t in ours else 'oracle'} {t:%F %R}Z = {t.astimezone(ZoneInfo(zone)):%F %R %z}" for t in odd]
    return f"{spec} in {zone}: {'; '.join(sides)}"
