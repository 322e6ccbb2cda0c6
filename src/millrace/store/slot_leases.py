"""Slots of concurrency limits, taken: all that was asked for or nothing, for good or under a lease.

A lease ends when it is returned, when it was not renewed in time, or when the run that holds it is over: whoever died
gives his slots back. Leases that ended are found by the next one who needs the slots, and by the reaper.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, and_, func, or_, select

from millrace.errors import InvalidInput, SlotsLost
from millrace.schema.fields import new_id
from millrace.schema.limits import GiveSlots, LeaseSlots, LimitTaken, SlotHolder, SlotLease, SlotsWanted
from millrace.schema.states import StateType
from millrace.store import limits
from millrace.store.database import Transaction
from millrace.store.limits import TINY, active_at
from millrace.store.tables import flow_runs, leased_limits, slot_leases, task_runs

FINAL = [kind.value for kind in (StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED)]
LONGEST_RETRY = 5.0
"""What a client that cannot wait in the queue is told to wait at most: seconds."""

_l = slot_leases.c


@dataclass(frozen=True, slots=True)
class Denied:
    """There are not enough slots.

    Attributes:
        names: the limits that have too few.
        retry_after: seconds after which asking again is of use.
        ready: the moment at which, if nothing else happens, there will be enough; None: nobody knows.
    """

    names: list[str]
    retry_after: float
    ready: datetime | None


# -- taking


def take(tx: Transaction, body: SlotsWanted, *, denial: bool = True) -> list[LimitTaken] | Denied:
    """Takes slots of all limits that are named, or of none.

    Args:
        tx: the transaction.
        body: what is wanted.
        denial: count it among the denied slots if there are none.

    Raises:
        InvalidInput: more slots than there are, or a rate limit that has no rate.
    """
    return _take(tx, body, denial=denial)[0]


def lease(
    tx: Transaction,
    body: LeaseSlots,
    fence: tuple[UUID, int] | None = None,
    *,
    seconds: float | None = None,
    denial: bool = True,
) -> SlotLease | Denied:
    """Takes slots for a while.

    Args:
        tx: the transaction.
        body: what is wanted; a ticket that is known already answers its lease.
        fence: the flow run and attempt of whoever asks: with the attempt, the lease ends.
        seconds: how long, whatever the wish says.
        denial: count it among the denied slots if there are none.

    Raises:
        InvalidInput: more slots than there are, or a rate limit that has no rate.
    """
    known = _read(tx, body.ticket) if body.ticket else None
    if known is not None:
        rows = limits.by_names(tx, body.names)
        return SlotLease(lease_id=known.id, limits=limits.taken_of(rows))
    answer, held = _take(tx, body, denial=denial)
    if isinstance(answer, Denied):
        return answer
    id = body.ticket or new_id()
    if answer:
        until = tx.now + timedelta(seconds=seconds or body.lease_duration)
        _insert(tx, id, body.slots, until, held, holder=body.holder, fence=fence)
    return SlotLease(lease_id=id, limits=answer)


def put(tx: Transaction, row: Row[Any], holder: SlotHolder, until: datetime) -> None:
    """Gives somebody a slot, whether there is one or not.

    Args:
        tx: the transaction.
        row: of the limit.
        holder: who has it.
        until: the end of the lease.
    """
    row = limits.by_ids(tx, [row.id])[0]
    limits.recount(tx, row, active_at(row, tx.now) + 1)
    _insert(tx, new_id(), 1, until, [row], holder=holder)


def _insert(
    tx: Transaction,
    id: UUID,
    slots: int,
    until: datetime,
    rows: Iterable[Row[Any]],
    *,
    holder: SlotHolder | None = None,
    fence: tuple[UUID, int] | None = None,
) -> None:
    run, attempt = fence or (None, None)
    tx.connection.execute(
        slot_leases.insert().values(
            id=id,
            created=tx.now,
            updated=tx.now,
            slots=slots,
            expires=until,
            holder_type=holder.type if holder else None,
            holder_id=holder.id if holder else None,
            flow_run_id=run,
            attempt=attempt,
        )
    )
    if pairs := [{"lease_id": id, "limit_id": row.id} for row in rows]:
        tx.connection.execute(leased_limits.insert(), pairs)


def _take(tx: Transaction, body: SlotsWanted, *, denial: bool) -> tuple[list[LimitTaken] | Denied, list[Row[Any]]]:
    found = limits.by_names(tx, body.names)
    rows = [row for row in found if row.active]
    check(rows, body)
    short = _short(rows, body.slots, tx.now)
    if short and _free(tx, [row.id for row in short]):
        rows = [row for row in limits.by_names(tx, body.names) if row.active]
        short = _short(rows, body.slots, tx.now)
    if short:
        refused = _denied(tx, short, body.slots)
        if denial:
            count_denial(tx, body)
        return refused, []
    for row in rows:
        limits.recount(tx, row, active_at(row, tx.now) + body.slots)
    return limits.taken_of(found), rows


def check(rows: Sequence[Row[Any]], body: SlotsWanted) -> None:
    """Whether a wish can ever come true.

    Args:
        rows: the limits that hold somebody up.
        body: the wish.

    Raises:
        InvalidInput: it cannot.
    """
    for row in rows:
        if row.limit < body.slots:
            raise InvalidInput(
                f"Slots requested is greater than the limit: {body.slots} of {row.name!r}, which has {row.limit}."
            )
    if body.mode == "rate_limit" and (steady := [row.name for row in rows if not row.slot_decay_per_second]):
        raise InvalidInput(
            f"Only limits whose slots decay can limit a rate: set slot_decay_per_second of {', '.join(steady)}."
        )


def count_denial(tx: Transaction, body: SlotsWanted) -> None:
    """Somebody asked in vain, or waits."""
    for row in limits.by_names(tx, body.names):
        if row.active:
            denied = limits.denied_at(row, tx.now) + body.slots
            limits.recount(tx, row, active_at(row, tx.now), denied_slots=denied)


def _short(rows: Iterable[Row[Any]], slots: int, now: datetime) -> list[Row[Any]]:
    return [row for row in rows if active_at(row, now) + slots > row.limit + TINY]


def _denied(tx: Transaction, short: Sequence[Row[Any]], slots: int) -> Denied:
    """When to ask again: exact where slots decay; else when a lease ends, or as long as slots are held lately."""
    moments: list[datetime | None] = []
    waits: list[float] = []
    for row in short:
        if row.slot_decay_per_second:
            seconds = (active_at(row, tx.now) + slots - row.limit) / row.slot_decay_per_second
            moments.append(tx.now + timedelta(seconds=min(seconds, 1e9)))
            waits.append(seconds)
            continue
        ends = select(func.min(_l.expires)).join(leased_limits, leased_limits.c.lease_id == _l.id)
        ending = tx.connection.scalar(ends.where(leased_limits.c.limit_id == row.id))
        moments.append(ending)
        crowd = (slots + limits.denied_at(row, tx.now)) / max(1, row.limit)
        usual = min(limits.occupancy_of(row) * crowd, LONGEST_RETRY)
        waits.append(usual if ending is None else min(usual, max(0.0, (ending - tx.now).total_seconds())))
    known = [moment for moment in moments if moment is not None]
    # A lease may be renewed and a slot given back: this moment is when to look again, not a promise.
    ready = max(known) if len(known) == len(moments) else None
    return Denied([row.name for row in short], max([*waits, 0.05]), ready)


def outlook(tx: Transaction, body: SlotsWanted) -> tuple[list[LimitTaken], Denied | None]:
    """The limits that a wish concerns, and what stands in its way now; reads only.

    Raises:
        InvalidInput: it can never come true.
    """
    found = limits.by_names(tx, body.names)
    rows = [row for row in found if row.active]
    check(rows, body)
    short = [
        row
        for row in _short(rows, body.slots, tx.now)
        if active_at(row, tx.now) - lost_slots(tx, row) + body.slots > row.limit + TINY
    ]
    return limits.taken_of(found), _denied(tx, short, body.slots) if short else None


# -- giving back


def give(tx: Transaction, body: GiveSlots) -> list[LimitTaken]:
    """Puts slots back that were taken without a lease."""
    rows = limits.by_names(tx, body.names)
    for row in rows:
        limits.give(tx, row, body.slots, body.occupancy_seconds)
    return limits.taken_of(rows)


def end(tx: Transaction, lease_id: UUID) -> bool:
    """Ends a lease; false if there was none."""
    row = _read(tx, lease_id)
    if row is None:
        return False
    _end(tx, row, min(tx.now, row.expires))
    return True


def renew(tx: Transaction, lease_id: UUID, seconds: float) -> None:
    """Lets a lease last.

    Raises:
        SlotsLost: it has ended.
    """
    statement = slot_leases.update().where(_l.id == lease_id, _l.expires > tx.now)
    until = tx.now + timedelta(seconds=seconds)
    if tx.connection.execute(statement.values(expires=until, updated=tx.now)).rowcount == 0:
        raise SlotsLost(
            f"The lease {lease_id} is not there: it was returned, or not renewed in time. Its slots may be another's."
        )


def reap(tx: Transaction, limit: int) -> int:
    """Ends the leases that were not renewed, and those whose run is over.

    Returns:
        How many there were, at most `limit`.
    """
    rows = tx.connection.execute(_lost(tx.now).order_by(_l.expires).limit(limit)).all()
    for row in rows:
        _end(tx, row, min(tx.now, row.expires))
    return len(rows)


def next_end(tx: Transaction) -> datetime | None:
    """When the next lease ends if nobody renews it."""
    ends: datetime | None = tx.connection.scalar(select(func.min(_l.expires)))
    return ends


def holders(tx: Transaction, limit_id: UUID) -> list[UUID]:
    """The task runs that hold slots of a limit."""
    held = select(_l.holder_id).join(leased_limits, leased_limits.c.lease_id == _l.id)
    held = held.where(leased_limits.c.limit_id == limit_id, _l.holder_type == "task_run", _l.expires > tx.now)
    return list(tx.connection.scalars(held.order_by(_l.created, _l.id)))


def lost_slots(tx: Transaction, row: Row[Any]) -> float:
    """How many slots of a limit are counted though their holders are gone.

    Args:
        tx: the transaction.
        row: of the limit.
    """
    return sum(_left(one, row, tx.now) for one in tx.connection.execute(_lost(tx.now, [row.id])))


def of_holder(tx: Transaction, limit_ids: Iterable[UUID], holder_id: UUID) -> list[UUID]:
    """The leases that somebody has of some limits."""
    found = select(_l.id).join(leased_limits, leased_limits.c.lease_id == _l.id)
    condition = leased_limits.c.limit_id.in_(list(limit_ids))
    return list(tx.connection.scalars(found.where(condition, _l.holder_id == holder_id).distinct()))


def reset(tx: Transaction, row: Row[Any]) -> None:
    """Ends all leases of a limit: none of its slots is taken.

    Args:
        tx: the transaction.
        row: of the limit.
    """
    mine = select(leased_limits.c.lease_id).where(leased_limits.c.limit_id == row.id)
    for one in tx.connection.execute(select(slot_leases).where(_l.id.in_(mine))).all():
        _end(tx, one, tx.now)
    limits.recount(tx, limits.by_ids(tx, [row.id])[0], 0.0)


def _read(tx: Transaction, lease_id: UUID | None) -> Row[Any] | None:
    return tx.connection.execute(select(slot_leases).where(_l.id == lease_id)).first()


def _end(tx: Transaction, row: Row[Any], moment: datetime) -> None:
    of = select(leased_limits.c.limit_id).where(leased_limits.c.lease_id == row.id)
    held = max(0.0, (moment - row.created).total_seconds())
    for limit in limits.by_ids(tx, tx.connection.scalars(of).all()):
        limits.give(tx, limit, _left(row, limit, tx.now), held)
    tx.connection.execute(slot_leases.delete().where(_l.id == row.id))


def _left(lease: Row[Any], limit: Row[Any], now: datetime) -> float:
    """What of the slots of a lease is still counted: where slots decay, they did while the lease lasted."""
    created: datetime = lease.created
    decayed = float(limit.slot_decay_per_second) * max(0.0, (now - created).total_seconds())
    return max(0.0, float(lease.slots) - decayed)


def _free(tx: Transaction, limit_ids: list[UUID]) -> bool:
    lost = tx.connection.execute(_lost(tx.now, limit_ids)).all()
    for row in lost:
        _end(tx, row, min(tx.now, row.expires))
    return bool(lost)


def _lost(now: datetime, limit_ids: list[UUID] | None = None) -> Select[Any]:
    """The leases whose holder is gone: not renewed, or the run is over, or another attempt has it."""
    fence, holder = flow_runs.alias(), flow_runs.alias()
    joined = slot_leases.outerjoin(fence, fence.c.id == _l.flow_run_id)
    joined = joined.outerjoin(holder, and_(_l.holder_type == "flow_run", holder.c.id == _l.holder_id))
    joined = joined.outerjoin(task_runs, and_(_l.holder_type == "task_run", task_runs.c.id == _l.holder_id))
    conditions: list[ColumnElement[bool]] = [
        _l.expires <= now,
        holder.c.state_type.in_(FINAL),
        task_runs.c.state_type.in_(FINAL),
        and_(fence.c.id.is_not(None), or_(fence.c.attempt != _l.attempt, fence.c.lease_expires.is_(None))),
    ]
    statement = select(slot_leases).select_from(joined).where(or_(*conditions))
    if limit_ids is not None:
        mine = select(leased_limits.c.lease_id).where(leased_limits.c.limit_id.in_(limit_ids))
        statement = statement.where(_l.id.in_(mine))
    return statement
