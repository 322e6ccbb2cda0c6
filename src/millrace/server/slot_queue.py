"""Who waits for slots of concurrency limits, in the order they came: whoever asks for much is not passed for ever.

A place is first when nobody who came earlier wants a slot of the same limits. It is kept for a moment after its request
ended, because a client that waits asks again and again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

KEPT_SECONDS = 3.0


@dataclass(eq=False)
class Place:
    """A place in the queue.

    Attributes:
        names: the limits it is about.
        turn: set when it may have become the first.
        left: the moment its last request ended; None while somebody waits here.
        came_back: this is not its first request.
        dropped: whoever waited does not want it any more.
    """

    ticket: UUID
    names: tuple[str, ...]
    turn: asyncio.Event = field(default_factory=asyncio.Event)
    left: float | None = None
    came_back: bool = False
    dropped: bool = False


class SlotQueue:
    """The queue of one server; used on its event loop alone."""

    def __init__(self) -> None:
        self._places: dict[UUID, Place] = {}
        # dictionaries keep the order of arrival, and anybody may leave
        self._lines: dict[str, dict[UUID, Place]] = {}

    def enter(self, ticket: UUID, names: Iterable[str]) -> Place:
        """Takes a place, or comes back to it.

        Args:
            ticket: who.
            names: the limits.
        """
        known = self._places.get(ticket)
        if known is not None:
            known.left, known.came_back = None, True
            return known
        place = Place(ticket, tuple(dict.fromkeys(names)))
        self._places[ticket] = place
        for name in place.names:
            self._lines.setdefault(name, {})[ticket] = place
        return place

    def first(self, place: Place) -> bool:
        """Whether nobody is before a place in any of its lines."""
        return all(self._head(name) is place for name in place.names)

    def _head(self, name: str) -> Place | None:
        while line := self._lines.get(name):
            head = next(iter(line.values()))
            if head.left is None or time.monotonic() - head.left < KEPT_SECONDS:
                return head
            self.leave(head)
        return None

    def leave(self, place: Place, *, keep: bool = False) -> None:
        """Goes away.

        Args:
            place: the place.
            keep: hold it for a moment.
        """
        if keep and not place.dropped:
            place.left = time.monotonic()
            return
        self._places.pop(place.ticket, None)
        for name in place.names:
            line = self._lines.get(name, {})
            line.pop(place.ticket, None)
            if not line:
                self._lines.pop(name, None)
            elif (head := self._head(name)) is not None:
                head.turn.set()

    def drop(self, ticket: UUID) -> None:
        """Whoever waits with this ticket does not want slots any more."""
        place = self._places.get(ticket)
        if place is not None:
            place.dropped = True
            place.turn.set()
            self.leave(place)
