"""What enabled automations have counted, how far in the log they have looked, and what they still have to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, select

from millrace.schema.automations import Automation, Firing, Invocation
from millrace.schema.events import ReceivedEvent
from millrace.schema.fields import JsonObject
from millrace.store import events
from millrace.store.automation_tables import (
    automation_actions,
    automation_firings,
    automation_windows,
    automations,
)
from millrace.store.columns import dumps, insert
from millrace.store.database import Transaction
from millrace.store.rows import model
from millrace.store.tables import memory

_CURSOR = "automations.cursor"
_w = automation_windows.c
_a = automation_actions.c


@dataclass(frozen=True, slots=True)
class Watch:
    """An enabled automation.

    Attributes:
        automation: the automation.
        active_after: it looks at the events after this one.
        updated: when it last changed.
    """

    automation: Automation
    active_after: int
    updated: datetime


def enabled(tx: Transaction, known: dict[UUID, Watch]) -> dict[UUID, Watch]:
    """The enabled automations; those in `known` that did not change are not read again."""
    c = automations.c
    versions = tx.connection.execute(select(c.id, c.updated, c.active_after).where(c.enabled).order_by(c.id)).all()
    stale = [
        row.id
        for row in versions
        if row.id not in known or (known[row.id].updated, known[row.id].active_after) != (row.updated, row.active_after)
    ]
    fresh: dict[UUID, Watch] = {}
    for start in range(0, len(stale), 500):
        found = select(automations).where(c.id.in_(stale[start : start + 500]))
        for row in tx.connection.execute(found):
            fresh[row.id] = Watch(model(Automation, row), row.active_after, row.updated)
    return {row.id: fresh.get(row.id) or known[row.id] for row in versions}


def cursor(tx: Transaction) -> int | None:
    """The last event that was looked at."""
    stored = tx.connection.scalar(select(memory.c.value).where(memory.c.name == _CURSOR))
    return None if stored is None else int(stored)


def move_cursor(tx: Transaction, sequence: int) -> None:
    """Events up to this one were looked at."""
    statement = insert(tx.connection, memory).values(name=_CURSOR, value=str(sequence))
    changed = {"value": statement.excluded.value}
    tx.connection.execute(statement.on_conflict_do_update(index_elements=[memory.c.name], set_=changed))


def next_events(tx: Transaction, after: int, limit: int) -> list[ReceivedEvent]:
    """The events after one, in order."""
    return events.after(tx, after, flow_run_id=None, limit=limit)


def _key(automation_id: UUID, trigger_id: UUID, labels: dict[str, str]) -> Any:
    return (_w.automation_id == automation_id) & (_w.trigger_id == trigger_id) & (_w.labels == dumps(labels))


def window(tx: Transaction, automation_id: UUID, trigger_id: UUID, labels: dict[str, str]) -> JsonObject | None:
    """What a trigger has counted for these labels."""
    row = tx.connection.execute(select(automation_windows).where(_key(automation_id, trigger_id, labels))).first()
    return None if row is None else dict(row._mapping)


def windows(tx: Transaction, trigger_ids: Iterable[UUID]) -> set[UUID]:
    """Which of these triggers count already."""
    return set(tx.connection.scalars(select(_w.trigger_id).where(_w.trigger_id.in_(list(trigger_ids))).distinct()))


def ended(tx: Transaction, limit: int) -> list[JsonObject]:
    """The windows whose end is to be looked at now."""
    statement = select(automation_windows).where(_w.wake <= tx.now).order_by(_w.wake).limit(limit)
    return [dict(row._mapping) for row in tx.connection.execute(statement)]


def write_window(
    tx: Transaction, automation_id: UUID, trigger_id: UUID, labels: dict[str, str], columns: JsonObject | None
) -> None:
    """Stores what a trigger has counted; None: it counts no longer."""
    tx.connection.execute(automation_windows.delete().where(_key(automation_id, trigger_id, labels)))
    if columns is not None:
        known = {"automation_id": automation_id, "trigger_id": trigger_id, "labels": dumps(labels)}
        tx.connection.execute(automation_windows.insert().values(**known, **columns))


def parts_fired(tx: Transaction, automation_id: UUID, parent_id: UUID) -> list[Firing]:
    """The firings of the parts of a composite trigger, in their order."""
    c = automation_firings.c
    one = (c.automation_id == automation_id) & (c.parent_id == parent_id)
    found = tx.connection.scalar(select(c.firings).where(one)) or []
    return [Firing.model_validate(item) for item in found]


def write_parts_fired(tx: Transaction, automation_id: UUID, parent_id: UUID, firings: list[Firing]) -> None:
    """Remembers them."""
    c = automation_firings.c
    tx.connection.execute(
        automation_firings.delete().where((c.automation_id == automation_id) & (c.parent_id == parent_id))
    )
    if firings:
        values = {"automation_id": automation_id, "parent_id": parent_id}
        told = [firing.model_dump(mode="json") for firing in firings]
        tx.connection.execute(automation_firings.insert().values(**values, firings=told))


def next_end(tx: Transaction) -> datetime | None:
    """When the next window is to be looked at."""
    found: datetime | None = tx.connection.scalar(select(func.min(_w.wake)))
    return found


def put_off(tx: Transaction, invocation: Invocation, delay: timedelta = timedelta(0)) -> None:
    """An action to be done outside of the transaction, now or later."""
    tx.connection.execute(automation_actions.delete().where(_a.id == invocation.id))
    row = {"id": invocation.id, "automation_id": invocation.automation_id, "created": tx.now, "due": tx.now + delay}
    tx.connection.execute(automation_actions.insert().values(**row, invocation=invocation.model_dump(mode="json")))


def due(tx: Transaction, besides: Iterable[UUID], limit: int) -> list[Invocation]:
    """Actions to do now, the oldest first, without those that are being done."""
    ready = (_a.due <= tx.now) & _a.id.not_in(list(besides))
    statement = select(_a.invocation).where(ready).order_by(_a.due, _a.id).limit(limit)
    return [Invocation.model_validate(found) for found in tx.connection.scalars(statement)]


def next_due(tx: Transaction, besides: Iterable[UUID] = ()) -> datetime | None:
    """When the next action is to be done."""
    found: datetime | None = tx.connection.scalar(select(func.min(_a.due)).where(_a.id.not_in(list(besides))))
    return found


def wanted(tx: Transaction, id: UUID) -> bool:
    """Whether an action is still to be done: its automation may be gone."""
    return tx.connection.scalar(select(_a.id).where(_a.id == id)) is not None


def done(tx: Transaction, id: UUID) -> None:
    """An action is done, or given up."""
    tx.connection.execute(automation_actions.delete().where(_a.id == id))
