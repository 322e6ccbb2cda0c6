"""The part of the client that is about pools, their queues and workers.

Written by hand; `plain_workplaces.py` is made from it by `scripts/generate_client.py`.
"""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from millrace.client.connection import AsyncConnection

if TYPE_CHECKING:
    from millrace.schema.pools import (
        BusyWorker,
        ClaimedRun,
        ClaimRuns,
        PoolConcurrency,
        PoolConcurrencyQuery,
        QueueStatusDetail,
        ScheduledRunsQuery,
        Worker,
        WorkerFlowRun,
        WorkerHeartbeat,
        WorkerQuery,
        WorkPool,
        WorkPoolCreate,
        WorkPoolQuery,
        WorkPoolUpdate,
        WorkQueue,
        WorkQueueCreate,
        WorkQueueQuery,
        WorkQueueUpdate,
    )


class AsyncWorkplaces(AsyncConnection):
    """Calls about pools, queues and workers."""

    async def create_work_pool(self, body: WorkPoolCreate | None = None, **fields: Any) -> WorkPool:
        """Create a pool."""
        return await self._call("create_work_pool", body=body, fields=fields)

    async def read_work_pools(self, body: WorkPoolQuery | None = None, **fields: Any) -> list[WorkPool]:
        """Pools that match."""
        return await self._call("read_work_pools", body=body, fields=fields)

    async def read_work_pool(self, name: str) -> WorkPool:
        """One pool."""
        return await self._call("read_work_pool", name)

    async def update_work_pool(self, name: str, body: WorkPoolUpdate | None = None, **fields: Any) -> None:
        """Change the fields that are given."""
        await self._call("update_work_pool", name, body=body, fields=fields)

    async def delete_work_pool(self, name: str) -> None:
        """Remove a pool."""
        await self._call("delete_work_pool", name)

    async def work_pool_concurrency(
        self, name: str, body: PoolConcurrencyQuery | None = None, **fields: Any
    ) -> PoolConcurrency:
        """The slots of a pool."""
        return await self._call("work_pool_concurrency", name, body=body, fields=fields)

    async def scheduled_runs_of_pool(
        self, name: str, body: ScheduledRunsQuery | None = None, **fields: Any
    ) -> list[WorkerFlowRun]:
        """Runs a polling worker may take."""
        return await self._call("scheduled_runs_of_pool", name, body=body, fields=fields)

    async def create_work_queue(
        self, work_pool_name: str, body: WorkQueueCreate | None = None, **fields: Any
    ) -> WorkQueue:
        """Create a queue."""
        return await self._call("create_work_queue", work_pool_name, body=body, fields=fields)

    async def read_work_queues(
        self, work_pool_name: str, body: WorkQueueQuery | None = None, **fields: Any
    ) -> list[WorkQueue]:
        """Queues that match."""
        return await self._call("read_work_queues", work_pool_name, body=body, fields=fields)

    async def read_work_queue_by_name(self, work_pool_name: str, name: str) -> WorkQueue:
        """The queue of this pool and name."""
        return await self._call("read_work_queue_by_name", work_pool_name, name)

    async def read_work_queue(self, id: UUID) -> WorkQueue:
        """One queue."""
        return await self._call("read_work_queue", id)

    async def read_work_queue_status(self, id: UUID) -> QueueStatusDetail:
        """How a queue does."""
        return await self._call("read_work_queue_status", id)

    async def update_work_queue(self, id: UUID, body: WorkQueueUpdate | None = None, **fields: Any) -> None:
        """Change the fields that are given."""
        await self._call("update_work_queue", id, body=body, fields=fields)

    async def delete_work_queue(self, id: UUID) -> None:
        """Remove a queue."""
        await self._call("delete_work_queue", id)

    async def read_workers(self, work_pool_name: str, body: WorkerQuery | None = None, **fields: Any) -> list[Worker]:
        """Workers of a pool."""
        return await self._call("read_workers", work_pool_name, body=body, fields=fields)

    async def read_busy_workers(self, name: str) -> list[BusyWorker]:
        """Workers of a pool, each with its queues and the runs it has under way."""
        return await self._call("read_busy_workers", name)

    async def worker_heartbeat(self, work_pool_name: str, body: WorkerHeartbeat | None = None, **fields: Any) -> None:
        """Say that a worker lives."""
        await self._call("worker_heartbeat", work_pool_name, body=body, fields=fields)

    async def delete_worker(self, work_pool_name: str, name: str) -> None:
        """Forget a worker."""
        await self._call("delete_worker", work_pool_name, name)

    async def claim_flow_runs(self, name: str, body: ClaimRuns | None = None, **fields: Any) -> list[ClaimedRun]:
        """Take due runs with a lease, or wait for one."""
        return await self._call("claim_flow_runs", name, body=body, fields=fields)
