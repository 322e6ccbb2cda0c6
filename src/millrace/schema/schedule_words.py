"""Schedules in plain words."""

from __future__ import annotations

from datetime import datetime, timedelta
from importlib import import_module

from pydantic import ValidationError

from millrace.errors import ScheduleError
from millrace.schema.recurrence import Recurrence
from millrace.schema.recurrence_rule import SUB_DAILY, Rule

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_UNITS = ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
_PERIODS = {"YEARLY": "year", "MONTHLY": "month", "WEEKLY": "week", "DAILY": "day"} | {
    "HOURLY": "hour",
    "MINUTELY": "minute",
    "SECONDLY": "second",
}
_MAX_TIMES = 4


def interval(every: timedelta, anchor: datetime, timezone: str | None) -> str:
    """An interval, such as `every 1 hour 30 minutes`.

    Args:
        every: the interval.
        anchor: one of its fires, on the clock of the zone.
        timezone: the name of the zone; None is UTC.
    """
    if every % timedelta(days=1) == timedelta(0):
        week, days = divmod(every.days, 7)
        count, unit = (every.days, "day") if days else (week, "week")
        day = f" on {_DAYS[anchor.weekday()]}" if unit == "week" else ""
        return f"{_every(count, unit)}{day} at {_clock(anchor)} ({timezone or 'UTC'})"
    if every.microseconds:
        return f"every {every.total_seconds():g} seconds"
    seconds, parts = every.days * 86_400 + every.seconds, []
    for size, unit in _UNITS:
        count, seconds = divmod(seconds, size)
        if count:
            parts.append((count, unit))
    return _every(*parts[0]) if len(parts) == 1 else "every " + " ".join(_counted(*part) for part in parts)


def cron(fields: list[str], day_or: bool, timezone: str | None) -> str:
    """A cron expression, such as `At 09:00, Monday through Friday (Europe/Oslo)`.

    Args:
        fields: the five fields.
        day_or: whether either of the two kinds of day may match.
        timezone: the name of the zone; None is UTC.
    """
    describing = import_module("cron_descriptor")  # 10 ms, and only words for people need it
    options = describing.Options()
    options.use_24hour_time_format = True
    options.casing_type = describing.CasingTypeEnum.Sentence
    options.locale_code = "en_US"
    try:
        words: str = describing.ExpressionDescriptor(" ".join(fields).upper(), options).get_description()
        words = words.replace("day L ", "the last day ")
    except Exception:  # the words are a courtesy: whatever its parser makes of a valid expression must not stop us
        words = " ".join(fields)
    if not day_or and fields[2] not in "*?" and fields[4] not in "*?":
        words = words.replace(", or on ", ", and on ").replace(", or ", ", and ")
    return f"{words} ({timezone or 'UTC'})"


def recurrence(times: Recurrence, timezone: str | None) -> str:
    """A recurrence, such as `every 2 weeks on Monday and Friday at 09:00 (Europe/Oslo)`.

    Args:
        times: the recurrence.
        timezone: the name of the zone; None is UTC.
    """
    words = " and ".join(_rule(rule) for rule in times.rules)
    if times.dates:
        words += f"{' and ' if words else ''}at {_counted(len(times.dates), 'single time')}"
    if times.excluded or times.exceptions:
        words += ", with exceptions"
    return f"{words} ({timezone or 'UTC'})"


def _rule(rule: Rule) -> str:
    words = _every(rule.interval, _PERIODS[rule.frequency])
    if months := rule.by("BYMONTH"):
        words += f" in {_listed([_MONTHS[month - 1] for month in months])}"
    elif rule.frequency == "YEARLY" and not rule.weekdays and not rule.numbers:
        words += f" on {rule.start.day} {_MONTHS[rule.start.month - 1]}"
    if rule.weekdays:
        words += f" on {_listed([_turn(turn, _DAYS[day]) for turn, day in rule.weekdays])}"
    elif rule.frequency == "WEEKLY":
        words += f" on {_DAYS[rule.start.weekday()]}"
    if days := rule.by("BYMONTHDAY"):
        words += f" on {_listed([f'day {day}' if day > 0 else _turn(day, 'day') for day in days])}"
    elif rule.frequency == "MONTHLY" and not rule.weekdays:
        words += f" on day {rule.start.day}"
    others = [f"{name}={','.join(map(str, values))}" for name, values in rule.numbers if _is_other(rule, name)]
    words += f" with {_listed(others)}" if others else ""
    if rule.frequency not in SUB_DAILY:
        clocks = [_clock(datetime.min + offset) for offset in rule.times]
        words += f" at {_listed(clocks if len(clocks) <= _MAX_TIMES else [f'{len(clocks)} times of the day'])}"
    if rule.count is not None:
        words += f", {_counted(rule.count, 'time')}"
    return words + (f", until {rule.until:%Y-%m-%d %H:%M}" if rule.until else "")


def _is_other(rule: Rule, name: str) -> bool:
    of_the_time = name in ("BYHOUR", "BYMINUTE", "BYSECOND")
    return name not in ("BYMONTH", "BYMONTHDAY") and not (of_the_time and rule.frequency not in SUB_DAILY)


def _turn(turn: int, day: str) -> str:
    if turn == 0:
        return day
    number = abs(turn)
    suffix = "th" if 11 <= number % 100 <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    if turn > 0:
        return f"the {number}{suffix} {day}"
    return f"the last {day}" if turn == -1 else f"the {number}{suffix} to last {day}"


def _every(count: int, unit: str) -> str:
    return f"every {unit}" if count == 1 else f"every {count} {unit}s"


def _counted(count: int, unit: str) -> str:
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"


def _clock(time: datetime) -> str:
    return f"{time:%H:%M:%S}" if time.second else f"{time:%H:%M}"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def problems(error: ValidationError) -> str:
    """What is wrong with a schedule, for people.

    Args:
        error: what validating one raised.
    """
    found = []
    for detail in error.errors():
        cause, names = detail.get("ctx", {}).get("error"), [str(part) for part in detail["loc"]]
        if isinstance(cause, ScheduleError):
            found.append(str(cause))
        elif detail["type"] == "extra_forbidden" and names[-1] in ("interval", "cron", "rrule"):
            found.append(f"{names[-1]} stands beside {names[0]}, and a schedule is of one kind; write two schedules")
        elif detail["type"] == "extra_forbidden":
            found.append(f"a schedule by {names[0]} has no {names[-1]!r}")
        elif names and names[-1] == "interval" and isinstance(detail["input"], (int, float, timedelta)):
            found.append("interval: it must be longer than 0 seconds, and no longer than the calendar")
        else:
            found.append(f"{'.'.join(names)}: {detail['msg']}, not {detail['input']!r}")
    return "; ".join(found)
