"""What a run does, step by step: one generator for flow runs and one for task runs, for both colours.

    flow run:  Propose(RUNNING) ─▶ Call ─▶ value ─▶ Propose(COMPLETED)
                                   └▶ exception ─▶ Propose(FAILED) ─▶ AwaitingRetry instead? Sleep ─▶ Propose(RUNNING) …
                                   └▶ interrupt ─▶ Propose(CANCELLED | CRASHED)
                                   └▶ suspended ─▶ nothing more is said: a worker runs it again when it is resumed
    task run:  Look ─▶ kept already? Record(Cached)
                 └▶ Record(RUNNING) ─▶ Call ─▶ value ─▶ Keep ─▶ Record(COMPLETED)
                                       └▶ exception ─▶ retries left? Weigh ─▶ Record(AwaitingRetry) ─▶ Sleep ─▶ again

Nothing here does I/O or reads a clock: a test is a conversation. Whether a flow run is tried again is the server's
decision (one judge); whether a task is, is decided here, because a task costs no round trip.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from millrace.engine.alarms import TimeLimitReached
from millrace.engine.effects import (
    Announce,
    Call,
    Conversation,
    Effect,
    Hit,
    Keep,
    Look,
    Propose,
    Record,
    Sleep,
    Step,
    Tell,
    Weigh,
)
from millrace.engine.interrupts import CallLost, RunSuspended
from millrace.engine.states import Outcome, of_interruption, of_value, run_state
from millrace.engine.tracebacks import text_of
from millrace.errors import (
    InvalidInput,
    LeaseLost,
    RunCancelled,
    RunTimedOut,
    ServerUnavailable,
    StateRefused,
    WorkerDied,
)
from millrace.schema.fields import new_id
from millrace.schema.states import (
    OrchestrationResult,
    SetStateStatus,
    State,
    StateCreate,
    StateDetails,
    StateType,
    WaitDetails,
)

RECONNECT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class FlowPlan:
    """What the conversation of a flow run needs to know.

    Args:
        persist: whether results are kept.
        patience: how many times, a second apart, a proposal is repeated while no server answers.
        overdue: what is said when it takes longer than it may.
    """

    persist: bool = False
    patience: int = 15
    overdue: str = ""


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """What the conversation of a task run needs to know.

    Args:
        retries: how often it is tried again.
        delay: the seconds before a try, by its number from 1.
        conditional: the author decides whether a failure is worth another try.
        announce_pending: say that it waits (a submitted task does).
        looks: a result that is kept already makes the call needless.
        keeps: its result is kept.
        hooked: the kinds of state that somebody wants to hear of.
        overdue: what is said when it takes longer than it may.
    """

    retries: int = 0
    delay: Callable[[int], float] = lambda attempt: 0.0
    conditional: bool = False
    announce_pending: bool = False
    looks: bool = False
    keeps: bool = False
    hooked: frozenset[StateType] = frozenset()
    overdue: str = ""


def proposal(kind: StateType, name: str | None = None, message: str | None = None, data: Any = None) -> StateCreate:
    """A state to propose, with an id of its own so that a proposal sent twice counts once."""
    return StateCreate(
        type=kind, name=name, message=message, data=data, state_details=StateDetails(transition_id=new_id())
    )


def flow_run(plan: FlowPlan) -> Conversation:
    """The conversation of a flow run; its value is the final `RunState`.

    Raises:
        LeaseLost: another attempt holds the run; nothing more was said.
        StateRefused: the judge told this attempt to stop.
        ServerUnavailable: no server answered.
    """
    outcome: Outcome | None = None
    try:
        state = yield from _enter(plan)
        while state.type is StateType.RUNNING:
            yield Announce(state)
            outcome = yield from _attempt(plan)
            state = yield from _conclude(outcome, plan)
    except GeneratorExit:
        raise
    except RunSuspended as suspended:
        yield Announce(suspended.state)
        return run_state(suspended.state, has_value=False)
    except BaseException as error:  # between two calls: while proposing, sleeping or announcing
        if isinstance(error, Exception) and not isinstance(error, RunCancelled):
            raise
        outcome = of_interruption(error)
        state = yield from _conclude(outcome, plan)
    ending = run_state(state, has_value=False)
    stopped = outcome is not None and outcome.error is not None and not isinstance(outcome.error, Exception)
    if outcome is not None and (outcome.type is state.type or stopped):
        ending = run_state(state, outcome.value, outcome.error)
    yield Announce(state, ending)
    return ending


def _enter(plan: FlowPlan) -> Generator[Effect, Any, State]:
    """Ask to run until the run runs or has ended."""
    while True:
        state = yield from _propose(proposal(StateType.RUNNING), plan)
        if state.type is StateType.SCHEDULED:
            yield Sleep(until=state.state_details.scheduled_time)
        elif state.type is StateType.CANCELLING:
            raise RunCancelled("The run was cancelled before it started.")
        elif state.type is StateType.PENDING:
            yield Sleep(RECONNECT_SECONDS)
        else:
            return state


def _attempt(plan: FlowPlan | TaskPlan) -> Generator[Effect, Any, Outcome]:
    try:
        return of_value((yield Call()))
    except (LeaseLost, RunSuspended):
        raise
    except TimeLimitReached as error:
        late = timed_out(error, plan.overdue)
        return Outcome(StateType.FAILED, "TimedOut", str(late), error=late)
    except CallLost as error:
        return Outcome(StateType.CRASHED, "Crashed", str(error), error=WorkerDied(str(error)))
    except RunCancelled as error:
        return of_interruption(error)
    except Exception as error:
        return Outcome(StateType.FAILED, "Failed", text_of(error), error=error)
    except GeneratorExit:
        raise
    except BaseException as error:
        return of_interruption(error)


def timed_out(error: TimeLimitReached, overdue: str) -> RunTimedOut:
    """What people get of a time limit, with the lines where the code was.

    Args:
        error: the time limit was reached.
        overdue: what is said of it, unless it says more itself.
    """
    return RunTimedOut(str(error) or overdue).with_traceback(error.__traceback__)


def _conclude(outcome: Outcome, plan: FlowPlan) -> Generator[Effect, Any, State]:
    """Propose how a call ended; the answer is an ending, or RUNNING if it is tried again."""
    data = None
    if plan.persist and outcome.type is StateType.COMPLETED:
        try:
            data = yield Keep(outcome.value)
        except Exception as error:
            outcome.type, outcome.name, outcome.message, outcome.error = (
                StateType.FAILED,
                "Failed",
                text_of(error),
                error,
            )
    try:
        state = yield from _propose(proposal(outcome.type, outcome.name, outcome.message, data), plan)
    except (ServerUnavailable, StateRefused):
        if outcome.error is not None:
            raise outcome.error from None  # the user's own exception matters more than ours
        raise
    if state.type is StateType.SCHEDULED:
        yield Sleep(until=state.state_details.scheduled_time)
        return (yield from _enter(plan))
    if state.type is StateType.CANCELLING:
        return (yield from _propose(proposal(StateType.CANCELLED, message="Cancelled."), plan))
    return state


def _propose(state: StateCreate, plan: FlowPlan) -> Generator[Effect, Any, State]:
    """Propose until there is an answer; what holds then. Repeating is safe: the proposal carries its id."""
    tries = 0
    while True:
        try:
            answer: OrchestrationResult = yield Propose(state)
        except ServerUnavailable:
            tries += 1
            if tries > plan.patience:
                raise
            yield Sleep(RECONNECT_SECONDS)
            continue
        if isinstance(answer.details, WaitDetails):
            yield Sleep(float(answer.details.delay_seconds))
            continue
        if answer.state is not None and (answer.status is not SetStateStatus.ABORT or answer.state.is_final()):
            return answer.state
        reason = getattr(answer.details, "reason", None) or "no reason was given"
        raise StateRefused(f"the server refused the state {state.name}: {reason}")


def task_run(plan: TaskPlan) -> Conversation:
    """The conversation of a task run; its value is a pair of the last `Step` and the `Outcome`."""
    if plan.announce_pending:
        yield Record(Step(StateType.PENDING, "Pending"), 0)
    attempt = 0
    try:
        if plan.looks:
            try:
                hit: Hit | None = yield Look()
            except InvalidInput as error:  # the name for its result cannot be made
                failure = Outcome(StateType.FAILED, "Failed", text_of(error), error=error)
                return (yield from _end(plan, failure, 0, None))
            if hit is not None:
                outcome = Outcome(StateType.COMPLETED, "Cached", value=hit.value)
                return (yield from _end(plan, outcome, 0, hit.reference))
        again = True
        while again:
            attempt += 1
            running = Step(StateType.RUNNING, "Running" if attempt == 1 else "Retrying")
            yield Record(running, attempt)
            if StateType.RUNNING in plan.hooked:
                yield Tell(running)
            outcome = yield from _attempt(plan)
            again = yield from _again(plan, outcome, attempt)
        data = yield from _kept(plan, outcome)
    except GeneratorExit:
        raise
    except BaseException as error:  # between two calls: while waiting for the next try, or in a hook
        if isinstance(error, Exception) and not isinstance(error, RunCancelled):
            raise
        outcome, data = of_interruption(error), None
    return (yield from _end(plan, outcome, attempt, data))


def _kept(plan: TaskPlan, outcome: Outcome) -> Generator[Effect, Any, dict[str, Any] | None]:
    """Where the result is kept; one that must be and cannot makes the outcome a failure."""
    if not plan.keeps or outcome.type is not StateType.COMPLETED:
        return None
    try:
        reference: dict[str, Any] | None = yield Keep(outcome.value)
        return reference
    except Exception as error:
        outcome.type, outcome.name, outcome.message = StateType.FAILED, "Failed", text_of(error)
        outcome.value, outcome.error = None, error
        return None


def _again(plan: TaskPlan, outcome: Outcome, attempt: int) -> Generator[Effect, Any, bool]:
    """Whether a task run is tried again; if so, its delay is over."""
    error = outcome.error
    failed = outcome.type is StateType.FAILED or isinstance(error, WorkerDied)
    if not failed or error is None or attempt > plan.retries or isinstance(error, LeaseLost):
        return False
    if plan.conditional and not (yield Weigh(error)):
        return False
    delay = plan.delay(attempt)
    if delay > 0:
        waiting = Step(StateType.SCHEDULED, "AwaitingRetry", text_of(error))
        waiting.scheduled_time = waiting.timestamp + timedelta(seconds=delay)
        yield Record(waiting, attempt, error)
    yield Sleep(max(delay, 0))  # without a delay: a place to stop
    return True


def _end(
    plan: TaskPlan, outcome: Outcome, attempt: int, data: dict[str, Any] | None
) -> Generator[Effect, Any, tuple[Step, Outcome]]:
    last = Step(outcome.type, outcome.name, outcome.message, data=data)
    yield Record(last, attempt, outcome.error)
    if outcome.type in plan.hooked:
        yield Tell(last, outcome.error, outcome.value)
    return last, outcome
