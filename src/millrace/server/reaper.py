"""The reaper: runs and slots whose holder is lost, and runs that nobody took, or resumed, in time."""

from __future__ import annotations

from datetime import datetime, timedelta

from millrace.settings import Settings
from millrace.store import leases, pauses, slot_leases
from millrace.store.database import Transaction

RUNS_A_STEP = 200


def step(tx: Transaction, settings: Settings) -> datetime | None:
    """Looks after leases that expired, runs that are late, and pauses that are over.

    Returns:
        When the next step is due: now if something is left, None if nothing is held or waits.
    """
    after = timedelta(seconds=settings.late_after_seconds)
    lost = leases.reap(tx, RUNS_A_STEP)
    late = leases.mark_late(tx, after, RUNS_A_STEP)
    gone = slot_leases.reap(tx, RUNS_A_STEP)
    over = pauses.expire(tx, RUNS_A_STEP)
    if max(lost, late, gone, over) >= RUNS_A_STEP:
        return tx.now
    moments = (leases.next_reaping(tx, after), slot_leases.next_end(tx), pauses.next_end(tx))
    return min((moment for moment in moments if moment is not None), default=None)
