"""Concurrency limits: how many slots each has, and how many are taken at a moment.

`active_slots` is a count as of the moment `counted`; what decays since then is worked out when somebody looks, so no
part of a slot is lost between two looks. A count is a fraction while a slot decays; people see whole slots.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, select

from millrace.errors import AlreadyExists, InvalidInput, NotFound
from millrace.schema.fields import new_id
from millrace.schema.limits import GlobalLimit, Limit, LimitCreate, LimitQuery, LimitTaken, LimitUpdate
from millrace.store.columns import clamp
from millrace.store.database import Transaction
from millrace.store.rows import model, page, suggested, values
from millrace.store.tables import concurrency_limits as limits

TINY = 1e-6
"""Slots closer than this are the same: decay is worked out in fractions."""

SHORTEST_OCCUPANCY, LONGEST_OCCUPANCY = 0.1, 30.0
SAMPLES_A_SLOT = 2

_c = limits.c
_LARGEST = 2**53


# -- counting


def active_at(row: Row[Any], now: datetime) -> float:
    """How many slots of a limit are taken at a moment.

    Args:
        row: of the limit.
        now: the moment.
    """
    return max(0.0, float(row.active_slots) - float(row.slot_decay_per_second) * _since(row, now))


def denied_at(row: Row[Any], now: datetime) -> float:
    """How many slots were denied lately: they are forgotten as fast as slots become free.

    Args:
        row: of the limit.
        now: the moment.
    """
    rate = float(row.slot_decay_per_second) or 1 / occupancy_of(row)
    return max(0.0, float(row.denied_slots) - rate * _since(row, now))


def occupancy_of(row: Row[Any]) -> float:
    """How long a slot is held on average, within reason: seconds.

    Args:
        row: of the limit.
    """
    return float(min(max(row.avg_slot_occupancy_seconds, SHORTEST_OCCUPANCY), LONGEST_OCCUPANCY))


def _since(row: Row[Any], now: datetime) -> float:
    # A clock that was set back lets nothing decay until it is where it was; nothing decays twice.
    counted: datetime = row.counted
    return max(0.0, (now - counted).total_seconds())


def recount(tx: Transaction, row: Row[Any], slots: float, /, **more: Any) -> None:
    """Writes how many slots are taken now.

    Args:
        tx: the transaction.
        row: of the limit.
        slots: how many.
        more: other columns that change.
    """
    now = max(tx.now, row.counted)
    columns = {"active_slots": max(0.0, slots), "denied_slots": denied_at(row, now), "counted": now, **more}
    tx.connection.execute(limits.update().where(_c.id == row.id).values(columns))


def give(tx: Transaction, row: Row[Any], slots: float, occupancy_seconds: float | None = None) -> None:
    """Puts slots back.

    Args:
        tx: the transaction.
        row: of the limit.
        slots: how many of those that have not decayed yet.
        occupancy_seconds: how long they were held.
    """
    more: dict[str, float] = {}
    if occupancy_seconds and slots > TINY:
        sample = max(occupancy_seconds / slots, SHORTEST_OCCUPANCY)
        weight = max(1, row.limit) * SAMPLES_A_SLOT
        more["avg_slot_occupancy_seconds"] = (
            row.avg_slot_occupancy_seconds + (sample - row.avg_slot_occupancy_seconds) / weight
        )
    recount(tx, row, active_at(row, tx.now) - slots, **more)


# -- the limits


def create(tx: Transaction, body: LimitCreate) -> Limit:
    """Makes a limit.

    Raises:
        AlreadyExists: there is one of this name.
    """
    if by_names(tx, [body.name]):
        raise AlreadyExists(f"A concurrency limit named {body.name!r} exists. Choose another name, or update that one.")
    limit = Limit(**dict(body), id=new_id(), created=tx.now, updated=tx.now)
    tx.connection.execute(limits.insert().values(**_numbers(values(limit, limits)), counted=tx.now))
    return limit


def by_names(tx: Transaction, names: Iterable[str]) -> list[Row[Any]]:
    """The limits of these names, in the order of their names; a name that no limit has is left out."""
    wanted = list(dict.fromkeys(names))
    return list(tx.connection.execute(select(limits).where(_c.name.in_(wanted)).order_by(_c.name)))


def by_ids(tx: Transaction, ids: Iterable[UUID]) -> list[Row[Any]]:
    """The limits of these ids, in the order of their names."""
    return list(tx.connection.execute(select(limits).where(_c.id.in_(list(ids))).order_by(_c.name)))


def taken_of(rows: Iterable[Row[Any]]) -> list[LimitTaken]:
    """The limits as those who take slots are told of them."""
    return [LimitTaken(id=row.id, name=row.name, limit=row.limit) for row in rows]


def find(tx: Transaction, id_or_name: str) -> Row[Any]:
    """The limit of an id or name.

    Raises:
        NotFound: there is none.
    """
    try:
        rows = by_ids(tx, [UUID(id_or_name)])
    except ValueError:
        rows = by_names(tx, [id_or_name])
    if not rows:
        hint = suggested(tx, _c.name, id_or_name)
        raise NotFound(f"There is no concurrency limit {id_or_name!r}.{hint} Create it with `millrace gcl create`.")
    return rows[0]


def shown(row: Row[Any], now: datetime, free: float = 0.0) -> GlobalLimit:
    """A limit as people see it.

    Args:
        row: of the limit.
        now: the moment.
        free: slots that are still counted, and whose holders are gone.
    """
    active = math.ceil(max(0.0, active_at(row, now) - free) - TINY)
    return model(GlobalLimit, row, active_slots=active)


def query(tx: Transaction, query: LimitQuery) -> list[Row[Any]]:
    """All limits, by name."""
    return list(tx.connection.execute(page(select(limits).order_by(_c.name), query)))


def update(tx: Transaction, id_or_name: str, body: LimitUpdate) -> None:
    """Changes what was sent.

    Raises:
        NotFound: there is no such limit.
        AlreadyExists: another limit has the new name.
        InvalidInput: a null where there must be a value.
    """
    row = find(tx, id_or_name)
    changes = _numbers({name: getattr(body, name) for name in body.model_fields_set})
    if empty := sorted(name for name, value in changes.items() if value is None):
        raise InvalidInput(f"{', '.join(empty)} of the concurrency limit {row.name!r} cannot be null.")
    if body.name not in (None, row.name) and by_names(tx, [str(body.name)]):
        raise AlreadyExists(f"A concurrency limit named {body.name!r} exists.")
    # Up to now slots decayed as they did; from now on as they shall.
    recount(tx, row, changes.pop("active_slots", active_at(row, tx.now)), **{**changes, "updated": tx.now})


def _numbers(columns: dict[str, Any]) -> dict[str, Any]:
    counts = {"active_slots", "denied_slots"}
    return {
        name: float(min(value, _LARGEST)) if name in counts and value is not None else value
        for name, value in columns.items()
    }


def delete(tx: Transaction, id_or_name: str) -> None:
    """Forgets a limit: nobody is held up any more.

    Raises:
        NotFound: there is none.
    """
    tx.connection.execute(limits.delete().where(_c.id == find(tx, id_or_name).id))


def set_limit(tx: Transaction, row: Row[Any], limit: int) -> None:
    """Gives a limit another number of slots.

    Args:
        tx: the transaction.
        row: of the limit.
        limit: the slots.
    """
    tx.connection.execute(limits.update().where(_c.id == row.id).values(limit=clamp(limit), updated=tx.now))
