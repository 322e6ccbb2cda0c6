"""Hooks: what the author of a flow or a task wants to be called when a run gets somewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

from millrace.engine.asides import aasides, asides
from millrace.engine.context import FlowRunContext
from millrace.schema.states import State, StateType

Hook = Callable[..., Any]
H = TypeVar("H", bound=Hook)
_log = logging.getLogger("millrace.flow_runs")

HOOKS = MappingProxyType(
    {
        StateType.RUNNING: "on_running",
        StateType.COMPLETED: "on_completion",
        StateType.FAILED: "on_failure",
        StateType.CANCELLED: "on_cancellation",
        StateType.CRASHED: "on_crashed",
    }
)
"""What is called when a run reaches a kind of state."""


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
    """Three lists of hooks, those of a task, and the decorators that add to them.

    A hook is called with the task, the task run and the state; it may be an `async def`. What it raises is logged and
    changes nothing.
    """

    kinds: ClassVar[frozenset[StateType]] = frozenset({StateType.RUNNING, StateType.COMPLETED, StateType.FAILED})
    decorator: ClassVar[str] = "@task"

    on_completion_hooks: list[Hook]
    on_failure_hooks: list[Hook]
    on_running_hooks: list[Hook]

    def _set_hooks(self, given: Mapping[str, Any]) -> None:
        for kind in self.kinds:
            name = HOOKS[kind]
            setattr(self, f"{name}_hooks", _checked(name, given[name], self.decorator))

    def hooks(self, kind: StateType) -> list[Hook]:
        """What to call when a run gets there, for the engine."""
        found: list[Hook] = getattr(self, f"{HOOKS[kind]}_hooks") if kind in self.kinds else []
        return found

    @property
    def hooked(self) -> frozenset[StateType]:
        """The kinds of state that somebody wants to hear of, for the engine."""
        if not (self.on_running_hooks or self.on_completion_hooks or self.on_failure_hooks):
            return frozenset()
        return frozenset(kind for kind in self.kinds if self.hooks(kind))

    def on_completion(self, fn: H) -> H:
        """Decorator: calls a function with flow or task, its run and the state when a run has completed."""
        self.on_completion_hooks.extend(_checked("on_completion", [fn], self.decorator))
        return fn

    def on_failure(self, fn: H) -> H:
        """Decorator: the same when a run has failed, its retries used up."""
        self.on_failure_hooks.extend(_checked("on_failure", [fn], self.decorator))
        return fn

    def on_running(self, fn: H) -> H:
        """Decorator: the same when a run begins, once for each try."""
        self.on_running_hooks.extend(_checked("on_running", [fn], self.decorator))
        return fn


class FlowHooked(Hooked):
    """A flow's five lists of hooks.

    A hook is called with the flow, the flow run and the state. The lists belong to the flow as it was defined: a flow
    bound to an instance shares them.
    """

    kinds = frozenset(HOOKS)
    decorator = "@flow"

    on_cancellation_hooks: list[Hook]
    on_crashed_hooks: list[Hook]

    def on_cancellation(self, fn: H) -> H:
        """Decorator: the same when a run was cancelled: from elsewhere, from the keyboard, or by the code itself."""
        self.on_cancellation_hooks.extend(_checked("on_cancellation", [fn], self.decorator))
        return fn

    def on_crashed(self, fn: H) -> H:
        """Decorator: the same when a run has crashed."""
        self.on_crashed_hooks.extend(_checked("on_crashed", [fn], self.decorator))
        return fn


def _checked(option: str, hooks: Any, decorator: str) -> list[Hook]:
    if hooks is None:
        return []
    remedy = f"write {decorator}({option}=[first_hook, second_hook])"
    if callable(hooks) or isinstance(hooks, str) or not isinstance(hooks, Iterable):
        raise TypeError(f"{option} must be a list of functions; got {type(hooks).__name__}: {remedy}")
    found = list(hooks)
    for hook in found:
        if not callable(hook):
            raise TypeError(f"{option} must hold functions; got {type(hook).__name__}: {remedy}")
    return found
