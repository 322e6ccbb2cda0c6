"""Schedules: intervals, cron expressions and recurrences, as pure functions of their text and the time zone data.

One rule holds for all three on the days the clocks change:

* A **fixed local time** happens once a day. In the gap of spring it fires at the first valid instant after the gap (two
  times in one gap are one fire), in the fold of autumn at the first of the two. Fixed are: crons whose hour field names
  hours (`30 2`, `0 1-5`, `*/10 2`), recurrences that repeat daily or more rarely, intervals of whole days in a time
  zone.
* What **repeats within the day** follows elapsed time: no hole, no double. These are: crons whose hour field begins
  with `*` (or covers all 24 hours), recurrences that repeat hourly or more often, all other intervals. A wildcard cron
  fires at both of the two 01:30 of autumn; a step such as `0 */2` stays on even local hours, and fires at the first
  valid instant where 02:00 does not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice
from typing import Annotated, Any, NamedTuple, TypeAlias, TypeVar
from zoneinfo import ZoneInfo

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from millrace.errors import ScheduleError
from millrace.schema import cron_expression, recurrence, schedule_words
from millrace.schema.wall_clock import Fire, elapsed, fixed, offsets, wall, zone

DEFAULT_ANCHOR = datetime(2020, 1, 1)
"""Where an interval without an anchor begins, on the clock of its zone: so `every hour` is on the hour."""

_DAY = timedelta(days=1)


class FireTime(NamedTuple):
    """One coming fire, for people.

    Attributes:
        utc: the instant.
        local: the same in the zone of the schedule.
        note: what is odd about it because the clocks change; empty on ordinary days.
    """

    utc: datetime
    local: datetime
    note: str = ""


class _Schedule(BaseModel):
    """What the three kinds have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_timedelta="float")

    @property
    def zone(self) -> tzinfo:
        """The time zone on whose clock the schedule is read; UTC where none is given."""
        return zone(getattr(self, "timezone", None))

    def fires(self, after: datetime) -> Iterator[Fire]:
        """Every fire strictly after an aware moment, in order, without end unless the schedule has one."""
        raise NotImplementedError

    def describe(self) -> str:
        """The schedule in plain words, with its time zone."""
        raise NotImplementedError

    def next_after(self, moment: datetime) -> datetime | None:
        """The first fire strictly after a moment.

        Args:
            moment: an aware datetime.

        Returns:
            The instant in UTC; None when the schedule has ended.

        Raises:
            ScheduleError: `moment` has no time zone.

        Example:
            >>> cron("30 2 * * *", "Europe/Oslo").next_after(datetime(2026, 3, 29, tzinfo=UTC)).isoformat()
            '2026-03-29T01:00:00+00:00'
        """
        fire = next(self._until_the_end(moment), None)
        return fire.instant if fire else None

    def occurrences(self, start: datetime, end: datetime, limit: int | None = None) -> list[datetime]:
        """The fires in the window (start, end]: after `start`, up to and including `end`.

        So windows can be laid side by side: those of (a, c] are those of (a, b] and then those of (b, c].

        Args:
            start, end: aware datetimes.
            limit: at most this many, the earliest; None for all of them.

        Raises:
            ScheduleError: a bound has no time zone.
        """
        last = _aware(end)
        found = []
        for fire in islice(self._until_the_end(start), limit):
            if fire.instant > last:
                break
            found.append(fire.instant)
        return found

    def preview(self, now: datetime, count: int = 5) -> list[FireTime]:
        """The next fires after `now`, with a note where the clocks change.

        Args:
            now: an aware datetime.
            count: how many at most.
        """
        return list(_annotated(islice(self._until_the_end(now), count), _aware(now), self.zone))

    def _until_the_end(self, moment: datetime) -> Iterator[Fire]:
        try:
            yield from self.fires(_aware(moment))
        except OverflowError:  # the end of the calendar
            return


_S = TypeVar("_S", bound=_Schedule)


