"""What the code that is running now belongs to: a flow run, a task run, tags. All of it lives in context variables."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from millrace.engine.interrupts import Stoppable
from millrace.errors import MissingContext

if TYPE_CHECKING:
    from uuid import UUID

    from millrace.client.synchronous import Client
    from millrace.engine.logs import Spool
    from millrace.engine.results import ResultStore
    from millrace.engine.runners import TaskRunner
    from millrace.schema.runs import FlowRun, Lease

_flow: ContextVar[FlowRunContext | None] = ContextVar("millrace_flow_run", default=None)
_task: ContextVar[TaskRunContext | None] = ContextVar("millrace_task_run", default=None)
_tags: ContextVar[tuple[str, ...]] = ContextVar("millrace_tags", default=())


@dataclass
class FlowRunContext:
    """The flow run that runs here.

    Attributes:
        flow: the flow.
        flow_run: the run as the server knows it.
        parameters: the validated parameters, by name.
        client: a client whose writes carry the run's lease.
        sender: the client for events and log lines; one for all runs called here, so that they share requests.
        lease: the right to run; None on a server that has no leases.
        spool: where its log lines go; None outside of a data directory.
        log_prints: whether `print` is logged.
        runner: where its submitted tasks run.
        stoppable: stops its code.
        running: which time it runs, from 1; part of what makes task runs of a retry their own.
        children: what stops its submitted tasks.
        results: where results are kept; what runs within this run inherits it.
        over: its function has failed or was stopped: what has not begun does not begin.
    """

    flow: Any
    flow_run: FlowRun
    parameters: dict[str, Any]
    client: Client
    sender: Client
    lease: Lease | None = None
    spool: Spool | None = None
    log_prints: bool = False
    runner: TaskRunner | None = None
    stoppable: Stoppable = field(default_factory=Stoppable)
    running: int = 1
    counters: dict[str, Iterator[int]] = field(default_factory=dict)
    children: set[Stoppable] = field(default_factory=set)
    over: bool = False
    results: ResultStore | None = None

    @staticmethod
    def get() -> FlowRunContext | None:
        """The current one, or None."""
        return _flow.get()

    def number(self, task_key: str) -> int:
        """How many task runs of one task there were before this one."""
        return next(self.counters.setdefault(task_key, itertools.count()))

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Makes this the current run."""
        flow, task = _flow.set(self), _task.set(None)
        try:
            yield
        finally:
            _task.reset(task)
            _flow.reset(flow)


@dataclass
class TaskRunContext:
    """The task run that runs here.

    Attributes:
        task: the task.
        id: the task run's id.
        name: its name.
        parameters: its arguments, by name, futures resolved.
        log_prints: whether `print` is logged.
        run_count: which try this is, from 1.
    """

    task: Any
    id: UUID
    name: str
    parameters: dict[str, Any] = field(default_factory=dict)
    log_prints: bool = False
    run_count: int = 0

    @staticmethod
    def get() -> TaskRunContext | None:
        """The current one, or None."""
        return _task.get()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Makes this the current task run."""
        token = _task.set(self)
        try:
            yield
        finally:
            _task.reset(token)


def current_tags() -> list[str]:
    """The tags that new runs get here."""
    return list(_tags.get())


@contextmanager
def tags(*new: str) -> Iterator[set[str]]:
    """Gives tags to every run that starts inside the block; blocks add up.

    Args:
        new: the tags.

    Example:
        >>> with tags("nightly", "eu") as now:
        ...     sorted(now)
        ['eu', 'nightly']
    """
    token = _tags.set(tuple(dict.fromkeys((*_tags.get(), *new))))
    try:
        yield set(_tags.get())
    finally:
        _tags.reset(token)


class RunLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger whose lines belong to one run, from whatever thread it is used."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Adds the run to each line."""
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


def get_run_logger() -> RunLogger:
    """The logger of the current task run, or else flow run.

    Raises:
        MissingContext: no run is in progress here.

    Example:
        >>> @flow
        ... def etl():
        ...     get_run_logger().info("read %d rows", 10)
    """
    flow, task = _flow.get(), _task.get()
    if flow is None and task is None:
        raise MissingContext(
            "get_run_logger() was called outside of a flow or task. Call it inside the function, or use "
            "logging.getLogger() here; a thread you started yourself needs contextvars.copy_context().run"
        )
    if task is not None:
        extra: dict[str, Any] = {"millrace_flow": flow, "millrace_task": task, "task_run_name": task.name}
        return RunLogger(logging.getLogger("millrace.task_runs"), extra)
    assert flow is not None
    return RunLogger(
        logging.getLogger("millrace.flow_runs"),
        {"millrace_flow": flow, "millrace_task": None, "flow_run_name": flow.flow_run.name},
    )


def run_thread(target: Any, *args: Any, name: str | None = None) -> threading.Thread:
    """A daemon thread of the engine itself, outside of any run's context.

    Args:
        target: the function.
        args: its arguments.
        name: the thread's name.
    """
    thread = threading.Thread(target=target, args=args, name=name, daemon=True)
    thread.start()
    return thread
