"""States by their names."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from pydantic import BaseModel

import millrace.states as states
from millrace import exceptions
from millrace.engine.states import RunState
from millrace.errors import InvalidInput, RunCancelled, RunCrashed, RunFailed, RunTimedOut
from millrace.schema.fields import now, unchecked
from millrace.schema.runs import TaskRun
from millrace.schema.states import NAMES, State, StateDetails, StateType

WHEN = datetime(2026, 1, 2, tzinfo=UTC)
CONSTRUCTORS = {name: getattr(states, name) for name in NAMES if name not in ("Resuming", "RolledBack")}


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_each_name_has_a_constructor_of_its_type(name: str) -> None:
    made = CONSTRUCTORS[name](message="why")
    assert (made.type, made.name, made.message) == (NAMES[name], name, "why")
    asked = {kind: getattr(made, f"is_{kind.value.lower()}")() for kind in StateType}
    assert [kind for kind, yes in asked.items() if yes] == [made.type]
    assert made.is_final() is (
        made.type in states.StateGroup([made]).type_counts
        and made.type.value in ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")
    )


def test_what_waits_knows_its_time() -> None:
    for make in (states.Scheduled, states.Late, states.AwaitingRetry, states.AwaitingConcurrencySlot):
        assert make(scheduled_time=WHEN).state_details.scheduled_time == WHEN
        assert make().state_details.scheduled_time is not None
    with pytest.raises(InvalidInput, match="scheduled_time is given twice"):
        states.Scheduled(scheduled_time=WHEN, state_details={"scheduled_time": WHEN})
    assert states.Scheduled(state_details={"scheduled_time": WHEN}).state_details.scheduled_time == WHEN


def test_a_pause_knows_its_limit_and_key() -> None:
    paused = states.Paused(pause_expiration_time=WHEN, pause_key="k")
    assert (paused.state_details.pause_timeout, paused.state_details.pause_key) == (WHEN, "k")
    assert not paused.is_suspended()
    suspended = states.Suspended(timeout_seconds=5)
    assert suspended.is_paused() and suspended.is_suspended() and suspended.name == "Suspended"
    assert suspended.state_details.pause_timeout is not None
    with pytest.raises(InvalidInput, match="not both"):
        states.Paused(timeout_seconds=1, pause_expiration_time=WHEN)
    with pytest.raises(TypeError, match="no 'colour'"):
        states.Running(colour="blue")


def test_a_state_that_did_not_complete_raises_what_it_stands_for() -> None:
    states.raise_state_exception(states.Completed())
    states.raise_state_exception(states.Paused())
    with pytest.raises(ZeroDivisionError):
        states.raise_state_exception(states.Failed(data=ZeroDivisionError("/")))
    for state, kind in (
        (states.Failed(message="no"), RunFailed),
        (states.TimedOut(message="late"), RunTimedOut),
        (states.Crashed(message="gone"), RunCrashed),
        (states.Cancelled(message="off"), RunCancelled),
    ):
        assert type(states.get_state_exception(state)) is kind
        assert str(asyncio.run(states.aget_state_exception(state))) == state.message
        with pytest.raises(kind):
            asyncio.run(states.araise_state_exception(state))
    with pytest.raises(InvalidInput, match="has no exception"):
        states.get_state_exception(states.Running())


def test_states_are_counted() -> None:
    group = states.StateGroup([states.Completed(), states.Crashed(), states.Paused(), states.Cancelled()])
    assert (group.total_count, group.final_count, group.not_final_count, group.fail_count) == (4, 3, 1, 1)
    assert group.any_failed() and group.any_cancelled() and group.any_paused()
    assert not group.all_final() and not group.all_completed()
    assert repr(group).startswith("StateGroup<total=4, not_final=1, ")
    assert states.is_state_iterable([states.Completed()]) and not states.is_state_iterable([])
    assert not states.is_state_iterable([1])


@pytest.mark.parametrize("kind", [State, StateDetails, RunState, TaskRun])
def test_what_is_made_unchecked_is_what_pydantic_makes(kind: type[BaseModel]) -> None:
    given: dict[type[BaseModel], dict[str, Any]] = {
        StateDetails: {"task_run_id": uuid4()},
        TaskRun: {"id": uuid4(), "name": "x", "task_key": "k", "dynamic_key": "1", "created": now(), "updated": now()},
    }
    values = given.get(kind) or {
        "type": StateType.COMPLETED,
        "name": "Completed",
        "state_details": StateDetails(),
        "id": uuid4(),
        "timestamp": now(),
    }
    ours, theirs = unchecked(kind, **values), kind.model_construct(**values)
    assert ours == theirs and ours.model_dump() == theirs.model_dump()
    assert ours.model_dump(mode="json", exclude_unset=True) == theirs.model_dump(mode="json", exclude_unset=True)
    assert vars(ours).keys() == vars(theirs).keys() and ours.__pydantic_private__ == theirs.__pydantic_private__
    again = unchecked(kind, **values)
    for name, value in vars(ours).items():
        assert name in values or not isinstance(value, list | dict | set) or vars(again)[name] is not value, name


@pytest.mark.parametrize("name", ["Running", "Pending", "Scheduled", "Paused", "Cancelling", "Late"])
@pytest.mark.parametrize("raises", [True, False])
def test_a_run_that_has_not_ended_has_no_result_and_has_not_failed(name: str, raises: bool) -> None:
    state = getattr(states, name)()
    for one in (state, State(type=state.type, name=name)):
        with pytest.raises(exceptions.UnfinishedRun, match=f"the run is {name}: it has no result yet") as caught:
            one.result(raise_on_failure=raises)
        assert not isinstance(caught.value, RunFailed)
