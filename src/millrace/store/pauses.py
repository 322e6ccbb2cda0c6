"""Pauses that lasted longer than they may, while nobody who holds the run would say so."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select

from millrace.schema.states import State, StateCreate, StateType
from millrace.store import flow_runs, flow_states
from millrace.store.database import Transaction
from millrace.store.tables import flow_runs as runs

PATIENCE = timedelta(seconds=60)
"""A paused run of a client without leases ends by its own client's word, which has this long to come."""


def expire(tx: Transaction, limit: int) -> int:
    """Paused and suspended runs that nobody resumed in time fail, as the judge says.

    Returns:
        How many there were, at most `limit`.
    """
    over = [id for id, moment in _ends(tx) if moment <= tx.now][:limit]
    for id in over:
        flow_states.propose(tx, flow_runs.row(tx, id), StateCreate(type=StateType.FAILED))
    return len(over)


def next_end(tx: Transaction) -> datetime | None:
    """When the next of them has to be resumed."""
    return min((moment for _, moment in _ends(tx)), default=None)


def _ends(tx: Transaction) -> Iterator[tuple[UUID, datetime]]:
    # Whoever holds a lease lives, and ends his pause himself.
    free = (runs.c.state_type == StateType.PAUSED.value) & runs.c.lease_expires.is_(None)
    for id, stored in tx.connection.execute(select(runs.c.id, runs.c.state).where(free)).all():
        state = State.model_validate(stored)
        limit = state.state_details.pause_timeout
        if limit is not None:
            yield id, limit if state.is_suspended() else limit + PATIENCE
