"""Random sequences of taking, returning, renewing, dying and decaying: the store counts as a simple model does."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from made import Clock

import databases
from millrace.errors import SlotsLost
from millrace.schema.limits import GiveSlots, LeaseSlots, LimitCreate, SlotLease, TakeSlots
from millrace.store import limits, slot_leases
from millrace.store.database import Database
from millrace.store.slot_leases import Denied

SIZES = {"a": 3, "b": 2}
RATE, DECAY = 4, Fraction(1, 2)


@dataclass
class Model:
    """What should be true, counted the simple way."""

    loose: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SIZES, 0))
    leases: dict[UUID, tuple[tuple[str, ...], int, datetime]] = field(default_factory=dict)
    used: Fraction = Fraction(0)

    def live(self, now: datetime) -> dict[UUID, tuple[tuple[str, ...], int, datetime]]:
        return {id: one for id, one in self.leases.items() if one[2] > now}

    def active(self, name: str, now: datetime) -> int:
        return self.loose[name] + sum(slots for names, slots, _ in self.live(now).values() if name in names)


class Sequences(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock, self.model = Clock(), Model()
        self.folder = tempfile.TemporaryDirectory()
        self.db = Database(databases.sqlite(Path(self.folder.name, "m.db")), clock=self.clock)
        for name, size in SIZES.items():
            self.db.write(lambda tx, n=name, s=size: limits.create(tx, LimitCreate(name=n, limit=s)))
        body = LimitCreate(name="rate", limit=RATE, slot_decay_per_second=float(DECAY))
        self.db.write(lambda tx: limits.create(tx, body))

    def teardown(self) -> None:
        self.db.close()
        self.folder.cleanup()

    def fits(self, names: tuple[str, ...], slots: int) -> bool:
        return all(self.model.active(name, self.clock.now) + slots <= SIZES[name] for name in names)

    @rule(
        names=st.sampled_from([("a",), ("b",), ("a", "b"), ("b", "a")]),
        slots=st.integers(1, 2),
        seconds=st.sampled_from([60, 90, 600]),
    )
    def lease(self, names: tuple[str, ...], slots: int, seconds: int) -> None:
        expected = self.fits(names, slots)
        body = LeaseSlots(names=list(names), slots=slots, lease_duration=seconds)
        answer = self.db.write(lambda tx: slot_leases.lease(tx, body))
        assert isinstance(answer, SlotLease) is expected
        if isinstance(answer, SlotLease):
            until = self.clock.now + timedelta(seconds=seconds)
            self.model.leases[answer.lease_id] = (names, slots, until)

    @precondition(lambda self: self.model.leases)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(sorted(self.model.leases)))
        del self.model.leases[id]
        self.db.write(lambda tx: slot_leases.end(tx, id))

    @precondition(lambda self: self.model.leases)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(sorted(self.model.leases)))
        names, slots, until = self.model.leases[id]
        try:
            self.db.write(lambda tx: slot_leases.renew(tx, id, 120))
        except SlotsLost:
            assert until <= self.clock.now
        else:
            assert until > self.clock.now
            self.model.leases[id] = (names, slots, self.clock.now + timedelta(seconds=120))

    @rule(name=st.sampled_from(sorted(SIZES)), slots=st.integers(1, 2))
    def take(self, name: str, slots: int) -> None:
        expected = self.fits((name,), slots)
        answer = self.db.write(lambda tx: slot_leases.take(tx, TakeSlots(names=[name], slots=slots)))
        assert (not isinstance(answer, Denied)) is expected
        self.model.loose[name] += slots if expected else 0

    @rule(name=st.sampled_from(sorted(SIZES)))
    def put_back(self, name: str) -> None:
        if self.model.loose[name]:
            self.model.loose[name] -= 1
            self.db.write(lambda tx: slot_leases.give(tx, GiveSlots(names=[name], slots=1)))

    @rule(slots=st.integers(1, RATE))
    def use_rate(self, slots: int) -> None:
        expected = self.model.used + slots <= RATE
        body = TakeSlots(names=["rate"], slots=slots, mode="rate_limit")
        answer: Any = self.db.write(lambda tx: slot_leases.take(tx, body))
        assert (not isinstance(answer, Denied)) is expected
        if expected:
            self.model.used += slots
        else:
            wait = (self.model.used + slots - RATE) / DECAY
            assert answer.ready == self.clock.now + timedelta(seconds=float(wait))

    @rule(quarters=st.sampled_from([1, 2, 3, 7, 20, 120, 240, 400]))
    def time_goes_by(self, quarters: int) -> None:
        self.clock.advance(quarters / 4)
        self.model.used = max(Fraction(0), self.model.used - DECAY * Fraction(quarters, 4))

    @rule()
    def reap(self) -> None:
        gone = len(self.model.leases) - len(self.model.live(self.clock.now))
        assert self.db.write(lambda tx: slot_leases.reap(tx, 100)) <= gone
        self.model.leases = self.model.live(self.clock.now)

    @invariant()
    def the_same_slots_are_taken(self) -> None:
        def counts(tx: Any) -> dict[str, int]:
            rows = [limits.find(tx, name) for name in (*SIZES, "rate")]
            return {row.name: limits.shown(row, tx.now, slot_leases.lost_slots(tx, row)).active_slots for row in rows}

        found = self.db.read(counts)
        assert found == {
            **{name: self.model.active(name, self.clock.now) for name in SIZES},
            "rate": -(-self.model.used.numerator // self.model.used.denominator),
        }
        assert all(found[name] <= size for name, size in SIZES.items())


class TestSequences(Sequences.TestCase):
    settings = settings(max_examples=12, stateful_step_count=40, deadline=None)
