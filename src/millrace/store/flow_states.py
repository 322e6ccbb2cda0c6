"""Proposed states of flow runs: asks the judge, and writes what he decides in the same transaction."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select

from millrace import rules
from millrace.errors import AlreadyExists, Conflict
from millrace.rules import Decision, Facts
from millrace.schema.fields import new_id
from millrace.schema.flows import FlowCreate
from millrace.schema.runs import BeginRun, BegunRun, FlowRun, FlowRunPolicy, Lease
from millrace.schema.states import (
    TERMINAL,
    AbortDetails,
    AcceptDetails,
    OrchestrationResult,
    RejectDetails,
    SetState,
    SetStateStatus,
    State,
    StateCreate,
    StateType,
    WaitDetails,
    named,
)
from millrace.store import flow_runs, flows, history, inputs, slots, unfinished
from millrace.store.database import Transaction
from millrace.store.history import Run
from millrace.store.tables import deployments, task_runs
from millrace.store.tables import flow_runs as runs

S = StateType


def set_state(tx: Transaction, flow_run_id: UUID, proposal: SetState) -> OrchestrationResult:
    """Proposes a state for a run.

    The writer holds the run's lease if `leases.check` said so earlier in the transaction.

    Raises:
        NotFound: there is no such run.
    """
    run = flow_runs.row(tx, flow_run_id)
    decision = propose(tx, run, proposal.state, force=proposal.force)
    return OrchestrationResult(state=decision.state, status=decision.status, details=_details(decision))


def propose(tx: Transaction, run: Run, proposed: StateCreate, *, force: bool = False) -> Decision:
    """Asks the judge about a state, and writes what he decides.

    Returns:
        The decision; its state is as it is stored now.
    """
    current = None if run["state"] is None else State.model_validate(run["state"])
    decision = rules.decide(current, proposed, _facts(tx, run, proposed, force))
    if decision.state is None or decision.state is current:
        return decision
    after = history.move(tx, run, decision.state, **_beside(tx, run, current, decision))
    if decision.state.type in (S.CANCELLING, S.CANCELLED):
        _cancel_parts(tx, run["id"])
    if decision.state.type in (S.CANCELLED, S.CRASHED):
        end_within(tx, run, decision.state.type)
    elif decision.state.name == "AwaitingRetry" and decision.status is SetStateStatus.ACCEPT:
        end_within(tx, run, S.CRASHED)  # its worker says so: what failed in its own process is a proposal refused
    elif decision.state.is_final() and run["lease_holder"] is not None:  # told after what was known of its tasks
        unfinished.end(tx, run, S.CANCELLED, "The run that it is part of has ended.")
    return Decision(decision.status, State.model_validate(after["state"]), decision.reason, decision.delay_seconds)


_OVER = [kind.value for kind in (*TERMINAL, S.CANCELLING)]


def _cancel_parts(tx: Transaction, id: UUID) -> None:
    """A run is cancelled with the runs of deployments that it asked for as its parts, which have their own workers."""
    stand_ins = select(task_runs.c.id).where(task_runs.c.flow_run_id == id)
    parts = select(runs).where(
        runs.c.parent_task_run_id.in_(stand_ins), runs.c.deployment_id.is_not(None), runs.c.state_type.not_in(_OVER)
    )
    for part in tx.connection.execute(parts).mappings().all():
        propose(tx, dict(part), named("Cancelling", "The run that it is part of was cancelled."))


def end_within(tx: Transaction, run: Run, kind: StateType) -> None:
    """The process of a run is gone: the runs and the tasks that it had under way went with it.

    Of runs within it that nobody holds a lease of nobody knows whether they were in that process: those are left to
    whoever runs them. Word of the real end of a task that comes later is heard.

    Args:
        tx: the transaction.
        run: its columns before it ended.
        kind: what it ended in.
    """
    text = f"The run that it is part of {'was cancelled' if kind is S.CANCELLED else 'crashed'}."
    stand_ins = select(task_runs.c.id).where(task_runs.c.flow_run_id == run["id"])
    within = select(runs).where(
        runs.c.parent_task_run_id.in_(stand_ins),
        runs.c.deployment_id.is_(None),
        runs.c.lease_holder.is_not(None),
        runs.c.state_type.not_in([one.value for one in TERMINAL]),
    )
    for part in tx.connection.execute(within).mappings().all():
        tx.held.add(part["id"])  # its holder was that process
        propose(tx, dict(part), StateCreate(type=kind, message=text), force=True)
    unfinished.end(tx, run, kind, text)


def facts_of(tx: Transaction, run: Run, *, force: bool = False) -> Facts:
    """What the judge needs to know of a run, without its deployment."""
    policy = FlowRunPolicy.model_validate(run["empirical_policy"])
    return Facts(
        now=tx.now,
        force=force,
        run_count=run["run_count"],
        retries=policy.max_retries if policy.retries is None else policy.retries,
        retry_delay=policy.retry_delay_seconds if policy.retry_delay is None else policy.retry_delay,
        leased=run["lease_expires"] is not None,
        holds=run["id"] in tx.held,
        has_infrastructure=run["infrastructure_pid"] is not None,
        deployed=run["deployment_id"] is not None,
        nested=run["parent_task_run_id"] is not None,
        pause_keys=tuple(policy.pause_keys or ()),
        resuming=bool(policy.resuming),
    )


def _facts(tx: Transaction, run: Run, proposed: StateCreate, force: bool) -> Facts:
    facts = facts_of(tx, run, force=force)
    # a slot is asked for by whoever takes a run; that nobody came in time shows a full deployment too
    asks = proposed.type is S.PENDING or proposed.name == "Late"
    if not asks or run["deployment_id"] is None or run["slot"]:
        return facts
    columns = (deployments.c.concurrency_limit, deployments.c.concurrency_options)
    found = tx.connection.execute(select(*columns).where(deployments.c.id == run["deployment_id"])).first()
    if found is None or found.concurrency_limit is None:
        return facts
    free = slots.of_deployment(tx, run["deployment_id"]) < found.concurrency_limit
    cancel_new = (found.concurrency_options or {}).get("collision_strategy") == "CANCEL_NEW"
    if run["schedule_id"] is not None and not run["auto_scheduled"]:
        cancel_new = False  # of a backfill, which asks for each of its runs: they come one after the other
    known = {name: getattr(facts, name) for name in Facts.__slots__}
    return Facts(**{**known, "slot_free": free, "cancel_new": cancel_new})


def _beside(tx: Transaction, run: Run, current: State | None, decision: Decision) -> dict[str, Any]:
    """What else of a run changes with a state."""
    state = decision.state
    if state is None:
        return {}
    if state.type is not S.SCHEDULED:
        return _pauses(run, state)
    if current is not None and current.is_final():
        return {**_rerun(run, state), **anew(tx, run)}
    if decision.status is SetStateStatus.REJECT and state.name == "AwaitingRetry":
        return {"in_process": True, **anew(tx, run, retry_type="in_process")}
    if state.name == "AwaitingRetry" and run["id"] in tx.held:
        return {"in_process": True, **anew(tx, run)}
    if current is not None and current.is_suspended():
        # its process may still be on its way out: the lease goes with it
        return {"empirical_policy": {**run["empirical_policy"], "resuming": True}}
    return {"lease_holder": None, "lease_expires": None} if run["lease_expires"] is not None else {}


def _pauses(run: Run, state: State) -> dict[str, Any]:
    """What the policy of a run remembers of its pauses."""
    policy = run["empirical_policy"]
    if state.type is S.PAUSED:
        fired = [*(policy.get("pause_keys") or []), state.state_details.pause_key or str(new_id())]
        return {"empirical_policy": {**policy, "pause_keys": fired}}
    if not policy.get("resuming") or not (state.type is S.RUNNING or state.is_final()):
        return {}
    beside: dict[str, Any] = {"empirical_policy": {**policy, "resuming": False}}
    if state.type is S.RUNNING:
        beside["run_count"] = run["run_count"]  # it goes on with the same try
    return beside


def anew(tx: Transaction, run: Run, **policy: Any) -> dict[str, Any]:
    """A run is tried again from its start: its pauses fire again, and ask again."""
    inputs.forget_pauses(tx, run["id"], run["empirical_policy"].get("pause_keys") or ())
    return {"empirical_policy": {**run["empirical_policy"], "pause_keys": [], "resuming": False, **policy}}


def _rerun(run: Run, state: State) -> dict[str, Any]:
    """A terminal run starts anew: the next attempt, as if it had never run; its history stays."""
    return {
        "attempt": run["attempt"] + 1,
        "lease_holder": None,
        "lease_expires": None,
        "run_count": 0,
        "start_time": None,
        "total_run_time": 0.0,
        "expected_start_time": state.state_details.scheduled_time,
        "infrastructure_pid": None,
    }


def _details(decision: Decision) -> AcceptDetails | RejectDetails | AbortDetails | WaitDetails:
    match decision.status:
        case SetStateStatus.ACCEPT:
            return AcceptDetails()
        case SetStateStatus.REJECT:
            return RejectDetails(reason=decision.reason)
        case SetStateStatus.ABORT:
            return AbortDetails(reason=decision.reason)
        case SetStateStatus.WAIT:
            return WaitDetails(delay_seconds=decision.delay_seconds, reason=decision.reason)


def begin(tx: Transaction, body: BeginRun) -> BegunRun:
    """Creates the flow if it is new, and a run of it that is Running and leased.

    Asked again with the same idempotency key by the same holder, it answers the run as it is.

    Raises:
        AlreadyExists: somebody else began the run with this idempotency key.
        Conflict: the run to take up is somebody's.
    """
    if body.again is not None:
        return _take_up(tx, body.again, body)
    asked = body.flow_run
    flow, _ = flows.create(tx, FlowCreate(name=body.flow_name))
    known = flow_runs.by_key(tx, flow.id, asked.idempotency_key)
    if known is not None:
        return _begun(tx, known, body)
    expires = tx.now + timedelta(seconds=body.lease_seconds)
    run = flow_runs.prepare(tx, asked.model_copy(update={"flow_id": flow.id}), flow)
    run |= {"attempt": 1, "lease_holder": body.holder, "lease_expires": expires}
    proposed = [StateCreate(type=S.PENDING), StateCreate(type=S.RUNNING)]
    flow_runs.insert(tx, [(run, proposed)])
    lease = Lease(flow_run_id=run["id"], attempt=1, holder=body.holder, expires=expires)
    return BegunRun(flow_run=flow_runs.read(tx, run["id"]), lease=lease)


def _begun(tx: Transaction, known: FlowRun, body: BeginRun) -> BegunRun:
    run = flow_runs.row(tx, known.id)
    if run["lease_holder"] != body.holder or run["lease_expires"] is None:
        raise AlreadyExists(
            f"A run with the idempotency key {known.idempotency_key!r} exists: {known.name}, {known.state_name}. "
            "Use another key to run again."
        )
    lease = Lease(flow_run_id=known.id, attempt=run["attempt"], holder=body.holder, expires=run["lease_expires"])
    return BegunRun(flow_run=known, lease=lease)


def _take_up(tx: Transaction, id: UUID, body: BeginRun) -> BegunRun:
    """An attempt of a run that exists, by whoever asks."""
    run = flow_runs.row(tx, id)
    current = State.model_validate(run["state"])
    if run["lease_expires"] is not None or not (current.is_final() or current.is_scheduled()):
        raise Conflict(f"The run {run['name']!r} is {current.name}: only one that has ended or waits can be taken up.")
    if current.is_final():
        propose(tx, run, named("Scheduled", f"Taken up by {body.holder}."), force=True)
        run = flow_runs.row(tx, id)
    expires = tx.now + timedelta(seconds=body.lease_seconds)
    lease = {"attempt": run["attempt"] + 1, "lease_holder": body.holder, "lease_expires": expires}
    decision = rules.decide(State.model_validate(run["state"]), StateCreate(type=S.PENDING), facts_of(tx, run))
    if decision.status is not SetStateStatus.ACCEPT or decision.state is None:
        raise Conflict(f"The run {run['name']!r} cannot be taken up: {decision.reason}")
    history.move(tx, run, decision.state, **lease)
    given = Lease(flow_run_id=id, attempt=lease["attempt"], holder=body.holder, expires=expires)
    return BegunRun(flow_run=flow_runs.read(tx, id), lease=given)