class IntervalSchedule(_Schedule):
    """A fire every so often, counted from an anchor (in both directions).

    Intervals of whole days keep their local time of day in `timezone`; all others are elapsed time.

    Attributes:
        interval: more than zero; in JSON a number of seconds. An ISO 8601 duration such as `PT15M` is understood too.
        anchor_date: one of the fires; kept in UTC. Without a zone of its own it is read on the clock of `timezone`. If
            it is not given it is the start of 2020 on that clock, so that the schedule depends on nothing but its text.
        timezone: an IANA name; None is UTC.

    Example:
        >>> hourly = IntervalSchedule(interval=timedelta(hours=1))
        >>> hourly.next_after(datetime(2026, 11, 21, 9, 30, tzinfo=UTC)).isoformat()
        '2026-11-21T10:00:00+00:00'
    """

    interval: timedelta = Field(gt=timedelta(0))
    anchor_date: datetime = Field(default=DEFAULT_ANCHOR, validate_default=True)
    timezone: str | None = None

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        zone(value)
        return value

    @model_validator(mode="after")
    def _anchor_in_utc(self) -> IntervalSchedule:
        anchor = self.anchor_date
        aware = anchor if anchor.tzinfo is not None else anchor.replace(tzinfo=self.zone)
        try:
            self.__dict__["anchor_date"] = aware.astimezone(UTC)
        except OverflowError:
            raise ScheduleError(f"anchor_date: {anchor} is outside the calendar") from None
        return self

    def fires(self, after: datetime) -> Iterator[Fire]:
        if self.interval % _DAY == timedelta(0) and self.zone is not UTC:
            anchor = wall(self.anchor_date, self.zone)
            yield from fixed(lambda time: _step(anchor, time, self.interval), after, self.zone)
            return
        time = after
        while True:
            time = _step(self.anchor_date, time, self.interval)
            yield Fire(time, None)

    def describe(self) -> str:
        """For example `every 10 seconds`, or `every day at 09:00 (Europe/Oslo)`."""
        return schedule_words.interval(self.interval, wall(self.anchor_date, self.zone), self.timezone)


class CronSchedule(_Schedule):
    """A cron expression of five fields: minute, hour, day of month, month, day of week.

    Where the hour field names hours, each local time fires once a day, however the clocks change; where it begins with
    `*` (or covers all 24), the schedule follows elapsed time. The hour field alone decides: `*/10 2 * * *` fires six
    times on the day 02:00 comes twice and once on the day it does not come; `0 1-5 * * *` fires four times on that day,
    at 01:00, 03:00 (for 02:00 and 03:00), 04:00 and 05:00.

    Attributes:
        cron: the expression, or an alias: @hourly @daily @midnight @weekly @monthly @yearly @annually.
        timezone: an IANA name; None is UTC.
        day_or: where day of month and day of week are both given, either may match (as cron does) instead of both.

    Example:
        >>> CronSchedule(cron="0 9 * * 1-5", timezone="Europe/Oslo").describe()
        'At 09:00, Monday through Friday (Europe/Oslo)'
    """

    cron: str
    timezone: str | None = None
    day_or: bool = True

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        zone(value)
        return value

    @model_validator(mode="after")
    def _fires_at_all(self) -> CronSchedule:
        try:
            cron_expression.parse(self.cron, self.day_or)
        except ScheduleError as error:
            said = str(error)
            raise ScheduleError(said if said.startswith("cron") else f"cron {self.cron[:80]!r}: {said}") from None
        return self

    def fires(self, after: datetime) -> Iterator[Fire]:
        times = cron_expression.parse(self.cron, self.day_or)
        return (elapsed if times.wildcard else fixed)(times.after, after, self.zone)

    def describe(self) -> str:
        """For example `At 09:00, Monday through Friday (Europe/Oslo)`."""
        return schedule_words.cron(cron_expression.split(self.cron), self.day_or, self.timezone)


class RRuleSchedule(_Schedule):
    """An iCalendar recurrence (RFC 5545): what an interval or a cron expression cannot say.

    Rules that repeat daily or more rarely fire at fixed local times. Rules that repeat hourly or more often follow
    elapsed time; without BY… parts they are counted in elapsed time from DTSTART, with them on the local clock.

    Attributes:
        rrule: lines DTSTART, RRULE, EXRULE, RDATE and EXDATE, or one bare `FREQ=…`; at most 6500 characters. Without
            DTSTART it starts with 2020, at midnight on the clock of `timezone`. COUNT is at most 10 000.
        timezone: an IANA name, by default UTC; a TZID in the text stands in where no timezone is given.

    Example:
        >>> RRuleSchedule(rrule="FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=17", timezone="Europe/Oslo").describe()
        'every month on the last Friday at 17:00 (Europe/Oslo)'
    """

    rrule: str
    timezone: str | None = "UTC"

    @model_validator(mode="before")
    @classmethod
    def _zone_of_the_text(cls, values: Any) -> Any:
        if isinstance(values, dict) and "timezone" not in values and isinstance(values.get("rrule"), str):
            found = recurrence.time_zone_of(values["rrule"][: recurrence.MAX_LENGTH])
            return {**values, "timezone": found} if found else values
        return values

    @model_validator(mode="after")
    def _fires_at_all(self) -> RRuleSchedule:
        recurrence.parse(self.rrule, self.timezone)
        return self

    def fires(self, after: datetime) -> Iterator[Fire]:
        times = recurrence.parse(self.rrule, self.timezone)
        fires = (elapsed if times.elapsed else fixed)(times.after, after, times.clock)
        # Counted on the clock of UTC, its times say nothing about the clock on the wall.
        return fires if times.clock is self.zone else (Fire(fire.instant, None) for fire in fires)

    def describe(self) -> str:
        """For example `every 2 weeks on Monday at 09:00 (Europe/Oslo)`."""
        return schedule_words.recurrence(recurrence.parse(self.rrule, self.timezone), self.timezone)


