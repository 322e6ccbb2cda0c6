"""Work queues: the parts of a pool, each with a priority and a limit."""

from __future__ import annotations

import re
import shlex
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, or_, select

from millrace.errors import AlreadyExists, InvalidInput, NotFound
from millrace.schema.fields import NAME_PATTERN, NO_NAME, new_id
from millrace.schema.pools import (
    PoolStatus,
    QueueHealthPolicy,
    QueueStatusDetail,
    WorkQueue,
    WorkQueueCreate,
    WorkQueueQuery,
    WorkQueueUpdate,
)
from millrace.store import filters, slots
from millrace.store.conditions import combined
from millrace.store.database import Transaction
from millrace.store.rows import model, page, stored, suggested, values
from millrace.store.tables import deployments, flow_runs, work_pools, work_queues

DEFAULT = "default"
POLLED_WITHIN = timedelta(seconds=60)
_POLL_NOTED_EVERY = timedelta(seconds=5)

_c = work_queues.c


def pool_row(tx: Transaction, name: str) -> Row[Any]:
    """The row of a pool.

    Raises:
        NotFound: there is none of this name; the message names those that exist.
    """
    row = tx.connection.execute(select(work_pools).where(work_pools.c.name == name)).first()
    if row is None:
        names = tx.connection.scalars(select(work_pools.c.name).order_by(work_pools.c.name).limit(10)).all()
        known = f"There are: {', '.join(names)}." if names else "There is none yet."
        hint = suggested(tx, work_pools.c.name, name)
        command = f"millrace work-pool create {shlex.quote(name)} --type process"
        raise NotFound(f"No work pool is named {name!r}.{hint} {known} Create it with: {command}")
    return row


def create(tx: Transaction, pool_name: str, body: WorkQueueCreate) -> WorkQueue:
    """Makes a queue in a pool.

    Raises:
        NotFound: there is no such pool.
        AlreadyExists: it has a queue of this name.
    """
    pool = pool_row(tx, pool_name)
    if _named(tx, pool.id, body.name) is not None:
        raise AlreadyExists(f"The work pool {pool_name!r} has a queue named {body.name!r}.")
    return add(tx, pool.id, pool.name, body)


def add(tx: Transaction, pool_id: UUID, pool_name: str, body: WorkQueueCreate) -> WorkQueue:
    """Stores a queue whose name is free; without a priority it goes last."""
    fields = dict(body)
    if body.priority is None:
        highest = tx.connection.scalar(select(func.max(_c.priority)).where(_c.work_pool_id == pool_id)) or 0
        fields["priority"] = highest + 1
    fields["description"] = body.description or ""
    queue = WorkQueue(**fields, id=new_id(), created=tx.now, updated=tx.now, work_pool_id=pool_id)
    tx.connection.execute(work_queues.insert().values(values(queue, work_queues)))
    _make_way(tx, pool_id, queue.id)
    return read(tx, queue.id)


def _make_way(tx: Transaction, pool_id: UUID, id: UUID) -> None:
    """A queue has the priority it was given; those that have it already go after it, moved as little as possible."""
    rows = tx.connection.execute(select(_c.id, _c.name, _c.priority).where(_c.work_pool_id == pool_id)).all()
    last = 0
    for row in sorted(rows, key=lambda row: (row.priority, row.id != id, row.name)):
        last = max(row.priority, last + 1)
        if last != row.priority:
            tx.connection.execute(work_queues.update().where(_c.id == row.id).values(priority=last, updated=tx.now))


def resolve(tx: Transaction, pool_name: str, queue_name: str | None) -> tuple[UUID, UUID]:
    """The ids of a pool and one of its queues, which is made if it is not there yet.

    Raises:
        NotFound: there is no such pool.
    """
    pool = pool_row(tx, pool_name)
    return pool.id, queue_id(tx, pool, queue_name)


def queue_id(tx: Transaction, pool: Row[Any], name: str | None) -> UUID:
    """The id of a queue of a pool; without a name that of its default queue."""
    row = _named(tx, pool.id, name or DEFAULT)
    if row is None and name is not None and not re.search(NAME_PATTERN, name):
        raise InvalidInput(f"The work queue {name!r} {NO_NAME}.")
    found: UUID = row.id if row is not None else add(tx, pool.id, pool.name, WorkQueueCreate(name=name or DEFAULT)).id
    return found


def _named(tx: Transaction, pool_id: UUID, name: str) -> Row[Any] | None:
    return tx.connection.execute(_select().where(_c.work_pool_id == pool_id, _c.name == name)).first()


def _select() -> Any:
    joined = work_queues.join(work_pools, work_pools.c.id == _c.work_pool_id)
    return select(work_queues, work_pools.c.name.label("work_pool_name")).select_from(joined)


