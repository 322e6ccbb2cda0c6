"""The WebSocket of a polling worker: it says hello, hears of its pool, and says that it lives.

The frames are those of Prefect's worker, version 1. It still asks for work by `get_scheduled_flow_runs`; clean-up of
lost runs is not offered here, because leases do that.
"""

from __future__ import annotations

import asyncio
from typing import Any, Literal
from uuid import UUID

from pydantic import Field, TypeAdapter, ValidationError
from starlette.websockets import WebSocket

from millrace.errors import MillraceError, NotFound
from millrace.schema.fields import JsonObject, Model, new_id, now
from millrace.schema.pools import WorkerHeartbeat, WorkPool, WorkPoolCreate, WorkPoolUpdate, WorkQueue
from millrace.server.context import Context
from millrace.store import pools, queues, workers
from millrace.store.database import Transaction

VERSION = "work_pool_worker_channel.v1"
CAPABILITIES = ("worker_heartbeat.v1", "work_pool_snapshot.v1")
REFUSED, WRONG, LATER = 1008, 1002, 1011
SPACING = 0.5


class Hello(Model):
    """What a worker says first."""

    consumer_id: UUID
    worker_name: str = Field(min_length=1)
    worker_type: str = Field(min_length=1)
    heartbeat_interval_seconds: int = Field(gt=0)
    supported_channel_versions: list[str]
    requested_capabilities: list[str]
    work_queue_names: list[str] = Field(default_factory=list)
    create_pool_if_not_found: bool = False
    default_base_job_template: JsonObject = Field(default_factory=dict)

    @property
    def heartbeat(self) -> WorkerHeartbeat:
        """What the store keeps of it."""
        return WorkerHeartbeat(name=self.worker_name, heartbeat_interval_seconds=self.heartbeat_interval_seconds)


class HelloFrame(Model):
    """The first frame."""

    type: Literal["worker.hello.v1"]
    payload: Hello


JSON = TypeAdapter(dict[str, Any])


async def worker_channel(context: Context, socket: WebSocket) -> None:
    """Serve one worker until it goes.

    Anything unexpected closes the socket with the code that sends the worker to `POST …/workers/heartbeat`.
    """
    name = str(socket.path_params["name"])
    try:
        hello = HelloFrame.model_validate_json(await socket.receive_text()).payload
    except ValidationError:
        return await socket.close(WRONG, "protocol_error")
    if VERSION not in hello.supported_channel_versions:
        return await socket.close(REFUSED, "unsupported_version")
    try:
        pool, known_queues = await context.write(_register, name, hello)
    except NotFound:
        return await socket.close(WRONG, "protocol_error")
    except MillraceError:
        return await socket.close(LATER, "transient_server_error")
    await _send(socket, "worker.ready.v1", _ready(hello, pool, known_queues))
    snapshots = asyncio.create_task(_tell_changes(context, socket, pool))
    try:
        while True:
            frame = JSON.validate_json(await socket.receive_text())
            if frame.get("type") == "worker.heartbeat.v1":
                await context.write(workers.heartbeat, pool.name, hello.heartbeat)
    finally:
        snapshots.cancel()
        await asyncio.gather(snapshots, return_exceptions=True)


def _register(tx: Transaction, name: str, hello: Hello) -> tuple[WorkPool, list[WorkQueue]]:
    template = hello.default_base_job_template
    try:
        pool = pools.read(tx, name)
    except NotFound:
        if not hello.create_pool_if_not_found:
            raise
        pool = pools.create(tx, WorkPoolCreate(name=name, type=hello.worker_type, base_job_template=template))
    if template and not pool.base_job_template:
        pools.update(tx, name, WorkPoolUpdate(base_job_template=template))
    workers.heartbeat(tx, name, hello.heartbeat)
    return pools.read(tx, name), [queues.by_name(tx, name, queue) for queue in hello.work_queue_names]


def _ready(hello: Hello, pool: WorkPool, known_queues: list[WorkQueue]) -> JsonObject:
    return {
        "consumer_id": str(hello.consumer_id),
        "worker_id": None,
        "selected_channel_version": VERSION,
        "effective_heartbeat_interval_seconds": hello.heartbeat_interval_seconds,
        "accepted_capabilities": list(CAPABILITIES),
        "rejected_capabilities": [c for c in hello.requested_capabilities if c not in CAPABILITIES],
        "effective_max_cleanup_concurrency": 0,
        "resolved_work_queues": [{"id": str(queue.id), "name": queue.name} for queue in known_queues],
        "initial_snapshot": _snapshot(1, "initial", pool),
    }


def _snapshot(number: int, reason: str, pool: WorkPool) -> JsonObject:
    return {"snapshot_sequence": number, "reason": reason, "work_pool": pool.model_dump(mode="json")}


async def _tell_changes(context: Context, socket: WebSocket, known: WorkPool) -> None:
    number = 1
    while not context.bell.closed:
        seen = context.bell.count
        pool = await context.read(pools.read, known.name)
        if _settings_of(pool) != _settings_of(known):
            number, known = number + 1, pool
            await _send(socket, "work_pool.snapshot.v1", _snapshot(number, "work_pool_updated", pool))
        await context.bell.wait(seen, 60.0)
        await asyncio.sleep(SPACING)
    await socket.close(LATER, "transient_server_error")


def _settings_of(pool: WorkPool) -> tuple[object, ...]:
    return (
        pool.is_paused,
        pool.base_job_template,
        pool.concurrency_limit,
        pool.description,
        pool.storage_configuration,
    )


async def _send(socket: WebSocket, kind: str, payload: JsonObject) -> None:
    await socket.send_json({"type": kind, "id": str(new_id()), "sent_at": now().isoformat(), "payload": payload})
