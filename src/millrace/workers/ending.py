"""What a worker does when a job's process has ended: its logs are sent first, then its state is made true."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from millrace import plugins
from millrace.errors import Busy, Conflict, MillraceError, NotFound, ServerUnavailable
from millrace.schema.fields import now
from millrace.schema.runs import ExtendLeases, FlowRun, ReleaseLease
from millrace.schema.states import SetState, SetStateStatus, State, StateType, named, scheduled
from millrace.workers import output
from millrace.workers.aftermath import owed
from millrace.workers.execution import Execution
from millrace.workers.jobs import Job

log = logging.getLogger("millrace.worker")

# A process that is killed before it ran any user code is started again, so often.
STARTS = 3
_AT_ONCE = 0.01


def settle(
    job: Job,
    execution: Execution,
    client: Any,
    tail: output.OutputTail | None,
    reason: str | None = None,
    *,
    ours: bool = True,
    hooks: Callable[[], None] = lambda: None,
) -> None:
    """Send what is left of a job's logs, end what is left of its processes, and report its state if it did not.

    Args:
        job: the job, whose first process has ended.
        execution: where it executed.
        client: the client.
        tail: its raw output; None: not kept.
        reason: why it ended, if the worker knows better than the exit code.
        ours: the run is still this attempt's; otherwise nothing is reported.
        hooks: has the hooks called that its process could not call.

    Raises:
        ServerUnavailable: nobody answers: settle it again later.
        Busy: the same.
    """
    execution.clear()
    ship_logs(job, client, tail)
    fenced = client.with_lease(job.lease) if job.lease else client
    if not ours:
        job.forget()
        return
    with contextlib.suppress(Conflict, NotFound):  # the run is no longer ours
        ended = _report(job, execution, fenced, reason)
        if ended is not None and owed(ended, execution.code):
            hooks()
            ship_logs(job, client, tail)
    job.forget()


def ship_logs(job: Job, client: Any, tail: output.OutputTail | None) -> None:
    """Send what is left of a job's spool and output.

    Args:
        job: the job.
        client: the client.
        tail: its raw output; None: not kept.

    Raises:
        ServerUnavailable: nobody answers; what was not sent is still there.
        Busy: the same.
    """
    try:
        plugins.load("millrace.engine.logs:ship_remaining")(job.directory, client)
        if tail is not None:
            tail.ship(client, everything=True)
    except (ServerUnavailable, Busy):
        raise
    except MillraceError as error:
        log.warning("Log lines of run %s were refused: %s", job.flow_run_name, error)


def _report(job: Job, execution: Execution, client: Any, reason: str | None) -> StateType | None:
    """Make the state of a run true; what it has ended in, if that is news."""
    flow_run: FlowRun = client.read_flow_run(job.flow_run_id)
    state = flow_run.state
    if state is not None and state.is_final():
        _tell(job, state)
    if state is None or state.is_final() or (job.lease is not None and flow_run.attempt != job.attempt):
        return None
    text, code = reason or execution.described(), execution.code
    if state.type is StateType.CANCELLING:
        cancelled = named("Cancelled", reason or "The run was cancelled; all of its processes are gone.")
        return StateType.CANCELLED if _ended(client, job, cancelled) else None
    if state.type is StateType.PENDING and (code is None or code < 0) and job.attempt < STARTS:
        release(client, job, f"{text} It had not begun.")
    elif state.type is StateType.PENDING:
        unbegun = named("Crashed", f"{text} It had not begun: see its output in the logs.")
        return StateType.CRASHED if _ended(client, job, unbegun) else None
    elif state.type is StateType.RUNNING or (state.is_paused() and not state.is_suspended()):
        return _crashed(client, job, flow_run, text)
    elif state.type is StateType.SCHEDULED or state.is_suspended():
        let_go(client, job)  # it slept until its retry, or was suspended: anybody may take it when it is due
    return None


def _crashed(client: Any, job: Job, flow_run: FlowRun, text: str) -> StateType | None:
    policy = flow_run.empirical_policy
    retries = policy.retries if policy.retries is not None else policy.max_retries
    if flow_run.run_count <= retries:
        delay = policy.retry_delay if policy.retry_delay is not None else policy.retry_delay_seconds
        again = scheduled(now() + timedelta(seconds=delay), "AwaitingRetry", f"{text} It is tried again.")
        if _ended(client, job, again):
            let_go(client, job)
            return None
    return StateType.CRASHED if _ended(client, job, named("Crashed", text)) else None


def propose(client: Any, job: Job, state: State) -> bool:
    """Propose a state for a job's run.

    Args:
        client: the client, fenced with the job's lease.
        job: the job.
        state: the state.

    Returns:
        Whether it holds now.
    """
    answer = client.set_flow_run_state(job.flow_run_id, SetState(state=state))
    return bool(answer.status is SetStateStatus.ACCEPT)


def _ended(client: Any, job: Job, state: State) -> bool:
    if not propose(client, job, state):
        return False
    _tell(job, state)
    return True


def _tell(job: Job, state: State) -> None:
    """For whoever reads along: what has become of a run here."""
    log.info("Run %s: %s.%s", job.flow_run_name, state.name, f" {state.message}" if state.message else "")


def release(client: Any, job: Job, reason: str) -> None:
    """Give the lease of a job that had not begun back, so that its run can be claimed at once.

    Args:
        client: the client.
        job: the job.
        reason: why, for people.
    """
    if job.lease is not None:
        client.release_lease(ReleaseLease(flow_run_id=job.flow_run_id, attempt=job.attempt, reason=reason))


def let_go(client: Any, job: Job) -> None:
    """Let the lease of a run that waits for its retry run out now: it was for a retry in the process that has ended.

    Args:
        client: the client.
        job: the job.
    """
    if job.lease is not None:
        client.extend_leases(ExtendLeases(leases=[(job.flow_run_id, job.attempt)], lease_seconds=_AT_ONCE))
