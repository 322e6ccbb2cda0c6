"""The engine's conversations: answers are sent in, effects are compared. No clock, no server, no threads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from millrace.engine.alarms import Alarm, TimeLimitReached
from millrace.engine.effects import Announce, Call, Effect, Hit, Keep, Look, Propose, Record, Sleep, Tell, Weigh
from millrace.engine.protocol import FlowPlan, TaskPlan, flow_run, task_run
from millrace.engine.states import Cancelled, Completed, Failed, RunState
from millrace.errors import LeaseLost, RunCancelled, RunTimedOut, ServerUnavailable, StateRefused
from millrace.schema.states import (
    AbortDetails,
    AcceptDetails,
    OrchestrationResult,
    RejectDetails,
    State,
    StateCreate,
    StateType,
    WaitDetails,
    named,
    scheduled,
)

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
S = StateType


class Talk:
    """One conversation, seen from the driver's side."""

    def __init__(self, conversation: Any) -> None:
        self.conversation = conversation
        self.result: Any = None
        self.over = False

    def say(self, answer: Any = None) -> Effect | None:
        try:
            effect = (
                self.conversation.throw(answer) if isinstance(answer, BaseException) else self.conversation.send(answer)
            )
        except StopIteration as end:
            self.result, self.over = end.value, True
            return None
        return effect  # type: ignore[no-any-return]

    def proposed(self, answer: Any = None) -> StateCreate:
        effect = self.say(answer)
        assert isinstance(effect, Propose), effect
        return effect.state

    def announced(self, answer: Any = None) -> Announce:
        effect = self.say(answer)
        assert isinstance(effect, Announce), effect
        return effect

    def recorded(self, answer: Any = None) -> Record:
        effect = self.say(answer)
        assert isinstance(effect, Record), effect
        return effect


def accept(state: StateCreate) -> OrchestrationResult:
    stored = State(**state.model_dump())
    return OrchestrationResult(state=stored, status="ACCEPT", details=AcceptDetails())


def reject(state: State, reason: str | None = None) -> OrchestrationResult:
    return OrchestrationResult(state=state, status="REJECT", details=RejectDetails(reason=reason))


def running(plan: FlowPlan | None = None) -> Talk:
    """A flow run whose function is being called."""
    talk = Talk(flow_run(plan or FlowPlan()))
    state = talk.proposed()
    assert state.type is S.RUNNING
    talk.announced(accept(state))
    assert talk.say() == Call()
    return talk


def finish(talk: Talk, state: StateCreate) -> RunState:
    talk.announced(accept(state))
    assert talk.say() is None
    assert talk.over
    return talk.result  # type: ignore[no-any-return]


def test_a_value_completes_the_run() -> None:
    talk = running()
    state = talk.proposed(3)
    assert (state.type, state.name, state.data) == (S.COMPLETED, "Completed", None)
    assert finish(talk, state).result() == 3


def test_every_proposal_has_an_id_of_its_own() -> None:
    talk = running()
    first = talk.proposed(ValueError("x"))
    talk.say(reject(scheduled(NOON, "AwaitingRetry")))
    second = talk.proposed()
    ids = {first.state_details.transition_id, second.state_details.transition_id}
    assert None not in ids
    assert len(ids) == 2


def test_a_retry_nine_seconds_away_takes_no_time() -> None:
    talk = running()
    failed = talk.proposed(ValueError("no luck"))
    assert (failed.type, failed.message) == (S.FAILED, "ValueError: no luck")
    due = NOON + timedelta(seconds=9)
    sleep = talk.say(reject(scheduled(due, "AwaitingRetry"), "Retrying"))
    assert sleep == Sleep(until=due)
    assert sleep.remaining(NOON) == 9
    again = talk.proposed()
    assert again.type is S.RUNNING
    talk.announced(reject(named("Retrying")))
    assert talk.say() == Call()
    assert finish(talk, talk.proposed("well")).result() == "well"


def test_without_retries_the_exception_is_kept() -> None:
    talk = running()
    error = ValueError("x")
    state = finish(talk, talk.proposed(error))
    assert state.result(raise_on_failure=False) is error
    with pytest.raises(ValueError, match="x"):
        state.result()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (KeyboardInterrupt(), S.CANCELLED),
        (RunCancelled("by request"), S.CANCELLED),
        (Alarm(), S.CANCELLED),
        (SystemExit(0), S.CRASHED),
        (SystemExit(3), S.CRASHED),
        (MemoryError("6 GiB"), S.FAILED),
    ],
)
def test_what_stops_the_code_decides_the_state(error: BaseException, kind: StateType) -> None:
    talk = running()
    state = talk.proposed(error)
    assert state.type is kind
    assert finish(talk, state).result(raise_on_failure=False) is error


