"""Recurrences: the text of an iCalendar recurrence, with its start, its rules and its exceptions."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache

from millrace.errors import ScheduleError
from millrace.schema.recurrence_rule import SUB_DAILY, Rule, never_fires, read
from millrace.schema.wall_clock import wall, zone

MAX_LENGTH = 6500
"""The longest text, in characters: the limit of the Prefect server."""

DEFAULT_START = datetime(2020, 1, 1)
"""Where a recurrence without DTSTART begins, on the clock of its zone: fixed, so that it is a pure function."""

_LINE = re.compile(r"(?P<name>[A-Z]+)(?P<parameters>(?:;[A-Z-]+=[^:;]+)*):(?P<value>.+)", re.IGNORECASE | re.DOTALL)
_MOMENT = re.compile(r"([0-9]{8})(?:T([0-9]{6})(Z?))?", re.IGNORECASE)
_MAX_EXCLUDED = 10_000
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class Recurrence:
    """The local times of one recurrence.

    Attributes:
        rules, exceptions: what it includes, and what it leaves out again.
        dates, excluded: single times to include (sorted) and to leave out.
        clock: the zone on whose clock these naive times are read.
        elapsed: whether it follows elapsed time (see `wall_clock`); otherwise each local time happens once.
    """

    rules: tuple[Rule, ...]
    exceptions: tuple[Rule, ...]
    dates: tuple[datetime, ...]
    excluded: frozenset[datetime]
    clock: tzinfo
    elapsed: bool

    def after(self, moment: datetime) -> datetime | None:
        """The first time strictly after a moment (both naive); None at the end.

        Raises:
            ScheduleError: the exceptions leave out too many times in a row.
        """
        for _ in range(_MAX_EXCLUDED):
            index = bisect_right(self.dates, moment)
            single = self.dates[index : index + 1]
            found = [time for rule in self.rules if (time := rule.after(moment)) is not None]
            if not found and not single:
                return None
            moment = min((*found, *single))
            if moment not in self.excluded and not any(r.after(moment - _SECOND) == moment for r in self.exceptions):
                return moment
        raise ScheduleError(f"rrule: its exceptions leave out {_MAX_EXCLUDED} times in a row")


@lru_cache(maxsize=4096)
def parse(text: str, timezone: str | None) -> Recurrence:
    """Reads a recurrence.

    Args:
        text: lines DTSTART, RRULE, EXRULE, RDATE and EXDATE, or one bare `FREQ=…`.
        timezone: the zone in which times without a zone of their own are read; None is UTC.

    Raises:
        ScheduleError: the part that cannot be used, or that it never fires.

    Example:
        >>> parse("FREQ=WEEKLY;BYDAY=MO;BYHOUR=9", "Europe/Oslo").after(datetime(2026, 11, 21))
        datetime.datetime(2026, 11, 23, 9, 0)
    """
    if len(text) > MAX_LENGTH:
        raise ScheduleError(f"rrule: the text has at most {MAX_LENGTH} characters, this one {len(text)}")
    zone_of_text = time_zone_of(text)
    if zone_of_text is not None and zone_of_text != (timezone or "UTC"):
        raise ScheduleError(
            f"rrule: TZID={zone_of_text} differs from timezone {timezone or 'UTC'!r}; give timezone={zone_of_text!r}"
        )
    home = zone(timezone)
    lines = list(_lines(text))
    repeated = [value.upper() for name, value in lines if name in ("RRULE", "EXRULE")]
    if not any(name in ("RRULE", "RDATE") for name, _ in lines):
        raise ScheduleError("rrule: there is no rule; write for example FREQ=DAILY;BYHOUR=9")
    sub_daily = bool(repeated) and all(_frequency(value) in SUB_DAILY for value in repeated)
    # Steps within the day that look at no local hour or date are counted in elapsed time, which is what UTC shows.
    clock = UTC if sub_daily and not any(re.search(r"(^|;)BY", value) for value in repeated) else home
    start = _start(lines, home, clock)
    rules = tuple(_rule(value, start, home, clock) for name, value in lines if name == "RRULE")
    recurrence = Recurrence(
        rules=rules,
        exceptions=tuple(_rule(value, start, home, clock) for name, value in lines if name == "EXRULE"),
        dates=tuple(sorted(_moments(lines, "RDATE", home, clock))),
        excluded=frozenset(_moments(lines, "EXDATE", home, clock)),
        clock=clock,
        elapsed=sub_daily,
    )
    if not recurrence.dates and all(never_fires(rule) for rule in rules):
        raise ScheduleError(f"rrule: {text!r} never fires")
    first = min((*recurrence.dates, *(rule.start for rule in rules)))
    if (recurrence.exceptions or recurrence.excluded) and recurrence.after(first - _SECOND) is None:
        raise ScheduleError(f"rrule: {text!r} never fires: its exceptions leave out every time")
    return recurrence


def time_zone_of(text: str) -> str | None:
    """The one TZID that the lines of a recurrence name; None where they name none.

    Raises:
        ScheduleError: they name several.
    """
    found = set(re.findall(r";TZID=([^:;\s]+)", text, re.IGNORECASE))
    if len(found) > 1:
        raise ScheduleError(f"rrule: the times are in several zones ({', '.join(sorted(found))}); use one")
    return next(iter(found), None)


def _lines(text: str) -> Iterator[tuple[str, str]]:
    words = text.split()
    for word in words:
        match = _LINE.fullmatch(word)
        name = match["name"].upper() if match else "RRULE"
        if name not in ("DTSTART", "RRULE", "EXRULE", "RDATE", "EXDATE") or (not match and "=" not in word):
            raise ScheduleError(
                f"rrule: {word[:80]!r} is not understood; the lines are DTSTART, RRULE, EXRULE, RDATE and EXDATE"
            )
        yield name, match["value"] if match else word


def _frequency(rule: str) -> str:
    match = re.search(r"(?:^|;)FREQ=([A-Z]+)", rule)
    return match[1] if match else ""


def _start(lines: list[tuple[str, str]], home: tzinfo, clock: tzinfo) -> datetime:
    starts = set(_moments(lines, "DTSTART", home, clock))
    if len(starts) > 1:
        raise ScheduleError("rrule: there are several DTSTART; give one")
    return starts.pop() if starts else _on(clock, DEFAULT_START, home)


def _rule(value: str, start: datetime, home: tzinfo, clock: tzinfo) -> Rule:
    until = re.search(r"(?:^|;)UNTIL=([^;]*)", value, re.IGNORECASE)
    return read(value, start, _moment(until[1], home, clock) if until else None)


def _moments(lines: list[tuple[str, str]], wanted: str, home: tzinfo, clock: tzinfo) -> Iterator[datetime]:
    for name, value in lines:
        if name == wanted:
            for part in value.split(","):
                yield _moment(part, home, clock)


def _moment(text: str, home: tzinfo, clock: tzinfo) -> datetime:
    match = _MOMENT.fullmatch(text)
    try:
        if not match:
            raise ValueError(text)
        naive = datetime.strptime(match[1] + (match[2] or "000000"), "%Y%m%d%H%M%S")
        return _on(clock, naive, UTC if match[3] else home)
    except (ValueError, OverflowError):
        raise ScheduleError(f"rrule: {text[:40]!r} is not a time; write 20260131T090000, with Z for UTC") from None


def _on(clock: tzinfo, naive: datetime, home: tzinfo) -> datetime:
    """What one clock reads when another reads `naive`."""
    return naive if clock is home else wall(naive.replace(tzinfo=home), clock)
