"""Storms of deploying, pausing, editing, deleting and waiting against a model: runs are what the model says.

The model knows nothing of the store. It keeps, for each schedule, since when it counts and how often it fires, and
works out which fires have passed and which of them nobody looked for in time; the store must have one run for each of
the first, one record for each of the others that its policy leaves out, and none beside.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import select

import databases
from millrace.schema.backfills import BackfillCreate
from millrace.schema.deployments import (
    CATCH_UP_LABEL,
    Deployment,
    DeploymentCreate,
    DeploymentScheduleCreate,
    DeploymentScheduleUpdate,
)
from millrace.schema.flows import FlowCreate
from millrace.schema.pools import ClaimRuns, WorkPoolCreate
from millrace.schema.schedules import CronSchedule, IntervalSchedule
from millrace.server import scheduler
from millrace.store import backfills, deployments, flows, leases, pools
from millrace.store import schedules as timetable
from millrace.store.database import Database
from millrace.store.tables import flow_runs, skipped_fires

START = datetime(2026, 11, 21, 12, tzinfo=UTC)
SLUGS = ("a", "b", "c")
SECONDS = (7, 20, 45, 90)
GAP = timedelta(seconds=60)
ANCHOR = datetime(2020, 1, 1, tzinfo=UTC)


def fires(seconds: int, after: datetime, until: datetime) -> set[datetime]:
    """The fires of an interval in (after, until]."""
    step = timedelta(seconds=seconds)
    first = ANCHOR + ((after - ANCHOR) // step + 1) * step
    return {first + n * step for n in range(int((until - first) // step) + 1)} if first <= until else set()


@dataclass
class Known:
    """One schedule as the model sees it.

    Attributes:
        seconds: how often it fires.
        active: whether it does.
        said: what the last deployment said of that, or meant by saying nothing; None if a person made it.
        in_words: whether it said so.
        since: from when on it counts.
        due: the fires that have passed while it counted.
        fresh: those of them that no scheduler has looked at.
        skipped: those that were missed and are not run.
    """

    seconds: int
    active: bool
    said: bool | None
    since: datetime
    in_words: bool = False
    due: set[datetime] = field(default_factory=set)
    fresh: set[datetime] = field(default_factory=set)
    skipped: set[datetime] = field(default_factory=set)

    def looked_at(self, seen: datetime, now: datetime, policy: str) -> None:
        """The scheduler looks, for the first time since `seen`."""
        if now - seen > GAP and policy != "all":
            self.skipped |= self.fresh - ({max(self.fresh, default=now)} if policy == "latest" else set())
        self.fresh = set()


class Storm(RuleBasedStateMachine):
    @initialize(policy=st.sampled_from(["all", "latest", "skip"]))
    def begin(self, policy: str) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.now, self.policy = START, policy
        self.last: datetime | None = None  # when a scheduler last looked
        self.db = Database(databases.sqlite(self.folder / "a.db"), clock=lambda: self.now)
        flow = self.db.write(lambda tx: flows.create(tx, FlowCreate(name="etl")))[0]
        self.db.write(lambda tx: pools.create(tx, WorkPoolCreate(name="default", type="process")))
        self.body = DeploymentCreate(
            name="d", flow_id=flow.id, work_pool_name="default", labels={CATCH_UP_LABEL: policy}
        )
        self.id: UUID = self.db.write(lambda tx: deployments.upsert(tx, self.body))[0].id
        self.paused = self.said_paused = self.said_pause = False
        self.declared: dict[str, tuple[int, bool | None]] = {}
        self.known: dict[str, Known] = {}
        self.gone: dict[UUID, Known] = {}
        self.ids: dict[str, UUID] = {}
        self.step()

    def step(self) -> None:
        self.look()
        while (wake := self.db.write(scheduler.step)) is not None and wake <= self.now:
            pass

    def look(self) -> None:
        for one in self.counting():
            one.looked_at(max(self.last or one.since, one.since), self.now, self.policy)
        if self.last is not None or self.counting():
            self.last = self.now

    def counting(self) -> list[Known]:
        return [] if self.paused else [one for one in self.known.values() if one.active]

    def restart(self, one: Known) -> None:
        one.since = self.now

    # -- what people and deployments do

    @rule(
        wanted=st.dictionaries(
            st.sampled_from(SLUGS), st.tuples(st.sampled_from(SECONDS), st.sampled_from([None, False, True]))
        ),
        paused=st.sampled_from([None, None, False, True]),
    )
    def deploy(self, wanted: dict[str, tuple[int, bool | None]], paused: bool | None) -> None:
        self.declared = wanted
        bodies = [
            DeploymentScheduleCreate(
                schedule=IntervalSchedule(interval=timedelta(seconds=seconds)),
                slug=slug,
                **({} if active is None else {"active": active}),
            )
            for slug, (seconds, active) in wanted.items()
        ]
        sent = {"schedules": bodies, **({} if paused is None else {"paused": paused})}
        body = DeploymentCreate(**{**self.body.model_dump(exclude_unset=True), **sent})
        self.db.write(lambda tx: deployments.upsert(tx, body))
        self.said_pause = self.said_pause or paused is not None
        if paused is not None and paused != self.said_paused:
            self.said_paused = paused
            self.set_paused(paused)
        for slug in [slug for slug, one in self.known.items() if slug not in wanted and one.said is not None]:
            self.forget(slug)
        for slug, (seconds, said) in wanted.items():
            one, active, in_words = self.known.get(slug), said is not False, said is not None
            if one is None:
                self.known[slug] = Known(seconds, active, active, self.now, in_words)
                continue
            before = (one.seconds, one.active)
            news = active != (one.said is not False) or (in_words and not one.in_words)
            one.active = active if news else one.active
            one.seconds, one.said, one.in_words = seconds, active, in_words
            if (one.seconds, one.active) != before:
                self.restart(one)

    @rule()
    def deploy_again(self) -> None:
        """The same once more, as after every change of the code: nothing a person did is undone."""
        self.deploy(self.declared, self.said_paused if self.said_pause else None)

    @rule(slug=st.sampled_from(SLUGS))
    def switch(self, slug: str) -> None:
        """A person lets a schedule rest, or fire again."""
        if slug not in self.known:
            return
        one = self.known[slug]
        change = DeploymentScheduleUpdate(active=not one.active)
        self.db.write(lambda tx: deployments.update_schedule(tx, self.id, self.ids[slug], change))
        one.active = not one.active
        self.restart(one)

    @rule(slug=st.sampled_from(SLUGS), seconds=st.sampled_from(SECONDS))
    def add_by_hand(self, slug: str, seconds: int) -> None:
        if slug in self.known:
            return
        body = DeploymentScheduleCreate(schedule=IntervalSchedule(interval=timedelta(seconds=seconds)), slug=slug)
        self.db.write(lambda tx: deployments.add_schedules(tx, self.id, [body]))
        self.known[slug] = Known(seconds, True, None, self.now)

    @rule(slug=st.sampled_from(SLUGS), seconds=st.sampled_from(SECONDS), active=st.booleans())
    def edit(self, slug: str, seconds: int, active: bool) -> None:
        if slug not in self.known:
            return
        change = DeploymentScheduleUpdate(schedule=IntervalSchedule(interval=timedelta(seconds=seconds)), active=active)
        self.db.write(lambda tx: deployments.update_schedule(tx, self.id, self.ids[slug], change))
        one = self.known[slug]
        if (one.seconds, one.active) != (seconds, active):
            one.seconds, one.active = seconds, active
            self.restart(one)

    @rule(slug=st.sampled_from(SLUGS))
    def delete(self, slug: str) -> None:
        if slug not in self.known:
            return
        self.db.write(lambda tx: deployments.delete_schedule(tx, self.id, self.ids[slug]))
        self.forget(slug)

    def forget(self, slug: str) -> None:
        self.gone[self.ids[slug]] = self.known.pop(slug)

    @rule(paused=st.booleans())
    def pause_or_resume(self, paused: bool) -> None:
        self.db.write(lambda tx: deployments.set_paused(tx, self.id, paused))
        self.set_paused(paused)

    def set_paused(self, paused: bool) -> None:
        if self.paused != paused:
            self.paused = paused
            for one in self.known.values():
                self.restart(one)

    @rule(rest=st.integers(61, 200), late=st.integers(1, 59))
    def rest_and_go_on(self, rest: int, late: int) -> None:
        """The time of rest is no time in which fires were missed, even if the scheduler comes late after it."""
        self.pause_or_resume(True)
        self.live(rest)
        self.pause_or_resume(False)
        self.sleep(late)

    # -- time

    @rule(seconds=st.integers(1, 130))
    def live(self, seconds: int) -> None:
        """The scheduler looks whenever it wants to; where nothing is scheduled it rests until something is."""
        end = self.now + timedelta(seconds=seconds)
        while self.now < end:
            self.look()
            wake = self.db.write(scheduler.step)
            self.pass_to(end if wake is None else max(self.now, min(wake, end)))
        if self.counting():
            self.step()

    @rule(seconds=st.integers(1, 400))
    def sleep(self, seconds: int) -> None:
        """No scheduler runs: what was changed last is seen by nobody until the end."""
        self.pass_to(self.now + timedelta(seconds=seconds))
        self.step()

    def pass_to(self, moment: datetime) -> None:
        for one in self.counting():
            passed = fires(one.seconds, max(self.now, one.since), moment)
            one.due, one.fresh = one.due | passed, one.fresh | passed
        self.now = moment

    @rule()
    def claim(self) -> None:
        self.db.write(lambda tx: leases.claim(tx, "default", ClaimRuns(worker_name="w", limit=200)))

    @rule(slug=st.sampled_from(SLUGS), seconds=st.integers(1, 300))
    def backfill(self, slug: str, seconds: int) -> None:
        if slug not in self.known:
            return
        start = self.now - timedelta(seconds=seconds)
        body = BackfillCreate(start=start, end=self.now, schedule=slug)
        self.db.write(lambda tx: backfills.backfill(tx, self.id, body))
        instant = timedelta(microseconds=1)
        asked = fires(self.known[slug].seconds, start - instant, self.now - instant)
        self.known[slug].due |= asked
        self.known[slug].skipped -= asked

    # -- what must hold

    @invariant()
    def runs_and_skips_are_the_fires(self) -> None:
        stored = self.db.read(lambda tx: timetable.of_deployments(tx, [self.id]))[self.id]
        self.ids |= {str(one.slug): one.id for one in stored}
        assert {str(one.slug): (one.schedule.interval.seconds, one.active) for one in stored} == {
            slug: (one.seconds, one.active) for slug, one in self.known.items()
        }
        wanted = {**self.gone, **{self.ids[slug]: one for slug, one in self.known.items()}}
        for c, of in ((flow_runs.c, lambda one: one.due - one.skipped), (skipped_fires.c, lambda one: one.skipped)):
            found: dict[UUID, list[datetime]] = {id: [] for id in wanted}
            statement = select(c.schedule_id, c.nominal_time).where(c.nominal_time <= self.now)
            for id, nominal in self.db.read(lambda tx, query=statement: tx.connection.execute(query).all()):
                found[id].append(nominal)
            for id, times in found.items():
                assert sorted(times) == sorted(of(wanted[id])), (self.now, id)

    def teardown(self) -> None:
        if hasattr(self, "db"):
            self.db.close()
            shutil.rmtree(self.folder)


Storm.TestCase.settings = settings(
    max_examples=2000 if os.environ.get("MILLRACE_TEST_EVERYWHERE") else 30,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestStorm = Storm.TestCase


# -- schedules without slugs: which is which after an edit

HOURS = st.lists(st.integers(0, 5), max_size=4)


@settings(max_examples=400 if os.environ.get("MILLRACE_TEST_EVERYWHERE") else 40, deadline=None)
@given(data=st.data(), before=HOURS, after=HOURS)
def test_schedules_without_slugs_are_found_again(data: st.DataObject, before: list[int], after: list[int]) -> None:
    """Equal ones are the same, then one by one in order: no pause is lost while its schedule is there in any form."""
    rests = data.draw(st.lists(st.booleans(), min_size=len(before), max_size=len(before)), "rests")
    edits = data.draw(st.lists(st.integers(0, 9), min_size=len(before), max_size=len(before)), "edits")

    def daily(hour: int) -> DeploymentScheduleCreate:
        return DeploymentScheduleCreate(schedule=CronSchedule(cron=f"0 {hour} * * *"))

    with tempfile.TemporaryDirectory() as folder:
        db = Database(databases.sqlite(Path(folder, "a.db")))
        flow = db.write(lambda tx: flows.create(tx, FlowCreate(name="etl")))[0]

        def deploy(hours: list[int]) -> Deployment:
            body = DeploymentCreate(name="d", flow_id=flow.id, schedules=[daily(hour) for hour in hours])
            return db.write(lambda tx: deployments.upsert(tx, body))[0]

        first = deploy(before)
        known = []
        for one, hour, rest, edit in zip(first.schedules, before, rests, edits, strict=True):
            hour = edit if edit > 5 else hour  # a person changes its time
            change = DeploymentScheduleUpdate(schedule=daily(hour).schedule, active=not rest)
            db.write(lambda tx, id=one.id, change=change: deployments.update_schedule(tx, first.id, id, change))
            known.append((one.id, hour, not rest))
        second = deploy(after)
        db.close()

    found: list[tuple[UUID | None, bool]] = [(None, True)] * len(after)
    for equal in (True, False):
        for place, hour in enumerate(after):
            same = next((old for old in known if old[1] == hour or not equal), None)
            if found[place][0] is None and same is not None:
                found[place] = (same[0], same[2])
                known.remove(same)
    by_id = {one.id: one for one in second.schedules}
    assert sorted(one.schedule.cron for one in second.schedules) == sorted(f"0 {hour} * * *" for hour in after)
    for (id, active), hour in zip(found, after, strict=True):
        if id is not None:
            assert (by_id[id].schedule.cron, by_id[id].active) == (f"0 {hour} * * *", active)
    assert sum(one.active for one in second.schedules) == sum(active for _, active in found)
