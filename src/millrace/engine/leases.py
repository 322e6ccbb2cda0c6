"""The leases this process holds, extended while their runs live.

Whoever holds a lease may run; the server's reaper takes an expired one away. The keeper extends all of them in one
request and hears in the answer which runs are lost (another attempt has them) or asked to stop.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from millrace import settings
from millrace.client.locate import revive
from millrace.engine.context import run_thread
from millrace.engine.interrupts import BY_REQUEST, RunSuspended, Stoppable
from millrace.engine.stopping import STOP_SECONDS
from millrace.errors import LeaseLost, MillraceError, NotFound, RunCancelled
from millrace.schema.runs import Lease

if TYPE_CHECKING:
    from millrace.client.synchronous import Client

MAX_PAUSE = 5.0
"""A person's wish to cancel is heard with the next extension: seconds, at most."""

ENDED = "Somebody else said how the run ended."
EXIT_GRACE = 2.0
LOST_EXIT_CODE = 75

_log = logging.getLogger("millrace.engine")


@dataclass(slots=True)
class Held:
    """One lease, the client whose server gave it, and what stops its run.

    Attributes:
        lease: the lease.
        client: its server's.
        stoppable: stops the run's code.
        ends_process: the process is the run's own.
        late: called once if its code goes on for so long after it was told to stop.
        told: when it was.
    """

    lease: Lease
    client: Client
    stoppable: Stoppable
    ends_process: bool = False
    late: Callable[[], object] | None = None
    told: float | None = None


class Keeper:
    """Extends leases on a daemon thread. One a process: `keeper()`."""

    def __init__(self) -> None:
        self._held: dict[UUID, Held] = {}
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None

    def hold(self, held: Held) -> None:
        """Extends a lease until `release`.

        Args:
            held: the lease; with `ends_process`, its loss ends this process after a moment, because the thread that
                runs may be where nothing interrupts it and another attempt may have begun.
        """
        with self._wake:
            self._held[held.lease.flow_run_id] = held
            if self._thread is None or not self._thread.is_alive():
                self._thread = run_thread(self._run, name="millrace-leases")

    def release(self, flow_run_id: UUID) -> None:
        """Extends it no longer; the run has ended."""
        with self._wake:
            self._held.pop(flow_run_id, None)

    def _run(self) -> None:
        pause = min(settings.current().lease_seconds / 3, MAX_PAUSE)
        while True:
            with self._wake:
                self._wake.wait(pause)
                held = list(self._held.values())
            for client in {id(one.client): one.client for one in held}.values():
                try:
                    self._extend(client, [one for one in held if one.client is client])
                except Exception:  # the leases of every run of this process hang on this thread
                    _log.exception("Leases could not be extended; it is tried again in %s s.", pause)

    def _extend(self, client: Client, held: list[Held]) -> None:
        pairs = [(one.lease.flow_run_id, one.lease.attempt) for one in held]
        try:
            if not any(one.ends_process for one in held):
                revive(client)
            answer = client.extend_leases(leases=pairs, lease_seconds=settings.current().lease_seconds)
        except NotFound:  # a server that knows no leases
            return
        except MillraceError as error:
            # A server that restarts grants every live lease anew: running on is right, the fence guards the record.
            _log.debug("leases could not be extended: %s", error)
            return
        lost, cancelling, suspended = set(answer.lost), set(answer.cancelling), set(answer.suspended)
        ended = set(answer.ended)
        for one in held:
            if self._held.get(one.lease.flow_run_id) is not one:
                continue
            if one.lease.flow_run_id in lost:
                self._lose(one)
            elif one.lease.flow_run_id in cancelling:
                self._cancel(one)
            elif one.lease.flow_run_id in ended and one.stoppable.calls():
                self._end(one)
            elif one.lease.flow_run_id in suspended and one.stoppable.suspension is None:
                self._suspend(one)

    def _cancel(self, held: Held) -> None:
        """Stops it; of one that goes on for too long, what it has under way, and its code again where that is safe."""
        if held.told is None:
            held.told = time.monotonic()
            held.stoppable.stop(RunCancelled(BY_REQUEST))
        elif held.stoppable.calls() and time.monotonic() - held.told >= STOP_SECONDS:
            late, held.late = held.late, None
            if late is not None:
                run_thread(late, name="millrace-late")  # it waits for processes; other leases do not
            held.stoppable.repeat()

    def _suspend(self, held: Held) -> None:
        try:
            state = held.client.read_flow_run(held.lease.flow_run_id).state
        except MillraceError:
            return  # the next extension tells it again
        if state is not None and (state.is_suspended() or state.name == "Resuming"):
            held.stoppable.suspension = RunSuspended(state)

    def _end(self, held: Held) -> None:
        """Somebody else said how the run ended, while its code is still being called."""
        held.stoppable.stop(RunCancelled(ENDED))
        if held.ends_process:
            self._exit_after(settings.current().cancel_grace_seconds, held)

    def _lose(self, held: Held) -> None:
        run = held.lease.flow_run_id
        held.stoppable.stop(LeaseLost(f"attempt {held.lease.attempt} of run {run} lost its lease: another has the run"))
        if held.ends_process:
            self._exit_after(EXIT_GRACE)

    def _exit_after(self, seconds: float, held: Held | None = None) -> None:
        """Ends this process after a moment; with a lease, only if its code is still being called then."""

        def leave() -> None:
            if held is None or held.stoppable.calls():
                os._exit(LOST_EXIT_CODE)

        timer = threading.Timer(seconds, leave)
        timer.daemon = True
        timer.start()


@lru_cache(maxsize=1)
def keeper() -> Keeper:
    """The keeper of this process; a forked child gets its own."""
    return Keeper()


def _forget(*_: Any) -> None:
    keeper.cache_clear()


os.register_at_fork(after_in_child=_forget) if hasattr(os, "register_at_fork") else None
