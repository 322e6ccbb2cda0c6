"""The loops beside the requests: schedules, lost leases, automations. Each sleeps until its next moment."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime

from millrace.schema.fields import now
from millrace.server import automations, reaper, scheduler
from millrace.server.courier import Courier
from millrace.settings import Settings
from millrace.store.database import Database, Transaction
from millrace.store.vault import Vault

logger = logging.getLogger(__name__)

SHORTEST_SLEEP = 0.05
LONGEST_SCHEDULER_SLEEP = 30.0
LONGEST_AUTOMATIONS_SLEEP = 30.0
LONGEST_BACKOFF = 30.0

Step = Callable[[Transaction], datetime | None]


class Loop:
    """One loop: a thread that calls a step again and again, never more often than `SHORTEST_SLEEP`.

    Args:
        name: for people.
        database: where the step writes.
        step: does what is due and says when it wants to be called again; None: no idea.
        longest_sleep: seconds after which it is called in any case: clocks jump, and another server may have written.
    """

    def __init__(self, name: str, database: Database, step: Step, longest_sleep: float) -> None:
        self._database, self._step, self._longest = database, step, longest_sleep
        self._poked = threading.Event()
        self._stopping = False
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name=f"millrace-{name}", daemon=True)
        self.name = name

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def poke(self) -> None:
        """Look again soon; from any thread."""
        self._poked.set()

    def stop(self, timeout: float = 5.0) -> None:
        """End after the step that runs.

        Args:
            timeout: seconds to wait for it.
        """
        self._stopping = True
        self._poked.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            self._poked.clear()
            if self._stopping:
                return
            sleep = self._once()
            self._poked.wait(sleep)
            pause.wait(SHORTEST_SLEEP)

    def _once(self) -> float:
        try:
            due = self._database.write(self._step)
        except Exception:
            # a loop that dies stops every schedule: say it, wait, try again
            self._failures += 1
            backoff = min(LONGEST_BACKOFF, 0.5 * 2.0 ** min(self._failures, 10))
            if not self._stopping:
                logger.exception("the %s failed; again in %.1f s", self.name, backoff)
            return backoff
        self._failures = 0
        if due is None:
            return self._longest
        return min(self._longest, max(0.0, (due - now()).total_seconds()))


class Loops:
    """Scheduler, reaper and automations of one server.

    Args:
        database: its store.
        settings: its settings.
        vault: opens the secrets that automations send along.
    """

    def __init__(self, database: Database, settings: Settings, vault: Vault) -> None:
        watch = automations.Automations()
        self._scheduler = Loop("scheduler", database, scheduler.step, LONGEST_SCHEDULER_SLEEP)
        self._reaper = Loop("reaper", database, lambda tx: reaper.step(tx, settings), settings.sweep_seconds)
        self._automations = Loop("automations", database, watch.step, LONGEST_AUTOMATIONS_SLEEP)
        self._courier = Courier(database, settings, vault)
        self._all = (self._scheduler, self._reaper, self._automations, self._courier)

    def start(self) -> None:
        """Start all."""
        for loop in self._all:
            loop.start()

    def replan(self) -> None:
        """Schedules changed."""
        self._scheduler.poke()

    def committed(self) -> None:
        """Something was written: an event, perhaps, that an automation waits for."""
        self._automations.poke()
        self._courier.poke()

    def stop(self) -> None:
        """End all."""
        for loop in self._all:
            loop.stop()
