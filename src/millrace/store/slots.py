"""Slots: what runs now against the limits of pools, queues and deployments, and what may still be taken.

A run holds a slot while it is PENDING, RUNNING or CANCELLING, and as long as somebody has its lease.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, and_, func, literal_column, or_, select

from millrace.store.database import Transaction
from millrace.store.tables import deployments, flow_runs, work_queues

_c = flow_runs.c

# Written out, so that the planner sees that the index over held slots serves.
HELD: ColumnElement[bool] = literal_column("flow_runs.slot")
UNLIMITED = 1_000_000


def of_pool(tx: Transaction, pool_id: UUID) -> int:
    """How many slots of a pool are held."""
    return _count(tx, _c.work_pool_id == pool_id)


def of_queue(tx: Transaction, pool_id: UUID | None, queue_id: UUID) -> int:
    """How many slots of a queue are held."""
    return _count(tx, _c.work_pool_id == pool_id, _c.work_queue_id == queue_id)


def of_deployment(tx: Transaction, deployment_id: UUID) -> int:
    """How many slots of a deployment are held."""
    return _count(tx, _c.deployment_id == deployment_id)


def of_deployments(tx: Transaction, ids: list[UUID]) -> dict[UUID, int]:
    """How many slots of several deployments are held; those that hold none are left out."""
    if not ids:
        return {}
    held = select(_c.deployment_id, func.count()).where(HELD, _c.deployment_id.in_(ids)).group_by(_c.deployment_id)
    return {row[0]: row[1] for row in tx.connection.execute(held)}


def _count(tx: Transaction, *conditions: ColumnElement[bool]) -> int:
    return tx.connection.scalar(select(func.count()).select_from(flow_runs).where(HELD, *conditions)) or 0


def open_queues(tx: Transaction, pool: Row[Any], names: list[str] | None) -> list[tuple[Row[Any], int]]:
    """The queues of a pool that work may be taken from, by priority, each with its free slots.

    The free slots of a queue are not more than those of the pool; whoever takes from several counts along.
    """
    if pool.is_paused:
        return []
    statement = select(work_queues).where(work_queues.c.work_pool_id == pool.id, work_queues.c.is_paused.is_(False))
    if names is not None:
        statement = statement.where(work_queues.c.name.in_(names))
    held: dict[UUID | None, int] = {}
    counts = select(_c.work_queue_id, func.count()).where(HELD, _c.work_pool_id == pool.id).group_by(_c.work_queue_id)
    held.update((queue_id, count) for queue_id, count in tx.connection.execute(counts))
    in_pool = _free(pool.concurrency_limit, sum(held.values()))
    ordered = statement.order_by(work_queues.c.priority, work_queues.c.name)
    return [
        (queue, min(in_pool, _free(queue.concurrency_limit, held.get(queue.id, 0))))
        for queue in tx.connection.execute(ordered)
    ]


def _free(limit: int | None, held: int) -> int:
    return UNLIMITED if limit is None else max(0, limit - held)


def free_in_deployments(tx: Transaction) -> dict[UUID, int]:
    """The deployments with a limit, and how many slots each has free."""
    held = select(func.count()).where(HELD, _c.deployment_id == deployments.c.id).scalar_subquery()
    limited = select(deployments.c.id, deployments.c.concurrency_limit, held)
    rows = tx.connection.execute(limited.where(deployments.c.concurrency_limit.is_not(None)))
    return {id: max(0, limit - count) for id, limit, count in rows}


def waiting(
    tx: Transaction,
    queue_id: UUID,
    *,
    before: datetime | None,
    after: datetime | None = None,
    free: dict[UUID, int] | None = None,
) -> ColumnElement[bool]:
    """The runs of a queue that may be taken: scheduled, held by nobody, with a slot free in their deployment.

    Args:
        tx: the transaction.
        queue_id: the queue.
        before, after: only those scheduled in between; both ends belong to it.
        free: the free slots of the deployments that have a limit; None to look.
    """
    full = [id for id, slots in (free_in_deployments(tx) if free is None else free).items() if slots <= 0]
    parts = [
        _c.work_queue_id == queue_id,
        _c.next_scheduled_start_time.is_not(None),
        _c.lease_expires.is_(None),
        _c.in_process.is_(False),
    ]
    if before is not None:
        parts.append(_c.next_scheduled_start_time <= before)
    if after is not None:
        parts.append(_c.next_scheduled_start_time >= after)
    if full:
        parts.append(or_(_c.deployment_id.is_(None), _c.deployment_id.not_in(full)))
    return and_(*parts)
