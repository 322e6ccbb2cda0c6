"""The judge of states."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.rules import TRANSITIONS, Facts, decide, lost
from millrace.schema.states import (
    NAMES,
    TERMINAL,
    SetStateStatus,
    State,
    StateCreate,
    StateDetails,
    StateType,
    named,
    scheduled,
)

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ACCEPT, REJECT, ABORT, WAIT = SetStateStatus
S = StateType


def proposal(name: str, **details: object) -> StateCreate:
    return StateCreate(type=NAMES[name], name=name, state_details=StateDetails(**details))


def facts(**known: object) -> Facts:
    return Facts(now=NOW, **known)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["Completed", "Failed", "Cancelled", "Crashed", "TimedOut", "Cached"])
@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("asked", [name for name in NAMES if NAMES[name] is not S.SCHEDULED])
def test_terminal_is_final(name: str, force: bool, asked: str) -> None:
    current = named(name)
    decision = decide(current, proposal(asked), facts(force=force))
    assert (decision.status, decision.state) == (ABORT, current)
    assert "force" in (decision.reason or "")


@pytest.mark.parametrize("name", ["Completed", "Failed", "Cancelled", "Crashed"])
def test_only_force_schedules_a_terminal_run_again(name: str) -> None:
    assert decide(named(name), proposal("Scheduled"), facts()).status is ABORT
    assert decide(named(name), proposal("AwaitingRetry"), facts()).status is ABORT
    decision = decide(named(name), proposal("Scheduled"), facts(force=True))
    assert decision.status is ACCEPT and decision.state is not None and decision.state.type is S.SCHEDULED


def test_the_same_transition_twice_is_one() -> None:
    transition = uuid4()
    current = State(type=S.COMPLETED, state_details=StateDetails(transition_id=transition))
    decision = decide(current, proposal("Completed", transition_id=transition), facts())
    assert decision.status is ACCEPT and decision.state is current
    assert decide(current, proposal("Completed", transition_id=uuid4()), facts()).status is ABORT


@pytest.mark.parametrize("name", ["Scheduled", "Pending"])
def test_running_waits_for_the_scheduled_time(name: str) -> None:
    due = NOW + timedelta(seconds=2.5)
    current = State(type=NAMES[name], name=name, state_details=StateDetails(scheduled_time=due))
    decision = decide(current, proposal("Running"), facts())
    assert (decision.status, decision.delay_seconds, decision.state) == (WAIT, 3, current)
    assert decide(current, proposal("Running"), facts(force=True)).status is ACCEPT
    assert decide(current, proposal("Running"), Facts(now=due)).status is ACCEPT


def test_pending_takes_the_scheduled_time_along() -> None:
    current = scheduled(NOW + timedelta(minutes=1))
    decision = decide(current, proposal("Pending"), facts())
    assert decision.state is not None
    assert decision.state.state_details.scheduled_time == NOW + timedelta(minutes=1)


@pytest.mark.parametrize(("run_count", "again"), [(1, True), (2, True), (3, False)])
def test_failed_with_retries_left_awaits_the_next_try(run_count: int, again: bool) -> None:
    failed = StateCreate(type=S.FAILED, message="boom", data={"storage_key": "k"})
    decision = decide(named("Running"), failed, facts(run_count=run_count, retries=2, retry_delay=10))
    assert decision.state is not None
    if again:
        assert (decision.status, decision.state.name, decision.reason) == (REJECT, "AwaitingRetry", "Retrying")
        assert decision.state.state_details.scheduled_time == NOW + timedelta(seconds=10)
        assert (decision.state.message, decision.state.data) == ("boom", {"storage_key": "k"})
    else:
        assert (decision.status, decision.state.type) == (ACCEPT, S.FAILED)
    forced = decide(named("Running"), failed, facts(run_count=1, retries=2, force=True))
    assert forced.status is ACCEPT


def test_running_again_is_called_retrying_but_not_after_a_pause() -> None:
    waiting = scheduled(NOW, "AwaitingRetry")
    assert getattr(decide(waiting, proposal("Running"), facts(run_count=1)).state, "name", None) == "Retrying"
    assert getattr(decide(waiting, proposal("Running"), facts(run_count=0)).state, "name", None) == "Running"
    assert getattr(decide(named("Paused"), proposal("Running"), facts(run_count=1)).state, "name", None) == "Running"


@pytest.mark.parametrize("asked", ["Running", "Pending", "Scheduled", "Paused", "Cancelling"])
@pytest.mark.parametrize("force", [False, True])
def test_a_run_that_is_being_cancelled_starts_nothing(asked: str, force: bool) -> None:
    current = named("Cancelling")
    decision = decide(current, proposal(asked), facts(force=force))
    assert (decision.status, decision.state) == (ABORT, current)


def test_a_run_that_is_being_cancelled_ends_truthfully() -> None:
    for name in ("Cancelled", "Completed", "Failed"):
        decision = decide(named("Cancelling"), proposal(name), facts(run_count=1, retries=5))
        assert (decision.status, decision.state and decision.state.name) == (ACCEPT, name)
    decision = decide(named("Cancelling"), proposal("Crashed"), facts())
    assert (decision.status, decision.state and decision.state.type) == (REJECT, S.CANCELLED)


@pytest.mark.parametrize("name", ["Scheduled", "Late", "Pending", "Paused"])
def test_what_nobody_runs_is_cancelled_at_once(name: str) -> None:
    decision = decide(named(name), proposal("Cancelling"), facts())
    assert (decision.status, decision.state and decision.state.type) == (REJECT, S.CANCELLED)
    for known in ({"leased": True}, {"has_infrastructure": True}):
        decision = decide(named(name), proposal("Cancelling"), facts(**known))
        assert (decision.status, decision.state and decision.state.type) == (ACCEPT, S.CANCELLING)


def test_cancelled_by_somebody_else_is_left_to_the_holder() -> None:
    decision = decide(named("Running"), proposal("Cancelled"), facts(leased=True))
    assert (decision.status, decision.state and decision.state.type) == (REJECT, S.CANCELLING)
    decision = decide(named("Running"), proposal("Cancelled"), facts(leased=True, holds=True))
    assert (decision.status, decision.state and decision.state.type) == (ACCEPT, S.CANCELLED)
    decision = decide(named("Running"), proposal("Cancelled"), facts())
    assert decision.status is ACCEPT


@pytest.mark.parametrize("force", [False, True])
def test_a_held_run_is_rescheduled_by_its_holder_only(force: bool) -> None:
    for name in ("Pending", "Running"):
        held = facts(leased=True, force=force)
        assert decide(named(name), proposal("Scheduled"), held).status is ABORT
        mine = facts(leased=True, holds=True, force=force)
        assert decide(named(name), proposal("Scheduled"), mine).status is ACCEPT
    waiting = scheduled(NOW, "AwaitingRetry")
    assert decide(waiting, proposal("Pending"), facts(leased=True, force=force)).status is ABORT


@pytest.mark.parametrize(("name", "asked"), [("Pending", "Pending"), ("Running", "Pending"), ("Running", "Running")])
@pytest.mark.parametrize("force", [False, True])
def test_two_do_not_start_one_run(name: str, asked: str, force: bool) -> None:
    assert decide(named(name), proposal(asked), facts(force=force)).status is ABORT


def test_the_holder_may_say_the_same_again() -> None:
    current = named("Running")
    decision = decide(current, proposal("Running"), facts(leased=True, holds=True))
    assert decision.status is ACCEPT and decision.state is current


def test_submitting_becomes_infrastructure_pending() -> None:
    assert decide(named("Submitting"), proposal("InfrastructurePending"), facts()).status is ACCEPT
    assert decide(named("Submitting"), proposal("Submitting"), facts()).status is ABORT
    assert decide(named("Pending"), proposal("Submitting"), facts()).status is ACCEPT
    assert decide(named("Pending"), proposal("Submitting"), facts(leased=True)).status is ABORT
    assert decide(named("Submitting"), proposal("Pending"), facts()).status is ABORT
    assert decide(named("InfrastructurePending"), proposal("Submitting"), facts()).status is ABORT


def test_a_submitter_may_use_names_of_its_own_but_nobody_begins_anew() -> None:
    def pending(name: str) -> StateCreate:
        return StateCreate(type=StateType.PENDING, name=name)

    def state(name: str) -> State:
        return State(type=StateType.PENDING, name=name)

    assert decide(named("Submitting"), pending("Pulling the image"), facts()).status is ACCEPT
    assert decide(state("Pulling the image"), pending("Starting"), facts()).status is ACCEPT
    assert decide(state("Starting"), pending("Starting"), facts()).status is ABORT
    for name in ("Pending", "Submitting", "InfrastructurePending"):
        assert decide(state("Starting"), pending(name), facts()).status is ABORT


def test_only_scheduled_becomes_late() -> None:
    assert decide(scheduled(NOW), proposal("Late"), facts()).status is ACCEPT
    for name in ("AwaitingRetry", "Late"):
        assert decide(scheduled(NOW, name), proposal("Late"), facts()).status is ABORT


def test_a_full_deployment_lets_a_run_wait_or_cancels_it() -> None:
    decision = decide(scheduled(NOW), proposal("Pending"), facts(slot_free=False))
    assert (decision.status, decision.state and decision.state.name) == (REJECT, "AwaitingConcurrencySlot")
    decision = decide(scheduled(NOW), proposal("Pending"), facts(slot_free=False, cancel_new=True))
    assert (decision.status, decision.state and decision.state.type) == (REJECT, S.CANCELLED)


def test_every_state_has_its_row() -> None:
    assert set(TRANSITIONS) == {None, *S}
    for kind in TERMINAL:
        assert TRANSITIONS[kind] == {S.SCHEDULED}


def test_what_becomes_of_the_lost() -> None:
    def after(name: str, *, again: bool, **known: object) -> tuple[str | None, datetime | None] | None:
        state = lost(named(name, scheduled_time=NOW), facts(**known), "w1", again=again)
        return None if state is None else (state.name, state.state_details.scheduled_time)

    assert after("Pending", again=True) == ("Scheduled", NOW)
    assert after("Pending", again=False) == ("Crashed", None)
    assert after("Running", again=True, run_count=1) == ("Crashed", None)
    later = NOW + timedelta(seconds=5)
    assert after("Running", again=True, run_count=1, retries=1, retry_delay=5) == ("AwaitingRetry", later)
    assert after("Running", again=True, run_count=2, retries=1) == ("Crashed", None)
    assert after("Running", again=False, run_count=1, retries=1) == ("Crashed", None)
    assert after("Cancelling", again=True) == ("Cancelled", None)
    assert after("AwaitingRetry", again=True) is None
    assert after("AwaitingRetry", again=False) == ("Crashed", None)
    state = lost(named("Running"), facts(run_count=1), "w1", again=True)
    assert state is not None and state.message == "The worker w1 was lost."


step = st.tuples(
    st.sampled_from(sorted(NAMES)),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2),
    st.one_of(st.none(), st.uuids(version=4)),
    st.booleans(),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(step, max_size=12))
def test_every_history_is_a_path_and_terminal_stays(
    steps: list[tuple[str, bool, bool, bool, int, object, bool]],
) -> None:
    current: State | None = None
    runs = 0
    for name, force, leased, holds, retries, transition, reap in steps:
        known = facts(force=force, leased=leased, holds=holds, run_count=runs, retries=retries)
        if reap and current is not None and not current.is_final():
            after = lost(current, known, "w", again=force) or current
            decision_state, status = after, None
        else:
            decision = decide(current, proposal(name, transition_id=transition), known)
            assert decision.state is not None
            decision_state, status = decision.state, decision.status
        if decision_state is current:
            continue
        assert decision_state.type in TRANSITIONS[current.type if current else None]
        if current is not None and current.is_final():
            assert force and decision_state.type is S.SCHEDULED and status is ACCEPT
        if status in (ABORT, WAIT):
            raise AssertionError("nothing changes on ABORT and WAIT")
        runs += decision_state.type is S.RUNNING
        current = decision_state


def paused(name: str = "Paused", **details: object) -> State:
    return State(type=S.PAUSED, name=name, state_details=StateDetails(pause_reschedule=name == "Suspended", **details))


def pausing(name: str = "Paused", key: str | None = "1") -> StateCreate:
    return proposal(name, pause_key=key, pause_reschedule=name == "Suspended")


DEPLOYED = {"deployed": True}


@pytest.mark.parametrize("name", ["Paused", "Suspended"])
def test_only_what_runs_is_paused(name: str) -> None:
    assert decide(named("Running"), pausing(name), facts(**DEPLOYED)).status is ACCEPT
    for other in ("Scheduled", "Pending", "Paused", "Resuming"):
        current = named(other)
        decision = decide(current, pausing(name), facts(**DEPLOYED))
        assert (decision.status, decision.state) == (REJECT, current)
        assert other in (decision.reason or "")


@pytest.mark.parametrize("name", ["Paused", "Suspended"])
def test_a_pause_fires_once(name: str) -> None:
    current = named("Running")
    decision = decide(current, pausing(name, "ask"), facts(pause_keys=("1", "ask"), **DEPLOYED))
    assert (decision.status, decision.state) == (REJECT, current)
    assert decide(current, pausing(name, "other"), facts(pause_keys=("1", "ask"), **DEPLOYED)).status is ACCEPT


def test_only_a_run_of_a_deployment_that_is_nobodys_part_is_suspended() -> None:
    current = named("Running")
    assert decide(current, pausing("Suspended"), facts()).status is ABORT
    assert decide(current, pausing("Suspended"), facts(deployed=True, nested=True)).status is ABORT
    assert decide(current, pausing("Paused"), facts(nested=True)).status is ACCEPT


@pytest.mark.parametrize("asked", ["Running", "Scheduled", "Completed", "Failed"])
def test_a_pause_that_lasted_too_long_fails_the_run(asked: str) -> None:
    for name in ("Paused", "Suspended"):
        current = paused(name, pause_timeout=NOW - timedelta(seconds=1))
        decision = decide(current, proposal(asked), facts(**DEPLOYED))
        assert decision.status is REJECT and decision.state is not None
        assert decision.state.type is S.FAILED and name.lower() in (decision.state.message or "")
        in_time = paused(name, pause_timeout=NOW + timedelta(seconds=1))
        assert decide(in_time, proposal(asked), facts(**DEPLOYED)).status is ACCEPT


@pytest.mark.parametrize("asked", ["Cancelling", "Cancelled", "Crashed"])
def test_a_pause_that_lasted_too_long_can_still_be_cancelled(asked: str) -> None:
    current = paused("Paused", pause_timeout=NOW - timedelta(seconds=1))
    decision = decide(current, proposal(asked), facts(has_infrastructure=True))
    assert (decision.status, decision.state and decision.state.type) == (ACCEPT, NAMES[asked])


def test_a_suspended_run_has_nothing_left_to_be_stopped() -> None:
    for current in (paused("Suspended"), scheduled(NOW, "Resuming")):
        decision = decide(current, proposal("Cancelling"), facts(has_infrastructure=True, **DEPLOYED))
        assert (decision.status, decision.state and decision.state.type) == (REJECT, S.CANCELLED)
    held = decide(paused("Paused"), proposal("Cancelling"), facts(has_infrastructure=True))
    assert (held.status, held.state and held.state.type) == (ACCEPT, S.CANCELLING)


def test_a_suspended_run_is_resumed_while_its_process_is_on_its_way_out() -> None:
    assert decide(paused("Suspended"), proposal("Scheduled"), facts(leased=True, **DEPLOYED)).status is ACCEPT
    assert decide(paused("Paused"), proposal("Scheduled"), facts(leased=True, **DEPLOYED)).status is ABORT
    assert decide(scheduled(NOW, "Resuming"), proposal("Pending"), facts(leased=True, **DEPLOYED)).status is ABORT
    gone = decide(paused("Suspended"), proposal("Scheduled"), facts())
    assert gone.status is REJECT and gone.state is not None and gone.state.is_suspended()


def test_a_resumed_run_is_no_new_try() -> None:
    decision = decide(named("Pending"), proposal("Running"), facts(run_count=1, resuming=True))
    assert decision.state is not None and decision.state.name == "Running"


def test_the_end_of_a_holder_crashes_a_paused_run_and_frees_a_suspended_one() -> None:
    crashed = lost(paused("Paused"), facts(run_count=1), "w", again=True)
    assert crashed is not None and crashed.type is S.CRASHED
    retried = lost(paused("Paused"), facts(run_count=1, retries=1), "w", again=True)
    assert retried is not None and retried.name == "AwaitingRetry"
    assert lost(paused("Suspended"), facts(run_count=1), "w", again=False) is None
