"""Events: append-only, in the sequence in which they became visible."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, select

from millrace.errors import NotFound
from millrace.schema.events import (
    RESOURCE_ID,
    RESOURCE_ROLE,
    Event,
    EventFilter,
    EventOrder,
    EventPage,
    ReceivedEvent,
    Resource,
)
from millrace.store import event_filters, task_runs
from millrace.store.columns import clamp
from millrace.store.database import Transaction
from millrace.store.rows import model
from millrace.store.tables import events

_FLOW_RUN = "prefect.flow-run."
_CELL = "millrace.cell."


def append(tx: Transaction, batch: list[Event]) -> list[Event]:
    """Stores events, and what task runs they tell of.

    Args:
        batch: in the order they happened.

    Returns:
        Those that are new; one known by its id is not stored again.
    """
    fresh = _unknown(tx, {event.id: event for event in batch})
    insert(tx, [row(tx, event) for event in fresh])
    task_runs.apply_all(tx, fresh)
    return fresh


def read(tx: Transaction, id: UUID) -> ReceivedEvent:
    """One event, as it is stored.

    Raises:
        NotFound: there is none with this id.
    """
    found = tx.connection.execute(select(events).where(events.c.id == id)).first()
    if found is None:
        raise NotFound(f"No event has the id {id}.")
    return _event(found)


def _unknown(tx: Transaction, batch: dict[UUID, Event]) -> list[Event]:
    ids = list(batch)
    known: set[UUID] = set()
    for start in range(0, len(ids), 500):
        part = select(events.c.id).where(events.c.id.in_(ids[start : start + 500]))
        known.update(tx.connection.scalars(part))
    return [event for id, event in batch.items() if id not in known]


def row(tx: Transaction, event: Event) -> dict[str, Any]:
    """The row of an event."""
    return {
        "id": event.id,
        "occurred": event.occurred,
        "received": tx.now,
        "event": event.event,
        "resource_id": event.resource.get(RESOURCE_ID, ""),
        "flow_run_id": flow_run_of(event.resource, event.related),
        "resource": event.resource,
        "related": event.related,
        "payload": event.payload,
        "follows": event.follows,
    }


def insert(tx: Transaction, rows: list[dict[str, Any]]) -> None:
    """Stores rows that are known to be new."""
    if rows:
        tx.connection.execute(events.insert(), rows)


def flow_run_of(resource: Resource, related: Iterable[Resource]) -> UUID | None:
    """The flow run an event belongs to: its resource, or the related one."""
    own = resource.get(RESOURCE_ID, "")
    if own.startswith(_CELL):
        own = _FLOW_RUN + own[len(_CELL) :].partition(".")[0]
    others = sorted(related, key=lambda other: other.get(RESOURCE_ROLE) != "flow-run")
    for name in [own, *(other.get(RESOURCE_ID, "") for other in others)]:
        if name.startswith(_FLOW_RUN):
            return object_id(name)
    return None


def object_id(name: str) -> UUID | None:
    """The id at the end of a resource's name."""
    try:
        return UUID(name.rpartition(".")[2])
    except ValueError:
        return None


def query(tx: Transaction, filter: EventFilter | None, limit: int) -> EventPage:
    """A page of the events that match.

    Args:
        filter: conditions and order; None for all of the last half year, newest first.
        limit: how many at most.
    """
    wanted = filter or EventFilter()
    condition = event_filters.condition(wanted)
    order = events.c.sequence.asc() if wanted.order is EventOrder.ASC else events.c.sequence.desc()
    occurred = events.c.occurred.asc() if wanted.order is EventOrder.ASC else events.c.occurred.desc()
    statement = select(events).where(condition).order_by(occurred, order).limit(limit)
    found = [_event(row) for row in tx.connection.execute(statement)]
    total = tx.connection.scalar(select(func.count()).select_from(events).where(condition)) or 0
    return EventPage(events=found, total=total)


def after(tx: Transaction, sequence: int, *, flow_run_id: UUID | None, limit: int) -> list[ReceivedEvent]:
    """The events beyond a place in the log, in order.

    Args:
        sequence: the last one known.
        flow_run_id: only those of this run; None for all.
        limit: how many at most.
    """
    statement = select(events).where(events.c.sequence > clamp(sequence)).order_by(events.c.sequence).limit(limit)
    if flow_run_id is not None:
        statement = statement.where(events.c.flow_run_id == flow_run_id)
    return [_event(row) for row in tx.connection.execute(statement)]


def last(tx: Transaction) -> int:
    """The sequence of the newest event; 0 without any."""
    return tx.connection.scalar(select(func.max(events.c.sequence))) or 0


def _event(row: Row[Any]) -> ReceivedEvent:
    return model(ReceivedEvent, row)