def test_a_time_limit_is_a_failure_of_its_own_name() -> None:
    talk = running()
    state = talk.proposed(TimeLimitReached("too long"))
    assert (state.type, state.name, state.message) == (S.FAILED, "TimedOut", "too long")
    with pytest.raises(RunTimedOut):
        finish(talk, state).result()


def test_a_lost_lease_says_nothing_more() -> None:
    talk = running()
    with pytest.raises(LeaseLost):
        talk.say(LeaseLost("attempt 2 has it"))


def test_an_interrupt_while_waiting_for_a_retry_cancels() -> None:
    talk = running()
    talk.proposed(ValueError("x"))
    assert isinstance(talk.say(reject(scheduled(NOON, "AwaitingRetry"))), Sleep)
    state = talk.proposed(KeyboardInterrupt())
    assert state.type is S.CANCELLED
    assert finish(talk, state).type is S.CANCELLED


def test_wait_is_waited_for_and_proposed_again() -> None:
    talk = Talk(flow_run(FlowPlan()))
    first = talk.proposed()
    wait = OrchestrationResult(state=None, status="WAIT", details=WaitDetails(delay_seconds=7))
    assert talk.say(wait) == Sleep(7)
    assert talk.proposed() == first


def test_abort_stops() -> None:
    talk = Talk(flow_run(FlowPlan()))
    talk.proposed()
    with pytest.raises(StateRefused, match="already runs"):
        talk.say(OrchestrationResult(state=None, status="ABORT", details=AbortDetails(reason="already runs")))


def test_the_users_exception_matters_more_than_a_refusal() -> None:
    talk = running()
    talk.proposed(ValueError("mine"))
    with pytest.raises(ValueError, match="mine"):
        talk.say(OrchestrationResult(state=None, status="ABORT", details=AbortDetails(reason="terminal")))


def test_a_run_not_yet_due_waits_for_its_time() -> None:
    talk = Talk(flow_run(FlowPlan()))
    talk.proposed()
    assert talk.say(reject(scheduled(NOON))) == Sleep(until=NOON)
    assert talk.proposed().type is S.RUNNING


def test_a_run_cancelled_before_it_starts_never_calls() -> None:
    talk = Talk(flow_run(FlowPlan()))
    talk.proposed()
    state = talk.proposed(reject(named("Cancelling")))
    assert state.type is S.CANCELLED
    assert finish(talk, state).type is S.CANCELLED


def test_a_run_that_has_ended_elsewhere_is_left_alone() -> None:
    talk = Talk(flow_run(FlowPlan()))
    talk.proposed()
    talk.announced(reject(named("Cancelled", "by a person")))
    assert talk.say() is None
    with pytest.raises(RunCancelled, match="by a person"):
        talk.result.result()


def test_a_wish_to_cancel_that_came_while_completing_is_honoured() -> None:
    talk = running()
    talk.proposed(1)
    state = talk.proposed(reject(named("Cancelling")))
    assert state.type is S.CANCELLED


def test_an_interrupt_after_the_end_still_interrupts() -> None:
    talk = running()
    talk.proposed(1)
    talk.proposed(KeyboardInterrupt())
    talk.announced(reject(named("Completed")))
    assert talk.say() is None
    assert talk.result.type is S.COMPLETED
    assert isinstance(talk.result._error, KeyboardInterrupt)


def test_a_server_that_is_away_is_asked_again_with_the_same_id() -> None:
    talk = running(FlowPlan(patience=2))
    first = talk.proposed(1)
    assert talk.say(ServerUnavailable("down")) == Sleep(1.0)
    assert talk.proposed() == first
    assert talk.say(ServerUnavailable("down")) == Sleep(1.0)
    talk.proposed()
    with pytest.raises(ServerUnavailable):
        talk.say(ServerUnavailable("down"))


def test_results_are_kept_before_the_end_is_proposed() -> None:
    talk = running(FlowPlan(persist=True))
    assert talk.say({"rows": 3}) == Keep({"rows": 3})
    assert talk.proposed({"storage_key": "x"}).data == {"storage_key": "x"}


def test_a_result_that_cannot_be_kept_fails_the_run() -> None:
    talk = running(FlowPlan(persist=True))
    talk.say(object())
    state = talk.proposed(ValueError("no JSON"))
    assert (state.type, state.message) == (S.FAILED, "ValueError: no JSON")


@pytest.mark.parametrize(
    ("value", "kind"),
    [(Failed(message="no rows"), S.FAILED), (Completed(data=1), S.COMPLETED), (Cancelled(), S.CANCELLED)],
)
def test_a_returned_state_decides(value: RunState, kind: StateType) -> None:
    talk = running()
    state = talk.proposed(value)
    assert (state.type, state.message) == (kind, value.message)


