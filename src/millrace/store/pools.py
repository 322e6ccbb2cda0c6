"""Work pools."""

from __future__ import annotations

import math
from typing import Any, cast
from uuid import UUID

from sqlalchemy import Row, func, select

from millrace.errors import AlreadyExists
from millrace.schema.fields import new_id
from millrace.schema.pools import (
    PoolConcurrency,
    PoolConcurrencyQuery,
    PoolStatus,
    QueueConcurrency,
    ScheduledRunsQuery,
    SlotSummary,
    WorkerFlowRun,
    WorkPool,
    WorkPoolCreate,
    WorkPoolQuery,
    WorkPoolUpdate,
    WorkQueueCreate,
)
from millrace.store import filters, flow_runs, queues, slots, workers
from millrace.store.columns import clamp
from millrace.store.conditions import combined
from millrace.store.database import Transaction
from millrace.store.rows import LIMIT, model, page, stored, values
from millrace.store.tables import deployments, work_pools, work_queues
from millrace.store.tables import flow_runs as runs


def create(tx: Transaction, body: WorkPoolCreate) -> WorkPool:
    """Makes a pool, with a queue named `default`.

    Raises:
        AlreadyExists: there is a pool of this name.
    """
    if tx.connection.execute(select(work_pools.c.id).where(work_pools.c.name == body.name)).first() is not None:
        raise AlreadyExists(f"A work pool named {body.name!r} exists. Choose another name, or update that pool.")
    pool = WorkPool(**dict(body), id=new_id(), created=tx.now, updated=tx.now)
    tx.connection.execute(work_pools.insert().values(values(pool, work_pools)))
    default = WorkQueueCreate(name=queues.DEFAULT, description="The work pool's default queue.")
    queue = queues.add(tx, pool.id, pool.name, default)
    tx.connection.execute(work_pools.update().where(work_pools.c.id == pool.id).values(default_queue_id=queue.id))
    return read(tx, pool.name)


def read(tx: Transaction, name: str) -> WorkPool:
    """The pool of this name.

    Raises:
        NotFound: there is none; the message names those that exist.
    """
    return _pool(tx, queues.pool_row(tx, name), workers.online_pools(tx))


def _pool(tx: Transaction, row: Row[Any], online: set[UUID]) -> WorkPool:
    status = PoolStatus.NOT_READY
    if row.is_paused:
        status = PoolStatus.PAUSED
    elif row.id in online or queues.polled(tx, row.id):
        status = PoolStatus.READY
    return model(WorkPool, row, status=status, active_slots=slots.of_pool(tx, row.id))


def query(tx: Transaction, query: WorkPoolQuery) -> list[WorkPool]:
    """The pools that match, by name."""
    condition = combined([filters.work_pool(query.work_pools)])
    statement = select(work_pools).where(condition).order_by(work_pools.c.name)
    online = workers.online_pools(tx)
    return [_pool(tx, row, online) for row in tx.connection.execute(page(statement, query)).all()]


def update(tx: Transaction, name: str, body: WorkPoolUpdate) -> None:
    """Changes what was sent.

    Raises:
        NotFound: there is no pool of this name.
    """
    id = queues.pool_row(tx, name).id
    changes = {field: stored(work_pools, field, getattr(body, field)) for field in body.model_fields_set}
    for field in ("is_paused", "base_job_template", "storage_configuration"):
        if field in changes and changes[field] is None:
            del changes[field]
    tx.connection.execute(work_pools.update().where(work_pools.c.id == id).values(**changes, updated=tx.now))


def delete(tx: Transaction, name: str) -> None:
    """Forgets a pool with its queues and workers; its deployments and runs stay, without a pool.

    Raises:
        NotFound: there is no pool of this name.
    """
    id = queues.pool_row(tx, name).id
    for table in (deployments, runs):
        homeless = table.update().where(table.c.work_pool_id == id)
        tx.connection.execute(homeless.values(work_pool_id=None, work_queue_id=None))
    tx.connection.execute(work_pools.delete().where(work_pools.c.id == id))


def concurrency(tx: Transaction, name: str, query: PoolConcurrencyQuery) -> PoolConcurrency:
    """Who holds the slots of a pool, queue by queue.

    Raises:
        NotFound: there is no pool of this name.
    """
    pool = queues.pool_row(tx, name)
    limit = LIMIT if query.limit is None else max(1, query.limit)
    own = work_queues.c.work_pool_id == pool.id
    count = tx.connection.scalar(select(func.count()).select_from(work_queues).where(own)) or 0
    statement = select(work_queues).where(own).order_by(work_queues.c.priority, work_queues.c.name)
    part = statement.limit(limit).offset(clamp((query.page - 1) * limit))
    found = [_queue_slots(tx, row, query.flow_run_limit) for row in tx.connection.execute(part).all()]
    return PoolConcurrency(
        active_slots=slots.of_pool(tx, pool.id),
        concurrency_limit=pool.concurrency_limit,
        queues=found,
        count=count,
        limit=limit,
        pages=max(1, math.ceil(count / limit)),
        page=query.page,
    )


def _queue_slots(tx: Transaction, queue: Row[Any], limit: int) -> QueueConcurrency:
    held = slots.of_queue(tx, queue.work_pool_id, queue.id)
    columns = (runs.c.id, runs.c.name, runs.c.state_type, runs.c.state_name, runs.c.start_time, runs.c.state_timestamp)
    holders = select(*columns).where(slots.HELD, runs.c.work_pool_id == queue.work_pool_id)
    holders = holders.where(runs.c.work_queue_id == queue.id).order_by(runs.c.state_timestamp).limit(limit)
    summaries = [
        model(SlotSummary, cast(Row[Any], row), time_in_current_state=(tx.now - row.state_timestamp).total_seconds())
        for row in tx.connection.execute(holders)
    ]
    return QueueConcurrency(
        queue_id=queue.id,
        queue_name=queue.name,
        active_slots=held,
        concurrency_limit=queue.concurrency_limit,
        flow_runs=summaries,
        flow_run_count=held,
    )


def scheduled_runs(tx: Transaction, name: str, query: ScheduledRunsQuery) -> list[WorkerFlowRun]:
    """The runs a polling worker may take, by priority of their queue and then by time; proposing PENDING takes one.

    Raises:
        NotFound: there is no pool of this name.
    """
    pool = queues.pool_row(tx, name)
    names = query.work_queue_names or None
    queues.mark_polled(tx, pool.id, names)
    wanted = LIMIT if query.limit is None else query.limit
    found: list[WorkerFlowRun] = []
    for queue, free in slots.open_queues(tx, pool, names):
        limit = min(wanted - len(found), free)
        if limit <= 0:
            continue
        condition = slots.waiting(tx, queue.id, before=query.scheduled_before, after=query.scheduled_after)
        offered = flow_runs.select_where(tx, condition, (runs.c.next_scheduled_start_time, runs.c.id), limit)
        found += [WorkerFlowRun(work_pool_id=pool.id, work_queue_id=queue.id, flow_run=run) for run in offered]
    return found
