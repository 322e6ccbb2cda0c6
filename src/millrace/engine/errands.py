"""A call of a task's function that is to be made in another process.

The conversation of the task run stays in the process of the flow run; see `parcels` for how a call travels,
`remote_calls` for what happens there and `homeward` for what comes back beside the value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from millrace.engine.context import FlowRunContext, TaskRunContext, current_tags
from millrace.engine.interrupts import Stoppable
from millrace.engine.task_events import TaskClock, TaskFacts
from millrace.schema.runs import FlowRun, Lease


class Carrier(Protocol):
    """What a runner has that calls functions elsewhere."""

    def carry(self, errand: Errand, stoppable: Stoppable) -> Any:
        """The value of the call; raises what it raised.

        Args:
            errand: the call.
            stoppable: stops it.
        """


@dataclass(frozen=True, slots=True)
class Stand:
    """A flow or a task as the other process knows it: what it is called and no more.

    Attributes:
        name: its name.
        task_key: of a task.
        version: its version.
        tags: of a task.
    """

    name: str
    task_key: str = ""
    version: str | None = None
    tags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class FlowPart:
    """The flow run of an errand.

    Attributes:
        flow: the flow.
        run: the run as the server knows it.
        lease: the right to write.
        running: which time it runs.
        log_prints: whether `print` is logged.
        parent: the run that called it, if one did.
    """

    flow: Stand
    run: FlowRun
    lease: Lease | None
    running: int
    log_prints: bool
    parent: FlowPart | None = None

    @staticmethod
    def of(context: FlowRunContext) -> FlowPart:
        """What travels of a flow run."""
        flow = Stand(context.flow.name, version=getattr(context.flow, "version", None))
        parent = FlowPart.of(context.parent) if context.parent is not None else None
        return FlowPart(flow, context.flow_run, context.lease, context.running, context.log_prints, parent)


@dataclass(slots=True)
class Errand:
    """One call of a task's function.

    Attributes:
        fn: the function.
        args: its positional arguments.
        kwargs: the others.
        isasync: whether it is a coroutine function.
        seconds: its time limit.
        context: the task run.
        flow: the flow run's context here; it does not travel, its `FlowPart` does.
        facts: what is recorded of the task run.
        clock: how far it is.
        tags: the tags new runs get.
    """

    fn: Callable[..., Any]
    args: list[Any]
    kwargs: dict[str, Any]
    isasync: bool
    seconds: float | None
    context: TaskRunContext
    flow: FlowRunContext | None
    facts: TaskFacts
    clock: TaskClock
    tags: list[str] = field(default_factory=current_tags)
