"""Wall-clock times and instants: which instant a local time means, on days with and without a change of clocks.

A schedule that speaks of local times yields naive datetimes (what a clock on the wall reads); this module places them
in a zone. Two placings exist, because two wishes exist:

* `fixed`: a local time happens once. It fires when the clock on the wall first reaches or passes it: inside a gap that
  is the first valid instant after the gap, inside a fold the first of the two.
* `elapsed`: what repeats within the day follows elapsed time. It fires whenever the clock shows a matching time, so
  both times in a fold. A matching time inside a gap fires at the first valid instant after it, unless the schedule
  fires anyway before that time would have come without the change (`*/30` has 03:00 already; `0 */2` would have a
  three-hour hole).

Nothing here reads the clock of the machine.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from difflib import get_close_matches
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from millrace.errors import ScheduleError

NextTime = Callable[[datetime], datetime | None]
"""Gives the first naive time of a schedule strictly after a naive time; None when there is no more."""

_TICK = timedelta(microseconds=1)
_SECOND = timedelta(seconds=1)
_LOOK_AHEAD = timedelta(hours=25)  # no zone changes its clocks twice within this, and no fold since 1900 is longer
_IMPURE = ("localtime", "posixrules", "posix", "right", "Factory")


class Fire(NamedTuple):
    """One fire: its instant, and the local time it stands for (None where a schedule has no local times)."""

    instant: datetime
    wall: datetime | None


@lru_cache(maxsize=1)
def zone_names() -> tuple[str, ...]:
    """The names of all time zones this machine knows, sorted."""
    return tuple(sorted(available_timezones()))


@lru_cache(maxsize=1024)
def zone(name: str | None) -> tzinfo:
    """The time zone of this name; None is UTC.

    Args:
        name: an IANA name, such as `Europe/Oslo`.

    Raises:
        ScheduleError: no such zone; the message names one that is spelt alike.

    Example:
        >>> zone("Europe/Oslo")
        zoneinfo.ZoneInfo(key='Europe/Oslo')
    """
    if name is None or name == "UTC":
        return UTC
    # "localtime" and its like depend on the machine, "right/…" counts leap seconds.
    if name and name.split("/")[0] not in _IMPURE:
        try:
            return ZoneInfo(name)
        except (OSError, ValueError, KeyError):  # a missing file, a folder, a path out of the folder, not a zone file
            pass
    raise ScheduleError(f"timezone: there is no time zone {name!r}.{_suggestion(name)}")


def _suggestion(name: str) -> str:
    folded = {known.casefold(): known for known in zone_names()}
    cities = {known.split("/")[-1]: folded[known] for known in folded}
    wanted = name.strip().replace(" ", "_").casefold()[:64]
    close = get_close_matches(wanted, folded, n=1, cutoff=0.7)
    if close:
        return f" Did you mean {folded[close[0]]!r}?"
    close = get_close_matches(wanted.split("/")[-1], cities, n=1, cutoff=0.8)
    if close:
        return f" Did you mean {cities[close[0]]!r}?"
    return " Use an IANA name, such as 'Europe/Oslo' or 'UTC'."


def wall(moment: datetime, tz: tzinfo) -> datetime:
    """What a clock in the zone reads at this instant (naive)."""
    return moment.astimezone(tz).replace(tzinfo=None, fold=0)


def offsets(naive: datetime, tz: tzinfo) -> tuple[timedelta, timedelta]:
    """The two offsets from UTC that a local time may have: equal on an ordinary day, the first smaller inside a gap,
    the first larger inside a fold."""
    local = naive.replace(tzinfo=tz, fold=0)
    first, second = local.utcoffset(), local.replace(fold=1).utcoffset()
    if first is None or second is None:  # pragma: no cover - zones made by zone() always answer
        raise ScheduleError(f"timezone: {tz} has no offset")
    return first, second


def end_of_gap(naive: datetime, tz: tzinfo) -> datetime:
    """The first valid instant after the gap in which this local time lies (aware, UTC)."""
    first, second = offsets(naive, tz)
    low = (naive - second).replace(tzinfo=UTC, microsecond=0)  # before the change
    high = (naive - first).replace(tzinfo=UTC, microsecond=0) + _SECOND  # after it
    before = low.astimezone(tz).utcoffset()
    while high - low > _SECOND:
        middle = low + timedelta(seconds=(high - low) // _SECOND // 2)
        if middle.astimezone(tz).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high


def reached(naive: datetime, tz: tzinfo) -> datetime:
    """The instant at which the clock on the wall first reaches or passes a local time (aware, UTC).

    Example: 02:30 does not exist in Oslo on the day of the change to summer time.
        >>> reached(datetime(2026, 3, 29, 2, 30), zone("Europe/Oslo")).isoformat()
        '2026-03-29T01:00:00+00:00'
    """
    first, second = offsets(naive, tz)
    return end_of_gap(naive, tz) if first < second else (naive - first).replace(tzinfo=UTC)


def fixed(next_time: NextTime, after: datetime, tz: tzinfo) -> Iterator[Fire]:
    """The fires strictly after an instant of a schedule whose local times happen once.

    `reached` never decreases, and every time still to come lies after what the clock reads now: walking on from there
    finds each fire, and only those already past in a fold need to be skipped.
    """
    last, cursor = after, wall(after, tz)
    while (time := next_time(cursor)) is not None:
        cursor, instant = time, reached(time, tz)
        if instant > last:  # several times of one gap meet in one instant
            last = instant
            yield Fire(instant, time)


def elapsed(next_time: NextTime, after: datetime, tz: tzinfo) -> Iterator[Fire]:
    """The fires strictly after an instant of a schedule that follows elapsed time."""
    last, cursor = after, wall(after, tz)
    # Before the clocks go back, times that are past on the wall are still to come a second time.
    cursor -= max(cursor - wall(after + _LOOK_AHEAD, tz) + _LOOK_AHEAD, timedelta(0))
    waiting: list[Fire] = []
    while (time := next_time(cursor)) is not None:
        cursor = time
        bound = _put(waiting, time, next_time, tz)
        while waiting and waiting[0].instant <= bound:  # nothing still to come can be earlier
            fire = heapq.heappop(waiting)
            if fire.instant > last:
                last = fire.instant
                yield fire
    for fire in sorted(waiting):
        if fire.instant > last:
            last = fire.instant
            yield fire


def _put(waiting: list[Fire], time: datetime, next_time: NextTime, tz: tzinfo) -> datetime:
    """Adds the instants of one local time; gives the instant no later local time can precede."""
    first, second = offsets(time, tz)
    if first < second:
        end = end_of_gap(time, tz)
        following = next_time(wall(end, tz) - _TICK)
        if following is None or following > time + (second - first):
            heapq.heappush(waiting, Fire(end, time))
        return end
    instant = (time - first).replace(tzinfo=UTC)
    heapq.heappush(waiting, Fire(instant, time))
    if first > second:
        heapq.heappush(waiting, Fire((time - second).replace(tzinfo=UTC), time))
    return instant
