"""Events."""

from __future__ import annotations

from millrace.schema.events import Event, EventPage, EventQuery
from millrace.server.context import Call
from millrace.store import events


def create_events(call: Call, body: list[Event]) -> None:
    """Store events; one that is known by its id is not stored again."""
    call.write(events.append, body)


def read_events(call: Call, body: EventQuery) -> EventPage:
    """Events that match, as the filter orders them."""
    return call.read(events.query, body.filter, body.limit)
