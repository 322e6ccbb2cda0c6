"""Limits of tags: the global limits whose names begin with `tag:`, as the older operations speak of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, select

from millrace.errors import NotFound, SlotsTaken
from millrace.schema.fields import new_id
from millrace.schema.limits import (
    TAG,
    LeaseSlots,
    Limit,
    LimitQuery,
    LimitTaken,
    SlotHolder,
    TagLimit,
    TagLimitCreate,
    TagLimitReset,
    TagSlots,
)
from millrace.store import limits, slot_leases
from millrace.store.database import Transaction
from millrace.store.rows import page, values
from millrace.store.tables import concurrency_limits as table

FOR_GOOD = timedelta(days=36_500)
"""The clients of the older operations cannot renew: their leases last until their task run is over."""


def _shown(tx: Transaction, row: Row[Any]) -> TagLimit:
    return TagLimit(
        id=row.id,
        created=row.created,
        updated=row.updated,
        tag=row.name.removeprefix(TAG),
        concurrency_limit=row.limit,
        active_slots=slot_leases.holders(tx, row.id),
    )


def create(tx: Transaction, body: TagLimitCreate) -> tuple[TagLimit, bool]:
    """Limits a tag, anew or for the first time.

    Returns:
        The limit, and whether it is new.
    """
    name = TAG + body.tag
    found = limits.by_names(tx, [name])
    if found:
        limits.set_limit(tx, found[0], body.concurrency_limit)
    else:
        limit = Limit.model_construct(
            id=new_id(), name=name, limit=body.concurrency_limit, created=tx.now, updated=tx.now
        )
        tx.connection.execute(table.insert().values(**values(limit, table), counted=tx.now))
    return _shown(tx, _find(tx, body.tag)), not found


def _find(tx: Transaction, tag: str) -> Row[Any]:
    rows = limits.by_names(tx, [TAG + tag])
    if not rows:
        raise NotFound(f"No concurrency limit is set for the tag {tag!r}.")
    return rows[0]


def _by_id(tx: Transaction, id: UUID) -> Row[Any]:
    row = limits.find(tx, str(id))
    if not row.name.startswith(TAG):
        raise NotFound(f"The concurrency limit {id} is not one of a tag: it is named {row.name!r}.")
    return row


def read(tx: Transaction, tag: str) -> TagLimit:
    """The limit of a tag.

    Raises:
        NotFound: it has none.
    """
    return _shown(tx, _find(tx, tag))


def read_by_id(tx: Transaction, id: UUID) -> TagLimit:
    """The limit of an id.

    Raises:
        NotFound: there is none, or it is not one of a tag.
    """
    return _shown(tx, _by_id(tx, id))


def query(tx: Transaction, query: LimitQuery) -> list[TagLimit]:
    """The limits of all tags, by tag."""
    statement = select(table).where(table.c.name.startswith(TAG, autoescape=True)).order_by(table.c.name)
    return [_shown(tx, row) for row in tx.connection.execute(page(statement, query)).all()]


def delete(tx: Transaction, tag: str) -> None:
    """Lets the runs of a tag go.

    Raises:
        NotFound: it has no limit.
    """
    limits.delete(tx, str(_find(tx, tag).id))


def reset(tx: Transaction, tag: str, body: TagLimitReset) -> None:
    """Ends who holds slots of a tag, and says who does.

    Raises:
        NotFound: it has no limit.
    """
    row = _find(tx, tag)
    slot_leases.reset(tx, row)
    for id in dict.fromkeys(body.slot_override or ()):
        slot_leases.put(tx, row, SlotHolder(type="task_run", id=id), tx.now + FOR_GOOD)


def take(tx: Transaction, body: TagSlots) -> list[LimitTaken]:
    """Takes a slot of each tag for a task run.

    Raises:
        SlotsTaken: there is none; nothing was taken.
    """
    names = [TAG + tag for tag in body.names]
    rows = limits.by_names(tx, names)
    closed = next((row for row in rows if row.active and row.limit <= 0), None)
    if closed is not None:
        raise SlotsTaken(f"The limit of the tag {_tag(closed.name)!r} is 0: nothing with it ever runs.", 30.0)
    holder = SlotHolder(type="task_run", id=body.task_run_id)
    wish = LeaseSlots(names=names, slots=1, holder=holder)
    answer = slot_leases.lease(tx, wish, seconds=FOR_GOOD.total_seconds(), denial=False)
    if isinstance(answer, slot_leases.Denied):
        tags = ", ".join(_tag(name) for name in answer.names)
        raise SlotsTaken(f"All slots of the tag {tags} are taken.", answer.retry_after)
    return [one.model_copy(update={"name": _tag(one.name)}) for one in answer.limits]


def give(tx: Transaction, body: TagSlots) -> list[LimitTaken]:
    """Puts the slots of a task run back."""
    rows = limits.by_names(tx, [TAG + tag for tag in body.names])
    for id in slot_leases.of_holder(tx, [row.id for row in rows], body.task_run_id):
        slot_leases.end(tx, id)
    return limits.taken_of(rows)


def _tag(name: str) -> str:
    return name.removeprefix(TAG)
