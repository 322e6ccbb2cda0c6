"""Concurrency limits, and taking slots of them, in turn."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from millrace.errors import SlotsTaken
from millrace.schema.fields import new_id, now
from millrace.schema.limits import (
    GiveSlots,
    GlobalLimit,
    LeaseSlots,
    Limit,
    LimitCreate,
    LimitQuery,
    LimitTaken,
    LimitUpdate,
    RenewSlots,
    ReturnSlots,
    SlotLease,
    SlotsWanted,
    TakeSlots,
)
from millrace.server.context import Call
from millrace.server.slot_queue import Place
from millrace.store import limits, slot_leases
from millrace.store.database import Transaction
from millrace.store.slot_leases import Denied

T = TypeVar("T")

WAKE_SPACING = 0.01
LONGEST_SLEEP = 1.0
"""Another server may have freed a slot in the same database: seconds after which the first in line looks again."""


def create_limit(call: Call, body: LimitCreate) -> Limit:
    """Create a limit."""
    return call.write(limits.create, body)


def read_limit(call: Call, id_or_name: str) -> GlobalLimit:
    """The limit of an id or name."""
    return call.read(_read, id_or_name)


def _read(tx: Transaction, id_or_name: str) -> GlobalLimit:
    row = limits.find(tx, id_or_name)
    return limits.shown(row, tx.now, slot_leases.lost_slots(tx, row))


def read_limits(call: Call, body: LimitQuery) -> list[GlobalLimit]:
    """All limits, by name."""
    return call.read(_query, body)


def _query(tx: Transaction, body: LimitQuery) -> list[GlobalLimit]:
    return [limits.shown(row, tx.now, slot_leases.lost_slots(tx, row)) for row in limits.query(tx, body)]


def update_limit(call: Call, id_or_name: str, body: LimitUpdate) -> None:
    """Change what was sent."""
    call.write(limits.update, id_or_name, body)


def delete_limit(call: Call, id_or_name: str) -> None:
    """Forget a limit."""
    call.write(limits.delete, id_or_name)


def give_slots(call: Call, body: GiveSlots) -> list[LimitTaken]:
    """Put slots back."""
    return call.write(slot_leases.give, body)


def renew_slots(call: Call, lease_id: UUID, body: RenewSlots) -> None:
    """Hold leased slots for longer."""
    call.write(slot_leases.renew, lease_id, body.lease_duration)


async def return_slots(call: Call, body: ReturnSlots) -> None:
    """End a lease; who still waits for it waits no longer."""
    call.context.slots.drop(body.lease_id)
    await call.context.write(slot_leases.end, body.lease_id)


async def take_slots(call: Call, body: TakeSlots) -> list[LimitTaken]:
    """Take slots for good."""
    taken: list[LimitTaken] = await _in_turn(call, body, slot_leases.take, list)
    return taken


async def lease_slots(call: Call, body: LeaseSlots) -> SlotLease:
    """Take slots under a lease."""
    ticket = body.ticket or new_id()
    body = body.model_copy(update={"ticket": ticket})

    def lease(tx: Transaction, body: LeaseSlots, *, denial: bool) -> SlotLease | Denied:
        return slot_leases.lease(tx, body, call.lease, denial=denial)

    taken: SlotLease = await _in_turn(call, body, lease, lambda taken: SlotLease(lease_id=ticket, limits=taken))
    return taken


async def _in_turn(
    call: Call, body: SlotsWanted, take: Callable[..., Any], without: Callable[[list[LimitTaken]], Any]
) -> Any:
    """Take slots as soon as they are there and nobody waits before; as long as the client wants to wait.

    Args:
        call: the request.
        body: what is wanted.
        take: a store function that takes them.
        without: the answer where no limit is to be asked.

    Raises:
        SlotsTaken: they are not to be had in this time.
    """
    context = call.context
    found, _ = await context.read(slot_leases.outlook, body)
    if not found:  # most tags have no limit: this costs no write
        return without([])
    if not body.wait_seconds:
        return _granted(await context.write(take, body, denial=True))
    place = context.slots.enter(body.ticket or new_id(), body.names)
    keep = False
    try:
        return await _wait(call, body, place, take)
    except SlotsTaken:
        keep = True
        raise
    finally:
        context.slots.leave(place, keep=keep)


def _granted(answer: Any) -> Any:
    if isinstance(answer, Denied):
        # spread: those who were refused together must not come back together
        seconds = answer.retry_after * random.uniform(0.7, 1.3)
        raise SlotsTaken(f"All slots of {', '.join(answer.names)} are taken.", seconds)
    return answer


async def _wait(call: Call, body: SlotsWanted, place: Place, take: Callable[..., Any]) -> Any:
    context, clock = call.context, asyncio.get_running_loop().time
    deadline, asked = clock() + body.wait_seconds, place.came_back
    while True:
        seen = context.bell.count
        place.turn.clear()
        denied: Denied | None = None
        if context.slots.first(place):
            if asked:  # whoever was refused looks before asking again: looking writes nothing
                _, denied = await context.read(slot_leases.outlook, body)
            if denied is None and not (call.gone() or place.dropped):
                answer = await context.write(take, body, denial=not asked)
                if not isinstance(answer, Denied):
                    return await _kept(call, place, answer)
                asked, denied = True, answer
        left = deadline - clock()
        if left <= 0 or call.gone() or place.dropped or context.bell.closed:
            raise SlotsTaken(f"All slots of {', '.join(body.names)} are taken.", WAKE_SPACING)
        await _sleep(call, place, denied, seen, left)


async def _kept(call: Call, place: Place, answer: T) -> T:
    """The answer, unless whoever waited has given up meanwhile: then nobody would ever return it."""
    if isinstance(answer, SlotLease) and (place.dropped or call.gone()):
        await call.context.write(slot_leases.end, answer.lease_id)
    return answer


async def _sleep(call: Call, place: Place, denied: Denied | None, seen: int, left: float) -> None:
    """Until something may have changed: who is first hears every commit, the others hear who goes before them."""
    if denied is None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(place.turn.wait(), min(left, LONGEST_SLEEP))
        return
    ahead = _until(denied.ready)
    await call.context.bell.wait(seen, min(left, ahead, LONGEST_SLEEP))
    if call.context.bell.count != seen:
        await asyncio.sleep(min(WAKE_SPACING, left))


def _until(moment: datetime | None) -> float:
    return LONGEST_SLEEP if moment is None else max(0.001, (moment - now()).total_seconds())
