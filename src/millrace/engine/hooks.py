"""Hooks: what a flow's author wants to be called when a run gets somewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from millrace.engine.asides import aasides, asides
from millrace.engine.context import FlowRunContext
from millrace.engine.declared import checked_hooks
from millrace.schema.states import State, StateType

Hook = Callable[..., Any]
H = TypeVar("H", bound=Hook)
_log = logging.getLogger("millrace.flow_runs")

HOOKS = ("on_completion", "on_failure", "on_cancellation", "on_crashed", "on_running")
_KINDS = {
    StateType.RUNNING: "on_running",
    StateType.COMPLETED: "on_completion",
    StateType.FAILED: "on_failure",
    StateType.CANCELLED: "on_cancellation",
    StateType.CRASHED: "on_crashed",
}


def hooks_for(flow: Any, kind: StateType) -> list[Hook]:
    """The hooks to call when a run of a flow reaches a state.

    Args:
        flow: the flow; one without hooks has none.
        kind: the state's type.
    """
    return list(getattr(flow, f"{_KINDS[kind]}_hooks", ())) if kind in _KINDS else []


def call_hook(hook: Hook, flow: Any, context: FlowRunContext | None, state: State) -> None:
    """Calls a hook of a `def` flow; what it raises is logged and changes nothing.

    Args:
        hook: the hook; that of a coroutine function is waited for.
        flow: the flow.
        context: the run, which is the current one meanwhile.
        state: where the run got.
    """
    assert context is not None
    with context.entered():
        asides(_log, "hook", [(hook, (flow, context.flow_run, state))])


async def acall_hook(hook: Hook, flow: Any, context: FlowRunContext | None, state: State) -> None:
    """The same for an `async def` flow: a hook that is a coroutine function is awaited."""
    assert context is not None
    with context.entered():
        await aasides(_log, "hook", [(hook, (flow, context.flow_run, state))])


class Hooked:
    """A flow's five lists of hooks, and the decorators that add to them.

    A hook is called with the flow, the flow run and the state; it may be an `async def`. What it raises is logged and
    changes nothing. The lists belong to the flow as it was defined: a flow bound to an instance shares them.
    """

    on_completion_hooks: list[Hook]
    on_failure_hooks: list[Hook]
    on_cancellation_hooks: list[Hook]
    on_crashed_hooks: list[Hook]
    on_running_hooks: list[Hook]

    def _set_hooks(self, given: Mapping[str, Any]) -> None:
        for name in HOOKS:
            setattr(self, f"{name}_hooks", checked_hooks(name, given[name]))

    def on_completion(self, fn: H) -> H:
        """Decorator: calls a function with flow, flow run and state when a run has completed."""
        self.on_completion_hooks.append(fn)
        return fn

    def on_failure(self, fn: H) -> H:
        """Decorator: the same when a run has failed, its retries used up."""
        self.on_failure_hooks.append(fn)
        return fn

    def on_cancellation(self, fn: H) -> H:
        """Decorator: the same when a run was cancelled: from elsewhere, from the keyboard, or by the code itself."""
        self.on_cancellation_hooks.append(fn)
        return fn

    def on_crashed(self, fn: H) -> H:
        """Decorator: the same when a run has crashed."""
        self.on_crashed_hooks.append(fn)
        return fn

    def on_running(self, fn: H) -> H:
        """Decorator: the same when a run begins, once for each try."""
        self.on_running_hooks.append(fn)
        return fn
