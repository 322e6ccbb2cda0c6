"""One RRULE line (RFC 5545): read, checked, and walked from any moment without starting at its first date.

A rule is split in two: which days, and which times of those days. For rules that repeat yearly, monthly or weekly
dateutil finds the days, started a period or two before the moment asked for; daily rules and those within the day are a
grid, and plain arithmetic finds the place. So no rule costs more for being old, and a rule that never fires is refused
when it is made.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from millrace.errors import ScheduleError

if TYPE_CHECKING:
    from dateutil.rrule import rrule

SUB_DAILY = {"HOURLY": 3600, "MINUTELY": 60, "SECONDLY": 1}
MAX_COUNT = 10_000
_MAX_INTERVAL = {
    "YEARLY": 100,
    "MONTHLY": 1200,
    "WEEKLY": 5200,
    "DAILY": 36_500,
    "HOURLY": 876_000,
    "MINUTELY": 52_560_000,
    "SECONDLY": 3_153_600_000,
}
_BOUNDS = {
    "BYMONTH": (1, 12, False),
    "BYMONTHDAY": (1, 31, True),
    "BYYEARDAY": (1, 366, True),
    "BYWEEKNO": (1, 53, True),
    "BYSETPOS": (1, 366, True),
    "BYHOUR": (0, 23, False),
    "BYMINUTE": (0, 59, False),
    "BYSECOND": (0, 59, False),
    "BYEASTER": (0, 366, True),
}
_DAY_PARTS = ("BYMONTH", "BYMONTHDAY", "BYYEARDAY", "BYWEEKNO", "BYDAY", "BYEASTER")
_WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_WEEKDAY = re.compile(r"([+-]?[0-9]{1,2})?(MO|TU|WE|TH|FR|SA|SU)")
_STEPS = 40_000  # slots looked at for one answer, a third of a second at worst
_DAYS_LOOKED_AT = 15_000  # forty-one years
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        frequency: YEARLY to SECONDLY.
        interval: every how many years, months and so on.
        start: DTSTART, naive and without microseconds; the grid starts here.
        until: the last possible time; None for no end.
        count: how many times in all; None for no end.
        numbers: the BY… parts with numbers.
        weekdays: BYDAY as pairs of turn (0 for each) and day (Monday is 0).
        week_start: WKST, Monday is 0.
        times: the times of day at which the rule fires (sub-daily rules: the offsets within one slot).
    """

    frequency: str
    interval: int
    start: datetime
    until: datetime | None
    count: int | None
    numbers: tuple[tuple[str, tuple[int, ...]], ...]
    weekdays: tuple[tuple[int, int], ...]
    week_start: int
    times: tuple[timedelta, ...]

    def by(self, part: str) -> tuple[int, ...]:
        """The numbers of a BY… part; empty where it is not given."""
        return next((values for name, values in self.numbers if name == part), ())

    @property
    def filtered(self) -> bool:
        """Whether the rule says anything besides its frequency, interval and end."""
        return bool(self.numbers or self.weekdays)

    def after(self, moment: datetime) -> datetime | None:
        """The first time strictly after a moment (both naive); None at the end.

        Raises:
            ScheduleError: its times are too rare to find.
        """
        if self.count is not None:
            times = _counted(self)
            index = bisect_right(times, moment)
            return times[index] if index < len(times) else None
        return self.uncounted(moment)

    def uncounted(self, moment: datetime) -> datetime | None:
        """`after`, as if there were no COUNT."""
        moment = max(moment.replace(microsecond=0), self.start - _SECOND)
        if self.until is not None and moment >= self.until:
            return None
        try:
            found = self._in_day(moment) if self.frequency in SUB_DAILY else self._on_days(moment)
        except OverflowError:  # the end of the calendar
            return None
        return None if found is None or (self.until is not None and found > self.until) else found

    def _on_days(self, moment: datetime) -> datetime | None:
        day = self._day(moment.date())
        while day is not None:
            midnight = datetime.combine(day, time())
            for offset in self.times:
                if midnight + offset > moment:
                    return midnight + offset
            day = self._day(day + timedelta(days=1))
        return None

    def _day(self, first: date) -> date | None:
        """The first day of the rule on or after a day."""
        return self._grid_day(first) if self.frequency == "DAILY" else _calendar_day(self, first)

    def _grid_day(self, first: date) -> date | None:
        step = self.interval if self.frequency == "DAILY" else 1
        day = first + timedelta(days=(self.start.date() - first).days % step)
        months = self.by("BYMONTH")
        for _ in range(_DAYS_LOOKED_AT):
            if step == 1 and months and day.month not in months:
                day = (day.replace(day=1) + timedelta(days=31)).replace(day=1)
            elif self._day_matches(day):
                return day
            else:
                day += timedelta(days=step)
        return None

    def _day_matches(self, day: date) -> bool:
        if not self.filtered:
            return True
        months, month_days, year_days = self.by("BYMONTH"), self.by("BYMONTHDAY"), self.by("BYYEARDAY")
        if months and day.month not in months:
            return False
        if self.weekdays and (0, day.weekday()) not in self.weekdays:
            return False
        if month_days:
            length = ((day.replace(day=1) + timedelta(days=31)).replace(day=1) - day.replace(day=1)).days
            if day.day not in month_days and day.day - length - 1 not in month_days:
                return False
        number, length = day.timetuple().tm_yday, date(day.year, 12, 31).timetuple().tm_yday
        return not year_days or number in year_days or number - length - 1 in year_days

    def _in_day(self, moment: datetime) -> datetime | None:
        unit = SUB_DAILY[self.frequency]
        step = timedelta(seconds=unit * self.interval)
        base = self.start - (self.start - datetime.combine(self.start, time())) % timedelta(seconds=unit)
        slot = base + (moment - base) // step * step
        for _ in range(_STEPS):
            barrier = self._barrier(slot)
            if barrier is None:
                for offset in self.times:
                    if slot + offset > moment and slot + offset >= self.start:
                        return slot + offset
                slot += step
            elif barrier == slot:
                return None
            else:
                slot = base - (base - barrier) // step * step  # the first slot at or after the barrier
        raise ScheduleError(f"rrule: FREQ={self.frequency};INTERVAL={self.interval} hits its BY… parts too rarely")

    def _barrier(self, slot: datetime) -> datetime | None:
        """None where a slot fits; else the moment before which no slot fits; the slot itself where none ever does."""
        day = self._grid_day(slot.date())
        if day is None:
            return slot
        if day > slot.date():
            return datetime.combine(day, time())
        hours, minutes, seconds = self.by("BYHOUR"), self.by("BYMINUTE"), self.by("BYSECOND")
        if hours and slot.hour not in hours:
            return slot.replace(minute=0, second=0) + timedelta(hours=_distance(hours, slot.hour, 24))
        if self.frequency != "HOURLY" and minutes and slot.minute not in minutes:
            return slot.replace(second=0) + timedelta(minutes=_distance(minutes, slot.minute, 60))
        if self.frequency == "SECONDLY" and seconds and slot.second not in seconds:
            return slot + timedelta(seconds=_distance(seconds, slot.second, 60))
        return None


