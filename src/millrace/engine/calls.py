"""The two ends of a call: from arguments to a run that is ready to begin, and from its final state to a value."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from millrace.engine.beginning import Beginning, Wish
from millrace.engine.context import FlowRunContext
from millrace.engine.flow_like import FlowLike
from millrace.engine.flow_runs import FlowRunSession
from millrace.engine.inputs import Dependencies, resolve, result_of_upstream, wait_for_all
from millrace.engine.protocol import proposal
from millrace.engine.secret_parameters import keep_values_out
from millrace.engine.states import RunState, run_state
from millrace.engine.tracebacks import own
from millrace.errors import ParameterError, UpstreamFailed
from millrace.schema.states import State, StateType


def session_of(flow: FlowLike, parameters: dict[str, Any], wait_for: Iterable[Any] | None) -> FlowRunSession:
    """A run to make here: its arguments checked, what it waits for waited for.

    Args:
        flow: the flow.
        parameters: by name, as they were given.
        wait_for: futures and states to wait for first, also in collections.

    Raises:
        ParameterError: the arguments do not fit.
        UpstreamFailed: something it waits for did not complete.
    """
    parent = FlowRunContext.get()
    needs = Dependencies(parameters, wait_for, parent.lineage if parent else None)
    wait_for_all(needs.wait_for)
    given = parameters
    if needs.marked:
        given = {name: resolve(value, result_of_upstream) for name, value in parameters.items()}
    if flow.should_validate_parameters:
        given = flow.validate_parameters(given)
    else:
        keep_values_out(given)
    complete = flow.signature.with_defaults(given)
    # A function that gives the name may ask about the run: it is called once there is one.
    name = flow.run_name(complete) if isinstance(flow.flow_run_name, str) else None
    return FlowRunSession(flow, complete, Beginning(Wish(name), inputs=needs.inputs))


def refusal_of(flow: FlowLike, parameters: dict[str, Any], error: ParameterError) -> tuple[FlowRunSession, RunState]:
    """A run that is recorded as Failed without being begun, for a caller who wants the state of a call that cannot be.

    Args:
        flow: the flow.
        parameters: by name, as they were given; they are not recorded where a secret may be among them.
        error: what is wrong with them.
    """
    shown = {} if flow.signature.hides else parameters
    session = FlowRunSession(flow, shown, Beginning(Wish(None), refused=True))
    failed = proposal(StateType.FAILED, "Failed", f"The arguments do not fit: {error}")
    state = session.propose(failed).state
    assert state is not None
    return session, run_state(state, has_value=False, error=error)


def not_ready(error: UpstreamFailed) -> RunState:
    """The state of a call that made no run, because something it needs did not complete.

    Args:
        error: what did not.
    """
    return run_state(State(type=StateType.PENDING, name="NotReady", message=str(error)), error=error)


def conclude(state: RunState, return_state: bool) -> Any:
    """What a call gives for a final state: its value, or its exception is raised.

    Args:
        state: the final state.
        return_state: give the state instead.
    """
    __tracebackhide__ = True
    error = state._error
    if error is not None and not isinstance(error, Exception):
        raise own(error)  # an interrupt goes on to whoever called
    if return_state:
        return state
    if state.type is StateType.COMPLETED and state._has_value:
        return state._value
    result = state.result(raise_on_failure=False)
    if isinstance(result, BaseException) and state.type is not StateType.COMPLETED:
        raise own(result)
    return result
