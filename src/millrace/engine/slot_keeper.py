"""The slots of concurrency limits that this process holds, renewed while they are held.

One daemon thread renews all of them, long before they end. A lease that ended nevertheless (the server was not to be
reached for too long, or somebody reset the limit) is said in the log of its run, or interrupts its block.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from uuid import UUID

from millrace.client.synchronous import Client
from millrace.engine.context import FlowRunContext, TaskRunContext, run_thread
from millrace.engine.loggers import get_run_logger
from millrace.errors import MillraceError, NotFound, ServerUnavailable, SlotsLost

PATIENCE = 5.0
PART = 3
"""A lease is renewed after this part of its time."""

_log = logging.getLogger("millrace.concurrency")


def logger() -> Any:
    """Where to speak of slots: the current run's log, or else that of this process."""
    run = TaskRunContext.get() or FlowRunContext.get()
    return get_run_logger() if run is not None else _log


@dataclass(eq=False)
class HeldSlots:
    """Leased slots.

    Attributes:
        lease_id: the lease.
        names: of the limits.
        seconds: how long a renewal lasts.
        client: whose server gave them.
        interrupt: interrupts whoever holds them when they are lost; None: only say it.
        quiet: say it at level DEBUG.
        since: when the lease was last known to hold, on the monotonic clock.
        lost: it ended though it was held.
        rung: the holder was interrupted.
    """

    lease_id: UUID
    names: list[str]
    seconds: float
    client: Client
    interrupt: Callable[[], object] | None = None
    quiet: bool = False
    since: float = field(default_factory=time.monotonic)
    lost: bool = False
    rung: bool = False
    context: Context = field(default_factory=copy_context)
    due: float = 0.0

    def __post_init__(self) -> None:
        self.due = self.since + self.seconds / PART


class SlotKeeper:
    """Renews leases of slots on a daemon thread. One a process: `slot_keeper()`."""

    def __init__(self) -> None:
        self._held: dict[UUID, HeldSlots] = {}
        self._given_up: list[tuple[Client, UUID]] = []
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None

    def hold(self, held: HeldSlots) -> None:
        """Renews a lease until `release`."""
        with self._wake:
            self._held[held.lease_id] = held
            self._start()

    def release(self, held: HeldSlots) -> None:
        """Renews it no longer: its block has ended."""
        with self._wake:
            self._held.pop(held.lease_id, None)

    def give_up(self, client: Client, lease_id: UUID) -> None:
        """Returns a lease some time soon, for whoever has no time for it: he is being cancelled."""
        with self._wake:
            self._given_up.append((client, lease_id))
            self._start()

    def _start(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = run_thread(self._run, name="millrace-slots")
        self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                moments = [one.due for one in self._held.values()]
                if not self._given_up:
                    self._wake.wait(max(0.0, min(moments) - time.monotonic()) if moments else None)
                given_up, self._given_up = self._given_up, []
                moment = time.monotonic()
                due = [one for one in self._held.values() if one.due <= moment]
            for client, lease_id in given_up:
                give_back(client, lease_id)
            for held in due:
                self._renew(held)

    def _renew(self, held: HeldSlots) -> None:
        began = time.monotonic()
        try:
            held.client.renew_slots(held.lease_id, lease_duration=held.seconds)
        except (SlotsLost, NotFound) as error:
            self._lose(held, error)
        except MillraceError as error:
            if time.monotonic() - held.since >= held.seconds:
                self._lose(held, error)
            else:
                held.context.run(_say, held, "could not be renewed and will be tried again", error, logging.DEBUG)
                held.due = time.monotonic() + min(held.seconds / 20, 5.0)
        else:
            held.since, held.due = began, began + held.seconds / PART

    def _lose(self, held: HeldSlots, error: MillraceError) -> None:
        with self._wake:
            if self._held.pop(held.lease_id, None) is not held:
                return  # returned meanwhile
            held.lost = True
            if held.interrupt is not None:
                held.rung = True
                held.interrupt()
        if held.interrupt is not None:
            held.context.run(_say, held, "are lost: the block is interrupted", error, logging.ERROR)
        else:
            level = logging.DEBUG if held.quiet else logging.WARNING
            held.context.run(_say, held, "are lost: the block goes on, and others may have them too", error, level)


def _say(held: HeldSlots, what: str, error: MillraceError, level: int) -> None:
    logger().log(level, "The slots of %s %s: %s", ", ".join(held.names), what, error)


def hasty(client: Client) -> Client:
    """A client on the same connections that does not try for long: what it does not do, the end of the lease does."""
    return Client(client.endpoint, lease=None, patience=PATIENCE, pool=client.pool)


def give_back(client: Client, lease_id: UUID) -> None:
    """Returns a lease; if the server cannot be reached, the slots come back when the lease ends.

    Args:
        client: of the server.
        lease_id: the lease.
    """
    try:
        client.return_slots(lease_id=lease_id)
    except ServerUnavailable as error:
        logger().warning("Slots could not be returned, and come back when their lease ends: %s", error)
    except MillraceError as error:
        _log.debug("slots were not returned: %s", error)


@lru_cache(maxsize=1)
def slot_keeper() -> SlotKeeper:
    """The keeper of this process; a forked child gets its own."""
    return SlotKeeper()


def _forget(*_: Any) -> None:
    slot_keeper.cache_clear()


os.register_at_fork(after_in_child=_forget) if hasattr(os, "register_at_fork") else None
