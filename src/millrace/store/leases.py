"""Leases: the right to run a run, for a while. The attempt is the fencing token: old attempts write nothing."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Text, cast, func, select

from millrace import rules
from millrace.errors import LeaseLost, StateRefused
from millrace.schema.deployments import Deployment
from millrace.schema.pools import ClaimedRun, ClaimRuns
from millrace.schema.runs import ExtendedLeases, ExtendLeases, Lease, ReleaseLease
from millrace.schema.states import TERMINAL, SetStateStatus, State, StateCreate, StateType, named, scheduled
from millrace.store import deployments, flow_runs, flow_states, flows, history, pools, queues, slots, workers
from millrace.store.columns import clamp
from millrace.store.database import Transaction
from millrace.store.history import Run
from millrace.store.tables import deployments as deployment_table
from millrace.store.tables import flow_runs as runs

_c = runs.c
_TURNED_AWAY = 100
_FREE: Run = {"lease_holder": None, "lease_expires": None}


def claim(tx: Transaction, pool_name: str, body: ClaimRuns) -> list[ClaimedRun]:
    """Takes due runs of a pool: by priority of their queue, then by time, within all limits.

    Each becomes PENDING under a lease, its attempt one higher. Waiting for a run is the caller's.

    Raises:
        NotFound: there is no such pool.
    """
    pool = queues.pool_row(tx, pool_name)
    interval = body.heartbeat_interval_seconds
    workers.beat(tx, pool.id, body.worker_name, interval, queue_names=body.queue_names)
    queues.mark_polled(tx, pool.id, body.queue_names)
    free = slots.free_in_deployments(tx)
    _turn_away(tx, pool.id, [id for id, count in free.items() if count <= 0])
    taken: list[Run] = []
    in_pool = slots.UNLIMITED if pool.concurrency_limit is None else pool.concurrency_limit - slots.of_pool(tx, pool.id)
    for queue, free_in_queue in slots.open_queues(tx, pool, body.queue_names):
        wanted = min(body.limit - len(taken), free_in_queue, in_pool - len(taken))
        if wanted > 0:
            taken += _take(tx, queue, wanted, free, body)
    return _claimed(tx, taken, pool_name)


def _turn_away(tx: Transaction, pool_id: UUID, full: list[UUID]) -> None:
    """Due runs of full deployments whose collision strategy is CANCEL_NEW: the judge cancels them."""
    if not full:
        return
    options = cast(deployment_table.c.concurrency_options, Text)
    strict = select(deployment_table.c.id).where(deployment_table.c.id.in_(full), options.contains("CANCEL_NEW"))
    untaken = (_c.next_scheduled_start_time <= tx.now) & _c.lease_expires.is_(None) & _c.in_process.is_(False)
    untaken &= _c.schedule_id.is_(None) | _c.auto_scheduled  # those of a backfill wait in any case
    due = select(runs).where(_c.deployment_id.in_(strict), _c.work_pool_id == pool_id, untaken).limit(_TURNED_AWAY)
    for row in tx.connection.execute(due).mappings().all():
        flow_states.propose(tx, dict(row), StateCreate(type=StateType.PENDING))


def _take(tx: Transaction, queue: Row[Any], wanted: int, free: dict[UUID, int], body: ClaimRuns) -> list[Run]:
    """Takes runs of one queue; counts the free slots of their deployments down."""
    taken: list[Run] = []
    while len(taken) < wanted:
        due = slots.waiting(tx, queue.id, before=tx.now, free=free)
        statement = select(runs).where(due).order_by(_c.next_scheduled_start_time, _c.id)
        found = statement.limit(wanted - len(taken)).with_for_update(skip_locked=True)
        rows = tx.connection.execute(found).mappings().all()
        before = len(taken)
        for row in rows:
            deployment_id = row["deployment_id"]
            if free.get(deployment_id, 1) <= 0:
                continue
            run = _pending(tx, dict(row), body)
            if run is not None:
                taken.append(run)
                if deployment_id in free:
                    free[deployment_id] -= 1
        if not rows or len(taken) == before:
            break
    return taken


def _pending(tx: Transaction, run: Run, body: ClaimRuns) -> Run | None:
    """Makes a run PENDING under a lease, if the judge agrees."""
    current = State.model_validate(run["state"])
    proposed = StateCreate(type=StateType.PENDING, message=f"Claimed by {body.worker_name}.")
    decision = rules.decide(current, proposed, flow_states.facts_of(tx, run))
    if decision.status is not SetStateStatus.ACCEPT or decision.state is None:
        return None
    lease = {
        "attempt": run["attempt"] + 1,
        "lease_holder": body.worker_name,
        "lease_expires": tx.now + timedelta(seconds=body.lease_seconds),
        "infrastructure_pid": None,
    }
    return history.move(tx, run, decision.state, **lease)


def _claimed(tx: Transaction, taken: list[Run], pool_name: str) -> list[ClaimedRun]:
    if not taken:
        return []
    pool = pools.read(tx, pool_name)
    known: dict[UUID, Deployment] = {}
    claimed = []
    for run in taken:
        id = run["deployment_id"]
        if id is not None and id not in known:
            found = deployments.find(tx, id)
            if found is not None:
                known[id] = found
        lease = Lease(
            flow_run_id=run["id"], attempt=run["attempt"], holder=run["lease_holder"], expires=run["lease_expires"]
        )
        claimed.append(
            ClaimedRun(
                flow_run=flow_runs.read(tx, run["id"]),
                flow_name=flows.read(tx, run["flow_id"]).name,
                deployment=known.get(id),
                work_pool=pool,
                lease=lease,
            )
        )
    return claimed


def next_due(tx: Transaction, pool_name: str, queue_names: list[str] | None) -> datetime | None:
    """When the next run of a pool can be taken: a moment that has passed if one can be taken now.

    Runs that wait for a slot do not count: a commit will free it.

    Raises:
        NotFound: there is no such pool.
    """
    pool = queues.pool_row(tx, pool_name)
    free = slots.free_in_deployments(tx)
    earliest: list[datetime] = []
    for queue, slots_free in slots.open_queues(tx, pool, queue_names):
        if slots_free > 0:
            waiting = slots.waiting(tx, queue.id, before=None, free=free)
            due = tx.connection.scalar(select(func.min(_c.next_scheduled_start_time)).where(waiting))
            if due is not None:
                earliest.append(due)
    return min(earliest, default=None)


def extend(tx: Transaction, body: ExtendLeases) -> ExtendedLeases:
    """Says that attempts live: their leases hold for longer, whichever are still theirs.

    A run that has ended under its attempt counts as extended: its holder has nothing to stop.
    """
    answer = ExtendedLeases(server_time=tx.now)
    wanted = dict(body.leases)
    columns = (_c.id, _c.attempt, _c.lease_holder, _c.lease_expires, _c.state_type, _c.state_name)
    found = {row.id: row for row in tx.connection.execute(select(*columns).where(_c.id.in_(list(wanted))))}
    live: list[UUID] = []
    for id, attempt in wanted.items():
        row = found.get(id)
        if row is None or row.attempt != attempt or row.lease_holder is None:
            answer.lost.append(id)
            continue
        answer.extended.append(id)
        if row.lease_expires is not None:
            live.append(id)
        if row.state_type == StateType.CANCELLING.value:
            answer.cancelling.append(id)
        if row.state_name in ("Suspended", "Resuming"):
            answer.suspended.append(id)
        if row.state_type in TERMINAL:
            answer.ended.append(id)
    if live:
        expires = tx.now + timedelta(seconds=body.lease_seconds)
        tx.connection.execute(runs.update().where(_c.id.in_(live)).values(lease_expires=expires))
    return answer


def check(tx: Transaction, flow_run_id: UUID, attempt: int) -> None:
    """That a writer still has its run; the transaction then knows him as the holder.

    A run that ended under this attempt is still its own: late log lines are welcome.

    Raises:
        LeaseLost: another attempt has it, or it was taken away.
    """
    columns = (_c.attempt, _c.lease_holder, _c.lease_expires)
    row = tx.connection.execute(select(*columns).where(_c.id == flow_run_id)).first()
    if row is None or row.attempt != clamp(attempt) or row.lease_holder is None:
        now = "it is gone" if row is None else f"attempt {row.attempt} is the newest"
        raise LeaseLost(f"Attempt {attempt} of the flow run {flow_run_id} has lost it ({now}): it must stop.")
    if row.lease_expires is not None:
        tx.held.add(flow_run_id)


def release(tx: Transaction, body: ReleaseLease) -> None:
    """Gives a claim back unused: the run waits again.

    Raises:
        LeaseLost: it is not the caller's any more.
        StateRefused: the run has begun.
    """
    check(tx, body.flow_run_id, body.attempt)
    run = flow_runs.row(tx, body.flow_run_id)
    current = State.model_validate(run["state"])
    if current.type is StateType.CANCELLING:
        history.move(tx, run, named("Cancelled", body.reason).model_copy(update={"timestamp": tx.now}), **_FREE)
        return
    if current.type is not StateType.PENDING:
        raise StateRefused(
            f"The flow run {run['name']} is {current.name}: only a run that has not begun is given back."
        )
    state = scheduled(current.state_details.scheduled_time or tx.now, message=body.reason)
    history.move(tx, run, state.model_copy(update={"timestamp": tx.now}), **_FREE)


def grant_after_restart(tx: Transaction, seconds: float) -> None:
    """A server starts: every lease holds for some seconds at least, since nobody could extend it meanwhile."""
    until = tx.now + timedelta(seconds=seconds)
    tx.connection.execute(runs.update().where(_c.lease_expires < until).values(lease_expires=until))


def reap(tx: Transaction, limit: int) -> int:
    """Runs whose holder was not heard of in time become what the judge says, and nobody's.

    Returns:
        How many there were, at most `limit`.
    """
    expired = select(runs).where(_c.lease_expires <= tx.now).order_by(_c.lease_expires).limit(limit)
    rows = tx.connection.execute(expired.with_for_update(skip_locked=True)).mappings().all()
    for row in rows:
        run = dict(row)
        again = run["work_queue_id"] is not None or _deployed(tx, run["deployment_id"])
        current = State.model_validate(run["state"])
        holder = run["lease_holder"] or "that had it"
        state = rules.lost(current, flow_states.facts_of(tx, run), holder, again=again)
        if state is None:
            tx.connection.execute(
                runs.update().where(_c.id == run["id"]).values(**_FREE, in_process=False, slot=False, updated=tx.now)
            )
        else:
            beside = flow_states.anew(tx, run) if state.name == "AwaitingRetry" else {}
            history.move(tx, run, state, **_FREE, **beside)
            flow_states.end_within(tx, run, state.type if state.is_final() else StateType.CRASHED)
    return len(rows)


def _deployed(tx: Transaction, id: UUID | None) -> bool:
    if id is None:
        return False
    return tx.connection.execute(select(deployment_table.c.id).where(deployment_table.c.id == id)).first() is not None


def mark_late(tx: Transaction, after: timedelta, limit: int) -> int:
    """Runs that were due some time ago and that nobody took become Late.

    Returns:
        How many there were, at most `limit`.
    """
    overdue = select(runs).where(_c.state_name == "Scheduled", _c.next_scheduled_start_time <= tx.now - after)
    rows = tx.connection.execute(overdue.order_by(_c.next_scheduled_start_time).limit(limit)).mappings().all()
    for row in rows:
        run = dict(row)
        late = scheduled(run["next_scheduled_start_time"], "Late")
        flow_states.propose(tx, run, late)
    return len(rows)


def next_reaping(tx: Transaction, after: timedelta) -> datetime | None:
    """When the next lease expires or the next run becomes late."""
    expires = tx.connection.scalar(select(func.min(_c.lease_expires)))
    waiting = select(func.min(_c.next_scheduled_start_time)).where(_c.state_name == "Scheduled")
    due = tx.connection.scalar(waiting)
    moments = [moment for moment in (expires, None if due is None else due + after) if moment is not None]
    return min(moments, default=None)