def test_a_task_costs_no_answer() -> None:
    talk = Talk(task_run(TaskPlan()))
    first = talk.recorded()
    assert (first.step.name, first.run_count) == ("Running", 1)
    assert talk.say() == Call()
    assert talk.recorded(5).step.name == "Completed"
    assert talk.say() is None
    step, outcome = talk.result
    assert (step.type, outcome.value) == (S.COMPLETED, 5)


def test_a_submitted_task_is_pending_first() -> None:
    assert Talk(task_run(TaskPlan(announce_pending=True))).recorded().step.name == "Pending"


def test_task_retries_with_a_delay_each() -> None:
    delays = {1: 9.0, 2: 60.0}
    talk = Talk(task_run(TaskPlan(retries=2, delay=delays.__getitem__)))
    talk.recorded()
    for attempt in (1, 2):
        assert talk.say() == Call()
        waiting = talk.recorded(OSError("gone"))
        assert (waiting.step.name, waiting.step.type) == ("AwaitingRetry", S.SCHEDULED)
        assert talk.say() == Sleep(delays[attempt])
        again = talk.recorded()
        assert (again.step.name, again.run_count) == ("Retrying", attempt + 1)
    assert talk.say() == Call()
    last = talk.recorded(OSError("gone"))
    assert (last.step.name, last.step.message) == ("Failed", "OSError: gone")
    assert talk.say() is None


def test_task_retries_without_delay_go_on_at_once() -> None:
    talk = Talk(task_run(TaskPlan(retries=1)))
    talk.recorded()
    talk.say()
    assert talk.say(ValueError("x")) == Sleep(0)
    assert talk.recorded().step.name == "Retrying"


def test_a_condition_stops_retries() -> None:
    talk = Talk(task_run(TaskPlan(retries=5, conditional=True)))
    talk.recorded()
    talk.say()
    error = ValueError("x")
    assert talk.say(error) == Weigh(error)
    assert talk.say(True) == Sleep(0)
    talk.recorded()
    talk.say()
    assert talk.say(error) == Weigh(error)
    assert talk.recorded(False).step.name == "Failed"


def test_a_kept_result_makes_the_call_needless() -> None:
    talk = Talk(task_run(TaskPlan(looks=True, keeps=True, hooked=frozenset({S.COMPLETED}))))
    assert talk.say() == Look()
    cached = talk.recorded(Hit(5, {"storage_key": "k"}))
    assert (cached.step.type, cached.step.name, cached.run_count) == (S.COMPLETED, "Cached", 0)
    assert cached.step.data == {"storage_key": "k"}
    assert isinstance(talk.say(), Tell)
    assert talk.say() is None
    assert talk.result[1].value == 5


def test_a_result_is_kept_before_the_task_is_completed() -> None:
    talk = Talk(task_run(TaskPlan(looks=True, keeps=True)))
    talk.say()
    assert talk.recorded(None).step.name == "Running"
    talk.say()
    assert talk.say(5) == Keep(5)
    assert talk.recorded({"storage_key": "k"}).step.data == {"storage_key": "k"}
    talk = Talk(task_run(TaskPlan(keeps=True)))
    talk.recorded()
    talk.say()
    talk.say(object())
    failed = talk.recorded(ValueError("no form"))
    assert (failed.step.name, failed.step.message) == ("Failed", "ValueError: no form")


def test_hooks_are_told_of_each_try_and_of_the_end() -> None:
    kinds = frozenset({S.RUNNING, S.FAILED})
    talk = Talk(task_run(TaskPlan(retries=1, hooked=kinds)))
    names = []
    answer: Any = None
    while not talk.over:
        effect = talk.say(answer)
        answer = ValueError("x") if effect == Call() else None
        if isinstance(effect, Tell):
            names.append(effect.step.name)
    assert names == ["Running", "Retrying", "Failed"]


def test_a_task_stopped_while_it_waits_for_its_next_try_is_cancelled() -> None:
    talk = Talk(task_run(TaskPlan(retries=1, delay=lambda attempt: 9.0)))
    talk.recorded()
    talk.say()
    waiting = talk.recorded(ValueError("x")).step
    assert waiting.scheduled_time == waiting.timestamp + timedelta(seconds=9)
    assert talk.say() == Sleep(9.0)
    assert talk.recorded(RunCancelled("by request")).step.type is S.CANCELLED


def test_an_interrupted_task_is_cancelled_and_not_retried() -> None:
    talk = Talk(task_run(TaskPlan(retries=5)))
    talk.recorded()
    talk.say()
    assert talk.recorded(KeyboardInterrupt()).step.type is S.CANCELLED


def test_a_state_with_its_exception_is_a_retry_too() -> None:
    talk = Talk(task_run(TaskPlan(retries=1)))
    talk.recorded()
    talk.say()
    assert talk.say(Failed(data=ValueError("x"))) == Sleep(0)
