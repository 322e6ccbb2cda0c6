"""Hooks of tasks: what a task's author wants to be called when a run gets somewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from millrace.engine.task_options import checked_hooks
from millrace.schema.states import StateType

Hook = Callable[..., Any]
H = TypeVar("H", bound=Hook)
HOOKS = MappingProxyType(
    {
        StateType.RUNNING: "on_running",
        StateType.COMPLETED: "on_completion",
        StateType.FAILED: "on_failure",
    }
)


class TaskHooked:
    """A task's three lists of hooks, and the decorators that add to them.

    A hook is called with the task, the task run and the state; it may be an `async def`. What it raises is logged and
    changes nothing.
    """

    on_completion_hooks: list[Hook]
    on_failure_hooks: list[Hook]
    on_running_hooks: list[Hook]

    def _set_hooks(self, given: Mapping[str, Any]) -> None:
        for name in HOOKS.values():
            setattr(self, f"{name}_hooks", checked_hooks(name, given[name]))

    @property
    def hooked(self) -> frozenset[StateType]:
        """The kinds of state that somebody wants to hear of, for the engine."""
        if not (self.on_running_hooks or self.on_completion_hooks or self.on_failure_hooks):
            return frozenset()
        return frozenset(kind for kind in HOOKS if self.hooks(kind))

    def hooks(self, kind: StateType) -> list[Hook]:
        """What to call when a run gets there, for the engine."""
        found: list[Hook] = getattr(self, f"{HOOKS[kind]}_hooks")
        return found

    def on_completion(self, fn: H) -> H:
        """Decorator: calls a function with task, task run and state when a run has completed."""
        self.on_completion_hooks.append(fn)
        return fn

    def on_failure(self, fn: H) -> H:
        """Decorator: the same when a run has failed, its retries used up."""
        self.on_failure_hooks.append(fn)
        return fn

    def on_running(self, fn: H) -> H:
        """Decorator: the same when a run begins, once for each try."""
        self.on_running_hooks.append(fn)
        return fn