def _kind(value: Any) -> str | None:
    """The kind of schedule a value is, by its own field: so an error speaks of this kind alone."""
    for field in ("interval", "cron", "rrule"):
        if (isinstance(value, dict) and field in value) or (isinstance(value, BaseModel) and hasattr(value, field)):
            return field
    return None


Schedule: TypeAlias = Annotated[
    Annotated[IntervalSchedule, Tag("interval")]
    | Annotated[CronSchedule, Tag("cron")]
    | Annotated[RRuleSchedule, Tag("rrule")],
    Discriminator(
        _kind,
        custom_error_type="schedule_kind",
        custom_error_message="a schedule has one of the fields 'interval', 'cron' and 'rrule'",
    ),
]
"""Any schedule, told apart by its fields."""


def interval(
    every: timedelta | float, anchor_date: datetime | str | None = None, timezone: str | None = None
) -> IntervalSchedule:
    """A schedule that fires every so often.

    Args:
        every: a timedelta or a number of seconds.
        anchor_date: one of the fires, or its ISO text; see `IntervalSchedule`.
        timezone: an IANA name; where it is not given, that of `anchor_date`.

    Raises:
        ScheduleError: a value cannot be used.

    Example:
        >>> interval(10).describe()
        'every 10 seconds'
    """
    if timezone is None and isinstance(anchor_date, datetime) and isinstance(anchor_date.tzinfo, ZoneInfo):
        timezone = anchor_date.tzinfo.key
    given = {} if anchor_date is None else {"anchor_date": anchor_date}
    return _made(lambda: IntervalSchedule.model_validate({"interval": every, "timezone": timezone, **given}))


def cron(expression: str, timezone: str | None = None, day_or: bool = True) -> CronSchedule:
    """A schedule from a cron expression.

    Args:
        expression, timezone, day_or: see `CronSchedule`.

    Raises:
        ScheduleError: the message names the field.

    Example:
        >>> cron("61 * * * *")
        Traceback (most recent call last):
        millrace.errors.ScheduleError: cron '61 * * * *': minute: 61 is outside 0–59
    """
    return _made(lambda: CronSchedule.model_validate({"cron": expression, "timezone": timezone, "day_or": day_or}))


def rrule(text: str, timezone: str | None = None) -> RRuleSchedule:
    """A schedule from an iCalendar recurrence.

    Args:
        text: see `RRuleSchedule`.
        timezone: an IANA name; where it is not given, the TZID of the text, else UTC.

    Raises:
        ScheduleError: the part that cannot be used.

    Example:
        >>> rrule("FREQ=DAILY;INTERVAL=2;BYHOUR=6").describe()
        'every 2 days at 06:00 (UTC)'
    """
    given = {} if timezone is None else {"timezone": timezone}
    return _made(lambda: RRuleSchedule.model_validate({"rrule": text, **given}))


def _made(make: Callable[[], _S]) -> _S:
    try:
        return make()
    except ValidationError as error:
        raise ScheduleError(schedule_words.problems(error)) from None


def _aware(moment: datetime) -> datetime:
    if moment.utcoffset() is None:
        raise ScheduleError(f"{moment.isoformat()} has no time zone; give an aware datetime, such as datetime.now(UTC)")
    return moment.astimezone(UTC)


def _step(anchor: datetime, after: datetime, every: timedelta) -> datetime:
    """The first anchor + n·every strictly after a moment."""
    return anchor + ((after - anchor) // every + 1) * every


def _annotated(fires: Iterator[Fire], now: datetime, tz: tzinfo) -> Iterator[FireTime]:
    offset = now.astimezone(tz).utcoffset()
    for fire in fires:
        local = fire.instant.astimezone(tz)
        moved, offset = local.utcoffset() != offset, local.utcoffset()
        yield FireTime(fire.instant, local, _note(fire, local, tz, moved))


def _note(fire: Fire, local: datetime, tz: tzinfo, moved: bool) -> str:
    naive = local.replace(tzinfo=None, fold=0)
    first, second = offsets(naive, tz)
    if fire.wall is not None and fire.wall != naive:
        return f"clocks go forward: there is no {fire.wall:%H:%M}, fires at the first valid instant"
    if first > second:
        return f"clocks go back: fires at the {'second' if local.fold else 'first'} of the two {naive:%H:%M}"
    if moved and fire.wall is not None:
        return f"the clocks have changed: still {naive:%H:%M} local time, now {fire.instant:%H:%M} UTC"
    return ""
