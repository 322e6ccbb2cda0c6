"""What is called: a task as the engine knows it, and one call of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from millrace.engine import protocol
from millrace.engine.parameters import Signature
from millrace.engine.task_results import Keeping
from millrace.schema.states import StateType


class TaskLike(Keeping, Protocol):
    """What the engine needs to know of a task."""

    task_key: str
    signature: Signature
    isasync: bool
    isgenerator: bool
    tags: frozenset[str]
    version: str | None
    timeout_seconds: float | None
    task_run_name: str | Callable[..., str] | None
    policy: dict[str, Any]
    retry_condition_fn: Callable[..., Any] | None

    def plan(self, submitted: bool, persists: bool) -> protocol.TaskPlan:
        """What its conversation has to know."""

    def hooks(self, kind: StateType) -> list[Callable[..., Any]]:
        """What to call when a run gets there."""

    def run_name(self, parameters: dict[str, Any]) -> str | None:
        """The name of one run, if the task says one."""

    def logs_prints(self, inherited: bool | None) -> bool:
        """Whether `print` is logged."""


@dataclass(frozen=True, slots=True)
class TaskCall:
    """One call of a task: its parameters by name, what to wait for, and task runs that the call itself cannot show."""

    task: TaskLike
    parameters: dict[str, Any]
    wait_for: Any = None
    inputs: dict[str, list[dict[str, str]]] | None = None
