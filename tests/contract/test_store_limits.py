"""Concurrency limits and their slots, on a clock that moves when it is told to."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import made
import pytest
from made import Clock

from millrace.errors import AlreadyExists, InvalidInput, NotFound, SlotsLost, SlotsTaken
from millrace.schema.limits import (
    GiveSlots,
    GlobalLimit,
    LeaseSlots,
    Limit,
    LimitCreate,
    LimitQuery,
    LimitUpdate,
    SlotHolder,
    SlotLease,
    TagLimitCreate,
    TagLimitReset,
    TagSlots,
    TakeSlots,
)
from millrace.schema.runs import ExtendLeases
from millrace.server import reaper
from millrace.settings import Settings
from millrace.store import leases, limits, slot_leases, tag_limits
from millrace.store.database import Database, Transaction
from millrace.store.slot_leases import Denied


def create(db: Database, name: str, limit: int, **fields: Any) -> Limit:
    return db.write(lambda tx: limits.create(tx, LimitCreate(name=name, limit=limit, **fields)))


def lease(
    db: Database, *names: str, slots: int = 1, fence: tuple[UUID, int] | None = None, **fields: Any
) -> SlotLease | Denied:
    body = LeaseSlots(names=list(names), slots=slots, **fields)
    return db.write(lambda tx: slot_leases.lease(tx, body, fence))


def got(db: Database, *names: str, **fields: Any) -> UUID:
    answer = lease(db, *names, **fields)
    assert isinstance(answer, SlotLease), answer
    return answer.lease_id


def take(db: Database, *names: str, slots: int = 1, mode: Any = "concurrency") -> Any:
    body = TakeSlots(names=list(names), slots=slots, mode=mode)
    return db.write(lambda tx: slot_leases.take(tx, body))


def end(db: Database, lease_id: UUID) -> bool:
    return db.write(lambda tx: slot_leases.end(tx, lease_id))


def seen(db: Database, name: str) -> GlobalLimit:
    def look(tx: Transaction) -> GlobalLimit:
        row = limits.find(tx, name)
        return limits.shown(row, tx.now, slot_leases.lost_slots(tx, row))

    return db.read(look)


def active(db: Database, name: str) -> int:
    return seen(db, name).active_slots


def test_a_limit_is_made_read_changed_and_forgotten(db: Database, clock: Clock) -> None:
    limit = create(db, "db", 3, active_slots=1)
    assert seen(db, "db") == seen(db, str(limit.id))
    assert (seen(db, "db").limit, active(db, "db")) == (3, 1)
    with pytest.raises(AlreadyExists, match="'db' exists"):
        create(db, "db", 1)
    create(db, "other", 1)
    clock.advance(1)
    db.write(lambda tx: limits.update(tx, "db", LimitUpdate(name="base", limit=5, active=False, active_slots=0)))
    assert (seen(db, "base").limit, seen(db, "base").active, active(db, "base")) == (5, False, 0)
    assert seen(db, "base").updated == clock.now
    with pytest.raises(AlreadyExists, match="'other' exists"):
        db.write(lambda tx: limits.update(tx, "base", LimitUpdate(name="other")))
    with pytest.raises(InvalidInput, match="limit of the concurrency limit 'base' cannot be null"):
        db.write(lambda tx: limits.update(tx, "base", LimitUpdate(limit=None)))
    assert [row.name for row in db.read(lambda tx: limits.query(tx, LimitQuery()))] == ["base", "other"]
    assert [row.name for row in db.read(lambda tx: limits.query(tx, LimitQuery(offset=1)))] == ["other"]
    db.write(lambda tx: limits.delete(tx, "base"))
    with pytest.raises(NotFound, match="millrace gcl create"):
        seen(db, "base")


def test_slots_are_taken_until_there_are_none_and_come_back(db: Database, clock: Clock) -> None:
    create(db, "db", 3)
    first = got(db, "db", slots=2)
    denied = lease(db, "db", slots=2)
    assert isinstance(denied, Denied) and denied.names == ["db"] and denied.retry_after > 0
    assert denied.ready == clock.now + timedelta(seconds=300), "when the lease ends, if nobody renews it"
    assert active(db, "db") == 2
    assert end(db, first) and not end(db, first)
    assert active(db, "db") == 0
    got(db, "db", slots=3)


def test_slots_of_several_limits_are_taken_together_or_not_at_all(db: Database) -> None:
    create(db, "a", 1)
    create(db, "b", 2)
    held = got(db, "a")
    assert isinstance(lease(db, "b", "a"), Denied)
    assert active(db, "b") == 0
    end(db, held)
    both = got(db, "b", "a", "nobody's", "a")
    assert (active(db, "a"), active(db, "b")) == (1, 1)
    end(db, both)
    assert (active(db, "a"), active(db, "b")) == (0, 0)


def test_a_name_without_a_limit_and_an_inactive_limit_hold_nobody_up(db: Database) -> None:
    create(db, "off", 0, active=False)
    answer = lease(db, "nobody's")
    assert isinstance(answer, SlotLease) and answer.limits == []
    answer = lease(db, "off", slots=5)
    assert isinstance(answer, SlotLease) and [one.name for one in answer.limits] == ["off"]
    db.write(lambda tx: slot_leases.renew(tx, answer.lease_id, 60))
    assert active(db, "off") == 0


def test_what_can_never_be_had_is_an_error(db: Database) -> None:
    create(db, "a", 1)
    with pytest.raises(InvalidInput, match="greater than the limit: 2 of 'a', which has 1"):
        lease(db, "a", slots=2)
    with pytest.raises(InvalidInput, match="slot_decay_per_second of a"):
        take(db, "a", mode="rate_limit")


def test_threads_never_hold_more_slots_than_there_are(db: Database) -> None:
    create(db, "db", 5)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: lease(db, "db"), range(40)))
    assert sum(isinstance(answer, SlotLease) for answer in answers) == 5
    assert active(db, "db") == 5


def test_a_lease_that_is_not_renewed_ends(db: Database, clock: Clock) -> None:
    create(db, "db", 1)
    held = got(db, "db", lease_duration=60)
    clock.advance(50)
    db.write(lambda tx: slot_leases.renew(tx, held, 60))
    clock.advance(59)
    assert isinstance(lease(db, "db"), Denied)
    clock.advance(1)
    assert active(db, "db") == 0, "seen before anybody wrote it"
    got(db, "db")
    with pytest.raises(SlotsLost, match="not renewed in time"):
        db.write(lambda tx: slot_leases.renew(tx, held, 60))
    assert active(db, "db") == 1


def test_the_reaper_ends_leases_and_knows_when_to_come_back(db: Database, clock: Clock) -> None:
    settings = Settings()
    create(db, "db", 2)
    first, _ = got(db, "db", lease_duration=60), got(db, "db", lease_duration=90)
    due = db.write(lambda tx: reaper.step(tx, settings))
    assert due == clock.now + timedelta(seconds=60)
    clock.advance(60)
    assert db.write(lambda tx: reaper.step(tx, settings)) == clock.now + timedelta(seconds=30)
    assert not end(db, first) and active(db, "db") == 1


def test_a_ticket_is_one_lease(db: Database) -> None:
    create(db, "db", 2)
    ticket = uuid4()
    assert got(db, "db", ticket=ticket) == got(db, "db", ticket=ticket) == ticket
    assert active(db, "db") == 1


@pytest.mark.parametrize("how", ["ended", "reaped", "another attempt"])
def test_slots_of_a_run_come_back_with_its_attempt(db: Database, clock: Clock, how: str) -> None:
    made.pool(db)
    create(db, "db", 1)
    run = made.run(db, made.deployment(db, made.flow(db).id).id)
    [claimed] = made.claim(db, lease_seconds=30)
    attempt = claimed.lease.attempt
    got(db, "db", fence=(run.id, attempt), lease_duration=3600)
    made.propose(db, run.id, "Running", attempt=attempt)
    assert isinstance(lease(db, "db"), Denied), "it runs"
    if how == "ended":
        made.propose(db, run.id, "Completed", attempt=attempt)
    else:
        clock.advance(31)
        db.write(lambda tx: leases.reap(tx, 10))
        if how == "another attempt":
            made.claim(db)
    assert active(db, "db") == 0
    got(db, "db")


def test_the_slots_of_a_killed_holder_come_back_when_the_reaper_finds_its_run(db: Database, clock: Clock) -> None:
    """Long before the lease of the slots ends: the holder renews nothing, neither them nor its run."""
    made.pool(db)
    create(db, "db", 1)
    run = made.run(db, made.deployment(db, made.flow(db).id).id)
    made.claim(db, lease_seconds=30)
    made.propose(db, run.id, "Running", attempt=1)
    got(db, "db", fence=(run.id, 1), holder=SlotHolder(type="flow_run", id=run.id), lease_duration=3600)
    clock.advance(20)
    body = ExtendLeases(leases=[(run.id, 1)], lease_seconds=30)
    db.write(lambda tx: leases.extend(tx, body))
    db.write(lambda tx: reaper.step(tx, Settings()))
    assert active(db, "db") == 1
    clock.advance(31)
    db.write(lambda tx: reaper.step(tx, Settings()))
    assert active(db, "db") == 0


def test_slots_of_a_foreign_run_come_back_when_it_ends(db: Database) -> None:
    """Another client names the holder and sends no fence."""
    made.pool(db)
    create(db, "db", 1)
    run = made.run(db, made.deployment(db, made.flow(db).id).id)
    made.claim(db)
    got(db, "db", holder=SlotHolder(type="flow_run", id=run.id), lease_duration=3600)
    made.propose(db, run.id, "Running")
    assert isinstance(lease(db, "db"), Denied)
    made.propose(db, run.id, "Completed")
    got(db, "db")


def test_a_rate_is_exact_however_often_somebody_asks(db: Database, clock: Clock) -> None:
    create(db, "api", 2, slot_decay_per_second=0.5)
    take(db, "api", slots=2, mode="rate_limit")
    granted = []
    for _ in range(400):  # every 0.1 s for 40 s: 20 slots decay
        clock.advance(0.1)
        if not isinstance(take(db, "api", mode="rate_limit"), Denied):
            granted.append(clock.now)
    assert len(granted) == 20
    gaps = {round((b - a).total_seconds(), 1) for a, b in pairwise(granted)}
    assert gaps == {2.0}


def test_a_denied_rate_says_when_there_will_be_slots(db: Database, clock: Clock) -> None:
    create(db, "api", 1, slot_decay_per_second=0.25)
    take(db, "api", mode="rate_limit")
    clock.advance(1)
    denied = take(db, "api", mode="rate_limit")
    assert isinstance(denied, Denied)
    assert denied.retry_after == pytest.approx(3) and denied.ready == clock.now + timedelta(seconds=3)
    assert active(db, "api") == 1, "three quarters of a slot are shown as one"
    clock.advance(3)
    assert active(db, "api") == 0
    assert not isinstance(take(db, "api", mode="rate_limit"), Denied)


def test_a_clock_that_is_set_back_gives_no_slots_away(db: Database, clock: Clock) -> None:
    create(db, "api", 1, slot_decay_per_second=1)
    take(db, "api", mode="rate_limit")
    clock.advance(-100)
    assert isinstance(take(db, "api", mode="rate_limit"), Denied)
    clock.advance(100.5)
    assert isinstance(take(db, "api", mode="rate_limit"), Denied)
    clock.advance(0.5)
    assert not isinstance(take(db, "api", mode="rate_limit"), Denied)


def test_a_lease_gives_back_only_what_has_not_decayed(db: Database, clock: Clock) -> None:
    create(db, "slow", 2, slot_decay_per_second=0.1)
    first = got(db, "slow")
    got(db, "slow")
    clock.advance(5)
    end(db, first)
    assert active(db, "slow") == 1, "of two slots, one half each decayed, and the rest of the first was given back"
    clock.advance(100)
    assert active(db, "slow") == 0


def test_how_long_slots_are_held_is_learnt_from_what_is_given_back(db: Database, clock: Clock) -> None:
    create(db, "db", 1)
    for _ in range(40):
        held = got(db, "db")
        clock.advance(10)
        end(db, held)
    row = db.read(lambda tx: limits.find(tx, "db"))
    assert row.avg_slot_occupancy_seconds == pytest.approx(10, abs=0.1)
    take(db, "db")
    db.write(lambda tx: slot_leases.give(tx, GiveSlots(names=["db", "no"], slots=1, occupancy_seconds=2)))
    assert active(db, "db") == 0
    assert db.read(lambda tx: limits.find(tx, "db")).avg_slot_occupancy_seconds == pytest.approx(6, abs=0.1)


def test_denied_slots_are_counted_and_forgotten(db: Database, clock: Clock) -> None:
    create(db, "db", 1)
    got(db, "db")
    for _ in range(3):
        lease(db, "db")
    assert db.read(lambda tx: limits.denied_at(limits.find(tx, "db"), clock.now)) == 3
    clock.advance(4)
    assert db.read(lambda tx: limits.denied_at(limits.find(tx, "db"), clock.now)) == pytest.approx(1)


# -- limits of tags


def tag(db: Database, name: str, limit: int) -> Any:
    return db.write(lambda tx: tag_limits.create(tx, TagLimitCreate(tag=name, concurrency_limit=limit)))


def test_the_limit_of_a_tag_is_a_global_limit(db: Database) -> None:
    first, new = tag(db, "db", 1)
    assert new and seen(db, "tag:db").limit == 1
    again, new = tag(db, "db", 2)
    assert not new and again.id == first.id and seen(db, "tag:db").limit == 2
    create(db, "plain", 1)
    found = db.read(lambda tx: tag_limits.query(tx, LimitQuery()))
    assert [one.tag for one in found] == ["db"]
    assert db.read(lambda tx: tag_limits.read_by_id(tx, first.id)) == again
    with pytest.raises(NotFound, match="not one of a tag"):
        db.read(lambda tx: tag_limits.read_by_id(tx, limits.find(tx, "plain").id))
    db.write(lambda tx: tag_limits.delete(tx, "db"))
    with pytest.raises(NotFound, match="'db'"):
        db.read(lambda tx: tag_limits.read(tx, "db"))


def test_old_clients_take_a_slot_of_each_tag_for_a_task_run(db: Database) -> None:
    tag(db, "a", 1)
    tag(db, "b", 1)
    first, second = uuid4(), uuid4()
    taken = db.write(lambda tx: tag_limits.take(tx, TagSlots(names=["a", "b", "c"], task_run_id=first)))
    assert [one.name for one in taken] == ["a", "b"]
    assert db.read(lambda tx: tag_limits.read(tx, "a")).active_slots == [first]
    with pytest.raises(SlotsTaken, match="tag b are taken") as caught:
        db.write(lambda tx: tag_limits.take(tx, TagSlots(names=["b"], task_run_id=second)))
    assert caught.value.retry_after > 0
    db.write(lambda tx: tag_limits.give(tx, TagSlots(names=["a", "b"], task_run_id=first)))
    assert active(db, "tag:a") == active(db, "tag:b") == 0
    tag(db, "a", 0)
    with pytest.raises(SlotsTaken, match="is 0"):
        db.write(lambda tx: tag_limits.take(tx, TagSlots(names=["a"], task_run_id=second)))


def test_a_reset_frees_all_slots_of_a_tag_or_says_who_has_them(db: Database) -> None:
    tag(db, "a", 2)
    held = got(db, "tag:a", holder=SlotHolder(type="task_run", id=uuid4()))
    db.write(lambda tx: slot_leases.take(tx, TakeSlots(names=["tag:a"], slots=1)))
    db.write(lambda tx: tag_limits.reset(tx, "a", TagLimitReset()))
    assert active(db, "tag:a") == 0 and not end(db, held)
    who = [uuid4(), uuid4(), uuid4()]
    db.write(lambda tx: tag_limits.reset(tx, "a", TagLimitReset(slot_override=[*who, who[0]])))
    assert active(db, "tag:a") == 3
    assert set(db.read(lambda tx: tag_limits.read(tx, "a")).active_slots) == set(who)
