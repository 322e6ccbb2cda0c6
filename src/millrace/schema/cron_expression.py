"""Cron expressions: five fields to a set of local times, with errors that name the field.

The dialect is that of croniter, which the Prefect server uses, so an expression means the same days on both: `,` `-`
`/` and names, ranges that wrap (`22-2`), `L` for the last day of the month, `5#2` for the second Friday, `L5` for the
last one. Three oddities of croniter 7 are left out: there `5-5` is the whole field, a step in a range that wraps starts
anew behind the wrap, and `5#2` beside a day of the month means both whatever `day_or` says.
"""

from __future__ import annotations

import calendar
import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache

from millrace.errors import ScheduleError

ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES, 1)}
_DAYS = {"sun": 0, "mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6}
_TERM = re.compile(r"(?P<all>[*?])|(?P<low>\w+)(?:-(?P<high>\w+))?", re.ASCII)
_MAX_LENGTH = 1000
# The rarest expression is 29 February on one day of the week: forty years around a century without a leap day.
_HORIZON_YEARS = 41


@dataclass(frozen=True, slots=True)
class Field:
    """One of the five fields: its name in errors, its bounds (both inclusive) and its names for numbers."""

    name: str
    low: int
    high: int
    names: dict[str, int]

    def number(self, text: str) -> int:
        """The number a word of this field stands for."""
        if text in self.names:
            return self.names[text]
        if not (text.isascii() and text.isdigit()):
            raise ScheduleError(f"{self.name}: {text!r} is not understood.{_hint(text)}")
        value = int(text[:9])
        top = 7 if self.names is _DAYS else self.high  # 0 and 7 are both Sunday
        if not self.low <= value <= top:
            raise ScheduleError(f"{self.name}: {text} is outside {self.low}–{top}")
        return value

    def values(self, text: str) -> set[int]:
        """The numbers one field stands for.

        Raises:
            ScheduleError: with the name of the field.
        """
        found: set[int] = set()
        for term in text.split(","):
            found.update(self._term(term))
        return found

    def _term(self, term: str) -> Iterator[int]:
        body, slash, step_text = term.partition("/")
        step = 1
        if slash:
            if not (step_text.isascii() and step_text.isdigit()) or int(step_text[:9]) == 0:
                raise ScheduleError(f"{self.name}: the step in {term!r} must be a whole number above 0")
            step = int(step_text[:9])
        match = _TERM.fullmatch(body)
        if not match or (body == "?" and self.name not in ("day of month", "day of week")):
            raise ScheduleError(f"{self.name}: {term!r} is not understood.{_hint(body)}")
        if match["all"]:
            low, high = self.low, self.high
        else:
            low = self.number(match["low"])
            high = self.number(match["high"]) if match["high"] else self.high if slash else low
        span = self.high - self.low + 1
        if high < low:
            high += span  # 22-2 is 22, 23, 0, 1, 2
        return ((value - self.low) % span + self.low for value in range(low, high + 1, step))


MINUTE = Field("minute", 0, 59, {})
HOUR = Field("hour", 0, 23, {})
DAY = Field("day of month", 1, 31, {})
MONTH = Field("month", 1, 12, _MONTHS)
WEEKDAY = Field("day of week", 0, 6, _DAYS)


def _hint(text: str) -> str:
    word = text.lower()
    if re.match(r"[rh](\(|$)", word):
        return " Random and hashed fields are not supported: write the number."
    if word.endswith("w"):
        return " Nearest-weekday (W) is not supported."
    if re.fullmatch(r"[0-7]l", word):
        return f" The last such day of the month is written L{word[0]}."
    if not word:
        return " There is an empty part: look for a comma, dash or slash too many."
    return " Use numbers, names such as mon or jan, and * , - /"


@dataclass(frozen=True, slots=True)
class CronTimes:
    """The local times of one expression.

    Attributes:
        minutes, hours, months: the numbers that match, sorted.
        days: the days of the month that match; 0 stands for the last one.
        weekdays: pairs of day (Sunday is 0) and its turn in the month: 0 for each, 1 to 5, or -1 for the last.
        either: a day matches when day of month or day of week does, rather than both.
        wildcard: the hour field leaves the hour open, so the schedule follows elapsed time.
    """

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    months: tuple[int, ...]
    days: frozenset[int]
    weekdays: frozenset[tuple[int, int]]
    either: bool
    wildcard: bool

    def matches(self, day: date) -> bool:
        """Whether the days of this expression include a date (its month aside)."""
        number, weekday, turn = day.day, day.isoweekday() % 7, (day.day + 6) // 7
        length = calendar.monthrange(day.year, day.month)[1] if number > 21 else 31
        by_number = number in self.days or (0 in self.days and number == length)
        if by_number is self.either:
            return by_number
        wanted = self.weekdays
        return (weekday, 0) in wanted or (weekday, turn) in wanted or (number + 7 > length and (weekday, -1) in wanted)

    def after(self, moment: datetime) -> datetime | None:
        """The first local time strictly after a local time (both naive); None if there is none within 41 years."""
        start = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
        day = start.date()
        if day.month in self.months and self.matches(day):
            found = self._on(start)
            if found is not None:
                return found
        last = min(day.year + _HORIZON_YEARS, date.max.year - 1)
        next_day = self._day_after(day, last)
        return datetime.combine(next_day, time(self.hours[0], self.minutes[0])) if next_day else None

    def _on(self, start: datetime) -> datetime | None:
        """The first time at or after `start` on its own day."""
        index = bisect_left(self.hours, start.hour)
        if index < len(self.hours) and self.hours[index] == start.hour:
            minute = bisect_left(self.minutes, start.minute)
            if minute < len(self.minutes):
                return start.replace(minute=self.minutes[minute])
            index += 1
        return start.replace(hour=self.hours[index], minute=self.minutes[0]) if index < len(self.hours) else None

    def _day_after(self, day: date, last_year: int) -> date | None:
        day += timedelta(days=1)
        while day.year <= last_year:
            if day.month not in self.months:
                day = (day.replace(day=1) + timedelta(days=31)).replace(day=1)
            elif self.matches(day):
                return day
            else:
                day += timedelta(days=1)
        return None


@lru_cache(maxsize=4096)
def parse(expression: str, day_or: bool = True) -> CronTimes:
    """Reads a cron expression of five fields, or an alias such as `@daily`.

    Args:
        expression: minute, hour, day of month, month, day of week.
        day_or: where both kinds of day are given, either may match (as cron does) instead of both.

    Raises:
        ScheduleError: the message names the field, or says that the expression never fires.

    Example:
        >>> parse("0 9 * * mon-fri").after(datetime(2026, 11, 21))
        datetime.datetime(2026, 11, 23, 9, 0)
    """
    fields = split(expression)
    minute, hour, day, month, weekday = fields
    days = _days(day)
    weekdays = _weekdays(weekday)
    hours = HOUR.values(hour)
    any_day, any_weekday = set(range(1, 32)) <= days, {(number, 0) for number in range(7)} <= weekdays
    times = CronTimes(
        minutes=tuple(sorted(MINUTE.values(minute))),
        hours=tuple(sorted(hours)),
        months=tuple(sorted(MONTH.values(month))),
        days=frozenset(days),
        weekdays=frozenset(weekdays),
        either=day_or and not any_day and not any_weekday,
        # One hour a day is a fixed time however it is written (*/24); all 24 are a wildcard however they are (0-23).
        wildcard=len(hours) == 24 or (hour.startswith("*") and len(hours) > 1),
    )
    # From a year whose next forty hold a skipped leap day as well as kept ones: the answer is the same for every start.
    if times.after(datetime(2080, 1, 1)) is None:
        raise ScheduleError(f"cron: {expression!r} never fires: no month has such a day")
    return times


def split(expression: str) -> list[str]:
    """The five fields of an expression, in lower case, an alias spelt out.

    Raises:
        ScheduleError: an unknown alias, or not five fields.
    """
    text = expression.strip().lower()
    if len(text) > _MAX_LENGTH:
        raise ScheduleError(f"cron: an expression has at most {_MAX_LENGTH} characters, this one {len(text)}")
    if text.startswith("@"):
        if text not in ALIASES:
            raise ScheduleError(f"cron: {expression!r} is not known; the aliases are {', '.join(ALIASES)}")
        text = ALIASES[text]
    fields = text.split()
    if len(fields) in (6, 7):
        raise ScheduleError(
            f"cron: {expression!r} has {len(fields)} fields; seconds and years are not supported. "
            "Write five fields: minute, hour, day of month, month, day of week; for seconds use an interval"
        )
    if len(fields) != 5:
        raise ScheduleError(
            f"cron: {expression!r} has {len(fields)} field{'' if len(fields) == 1 else 's'}; "
            "write five: minute, hour, day of month, month, day of week, such as '0 9 * * 1-5'"
        )
    return fields


def _days(text: str) -> set[int]:
    parts = text.split(",")
    plain = [part for part in parts if part != "l"]
    return ({0} if len(plain) < len(parts) else set()) | (DAY.values(",".join(plain)) if plain else set())


def _weekdays(text: str) -> set[tuple[int, int]]:
    found: set[tuple[int, int]] = set()
    for part in text.split(","):
        word, hash_sign, turn = part.partition("#")
        if hash_sign:
            if turn not in ("1", "2", "3", "4", "5"):
                raise ScheduleError(f"day of week: {part!r}: the number after # is 1 to 5")
            found.add((WEEKDAY.number(word) % 7, int(turn)))
        elif re.fullmatch(r"l([0-7]|sun|mon|tue|wed|thu|fri|sat)", part):
            found.add((WEEKDAY.number(part[1:]) % 7, -1))
        else:
            found.update((value % 7, 0) for value in WEEKDAY.values(part))
    return found
