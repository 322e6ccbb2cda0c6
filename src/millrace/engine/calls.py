"""The two ends of a call: from arguments to a run that is ready to begin, and from its final state to a value."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from millrace.engine.beginning import Beginning, Wish
from millrace.engine.flow_runs import FlowLike, FlowRunSession
from millrace.engine.futures import find, resolve, result_of_upstream
from millrace.engine.states import RunState
from millrace.engine.tracebacks import own
from millrace.schema.states import StateType


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
    awaited = list(wait_for or ())
    resolve(awaited, result_of_upstream)
    sources = {name: find(value) for name, value in {**parameters, "wait_for": awaited}.items()}
    inputs = {
        name: [{"input_type": "task_run", "id": str(one.task_run_id)} for one in found]
        for name, found in sources.items()
        if found
    }
    given = {name: resolve(value, result_of_upstream) for name, value in parameters.items()}
    if flow.should_validate_parameters:
        given = flow.validate_parameters(given)
    complete = flow.signature.with_defaults(given)
    # A function that gives the name may ask about the run: it is called once there is one.
    name = flow.run_name(complete) if isinstance(flow.flow_run_name, str) else None
    return FlowRunSession(flow, complete, Beginning(Wish(name), inputs=inputs))


def conclude(state: RunState, return_state: bool) -> Any:
    """What a call gives for a final state: its value, or its exception is raised.

    Args:
        state: the final state.
        return_state: give the state instead.
    """
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