def _queue(tx: Transaction, row: Row[Any]) -> WorkQueue:
    status = PoolStatus.NOT_READY
    if row.is_paused:
        status = PoolStatus.PAUSED
    elif row.last_polled is not None and row.last_polled >= tx.now - POLLED_WITHIN:
        status = PoolStatus.READY
    return model(WorkQueue, row, status=status, active_slots=slots.of_queue(tx, row.work_pool_id, row.id))


def read(tx: Transaction, id: UUID) -> WorkQueue:
    """One queue.

    Raises:
        NotFound: there is none with this id.
    """
    row = tx.connection.execute(_select().where(_c.id == id)).first()
    if row is None:
        raise NotFound(f"No work queue has the id {id}.")
    return _queue(tx, row)


def by_name(tx: Transaction, pool_name: str, name: str) -> WorkQueue:
    """The queue of this name in a pool.

    Raises:
        NotFound: there is no such pool, or none in it.
    """
    pool = pool_row(tx, pool_name)
    row = _named(tx, pool.id, name)
    if row is None:
        hint = suggested(tx, _c.name, name, _c.work_pool_id == pool.id)
        raise NotFound(f"The work pool {pool_name!r} has no queue named {name!r}.{hint}")
    return _queue(tx, row)


def query(tx: Transaction, pool_name: str, query: WorkQueueQuery) -> list[WorkQueue]:
    """The queues of a pool that match, by priority.

    Raises:
        NotFound: there is no such pool.
    """
    pool = pool_row(tx, pool_name)
    condition = combined([_c.work_pool_id == pool.id, filters.work_queue(query.work_queues)])
    statement = _select().where(condition).order_by(_c.priority, _c.name)
    return [_queue(tx, row) for row in tx.connection.execute(page(statement, query)).all()]


def status(tx: Transaction, id: UUID) -> QueueStatusDetail:
    """How a queue does: late runs, and when a worker last asked.

    Raises:
        NotFound: there is none with this id.
    """
    queue = read(tx, id)
    late = select(func.count()).select_from(flow_runs).where(flow_runs.c.work_queue_id == id)
    count = tx.connection.scalar(late.where(flow_runs.c.state_name == "Late")) or 0
    policy = QueueHealthPolicy()
    polled = queue.last_polled is not None and queue.last_polled >= tx.now - POLLED_WITHIN
    healthy = polled and count <= (policy.maximum_late_runs or 0)
    return QueueStatusDetail(healthy=healthy, late_runs_count=count, last_polled=queue.last_polled)


def update(tx: Transaction, id: UUID, body: WorkQueueUpdate) -> None:
    """Changes what was sent.

    Raises:
        NotFound: there is none with this id.
        AlreadyExists: its pool has another queue of the new name.
    """
    queue = read(tx, id)
    changes = {field: stored(work_queues, field, getattr(body, field)) for field in body.model_fields_set}
    for field in ("name", "is_paused", "priority"):
        if changes.get(field, ...) is None:
            del changes[field]
    other = _named(tx, queue.work_pool_id, changes["name"]) if queue.work_pool_id and "name" in changes else None
    if other is not None and other.id != id:
        raise AlreadyExists(f"The work pool {queue.work_pool_name!r} has a queue named {changes['name']!r}.")
    tx.connection.execute(work_queues.update().where(_c.id == id).values(**changes, updated=tx.now))
    if "priority" in changes and queue.work_pool_id is not None:
        _make_way(tx, queue.work_pool_id, id)


def delete(tx: Transaction, id: UUID) -> None:
    """Forgets a queue; what waits in it moves to the default queue of its pool.

    Raises:
        NotFound: there is none with this id.
        InvalidInput: it is the default queue.
    """
    queue = read(tx, id)
    default = tx.connection.scalar(select(work_pools.c.default_queue_id).where(work_pools.c.id == queue.work_pool_id))
    if default == id:
        raise InvalidInput("The default queue of a work pool cannot be deleted. Pause it instead.")
    for table in (deployments, flow_runs):
        tx.connection.execute(table.update().where(table.c.work_queue_id == id).values(work_queue_id=default))
    tx.connection.execute(work_queues.delete().where(_c.id == id))


def mark_polled(tx: Transaction, pool_id: UUID, names: list[str] | None) -> None:
    """A worker asked for work in these queues; noted every few seconds at most."""
    stale = or_(_c.last_polled.is_(None), _c.last_polled < tx.now - _POLL_NOTED_EVERY)
    statement = work_queues.update().where(_c.work_pool_id == pool_id, stale)
    if names is not None:
        statement = statement.where(_c.name.in_(names))
    tx.connection.execute(statement.values(last_polled=tx.now))


def polled(tx: Transaction, pool_id: UUID) -> bool:
    """Whether a worker asked for work in a pool within the last minute."""
    recent = select(_c.id).where(_c.work_pool_id == pool_id, _c.last_polled >= tx.now - POLLED_WITHIN)
    return tx.connection.execute(recent.limit(1)).first() is not None
