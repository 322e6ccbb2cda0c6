"""Schedules as texts: what they say of mistakes, their words, and their shape on the wire."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from millrace.deployments.timing import schedules_from
from millrace.errors import ScheduleError
from millrace.schedules import Interval
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


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"cron": "0 3 * *"}, r"is no schedule: cron: '0 3 \* \*' has 4 fields"),
        ({"cron": "0 3 * * *", "interval": 5}, "cron stands beside interval, and a schedule is of one kind"),
        ({"cron": "0 3 * * *", "often": 5}, "a schedule by cron has no 'often'"),
        ({"interval": 0}, "longer than 0 seconds"),
    ],
)
def test_a_schedule_of_a_file_that_will_not_do_is_told_in_words(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ScheduleError, match=says) as told:
        schedules_from(schedules=[given])
    assert "Value error" not in str(told.value) and "Extra inputs" not in str(told.value)
    with pytest.raises(ScheduleError, match="longer than 0 seconds"):
        interval(0)


def test_an_anchor_may_be_an_iso_text() -> None:
    anchor, text = datetime(2026, 1, 1, tzinfo=OSLO), "2026-01-01T00:00:00"
    wanted = interval(600, anchor_date=anchor)
    assert interval(600, anchor_date=text, timezone="Europe/Oslo") == wanted
    assert Interval(600, anchor_date="2025-12-31T23:00:00Z", timezone="Europe/Oslo").schedule == wanted
    assert schedules_from(interval=600, anchor_date=text, timezone="Europe/Oslo")[0].schedule == wanted
    for wrong in ("soon", [5]):
        with pytest.raises(ScheduleError, match=r"anchor_date: .*, not ['\[]"):
            interval(600, anchor_date=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("61 * * * *", "minute: 61 is outside 0–59"),
        ("0 24 * * *", "hour: 24 is outside 0–23"),
        ("0 0 32 * *", "day of month: 32 is outside 1–31"),
        ("0 0 * 13 *", "month: 13 is outside 1–12"),
        ("0 0 * * 8", "day of week: 8 is outside 0–7"),
        ("0 0 * * fry", "day of week: 'fry' is not understood"),
        ("0 0 * * 5#6", "after # is 1 to 5"),
        ("0 0 * * 5L", "is written L5"),
        ("0 0 1W * *", "W.* is not supported"),
        ("*/0 * * * *", "minute: the step"),
        ("5,,6 * * * *", "empty part"),
        ("R * * * *", "Random and hashed"),
        ("H H * * *", "Random and hashed"),
        ("0 ? * * *", "hour"),
        ("0 0 30 2 *", "never fires"),
        ("*/10 * * * * *", "seconds and years are not supported"),
        ("0 9 * *", "has 4 fields; write five"),
        ("", "has 0 fields"),
        ("@reboot", "the aliases are @hourly"),
        ("٣ * * * *", "minute"),
    ],
)
def test_wrong_expressions_name_the_field(expression: str, says: str) -> None:
    with pytest.raises(ScheduleError, match=says) as told:
        cron(expression)
    assert str(told.value).startswith("cron")
    with pytest.raises(ValidationError, match=says) as caught:
        ANY.validate_python({"cron": expression})
    assert len(caught.value.errors()) == 1  # of the cron kind alone


def test_rare_but_real_days() -> None:
    assert cron("0 0 29 2 1", day_or=False).next_after(NOVEMBER) == datetime(2044, 2, 29, tzinfo=UTC)
    assert cron("0 0 31 * *").next_after(NOVEMBER) == datetime(2026, 12, 31, tzinfo=UTC)
    assert cron("0 0 * * 5#5").next_after(NOVEMBER) == datetime(2027, 1, 29, tzinfo=UTC)
    assert cron("0 0 * * L5").next_after(NOVEMBER) == datetime(2026, 11, 27, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Europe/Olso", "'Europe/Oslo'"),
        ("europe/oslo", "'Europe/Oslo'"),
        ("Oslo", "'Europe/Oslo'"),
        ("New York", "'America/New_York'"),
        ("../../etc/passwd", "IANA"),
        ("Europe", "IANA|Did you mean"),
        ("localtime", "there is no time zone"),
        ("right/Europe/Oslo", "there is no time zone"),
        ("", "there is no time zone"),
        ("\0", "there is no time zone"),
    ],
)
def test_unknown_zones(name: str, hint: str) -> None:
    for make in (lambda: cron("@daily", name), lambda: interval(5, timezone=name), lambda: rrule("FREQ=DAILY", name)):
        with pytest.raises(ScheduleError, match=hint):
            make()


def test_a_naive_moment_is_refused() -> None:
    with pytest.raises(ScheduleError, match="no time zone"):
        cron("@daily").next_after(datetime(2026, 1, 1))


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (interval(10), "every 10 seconds"),
        (interval(5400), "every 1 hour 30 minutes"),
        (interval(0.5), "every 0.5 seconds"),
        (interval(86400, timezone="Europe/Oslo"), "every day at 00:00 (Europe/Oslo)"),
        (interval(86400 * 14), "every 2 weeks on Wednesday at 00:00 (UTC)"),
        (cron("0 9 * * 1-5", "Europe/Oslo"), "At 09:00, Monday through Friday (Europe/Oslo)"),
        (cron("*/5 * * * *"), "Every 5 minutes (UTC)"),
        (cron("@daily"), "At 00:00 (UTC)"),
        (cron("0 0 l * *"), "At 00:00, on the last day of the month (UTC)"),
        (cron("0 0 l,15 * *"), "At 00:00, on the last day and 15 of the month (UTC)"),
        (cron("13 2 13 * 5"), "At 02:13, on day 13 of the month, or on Friday (UTC)"),
        (cron("13 2 13 * 5", day_or=False), "At 02:13, on day 13 of the month, and on Friday (UTC)"),
        (rrule("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,FR;BYHOUR=9"), "every 2 weeks on Monday and Friday at 09:00 (UTC)"),
        (rrule("FREQ=MONTHLY;BYDAY=2TU"), "every month on the 2nd Tuesday at 00:00 (UTC)"),
        (rrule("FREQ=YEARLY;COUNT=20"), "every year on 1 January at 00:00, 20 times (UTC)"),
        (rrule("FREQ=HOURLY;BYHOUR=9,10"), "every hour with BYHOUR=9,10 (UTC)"),
    ],
)
def test_words(schedule: CronSchedule | IntervalSchedule | RRuleSchedule, words: str) -> None:
    assert schedule.describe() == words


def test_preview_notes_the_odd_days() -> None:
    spring = cron("30 2 * * *", "Europe/Oslo").preview(SPRING - timedelta(days=1), 3)
    assert [f"{fire.local:%d %H:%M}" for fire in spring] == ["28 02:30", "29 03:00", "30 02:30"]
    assert spring[0].note == ""
    assert "there is no 02:30" in spring[1].note
    autumn = cron("30 2 * * *", "Europe/Oslo").preview(AUTUMN, 2)
    assert "first of the two 02:30" in autumn[0].note
    assert "still 02:30 local time, now 01:30 UTC" in autumn[1].note
    half = cron("*/30 * * * *", "Europe/Oslo").preview(AUTUMN.replace(hour=1, minute=45), 5)
    assert ["second" in fire.note for fire in half] == [False, False, True, True, False]
    assert [fire.note for fire in interval(3600, timezone="Europe/Oslo").preview(NOVEMBER)] == [""] * 5


@pytest.mark.parametrize(
    ("kind", "wire"),
    [
        (IntervalSchedule, {"interval": 3600.0, "anchor_date": "2026-11-21T01:20:18.694749Z", "timezone": "UTC"}),
        (IntervalSchedule, {"interval": 0.5, "anchor_date": "2026-01-01T00:00:00Z", "timezone": None}),
        (CronSchedule, {"cron": "0 9 * * *", "timezone": "Europe/Oslo", "day_or": True}),
        (CronSchedule, {"cron": "@daily", "timezone": None, "day_or": False}),
        (RRuleSchedule, {"rrule": "DTSTART:20200101T000000\nFREQ=DAILY;BYHOUR=6", "timezone": "Europe/Oslo"}),
    ],
)
def test_the_wire_comes_back_as_it_went_in(kind: type[BaseModel], wire: dict[str, object]) -> None:
    schedule = ANY.validate_json(json.dumps(wire))
    assert type(schedule) is kind
    assert json.loads(ANY.dump_json(schedule)) == wire
    assert ANY.validate_python(schedule) is schedule


def test_other_ways_in() -> None:
    assert ANY.validate_json('{"interval": "PT15M"}') == interval(900)
    assert ANY.validate_json(
        '{"interval": 900, "anchor_date": "2020-01-01T01:00:00", "timezone": "Europe/Oslo"}'
    ) == interval(900, datetime(2020, 1, 1, tzinfo=UTC), "Europe/Oslo")
    for wrong in ({}, {"every": 5}, {"cron": "@daily", "interval": 5}, {"cron": "@daily", "colour": 1}, 5, None):
        with pytest.raises(ValidationError):
            ANY.validate_python(wrong)
