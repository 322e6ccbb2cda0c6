"""What the engine needs to know of a flow; `millrace.flows.Flow` is one, which the engine does not import."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from millrace.engine.parameters import Signature
from millrace.engine.runners import TaskRunner
from millrace.schema.runs import FlowRunPolicy


class FlowLike(Protocol):
    """A flow."""

    name: str
    fn: Callable[..., Any]
    isasync: bool
    isgenerator: bool
    signature: Signature
    task_runner: TaskRunner
    timeout_seconds: float | None
    persist_result: bool | None
    result_storage: Any
    result_serializer: Any
    cache_result_in_memory: bool
    should_validate_parameters: bool

    @property
    def flow_run_name(self) -> Callable[..., str] | str | None:
        """What its runs are called."""

    @property
    def version(self) -> str | None:
        """Its version."""

    @property
    def policy(self) -> FlowRunPolicy:
        """Its retries."""

    def run_name(self, parameters: dict[str, Any]) -> str | None:
        """The name of a run, if the flow says one."""

    def logs_prints(self, inherited: bool | None) -> bool:
        """Whether `print` is logged."""

    def validate_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Parameters, coerced."""

    def serialize_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Parameters for the wire."""
