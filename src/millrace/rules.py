"""The judge of states: which state may follow which, and what becomes of a proposal. Pure.

`TRANSITIONS` says what may follow what; `decide` applies the rules in order, the first that speaks decides:

1. the same transition proposed twice is one transition;
2. terminal is final: only a forced SCHEDULED follows, which begins a new attempt (a rerun);
3. a run that is being cancelled ends: Cancelled, or Completed or Failed where the code was quicker than the kill
   (it did complete: saying so is the truth); Crashed becomes Cancelled, since that is why it died; it starts nothing;
4. an attempt that holds the lease is not disturbed: nobody else may reschedule its run, and Cancelled asked for by
   someone else becomes Cancelling, because only its worker knows when the processes are gone;
5. cancelling what nobody runs is Cancelled at once;
6. two do not start one run: PENDING or RUNNING on what is pending or running aborts;
7. only a run that waits under the name Scheduled becomes Late;
8. a deployment without a free slot lets the run wait (or cancels it, as its collision strategy says);
9. RUNNING waits for the scheduled time;
10. FAILED with retries left becomes AwaitingRetry;
11. only what runs is paused, each pause fires once, and only a run of a deployment that is nobody's part is suspended;
12. a pause that lasted longer than it may fails the run.

`force` passes over the rules that are policy (7 to 12), never over those that keep a promise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from millrace.schema.fields import now as _now
from millrace.schema.states import TERMINAL, SetStateStatus, State, StateCreate, StateType, named, scheduled

S = StateType

TRANSITIONS: dict[StateType | None, frozenset[StateType]] = {
    None: frozenset(S),
    S.SCHEDULED: frozenset({S.SCHEDULED, S.PENDING, S.RUNNING, S.CANCELLING, *TERMINAL}),
    S.PENDING: frozenset({S.PENDING, S.SCHEDULED, S.RUNNING, S.CANCELLING, *TERMINAL}),
    S.RUNNING: frozenset({S.SCHEDULED, S.PAUSED, S.CANCELLING, *TERMINAL}),
    S.PAUSED: frozenset({S.SCHEDULED, S.RUNNING, S.CANCELLING, *TERMINAL}),
    S.CANCELLING: frozenset({S.CANCELLED, S.COMPLETED, S.FAILED}),
    S.COMPLETED: frozenset({S.SCHEDULED}),
    S.FAILED: frozenset({S.SCHEDULED}),
    S.CRASHED: frozenset({S.SCHEDULED}),
    S.CANCELLED: frozenset({S.SCHEDULED}),
}
"""What may follow what. From a terminal state only a forced reschedule leads on; None is a run not yet created."""

SLOT_WAIT = timedelta(seconds=30)
"""How long a run waits before it asks again for a slot of its deployment."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the judge needs to know beside the two states.

    Attributes:
        now: the moment of the proposal, in UTC.
        force: the proposer passes over policy.
        run_count: how often the run has entered RUNNING.
        retries: how often it may be run again after a failure.
        retry_delay: seconds before that.
        leased: somebody holds the run, and says that he lives.
        holds: the proposer is that somebody.
        has_infrastructure: a process or container was reported for the run.
        deployed: it is a run of a deployment, so that it can be run from its start by somebody else.
        nested: it is a part of another run.
        pause_keys: the pauses that have fired.
        resuming: it was suspended and is on its way back: entering RUNNING is no new try.
        slot_free: its deployment has a free slot.
        cancel_new: a run that finds no free slot is cancelled instead of waiting.
    """

    now: datetime = field(default_factory=_now)
    force: bool = False
    run_count: int = 0
    retries: int = 0
    retry_delay: float = 0.0
    leased: bool = False
    holds: bool = False
    has_infrastructure: bool = False
    deployed: bool = False
    nested: bool = False
    pause_keys: tuple[str, ...] = ()
    resuming: bool = False
    slot_free: bool = True
    cancel_new: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """The judge's answer.

    Attributes:
        status: ACCEPT, REJECT (another state holds), ABORT or WAIT (nothing changes).
        state: the state that holds from now on; the very object given as `current` where nothing changes.
        reason: why, for people.
        delay_seconds: when to propose again, with WAIT.
    """

    status: SetStateStatus
    state: State | None
    reason: str | None = None
    delay_seconds: int = 0


def decide(current: State | None, proposed: StateCreate, facts: Facts) -> Decision:
    """What becomes of a proposed state.

    Args:
        current: the state of the run; None for a run that is being created.
        proposed: the state asked for.
        facts: what else counts.

    Example:
        >>> decide(named("Completed"), named("Running"), Facts()).status.value
        'ABORT'
    """
    if current is None:
        return _accept(None, proposed, facts)
    for rule in _RULES if facts.force else (*_RULES, *_POLICY):
        decision = rule(current, proposed, facts)
        if decision is not None:
            return decision
    if proposed.type not in TRANSITIONS[current.type]:
        return _abort(current, f"A run that is {current.name} cannot become {proposed.name}.")
    return _accept(current, proposed, facts)


def _accept(current: State | None, proposed: StateCreate, facts: Facts) -> Decision:
    return Decision(SetStateStatus.ACCEPT, _finished(current, proposed, facts))


def _reject(state: State, reason: str) -> Decision:
    return Decision(SetStateStatus.REJECT, state, reason)


def _abort(current: State, reason: str) -> Decision:
    return Decision(SetStateStatus.ABORT, current, reason)


def _finished(current: State | None, proposed: StateCreate, facts: Facts) -> State:
    """The proposed state as it is stored: the server's clock, the judge's name, the time it was scheduled for."""
    details = proposed.state_details
    name = proposed.name
    waited = current is not None and current.type in (S.SCHEDULED, S.PENDING)
    if current is not None and waited and proposed.type is S.PENDING:
        details = details.model_copy(update={"scheduled_time": current.state_details.scheduled_time})
    if waited and proposed.type is S.RUNNING and name == "Running" and facts.run_count > 0 and not facts.resuming:
        name = "Retrying"
    return State(
        type=proposed.type,
        name=name,
        message=proposed.message,
        data=proposed.data,
        state_details=details,
        timestamp=facts.now,
    )


def _once(current: State, proposed: StateCreate, facts: Facts) -> Decision | None:
    known = current.state_details.transition_id
    if known is not None and known == proposed.state_details.transition_id:
        return Decision(SetStateStatus.ACCEPT, current, "This transition was already made.")
    return None


def _terminal_is_final(current: State, proposed: StateCreate, facts: Facts) -> Decision | None:
    if not current.is_final():
        return None
    if facts.force and proposed.type is S.SCHEDULED:
        return _accept(current, proposed, facts)
    return _abort(current, f"The run is already {current.name}. To run it again, schedule it with force.")


def _cancelling_ends(current: State, proposed: StateCreate, facts: Facts) -> Decision | None:
    if current.type is not S.CANCELLING:
        return None
    if proposed.type is S.CRASHED:
        cancelled = named("Cancelled", proposed.message or current.message).model_copy(update={"timestamp": facts.now})
        return _reject(cancelled, "The run was being cancelled.")
    if proposed.type in TRANSITIONS[S.CANCELLING]:
        return _accept(current, proposed, facts)
    return _abort(current, "The run is being cancelled.")


def _holder_is_not_disturbed(current: State, proposed: StateCreate, facts: Facts) -> Decision | None:
    if not facts.leased or facts.holds:
        return None
    resumes = proposed.type is S.SCHEDULED and current.is_suspended()  # its process may still be on its way out
    if (proposed.type is S.SCHEDULED and not resumes) or (proposed.type is S.PENDING and current.type is S.SCHEDULED):
        return _abort(current, f"The run is {current.name} and somebody runs it: cancel it first.")
    if proposed.type is S.CANCELLED and current.type in (S.PENDING, S.RUNNING, S.PAUSED, S.SCHEDULED):
        cancelling = named("Cancelling", proposed.message).model_copy(update={"timestamp": facts.now})
        return _reject(cancelling, "Whoever runs it stops it first.")
    return None


def _cancel_what_nobody_runs(current: State, proposed: StateCreate, facts: Facts) -> Decision | None:
    left = current.is_suspended() or current.name == "Resuming" or not facts.has_infrastructure
    idle = current.type in (S.SCHEDULED, S.PENDING, S.PAUSED) and not facts.leased and left
    if proposed.type is not S.CANCELLING or not idle:
        return None
    cancelled = named("Cancelled", proposed.message).model_copy(update={"timestamp": facts.now})
    return _reject(cancelled, "Nothing runs that would have to be stopped.")


def _two_do_not_start_one_run(current: State, proposed: StateCreate, facts: Facts) -> Decision | None:
    if proposed.type not in (S.PENDING, S.RUNNING) or current.type not in (S.PENDING, S.RUNNING):
        return None
    if current.type is S.PENDING and proposed.type is S.RUNNING:
        return None
    if current.type is proposed.type and facts.holds:
        return Decision(SetStateStatus.ACCEPT, current, "Nothing new.")
    if proposed.type is S.PENDING and not facts.leased and _further(current, proposed):
        return None
    return _abort(current, f"The run is already {current.name}: somebody else has it.")


_SUBMITTING = ("Pending", "Submitting", "InfrastructurePending")


def _further(current: State, proposed: StateCreate) -> bool:
    """Whether one submitter tells how far it is; a second one would begin anew, by one of the names it begins with."""
    if proposed.name not in _SUBMITTING:
        return proposed.name != current.name
    return current.name in _SUBMITTING and _SUBMITTING.index(proposed.name) > _SUBMITTING.index(current.name)


def _late_means_scheduled(current: State, proposed: StateCreate, facts: Facts) -> Decision | None:
    if proposed.type is not S.SCHEDULED or proposed.name != "Late" or current.name == "Scheduled":
        return None
    return _abort(current, f"A run that is {current.name} cannot be Late.")


def _slot_of_the_deployment(current: State, proposed: StateCreate, facts: Facts) -> Decision | None:
    late = proposed.type is S.SCHEDULED and proposed.name == "Late" and facts.cancel_new
    if not (late or proposed.type is S.PENDING) or facts.slot_free or current.type is not S.SCHEDULED:
        return None
    if facts.cancel_new:
        state = named("Cancelled", "The deployment's concurrency limit was reached.")
    else:
        state = scheduled(facts.now + SLOT_WAIT, "AwaitingConcurrencySlot")
    return _reject(state.model_copy(update={"timestamp": facts.now}), "The deployment's slots are taken.")


def _wait_for_the_time(current: State, proposed: StateCreate, facts: Facts) -> Decision | None:
    due = current.state_details.scheduled_time
    if proposed.type is not S.RUNNING or current.type not in (S.SCHEDULED, S.PENDING) or due is None:
        return None
    delay = (due - facts.now).total_seconds()
    if delay <= 0:
        return None
    reason = f"Scheduled for {due.astimezone(UTC).isoformat()}."
    return Decision(SetStateStatus.WAIT, current, reason, math.ceil(delay))


def _retry(current: State, proposed: StateCreate, facts: Facts) -> Decision | None:
    if proposed.type is not S.FAILED or current.type is not S.RUNNING or facts.run_count > facts.retries:
        return None
    return _reject(retry_state(proposed, facts), "Retrying")


def _pause(current: State, proposed: StateCreate, facts: Facts) -> Decision | None:
    if proposed.type is not S.PAUSED:
        return None
    verb = "suspend" if proposed.is_suspended() else "pause"
    if current.type is not S.RUNNING:
        return _reject(current, f"Cannot {verb} a run that is not running: it is {current.name}.")
    if proposed.state_details.pause_key in facts.pause_keys:
        return _reject(current, f"This {verb} has already fired.")
    if proposed.is_suspended() and facts.nested:
        return _abort(current, "Cannot suspend a subflow: its process is that of another run. Suspend that one.")
    if proposed.is_suspended() and not facts.deployed:
        return _abort(current, "Cannot suspend a run without a deployment: nobody could run it again. Pause it.")
    return None


_ENDS_A_PAUSE = (S.CANCELLING, S.CANCELLED, S.CRASHED)


def _resume(current: State, proposed: StateCreate, facts: Facts) -> Decision | None:
    if current.type is not S.PAUSED or proposed.type in _ENDS_A_PAUSE:
        return None
    if proposed.type is S.PENDING:
        return _reject(current, f"A run that is {current.name} is resumed first.")
    if current.is_suspended() and not facts.deployed and proposed.type in (S.SCHEDULED, S.RUNNING):
        return _reject(current, "Cannot resume a suspended run whose deployment is gone.")
    limit = current.state_details.pause_timeout
    if limit is None or facts.now < limit:
        return None
    return _reject(pause_over(current, facts), "The pause lasted longer than it may: the run cannot be resumed.")


def pause_over(paused: State, facts: Facts) -> State:
    """The state of a run that nobody resumed in time."""
    failed = named("Failed", f"The run was {(paused.name or 'Paused').lower()} and nobody resumed it in time.")
    return failed.model_copy(update={"timestamp": facts.now})


def retry_state(failed: StateCreate, facts: Facts) -> State:
    """The state of a run that failed and is to be run again."""
    state = scheduled(facts.now + timedelta(seconds=facts.retry_delay), "AwaitingRetry", failed.message)
    return state.model_copy(update={"timestamp": facts.now, "data": failed.data})


def lost(current: State, facts: Facts, holder: str, *, again: bool) -> State | None:
    """The state of a run whose holder was not heard of for the length of its lease.

    Args:
        current: its state.
        facts: what else counts.
        holder: who held it, for people.
        again: somebody else could run it: it has a queue or a runner.

    Returns:
        The new state; None where the run only has to be given free.
    """
    reason = f"The {'worker' if again else 'process'} {holder} was lost."
    waits = current.state_details.scheduled_time or facts.now
    after: State | None
    if current.type is S.CANCELLING:
        after = named("Cancelled", f"{reason} The run was being cancelled.")
    elif current.type is S.PENDING and again:
        after = scheduled(waits, message=f"{reason} The run had not begun.")
    elif (current.type is S.SCHEDULED and again) or current.is_suspended():
        return None
    elif current.type in (S.RUNNING, S.PAUSED) and again and facts.run_count <= facts.retries:
        after = scheduled(facts.now + timedelta(seconds=facts.retry_delay), "AwaitingRetry", reason)
    else:
        after = named("Crashed", reason)
    return after.model_copy(update={"timestamp": facts.now})


Rule = Callable[[State, StateCreate, Facts], Decision | None]

_RULES: tuple[Rule, ...] = (
    _once,
    _terminal_is_final,
    _cancelling_ends,
    _holder_is_not_disturbed,
    _cancel_what_nobody_runs,
    _two_do_not_start_one_run,
)
_POLICY: tuple[Rule, ...] = (
    _late_means_scheduled,
    _slot_of_the_deployment,
    _wait_for_the_time,
    _retry,
    _pause,
    _resume,
)
