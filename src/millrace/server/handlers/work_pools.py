"""Work pools."""

from __future__ import annotations

from millrace.schema.pools import (
    PoolConcurrency,
    PoolConcurrencyQuery,
    ScheduledRunsQuery,
    WorkerFlowRun,
    WorkPool,
    WorkPoolCreate,
    WorkPoolQuery,
    WorkPoolUpdate,
)
from millrace.server.context import Call
from millrace.store import pools


def create_work_pool(call: Call, body: WorkPoolCreate) -> WorkPool:
    """Create a pool and its default queue."""
    return call.write(pools.create, body)


def read_work_pools(call: Call, body: WorkPoolQuery) -> list[WorkPool]:
    """Pools that match."""
    return call.read(pools.query, body)


def read_work_pool(call: Call, name: str) -> WorkPool:
    """The pool of a name."""
    return call.read(pools.read, name)


def update_work_pool(call: Call, name: str, body: WorkPoolUpdate) -> None:
    """Change what was sent."""
    call.write(pools.update, name, body)


def delete_work_pool(call: Call, name: str) -> None:
    """Forget a pool, its queues and workers."""
    call.write_plan(pools.delete, name)


def work_pool_concurrency(call: Call, name: str, body: PoolConcurrencyQuery) -> PoolConcurrency:
    """Who holds its slots."""
    return call.read(pools.concurrency, name, body)


def scheduled_runs_of_pool(call: Call, name: str, body: ScheduledRunsQuery) -> list[WorkerFlowRun]:
    """Due runs for a worker that polls; it records that it did."""
    return call.write(pools.scheduled_runs, name, body)
