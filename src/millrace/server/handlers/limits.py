"""Slots of concurrency limits. There are no limits here yet, so all that is asked for is free.

Every task with a tag asks: the client of the original takes a slot of each tag, whether it has a limit or not.
"""

from __future__ import annotations

from uuid import UUID

from millrace.schema.fields import new_id
from millrace.schema.limits import LeaseSlots, LimitTaken, RenewSlots, ReturnSlots, SlotLease, TakeSlots
from millrace.server.context import Call


def take_slots(call: Call, body: TakeSlots) -> list[LimitTaken]:
    """Names without a limit cost nothing."""
    return []


def lease_slots(call: Call, body: LeaseSlots) -> SlotLease:
    """Names without a limit cost nothing."""
    return SlotLease(lease_id=new_id())


def renew_slots(call: Call, lease_id: UUID, body: RenewSlots) -> None:
    """A lease over nothing holds for ever."""


def return_slots(call: Call, body: ReturnSlots) -> None:
    """Nothing was taken."""
