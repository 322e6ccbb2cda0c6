"""Limits of tags, by the older operations."""

from __future__ import annotations

from uuid import UUID

from millrace.schema.limits import LimitQuery, LimitTaken, TagLimit, TagLimitCreate, TagLimitReset, TagSlots
from millrace.server.answers import Answer, created_or_known
from millrace.server.context import Call
from millrace.store import limits, tag_limits


def create_tag_limit(call: Call, body: TagLimitCreate) -> Answer:
    """Limit a tag."""
    return created_or_known(call.write(tag_limits.create, body))


def read_tag_limits(call: Call, body: LimitQuery) -> list[TagLimit]:
    """The limits of all tags."""
    return call.read(tag_limits.query, body)


def read_tag_limit(call: Call, tag: str) -> TagLimit:
    """The limit of a tag."""
    return call.read(tag_limits.read, tag)


def read_tag_limit_by_id(call: Call, id: UUID) -> TagLimit:
    """The limit of an id."""
    return call.read(tag_limits.read_by_id, id)


def reset_tag_limit(call: Call, tag: str, body: TagLimitReset) -> None:
    """Say who holds the slots of a tag."""
    call.write(tag_limits.reset, tag, body)


def delete_tag_limit(call: Call, tag: str) -> None:
    """Forget the limit of a tag."""
    call.write(tag_limits.delete, tag)


def delete_tag_limit_by_id(call: Call, id: UUID) -> None:
    """Forget the limit of an id, whatever it is about."""
    call.write(limits.delete, str(id))


def take_tag_slots(call: Call, body: TagSlots) -> list[LimitTaken]:
    """Take a slot of each tag."""
    return call.write(tag_limits.take, body)


def give_tag_slots(call: Call, body: TagSlots) -> list[LimitTaken]:
    """Put the slots of a task run back."""
    return call.write(tag_limits.give, body)
