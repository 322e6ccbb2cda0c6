"""Work queues."""

from __future__ import annotations

from uuid import UUID

from millrace.schema.pools import QueueStatusDetail, WorkQueue, WorkQueueCreate, WorkQueueQuery, WorkQueueUpdate
from millrace.server.context import Call
from millrace.store import queues


def create_work_queue(call: Call, work_pool_name: str, body: WorkQueueCreate) -> WorkQueue:
    """Create a queue in a pool."""
    return call.write(queues.create, work_pool_name, body)


def read_work_queues(call: Call, work_pool_name: str, body: WorkQueueQuery) -> list[WorkQueue]:
    """Queues of a pool that match."""
    return call.read(queues.query, work_pool_name, body)


def read_work_queue_by_name(call: Call, work_pool_name: str, name: str) -> WorkQueue:
    """The queue of a name."""
    return call.read(queues.by_name, work_pool_name, name)


def read_work_queue(call: Call, id: UUID) -> WorkQueue:
    """One queue."""
    return call.read(queues.read, id)


def read_work_queue_status(call: Call, id: UUID) -> QueueStatusDetail:
    """How a queue does."""
    return call.read(queues.status, id)


def update_work_queue(call: Call, id: UUID, body: WorkQueueUpdate) -> None:
    """Change what was sent."""
    call.write(queues.update, id, body)


def delete_work_queue(call: Call, id: UUID) -> None:
    """Forget a queue."""
    call.write(queues.delete, id)
