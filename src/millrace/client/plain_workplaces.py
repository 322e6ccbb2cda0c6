# Generated from workplaces.py by scripts/generate_client.py: change that file, then run the script.
"""The part of the client that is about pools, their queues and workers."""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from millrace.client.blocking import Connection

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


class Workplaces(Connection):
    """Calls about pools, queues and workers."""

    def create_work_pool(self, body: WorkPoolCreate | None = None, **fields: Any) -> WorkPool:
        """Create a pool."""
        return self._call("create_work_pool", body=body, fields=fields)

    def read_work_pools(self, body: WorkPoolQuery | None = None, **fields: Any) -> list[WorkPool]:
        """Pools that match."""
        return self._call("read_work_pools", body=body, fields=fields)

    def read_work_pool(self, name: str) -> WorkPool:
        """One pool."""
        return self._call("read_work_pool", name)

    def update_work_pool(self, name: str, body: WorkPoolUpdate | None = None, **fields: Any) -> None:
        """Change the fields that are given."""
        self._call("update_work_pool", name, body=body, fields=fields)

    def delete_work_pool(self, name: str) -> None:
        """Remove a pool."""
        self._call("delete_work_pool", name)

    def work_pool_concurrency(
        self, name: str, body: PoolConcurrencyQuery | None = None, **fields: Any
    ) -> PoolConcurrency:
        """The slots of a pool."""
        return self._call("work_pool_concurrency", name, body=body, fields=fields)

    def scheduled_runs_of_pool(
        self, name: str, body: ScheduledRunsQuery | None = None, **fields: Any
    ) -> list[WorkerFlowRun]:
        """Runs a polling worker may take."""
        return self._call("scheduled_runs_of_pool", name, body=body, fields=fields)

    def create_work_queue(self, work_pool_name: str, body: WorkQueueCreate | None = None, **fields: Any) -> WorkQueue:
        """Create a queue."""
        return self._call("create_work_queue", work_pool_name, body=body, fields=fields)

    def read_work_queues(
        self, work_pool_name: str, body: WorkQueueQuery | None = None, **fields: Any
    ) -> list[WorkQueue]:
        """Queues that match."""
        return self._call("read_work_queues", work_pool_name, body=body, fields=fields)

    def read_work_queue_by_name(self, work_pool_name: str, name: str) -> WorkQueue:
        """The queue of this pool and name."""
        return self._call("read_work_queue_by_name", work_pool_name, name)

    def read_work_queue(self, id: UUID) -> WorkQueue:
        """One queue."""
        return self._call("read_work_queue", id)

    def read_work_queue_status(self, id: UUID) -> QueueStatusDetail:
        """How a queue does."""
        return self._call("read_work_queue_status", id)

    def update_work_queue(self, id: UUID, body: WorkQueueUpdate | None = None, **fields: Any) -> None:
        """Change the fields that are given."""
        self._call("update_work_queue", id, body=body, fields=fields)

    def delete_work_queue(self, id: UUID) -> None:
        """Remove a queue."""
        self._call("delete_work_queue", id)

    def read_workers(self, work_pool_name: str, body: WorkerQuery | None = None, **fields: Any) -> list[Worker]:
        """Workers of a pool."""
        return self._call("read_workers", work_pool_name, body=body, fields=fields)

    def read_busy_workers(self, name: str) -> list[BusyWorker]:
        """Workers of a pool, each with its queues and the runs it has under way."""
        return self._call("read_busy_workers", name)

    def worker_heartbeat(self, work_pool_name: str, body: WorkerHeartbeat | None = None, **fields: Any) -> None:
        """Say that a worker lives."""
        self._call("worker_heartbeat", work_pool_name, body=body, fields=fields)

    def delete_worker(self, work_pool_name: str, name: str) -> None:
        """Forget a worker."""
        self._call("delete_worker", work_pool_name, name)

    def claim_flow_runs(self, name: str, body: ClaimRuns | None = None, **fields: Any) -> list[ClaimedRun]:
        """Take due runs with a lease, or wait for one."""
        return self._call("claim_flow_runs", name, body=body, fields=fields)
