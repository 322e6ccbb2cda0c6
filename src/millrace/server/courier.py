"""What automations send out of the house: webhooks and e-mails, a few at a time, each with its own patience.

They are taken from the store, where the firing put them, and leave it when they were delivered or given up. A server
that ends between the delivery and writing it down delivers once more after its start, under the same invocation id
(`Idempotency-Key`, `Message-ID`), by which a receiver can tell.
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

from millrace.errors import MillraceError
from millrace.schema.automations import Invocation
from millrace.schema.fields import now
from millrace.server import deliveries
from millrace.server.deliveries import Undeliverable
from millrace.settings import Settings
from millrace.store import acting, watches
from millrace.store.database import Database, Transaction
from millrace.store.vault import Vault

logger = logging.getLogger(__name__)

AT_ONCE = 4
ATTEMPTS = 4
FIRST_DELAY = 2.0
"""Seconds after the first failure; each further one takes four times as long."""
SHORTEST_SLEEP = 0.05
LONGEST_SLEEP = 30.0


class Courier:
    """Delivers what is due, on threads of its own.

    Args:
        database: where the errands are.
        settings: of the server.
        vault: opens the secrets in targets.
    """

    def __init__(self, database: Database, settings: Settings, vault: Vault) -> None:
        self._database, self._settings, self._vault = database, settings, vault
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="millrace-courier")
        self._under_way: set[UUID] = set()
        self._lock = threading.Lock()
        self._poked = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="millrace-courier", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def poke(self) -> None:
        """Look again soon; from any thread."""
        self._poked.set()

    def stop(self, timeout: float = 5.0) -> None:
        """End; what is under way is waited for no longer than its own patience allows.

        Args:
            timeout: seconds to wait for the thread that looks.
        """
        self._stopping = True
        self._poked.set()
        if self._thread.is_alive():
            self._thread.join(timeout)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self) -> None:
        while not self._stopping:
            self._poked.clear()
            try:
                sleep = self._once()
            except Exception:
                logger.exception("the courier failed; again in 5 s")
                sleep = 5.0
            self._poked.wait(sleep)
            time.sleep(SHORTEST_SLEEP)  # what many commits bring is looked for once

    def _once(self) -> float:
        with self._lock:
            busy = set(self._under_way)
        free = AT_ONCE - len(busy)
        if free <= 0:
            return LONGEST_SLEEP
        soonest = self._database.read(lambda tx: watches.next_due(tx, busy))
        if soonest is None:
            return LONGEST_SLEEP
        ahead = (soonest - now()).total_seconds()
        if ahead > 0:
            return min(LONGEST_SLEEP, ahead)
        for invocation in self._database.read(lambda tx: watches.due(tx, busy, free)):
            with self._lock:
                self._under_way.add(invocation.id)
            self._pool.submit(self._deliver, invocation)
        return 0.0  # what comes next?

    def _deliver(self, invocation: Invocation) -> None:
        try:
            try:
                parcel = self._database.read(lambda tx: deliveries.pack(tx, invocation, self._settings, self._vault))
                told = deliveries.send(parcel, invocation.id)
            except (MillraceError, Undeliverable, ValueError) as error:
                self._failed(invocation, str(error), final=not getattr(error, "again", False))
            except Exception as error:
                logger.exception("an action of the automation %r failed", invocation.automation_name)
                self._failed(invocation, f"{type(error).__name__}: {error}", final=True)
            else:
                self._ended(invocation, told, None)
        except MillraceError as error:
            # it stays due; the store was closed or busy
            logger.warning("what became of an action could not be written down: %s", error)
        finally:
            with self._lock:
                self._under_way.discard(invocation.id)
            self._poked.set()

    def _failed(self, invocation: Invocation, reason: str, *, final: bool) -> None:
        attempts = invocation.attempts + 1
        if final or attempts >= ATTEMPTS:
            self._ended(invocation, {"attempts": attempts}, reason)
            return
        delay = timedelta(seconds=FIRST_DELAY * 4 ** (attempts - 1))
        later = invocation.model_copy(update={"attempts": attempts})

        def write(tx: Transaction) -> None:
            if watches.wanted(tx, invocation.id):
                watches.put_off(tx, later, delay)

        self._database.write(write)

    def _ended(self, invocation: Invocation, told: dict[str, object], reason: str | None) -> None:
        def write(tx: Transaction) -> None:
            watches.done(tx, invocation.id)
            acting.tell(tx, invocation, [], dict(told), reason)

        self._database.write(write)
