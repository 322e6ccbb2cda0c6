"""Workers: who said that he lives, and when."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, Row, func, literal, select, type_coerce

from millrace.errors import NotFound
from millrace.schema.fields import new_id
from millrace.schema.pools import (
    BusyWorker,
    SlotSummary,
    Worker,
    WorkerHeartbeat,
    WorkerQuery,
    WorkerStatus,
    WorkerStatusCondition,
)
from millrace.store import queues, slots
from millrace.store.columns import microseconds
from millrace.store.conditions import Condition, all_of, combined, moment
from millrace.store.database import Transaction
from millrace.store.rows import model, page
from millrace.store.tables import flow_runs, workers

_c = workers.c
_r = flow_runs.c

_MISSED_HEARTBEATS = 3
_DEFAULT_INTERVAL = 30
_NOTED_EVERY = timedelta(seconds=5)
_LONGEST_INTERVAL = 86400
_FAREWELL = 0  # seconds until the next sign of life of a worker that gives none any more


def heartbeat(tx: Transaction, pool_name: str, body: WorkerHeartbeat) -> Worker:
    """A worker of a pool says that it lives.

    Raises:
        NotFound: there is no such pool.
    """
    return beat(tx, queues.pool_row(tx, pool_name).id, body.name, body.heartbeat_interval_seconds)


def beat(tx: Transaction, pool_id: UUID, name: str, interval: int | None, **said: Any) -> Worker:
    """Notes that a worker lives; every few seconds at most.

    Args:
        tx: the transaction.
        pool_id: its pool.
        name: its name.
        interval: seconds until it says so again; 0: never, it ends.
        said: what else it says of itself: `queue_names`.
    """
    row = tx.connection.execute(select(workers).where(_c.work_pool_id == pool_id, _c.name == name)).first()
    interval = None if interval is None else max(_FAREWELL, min(interval, _LONGEST_INTERVAL))
    if row is None:
        fields = {"id": new_id(), "created": tx.now, "updated": tx.now, "work_pool_id": pool_id, "name": name}
        fields |= {"last_heartbeat_time": tx.now, "heartbeat_interval_seconds": interval, **said}
        tx.connection.execute(workers.insert().values(fields))
    else:
        if interval is not None or row.heartbeat_interval_seconds == _FAREWELL:
            said["heartbeat_interval_seconds"] = interval
        changed = any(getattr(row, name) != value for name, value in said.items())
        often = min(_NOTED_EVERY, timedelta(seconds=(interval or _DEFAULT_INTERVAL) / 2))
        if not changed and row.last_heartbeat_time and row.last_heartbeat_time > tx.now - often:
            return _worker(tx, row)
        changes = {"last_heartbeat_time": tx.now, "updated": tx.now, **said}
        tx.connection.execute(workers.update().where(_c.id == row.id).values(changes))
    found = tx.connection.execute(select(workers).where(_c.work_pool_id == pool_id, _c.name == name)).one()
    return _worker(tx, found)


def _worker(tx: Transaction, row: Row[Any]) -> Worker:
    interval = row.heartbeat_interval_seconds
    seconds = _MISSED_HEARTBEATS * (_DEFAULT_INTERVAL if interval is None else interval)
    alive = row.last_heartbeat_time is not None and row.last_heartbeat_time > tx.now - timedelta(seconds=seconds)
    return model(Worker, row, status=WorkerStatus.ONLINE if alive else WorkerStatus.OFFLINE)


def _online(tx: Transaction) -> ColumnElement[bool]:
    heard = type_coerce(_c.last_heartbeat_time, BigInteger)
    interval = func.coalesce(_c.heartbeat_interval_seconds, _DEFAULT_INTERVAL, type_=BigInteger)
    until = func.coalesce(heard, 0, type_=BigInteger) + interval * (_MISSED_HEARTBEATS * 1_000_000)
    return until > microseconds(tx.now)


def online_pools(tx: Transaction) -> set[UUID]:
    """The pools that have a worker which lives."""
    return set(tx.connection.scalars(select(_c.work_pool_id).where(_online(tx)).distinct()))


def online(tx: Transaction) -> int:
    """How many workers live."""
    return tx.connection.scalar(select(func.count()).select_from(workers).where(_online(tx))) or 0


def _status(tx: Transaction, condition: WorkerStatusCondition | None) -> Condition | None:
    if condition is None:
        return None
    alive = _online(tx)
    parts: list[Condition | None] = []
    for wanted, values in ((True, condition.any_), (False, condition.not_any_)):
        if values is not None:
            either = [alive if value is WorkerStatus.ONLINE else ~alive for value in values]
            chosen = combined(either) if len(set(values)) < 2 and values else literal(len(set(values)) == 2)
            parts.append(chosen if wanted else ~chosen)
    return combined(parts)


def query(tx: Transaction, pool_name: str, query: WorkerQuery) -> list[Worker]:
    """The workers of a pool that match, the one heard of last first.

    Raises:
        NotFound: there is no such pool.
    """
    pool = queues.pool_row(tx, pool_name)
    condition = all_of(
        query.workers,
        lambda f: moment(_c.last_heartbeat_time, f.last_heartbeat_time),
        lambda f: _status(tx, f.status),
    )
    statement = select(workers).where(combined([_c.work_pool_id == pool.id, condition]))
    ordered = statement.order_by(_c.last_heartbeat_time.desc(), _c.name)
    return [_worker(tx, row) for row in tx.connection.execute(page(ordered, query))]


def busy(tx: Transaction, pool_name: str) -> list[BusyWorker]:
    """The workers of a pool, the one heard of last first, with the runs that each has under way.

    Raises:
        NotFound: there is no such pool.
    """
    found = query(tx, pool_name, WorkerQuery())
    columns = (_r.id, _r.name, _r.state_type, _r.state_name, _r.start_time, _r.state_timestamp)
    held = select(_r.lease_holder, *columns).where(slots.HELD, _r.lease_holder.in_([one.name for one in found]))
    held = held.where(_r.work_pool_id == queues.pool_row(tx, pool_name).id).order_by(_r.state_timestamp)
    under_way: dict[str, list[SlotSummary]] = {}
    for row in tx.connection.execute(held):
        since = (tx.now - row.state_timestamp).total_seconds()
        one = model(SlotSummary, cast(Row[Any], row), time_in_current_state=since)
        under_way.setdefault(row.lease_holder, []).append(one)
    return [BusyWorker(**dict(worker), flow_runs=under_way.get(worker.name, [])) for worker in found]


def delete(tx: Transaction, pool_name: str, name: str) -> None:
    """Forgets a worker.

    Raises:
        NotFound: the pool has no worker of this name.
    """
    pool = queues.pool_row(tx, pool_name)
    gone = tx.connection.execute(workers.delete().where(_c.work_pool_id == pool.id, _c.name == name))
    if gone.rowcount == 0:
        raise NotFound(f"The work pool {pool_name!r} has no worker named {name!r}.")