def _distance(numbers: tuple[int, ...], number: int, size: int) -> int:
    """How far it is from a number up to the next one that fits, or to the end of the hour, minute or day."""
    return next((fit for fit in numbers if fit > number), size) - number


@lru_cache(maxsize=512)
def _counted(rule: Rule) -> tuple[datetime, ...]:
    """All times of a rule with COUNT, in order."""
    times: list[datetime] = []
    found = rule.uncounted(rule.start - _SECOND)
    while found is not None and len(times) < (rule.count or 0):
        times.append(found)
        found = rule.uncounted(found)
    return tuple(times)


def _calendar_day(rule: Rule, first: date) -> date | None:
    """The first day, on or after a day, of a rule by year, month or week."""
    start = rule.start.date()
    if rule.frequency == "YEARLY":
        periods = first.year - start.year
    elif rule.frequency == "MONTHLY":
        periods = (first.year - start.year) * 12 + first.month - start.month
    else:
        periods = (first - start).days // 7
    skipped = max(0, (periods - 1) // rule.interval * rule.interval)
    midnight = datetime.combine(first, time())
    found = _days_from(rule, skipped).after(midnight, inc=True)
    return found.date() if found is not None else None


@lru_cache(maxsize=4096)
def _days_from(rule: Rule, skipped: int) -> rrule:
    """The days of a rule, at midnight, its first periods left out.

    What DTSTART implies (the day of the month, the day of the week) is spelt out first: it must not move with the
    start.
    """
    dateutil = import_module("dateutil.rrule")  # 8 ms, and only recurrences need it
    start = rule.start.date()
    parts: dict[str, Any] = {name.lower(): list(values) for name, values in rule.numbers}
    for of_the_time in ("byhour", "byminute", "bysecond"):
        parts.pop(of_the_time, None)
    if rule.weekdays:
        parts["byweekday"] = [
            dateutil.weekday(day, turn) if turn else dateutil.weekday(day) for turn, day in rule.weekdays
        ]
    elif not any(rule.by(part) for part in ("BYMONTHDAY", "BYYEARDAY", "BYWEEKNO", "BYEASTER")):
        if rule.frequency == "WEEKLY":
            parts["byweekday"] = [start.weekday()]
        else:
            parts["bymonthday"] = [start.day]
            if rule.frequency == "YEARLY" and not rule.by("BYMONTH"):
                parts["bymonth"] = [start.month]
    if skipped and rule.frequency == "YEARLY":
        start = date(start.year + skipped, 1, 1)
    elif skipped and rule.frequency == "MONTHLY":
        months = start.year * 12 + start.month - 1 + skipped
        start = date(months // 12, months % 12 + 1, 1)
    elif skipped:
        start += timedelta(weeks=skipped)
    frequencies: dict[str, Literal[0, 1, 2]] = {"YEARLY": 0, "MONTHLY": 1, "WEEKLY": 2}  # dateutil's numbers
    found: rrule = dateutil.rrule(
        frequencies[rule.frequency],
        dtstart=datetime.combine(start, time()),
        interval=rule.interval,
        wkst=rule.week_start,
        byhour=0,
        byminute=0,
        bysecond=0,
        **parts,
    )
    return found


def never_fires(rule: Rule) -> bool:
    """Whether a rule has no time at all.

    The days of a year, month or week are looked for in the last centuries of the calendar: they repeat every 400 years,
    and looking from today would walk eight thousand years in vain.
    """
    if rule.frequency in ("YEARLY", "MONTHLY", "WEEKLY") and _calendar_day(rule, date(9150, 1, 1)) is None:
        return True
    return rule.uncounted(rule.start - _SECOND) is None


def read(text: str, start: datetime, until: datetime | None) -> Rule:
    """Reads the value of an RRULE line.

    Args:
        text: such as `FREQ=WEEKLY;BYDAY=MO,WE;BYHOUR=9`.
        start: DTSTART, naive.
        until: the value of UNTIL, which the caller placed on the clock the rule is walked on.

    Raises:
        ScheduleError: the part and the value that cannot be used.
    """
    parts = dict(_parts(text))
    frequency = parts.pop("FREQ", "")
    if frequency not in _MAX_INTERVAL:
        raise ScheduleError(f"rrule: FREQ={frequency} is not known; use one of {', '.join(_MAX_INTERVAL)}")
    parts.pop("UNTIL", None)
    interval = _integer("INTERVAL", parts.pop("INTERVAL", "1"), 1, _MAX_INTERVAL[frequency])
    count = _integer("COUNT", parts.pop("COUNT"), 1, MAX_COUNT) if "COUNT" in parts else None
    week_start = parts.pop("WKST", "MO")
    if week_start not in _WEEKDAYS:
        raise ScheduleError(f"rrule: WKST={week_start} is not a day; use one of {', '.join(_WEEKDAYS)}")
    weekdays = tuple(_weekday(value) for value in parts.pop("BYDAY").split(",")) if "BYDAY" in parts else ()
    numbers = {name: _numbers(name, value) for name, value in parts.items()}
    _check(frequency, numbers, weekdays)
    times = _times(frequency, start, numbers)
    return Rule(
        frequency, interval, start, until, count, tuple(sorted(numbers.items())), weekdays,
        _WEEKDAYS.index(week_start), times,
    )  # fmt: skip


def _parts(text: str) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for part in text.upper().strip(";").split(";"):
        name, equals, value = part.partition("=")
        name = "BYDAY" if name == "BYWEEKDAY" else name
        if not equals or not value or name in seen:
            raise ScheduleError(f"rrule: {part!r} is not understood; a rule is NAME=VALUE parts joined by semicolons")
        seen.add(name)
        yield name, value


def _integer(name: str, text: str, low: int, high: int) -> int:
    if not (re.fullmatch(r"[+-]?[0-9]{1,12}", text) and low <= int(text) <= high):
        raise ScheduleError(f"rrule: {name}={text} is outside {low}–{high}")
    return int(text)


def _weekday(text: str) -> tuple[int, int]:
    match = _WEEKDAY.fullmatch(text)
    if not match or (match[1] and not 1 <= abs(int(match[1])) <= 53):
        raise ScheduleError(
            f"rrule: BYDAY={text} is not understood; write MO, or 2MO for the second, -1FR for the last"
        )
    return int(match[1] or 0), _WEEKDAYS.index(match[2])


def _numbers(name: str, text: str) -> tuple[int, ...]:
    if name not in _BOUNDS:
        raise ScheduleError(f"rrule: {name} is not known; the parts are FREQ, INTERVAL, COUNT, UNTIL, WKST, BYDAY, "
                            f"{', '.join(_BOUNDS)}")  # fmt: skip
    low, high, signed = _BOUNDS[name]
    values = {_integer(name, word, -high if signed else low, high) for word in text.split(",")}
    if low == 1 and 0 in values:
        raise ScheduleError(f"rrule: {name}=0 is outside 1–{high}; count from 1, or from -1 backwards")
    return tuple(sorted(values))


def _check(frequency: str, numbers: dict[str, tuple[int, ...]], weekdays: tuple[tuple[int, int], ...]) -> None:
    for part in ("BYWEEKNO", "BYEASTER"):
        if part in numbers and frequency != "YEARLY":
            raise ScheduleError(f"rrule: {part} is for FREQ=YEARLY, not {frequency}")
    if frequency not in ("YEARLY", "MONTHLY") and any(turn for turn, _ in weekdays):
        raise ScheduleError(f"rrule: BYDAY with a number (such as 2MO) is for MONTHLY and YEARLY, not {frequency}")
    if "BYSETPOS" not in numbers:
        return
    if frequency in SUB_DAILY or math.prod(len(numbers.get(p, (0,))) for p in ("BYHOUR", "BYMINUTE", "BYSECOND")) > 1:
        raise ScheduleError("rrule: BYSETPOS is supported for days only, not among several times of a day")
    if frequency == "DAILY":
        raise ScheduleError("rrule: BYSETPOS with FREQ=DAILY picks among one time a day: leave it out")


def _times(frequency: str, start: datetime, numbers: dict[str, tuple[int, ...]]) -> tuple[timedelta, ...]:
    unit = SUB_DAILY.get(frequency, 86_400)
    hours = numbers.get("BYHOUR", (start.hour,)) if unit > 3600 else (0,)
    minutes = numbers.get("BYMINUTE", (start.minute,)) if unit > 60 else (0,)
    seconds = numbers.get("BYSECOND", (start.second,)) if unit > 1 else (0,)
    return tuple(timedelta(hours=h, minutes=m, seconds=s) for h in hours for m in minutes for s in seconds)
