"""Which stored schedule a declared one continues."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from millrace.deployments.resting import resting
from millrace.schema.deployments import DeploymentSchedule, DeploymentScheduleCreate
from millrace.schema.fields import new_id
from millrace.schema.schedule_pairs import Standing, pairs
from millrace.schema.schedules import Schedule, cron, interval, rrule

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def old(schedule: Schedule, slug: str | None = None, *, declared: bool = True, **parameters: Any) -> Standing:
    return Standing(schedule, slug, parameters, declared)


def new(schedule: Schedule, slug: str | None = None, replaces: str | None = None, **parameters: Any) -> Any:
    return DeploymentScheduleCreate(schedule=schedule, slug=slug, replaces=replaces, parameters=parameters)


NINE, FIVE, NOON = cron("0 9 * * *"), cron("0 17 * * *"), cron("0 12 * * *")
FRIDAY, MONDAY = cron("0 9 * * 5"), cron("0 9 * * 1")
PAY_DAY = rrule("FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=17")


@pytest.mark.parametrize(
    ("stored", "wanted", "found"),
    [
        ([], [new(NINE)], [None]),
        ([old(NINE)], [], []),
        ([old(NINE), old(FIVE)], [new(FIVE), new(NINE)], [1, 0]),
        ([old(NINE), old(NINE)], [new(NINE), new(NINE)], [0, 1]),
        # slugs are sure, whatever the times
        ([old(NINE, "a"), old(FIVE, "b")], [new(FIVE, "a"), new(NINE, "b")], [0, 1]),
        ([old(NINE, "a")], [new(NINE, "b")], [None]),
        ([old(NINE, "a")], [new(FIVE, "b", replaces="a")], [0]),
        ([old(FIVE), old(NINE, "a")], [new(FIVE, "a")], [1]),
        # a slug that is new, or gone
        ([old(NINE), old(FIVE)], [new(FIVE, "a")], [1]),
        ([old(NINE, "a"), old(FIVE)], [new(NINE)], [0]),
        # one edited, another deleted: the one it is most like
        ([old(NINE), old(FIVE)], [new(cron("30 17 * * *"))], [1]),
        ([old(NINE), old(FIVE)], [new(cron("30 17 * * *")), new(cron("30 9 * * *"))], [1, 0]),
        ([old(NINE), old(FRIDAY)], [new(cron("0 8 * * 5"))], [1]),
        ([old(cron("0 9 * * *", "Europe/Oslo")), old(NINE)], [new(cron("0 9 * * *", "UTC"))], [1]),
        ([old(interval(60)), old(NINE)], [new(FIVE)], [1]),
        ([old(NINE), old(interval(60))], [new(interval(90))], [1]),
        ([old(NINE), old(PAY_DAY)], [new(rrule("FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=18"))], [1]),
        ([old(NINE, shop="oslo"), old(FIVE, shop="lima")], [new(NOON, shop="lima")], [1]),
        ([old(NINE, shop="oslo", n=1), old(NINE, shop="lima", n=1)], [new(FIVE, shop="lima", n=2)], [1]),
        ([old(NINE), old(interval(60))], [new(PAY_DAY)], [0]),
        # as like: the order decides
        ([old(NINE), old(FIVE)], [new(NOON)], [0]),
        ([old(NINE), old(FIVE)], [new(NOON), new(cron("0 13 * * *"))], [0, 1]),
        # what a person added is no declared schedule that was edited
        ([old(NINE, declared=False)], [new(FIVE)], [None]),
        ([old(NINE, declared=False), old(FRIDAY)], [new(NINE), new(MONDAY)], [0, 1]),
    ],
)
def test_a_declared_schedule_continues_the_one_it_is_most_like(
    stored: list[Standing], wanted: list[DeploymentScheduleCreate], found: list[int | None]
) -> None:
    assert pairs(stored, wanted, NOW) == found


def test_an_interval_anchored_just_now_is_the_one_that_is_there() -> None:
    def hourly(anchor: datetime) -> Schedule:
        return interval(timedelta(hours=1), anchor)

    before = [old(NINE), old(hourly(NOW - timedelta(days=3))), old(hourly(NOW - timedelta(days=2)))]
    assert pairs(before, [new(hourly(NOW))], NOW) == [1]


def test_two_hundred_that_stay_are_found_in_no_time() -> None:
    many = [cron(f"{n % 60} {n // 60} * * *") for n in range(200)]
    began = datetime.now().astimezone()
    assert pairs([old(one) for one in many], [new(one) for one in many], NOW) == list(range(200))
    assert datetime.now().astimezone() - began < timedelta(seconds=3)


def test_at_a_server_that_forgets_the_schedule_that_was_paused_rests_and_no_other() -> None:
    def stored(schedule: Schedule, *, active: bool) -> DeploymentSchedule:
        dates = {"id": new_id(), "created": NOW, "updated": NOW}
        return DeploymentSchedule(schedule=schedule, active=active, deployment_id=new_id(), **dates)

    before = [stored(NINE, active=True), stored(FIVE, active=False)]
    assert [one.active for one in resting(before, [new(cron("30 17 * * *"))])] == [False]
    said = DeploymentScheduleCreate(schedule=FIVE, active=True)
    assert [one.active for one in resting(before, [said, new(NINE)])] == [True, True]
