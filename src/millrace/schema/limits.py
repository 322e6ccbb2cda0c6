"""Concurrency limits: so many at once, or so many a second. Clients take slots of them by name."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import Field

from millrace.schema.fields import Model, Name
from millrace.schema.flows import Page, Stored

TAG = "tag:"
"""What the name of the limit of a tag begins with."""

LONGEST_WAIT = 60.0


class LimitCreate(Model):
    """A limit to create."""

    name: Name
    limit: int = Field(ge=0, description="How many slots there are.")
    active: bool = Field(True, description="An inactive limit holds nobody up.")
    active_slots: int = Field(0, ge=0, description="How many are taken.")
    denied_slots: int = Field(0, ge=0, description="How many were asked for lately in vain.")
    slot_decay_per_second: float = Field(
        0, ge=0, description="How many taken slots become free again each second; 0: only those that are given back."
    )


class Limit(LimitCreate, Stored):
    """A limit."""

    limit: int
    avg_slot_occupancy_seconds: float = Field(2.0, description="How long a slot was held lately, on average.")


class LimitUpdate(Model):
    """What to change of a limit."""

    name: Name | None = None
    limit: int | None = Field(None, ge=0)
    active: bool | None = None
    active_slots: int | None = Field(None, ge=0)
    denied_slots: int | None = Field(None, ge=0)
    slot_decay_per_second: float | None = Field(None, ge=0)


class GlobalLimit(Stored):
    """A limit as it is shown: the slots as they are taken at this moment."""

    name: str
    limit: int
    active: bool = True
    active_slots: int = 0
    slot_decay_per_second: float = 0.0


class LimitQuery(Page):
    """Which limits, by name."""


class TagLimitCreate(Model):
    """So many runs at once of tasks with a tag."""

    tag: str
    concurrency_limit: int


class TagLimit(TagLimitCreate, Stored):
    """The limit of a tag, and the task runs that hold its slots."""

    active_slots: list[UUID] = Field(default_factory=list)


class TagLimitReset(Model):
    """Who holds the slots of a tag from now on."""

    slot_override: list[UUID] | None = None


class TagSlots(Model):
    """A slot of each of some tags, for a task run."""

    names: list[str]
    task_run_id: UUID


class SlotHolder(Model):
    """Who holds slots."""

    type: Literal["flow_run", "task_run", "deployment"]
    id: UUID


class SlotsWanted(Model):
    """Slots of each of some limits, or of none of them; a name that no limit has costs nothing.

    `wait_seconds` and `ticket` are ours: servers that do not know them answer at once.
    """

    names: list[str]
    slots: int = Field(gt=0)
    mode: Literal["concurrency", "rate_limit"] = "concurrency"
    wait_seconds: float = Field(0, ge=0, le=LONGEST_WAIT, description="How long to wait for them, in turn.")
    ticket: UUID | None = Field(
        None, description="The caller's own id of this wish: keeps its place between requests, and names the lease."
    )


class TakeSlots(SlotsWanted):
    """Slots for good: they come back by decay, or when they are put back."""

    create_if_missing: bool | None = Field(None, description="Is not heard any more.")


class LeaseSlots(SlotsWanted):
    """Slots for as long as somebody says that they are needed."""

    lease_duration: float = Field(300, ge=60, le=86400)
    holder: SlotHolder | None = None


class GiveSlots(Model):
    """Slots that were taken without a lease and are not needed any more."""

    names: list[str]
    slots: int = Field(gt=0)
    occupancy_seconds: float | None = Field(None, gt=0, description="How long they were held.")
    create_if_missing: bool | None = Field(None, description="Is not heard any more.")


class LimitTaken(Model):
    """A limit that slots were taken of."""

    id: UUID
    name: str
    limit: int


class SlotLease(Model):
    """Slots that were taken."""

    lease_id: UUID
    limits: list[LimitTaken] = Field(default_factory=list)


class RenewSlots(Model):
    """The slots are needed on."""

    lease_duration: float = Field(300, ge=60, le=86400)


class ReturnSlots(Model):
    """The slots are not needed any more."""

    lease_id: UUID
