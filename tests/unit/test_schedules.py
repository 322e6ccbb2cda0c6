"""Schedules: when they fire, on ordinary days and on those the clocks change."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import cronsim
import pytest
import schedule_oracle as oracle  # a sibling: pytest puts this folder on the path
from croniter import croniter
from dateutil.rrule import rrulestr
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from millrace.errors import ScheduleError
from millrace.schema import cron_expression, recurrence_rule, wall_clock
from millrace.schema.schedules import (
    CronSchedule,
    IntervalSchedule,
    RRuleSchedule,
    Schedule,
    cron,
    interval,
    rrule,
)

OSLO = ZoneInfo("Europe/Oslo")
SPRING = datetime(2026, 3, 29, tzinfo=OSLO)  # 02:00 becomes 03:00
AUTUMN = datetime(2026, 10, 25, tzinfo=OSLO)  # 03:00 becomes 02:00
NOVEMBER = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)  # a Saturday
ANY: TypeAdapter[IntervalSchedule | CronSchedule | RRuleSchedule] = TypeAdapter(Schedule)


def local(schedule: CronSchedule | IntervalSchedule | RRuleSchedule, day: datetime) -> list[str]:
    """The fires of one local day, as the clock shows them; + marks the second of two."""
    start = (day.astimezone(UTC) - timedelta(microseconds=1)).astimezone(UTC)
    end = (day + timedelta(days=1)).astimezone(UTC) - timedelta(microseconds=1)
    zone = day.tzinfo
    return [f"{t.astimezone(zone):%H:%M}{'+' * t.astimezone(zone).fold}" for t in schedule.occurrences(start, end)]


# --- against the minute scan ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("zone", oracle.QUIRKS)
def test_agrees_with_the_minute_scan(zone: str) -> None:
    changes = oracle.transitions(zone, 2024, 2025)[:2] + oracle.transitions(zone, 2037, 2037)[:1]
    chance = random.Random(zone)
    found = [
        difference
        for moment in changes
        for spec in chance.sample(oracle.SPECS, 10)
        if (difference := oracle.differences(zone, moment, spec))
    ]
    assert not found


@pytest.mark.parametrize(("zone", "moment"), oracle.HISTORY)
def test_agrees_with_the_minute_scan_in_history(zone: str, moment: datetime) -> None:
    chance = random.Random(zone)
    assert [d for spec in chance.sample(oracle.SPECS, 9) if (d := oracle.differences(zone, moment, spec))] == []


def test_the_scan_finds_a_planted_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millrace.schema.schedules.fixed", wall_clock.elapsed)
    assert oracle.differences("Europe/Oslo", datetime(2026, 10, 25, 1, tzinfo=UTC), "30 2 * * *")


# --- tables of the two days ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "spring", "autumn"),
    [
        ("30 2 * * *", ["03:00"], ["02:30"]),
        ("0 2 * * *", ["03:00"], ["02:00"]),
        ("30 1 * * *", ["01:30"], ["01:30"]),
        ("0 1-5 * * *", ["01:00", "03:00", "04:00", "05:00"], ["01:00", "02:00", "03:00", "04:00", "05:00"]),
        ("*/20 2 * * *", ["03:00"], ["02:00", "02:20", "02:40"]),
        ("0 */12 * * *", ["00:00", "12:00"], ["00:00", "12:00"]),
        ("0 */24 * * *", ["00:00"], ["00:00"]),
        ("0 */2 * * *", None, None),
    ],
)
def test_cron_on_the_days_the_clocks_change(
    expression: str, spring: list[str] | None, autumn: list[str] | None
) -> None:
    schedule = cron(expression, "Europe/Oslo")
    if spring is None or autumn is None:
        assert local(schedule, SPRING)[:3] == ["00:00", "03:00", "04:00"]  # two hours, one hour: no hole
        assert local(schedule, AUTUMN)[:4] == ["00:00", "02:00", "02:00+", "04:00"]
    else:
        assert (local(schedule, SPRING), local(schedule, AUTUMN)) == (spring, autumn)


@pytest.mark.parametrize("day", [SPRING, AUTUMN])
@pytest.mark.parametrize(
    "schedule",
    [
        cron("*/30 * * * *", "Europe/Oslo"),
        cron("*/30 0-23 * * *", "Europe/Oslo"),
        interval(1800, timezone="Europe/Oslo"),
        rrule("FREQ=MINUTELY;INTERVAL=30", "Europe/Oslo"),
        rrule("FREQ=HOURLY;BYMINUTE=0,30", "Europe/Oslo"),
    ],
)
def test_every_half_hour_is_every_half_hour(
    day: datetime, schedule: CronSchedule | IntervalSchedule | RRuleSchedule
) -> None:
    start = day.astimezone(UTC)
    fires = schedule.occurrences(start, start + timedelta(hours=23))
    assert {after - before for before, after in pairwise(fires)} == {timedelta(minutes=30)}
    assert len(fires) == 46


def test_daily_interval_and_rrule_keep_local_time() -> None:
    nine = interval(timedelta(days=1), datetime(2026, 1, 1, 9), "Europe/Oslo")
    for schedule in (nine, rrule("FREQ=DAILY;BYHOUR=9", "Europe/Oslo")):
        assert local(schedule, SPRING) == local(schedule, AUTUMN) == ["09:00"]
    for schedule in (
        interval(timedelta(days=1), datetime(2026, 1, 1, 2, 30), "Europe/Oslo"),
        rrule("DTSTART:20260101T023000\nRRULE:FREQ=DAILY", "Europe/Oslo"),
    ):
        assert (local(schedule, SPRING), local(schedule, AUTUMN)) == (["03:00"], ["02:30"])


def test_a_day_that_does_not_exist() -> None:
    apia = ZoneInfo("Pacific/Apia")
    fires = cron("0 9 * * *", "Pacific/Apia").occurrences(
        datetime(2011, 12, 29, tzinfo=apia), datetime(2012, 1, 1, tzinfo=apia)
    )
    assert [f"{t.astimezone(apia):%d %H:%M}" for t in fires] == ["29 09:00", "31 00:00", "31 09:00"]


# --- properties ----------------------------------------------------------------------------------------------------

CHANGES = [moment for zone in oracle.QUIRKS[:8] for moment in oracle.transitions(zone, 2026, 2026)]
MOMENTS = st.one_of(
    st.datetimes(datetime(2024, 1, 1), datetime(2037, 1, 1), timezones=st.just(UTC)),
    st.builds(
        lambda change, minutes: change + timedelta(minutes=minutes), st.sampled_from(CHANGES), st.integers(-200, 200)
    ),
)
SCHEDULES = st.one_of(
    st.builds(cron, st.sampled_from(oracle.SPECS), st.sampled_from(oracle.QUIRKS[:8])),
    st.builds(
        interval,
        st.sampled_from([60, 3600, 5400, 86400, 86400 * 3, 129600]),
        st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),
        st.sampled_from(oracle.QUIRKS[:8]),
    ),
    st.builds(
        rrule,
        st.sampled_from(
            [
                "FREQ=DAILY;BYHOUR=0,2;BYMINUTE=30",
                "FREQ=HOURLY;INTERVAL=5",
                "FREQ=HOURLY;BYHOUR=0,1,2,3",
                "FREQ=WEEKLY;BYDAY=SU;BYHOUR=2",
                "FREQ=MONTHLY;BYDAY=-1SU;BYHOUR=1,2;BYMINUTE=15,45",
                "DTSTART:20240101T000000\nRRULE:FREQ=DAILY;COUNT=300\nEXDATE:20240103T000000",
            ]
        ),
        st.sampled_from(oracle.QUIRKS[:8]),
    ),
)


@settings(max_examples=400, deadline=None)
@given(SCHEDULES, MOMENTS, st.integers(0, 60 * 72), st.integers(0, 60 * 72))
def test_windows_can_be_laid_side_by_side(schedule: CronSchedule, a: datetime, first: int, second: int) -> None:
    b = a + timedelta(minutes=first)
    c = b + timedelta(minutes=second)
    whole = schedule.occurrences(a, c)
    assert whole == schedule.occurrences(a, b) + schedule.occurrences(b, c)
    assert whole == sorted(set(whole)) and all(a < t <= c and t.tzinfo is UTC for t in whole)
    assert schedule.next_after(a) == next(iter(whole), schedule.next_after(c))


@settings(max_examples=200, deadline=None)
@given(SCHEDULES, MOMENTS, st.sampled_from(oracle.QUIRKS))
def test_pure_and_blind_to_the_zone_of_the_moment(schedule: CronSchedule, moment: datetime, zone: str) -> None:
    fire = schedule.next_after(moment)
    assert fire == schedule.next_after(moment.astimezone(ZoneInfo(zone)))
    again = ANY.validate_json(ANY.dump_json(schedule))
    assert again == schedule and again.next_after(moment) == fire
    assert fire is None or fire > moment


# --- against other libraries, where meanings agree -----------------------------------------------------------------


@pytest.mark.parametrize("zone", ["Europe/Oslo", "America/New_York", "Australia/Sydney", "America/Santiago", "UTC"])
@pytest.mark.parametrize(
    "expression", ["30 2 * * *", "*/30 * * * *", "0 9 * * 1-5", "15 1 * * *", "0 * * * *", "0 0 1 * *", "5 3 * * 7"]
)
def test_agrees_with_cronsim(zone: str, expression: str) -> None:
    for start in (SPRING, AUTUMN, NOVEMBER):
        moment = start.astimezone(UTC) - timedelta(days=2)
        theirs = cronsim.CronSim(expression, moment.astimezone(ZoneInfo(zone)))
        ours = cron(expression, zone).occurrences(moment, moment + timedelta(days=400), limit=120)
        assert ours == [next(theirs).astimezone(UTC) for _ in ours]


def test_agrees_with_croniter_on_days_like_any_other() -> None:
    chance = random.Random(9)

    def field(low: int, high: int) -> str:
        a, b = sorted(chance.sample(range(low, high + 1), 2))
        return chance.choice(["*", f"*/{chance.randint(1, high)}", f"{a}-{b}", f"{a},{b}", str(a), f"{a}-{b}/2"])

    for _ in range(250):
        weekday = chance.choice(["*", "mon-fri", "1,3", "0", "7", "sat-mon"])
        day = chance.choice(["*", "*", "L", "13", "1-7", "28-3"])
        expression = f"{field(0, 59)} {field(0, 23)} {day} {field(1, 12)} {weekday}"
        day_or, start = chance.random() < 0.7, datetime(2024, 1, 1) + timedelta(minutes=chance.randrange(2_000_000))
        times = cron_expression.parse(expression, day_or)
        reference = croniter(expression, start, day_or=day_or, ret_type=datetime)
        for _ in range(3):
            expected = reference.get_next(datetime)
            start = times.after(start) or start
            assert start == expected, expression


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=DAILY;INTERVAL=3;BYHOUR=6,18",
        "FREQ=DAILY;BYMONTH=1,7;BYDAY=SA",
        "FREQ=WEEKLY;INTERVAL=2",
        "FREQ=WEEKLY;INTERVAL=3;WKST=SU;BYDAY=SU,TU",
        "FREQ=MONTHLY",
        "FREQ=MONTHLY;BYDAY=2MO,-1FR",
        "FREQ=MONTHLY;INTERVAL=5;BYMONTHDAY=31",
        "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1;BYHOUR=6",
        "FREQ=YEARLY",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29",
        "FREQ=YEARLY;BYWEEKNO=1,53;BYDAY=MO",
        "FREQ=YEARLY;BYYEARDAY=-1,100",
        "FREQ=YEARLY;BYEASTER=-2",
        "FREQ=HOURLY;INTERVAL=5",
        "FREQ=HOURLY;BYHOUR=9,10;BYDAY=MO;BYMINUTE=0,20",
        "FREQ=MINUTELY;INTERVAL=7;BYHOUR=4",
        "FREQ=SECONDLY;INTERVAL=90;BYMONTH=3;BYMONTHDAY=-2",
        "FREQ=MONTHLY;COUNT=5",
    ],
)
def test_agrees_with_dateutil(rule: str) -> None:
    start = datetime(2024, 12, 31, 9, 30, 15)
    ours, theirs, chance = recurrence_rule.read(rule, start, None), rrulestr(rule, dtstart=start), random.Random(rule)
    for _ in range(12):
        moment = start + timedelta(seconds=chance.randrange(-86_400 * 100, 86_400 * 700))
        assert ours.after(moment) == theirs.after(moment), moment


# --- intervals -----------------------------------------------------------------------------------------------------


def test_intervals() -> None:
    assert interval(10).next_after(NOVEMBER) == NOVEMBER + timedelta(seconds=10)
    assert interval(10).next_after(NOVEMBER - timedelta(microseconds=1)) == NOVEMBER
    anchored = interval(3600, datetime(2030, 1, 1, 0, 20, tzinfo=UTC))  # an anchor to come counts backwards as well
    assert anchored.next_after(NOVEMBER) == NOVEMBER + timedelta(minutes=20)
    assert interval(timedelta(days=1)).anchor_date == datetime(2020, 1, 1, tzinfo=UTC)
    assert interval(60, timezone="Asia/Tokyo").anchor_date == datetime(2019, 12, 31, 15, tzinfo=UTC)
    assert interval(60, datetime(2026, 7, 1, 9, tzinfo=OSLO)).timezone == "Europe/Oslo"
    assert interval(timedelta(days=300)).next_after(datetime(9999, 12, 1, tzinfo=UTC)) is None


@pytest.mark.parametrize("wrong", [0, -5, float("nan"), float("inf"), 1e30, "soon"])
def test_wrong_intervals(wrong: float) -> None:
    with pytest.raises(ScheduleError, match="interval"):
        interval(wrong)


# --- recurrences ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "zone", "fires"),
    [
        ("FREQ=WEEKLY;BYDAY=MO;BYHOUR=9", "Europe/Oslo", ["2026-11-23 08:00", "2026-11-30 08:00"]),
        ("FREQ=DAILY", None, ["2026-11-22 00:00", "2026-11-23 00:00"]),
        ("DTSTART:20261122T060000Z\nRRULE:FREQ=DAILY;COUNT=2", "Asia/Tokyo", ["2026-11-22 06:00", "2026-11-23 06:00"]),
        ("DTSTART;TZID=Asia/Tokyo:20261122T060000\nRRULE:FREQ=DAILY;COUNT=1", None, ["2026-11-21 21:00"]),
        ("DTSTART:20200101T000000\nFREQ=DAILY;BYHOUR=6", "Europe/Oslo", ["2026-11-22 05:00", "2026-11-23 05:00"]),
        ("FREQ=DAILY;UNTIL=20261122T000000Z", None, ["2026-11-22 00:00"]),
        ("RRULE:FREQ=DAILY\nEXDATE:20261122T000000", None, ["2026-11-23 00:00", "2026-11-24 00:00"]),
        ("RRULE:FREQ=DAILY\nEXRULE:FREQ=WEEKLY;BYDAY=SU,MO", None, ["2026-11-24 00:00", "2026-11-25 00:00"]),
        ("RDATE:20261201T100000,20261202T100000", None, ["2026-12-01 10:00", "2026-12-02 10:00"]),
        ("FREQ=SECONDLY", None, ["2026-11-21 12:00", "2026-11-21 12:00"]),
        ("DTSTART:19700101T000000\nRRULE:FREQ=SECONDLY;INTERVAL=7200", None, ["2026-11-21 14:00", "2026-11-21 16:00"]),
    ],
)
def test_recurrences(text: str, zone: str | None, fires: list[str]) -> None:
    found = rrule(text, zone).occurrences(NOVEMBER, NOVEMBER + timedelta(days=14), limit=2)
    assert [f"{t:%Y-%m-%d %H:%M}" for t in found] == fires


def test_a_recurrence_ends() -> None:
    assert rrule("DTSTART:20260101T000000\nRRULE:FREQ=DAILY;COUNT=10").next_after(NOVEMBER) is None
    assert rrule("FREQ=HOURLY;UNTIL=20260101T000000").next_after(NOVEMBER) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "never fires"),
        ("FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30", "never fires"),
        ("FREQ=SECONDLY;INTERVAL=60;BYSECOND=5", "too rarely"),
        ("FREQ=DAILY;UNTIL=20100101T000000Z", "never fires"),
        ("FREQ=DAILY;COUNT=1\nEXDATE:20200101T000000", "never fires"),
        ("FREQ=DAILY;INTERVAL=0", "INTERVAL=0 is outside 1"),
        ("FREQ=DAILY;COUNT=1000000", "COUNT=1000000 is outside 1–10000"),
        ("FREQ=FORTNIGHTLY", "FREQ=FORTNIGHTLY is not known"),
        ("FREQ=DAILY;BYHOUR=24", "BYHOUR=24 is outside 0–23"),
        ("FREQ=DAILY;BYDAY=2MO", "is for MONTHLY and YEARLY"),
        ("FREQ=WEEKLY;BYDAY=XX", "BYDAY=XX"),
        ("FREQ=DAILY;BYMOON=1", "BYMOON is not known"),
        ("every day", "'every' is not understood"),
        ("", "there is no rule"),
        ("DTSTART:tomorrow\nRRULE:FREQ=DAILY", "'tomorrow' is not a time"),
        ("DTSTART;TZID=Asia/Tokyo:20260101T000000\nRRULE:FREQ=DAILY", "TZID=Asia/Tokyo differs from timezone"),
        ("FREQ=DAILY;BYHOUR=" + "1," * 4000 + "1", "at most 6500 characters"),
    ],
)
def test_wrong_recurrences(text: str, says: str) -> None:
    began = time.thread_time()  # of this thread alone: the machine may be busy
    with pytest.raises(ScheduleError, match=says):
        rrule(text, "Europe/Oslo")
    assert time.thread_time() - began < 2


def test_fast_enough_for_ten_thousand_a_minute() -> None:
    for schedule in (cron("0 9 * * 1-5", "Europe/Oslo"), cron("*/5 * * * *", "America/New_York"), interval(60)):
        schedule.next_after(NOVEMBER)
        began = time.perf_counter()
        for minute in range(500):
            schedule.next_after(NOVEMBER + timedelta(minutes=minute))
        assert (time.perf_counter() - began) / 500 < 200e-6
