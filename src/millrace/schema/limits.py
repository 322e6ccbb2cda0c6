"""Concurrency limits by name or tag, as a client takes slots of them."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import Field

from millrace.schema.fields import Model


class SlotHolder(Model):
    """Who holds slots."""

    type: Literal["flow_run", "task_run", "deployment"]
    id: UUID


class TakeSlots(Model):
    """Slots of each of some limits; a name that no limit has costs nothing."""

    names: list[str]
    slots: int = Field(gt=0)
    mode: Literal["concurrency", "rate_limit"] = "concurrency"
    create_if_missing: bool | None = None


class LeaseSlots(Model):
    """Slots for as long as somebody says that they are needed."""

    names: list[str]
    slots: int = Field(gt=0)
    mode: Literal["concurrency", "rate_limit"] = "concurrency"
    lease_duration: float = Field(300, ge=60, le=86400)
    holder: SlotHolder | None = None


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
