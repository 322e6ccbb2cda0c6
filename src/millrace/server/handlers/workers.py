"""Workers as the server knows them."""

from __future__ import annotations

from millrace.schema.pools import BusyWorker, Worker, WorkerHeartbeat, WorkerQuery
from millrace.server.context import Call
from millrace.store import workers


def read_workers(call: Call, work_pool_name: str, body: WorkerQuery) -> list[Worker]:
    """Workers of a pool that match."""
    return call.read(workers.query, work_pool_name, body)


def read_busy_workers(call: Call, name: str) -> list[BusyWorker]:
    """Workers of a pool with what they have under way."""
    return call.read(workers.busy, name)


def worker_heartbeat(call: Call, work_pool_name: str, body: WorkerHeartbeat) -> None:
    """Record that a worker lives; a new one is registered so."""
    call.write(workers.heartbeat, work_pool_name, body)


def delete_worker(call: Call, work_pool_name: str, name: str) -> None:
    """Forget a worker."""
    call.write(workers.delete, work_pool_name, name)
