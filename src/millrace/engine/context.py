"""What the code that is running now belongs to: a flow run, a task run, tags. All of it lives in context variables."""

from __future__ import annotations

import itertools
import logging
import os
import threading
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import Context, ContextVar, Token, copy_context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from uuid import UUID

from millrace.engine.interrupts import Stoppable
from millrace.engine.lineage import Lineage
from millrace.errors import MissingContext

if TYPE_CHECKING:
    from millrace.client.synchronous import Client
    from millrace.engine.logs import Spool
    from millrace.engine.results import ResultStore
    from millrace.engine.runners import TaskRunner
    from millrace.schema.runs import FlowRun, Lease, TaskRun

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
        parent: the run that called it here, if one did.
        home: the context variables of whoever called it: in a notebook, which cell.
        pauses: how many pauses without a key of their own each try has come to.
        lineage: which task runs values came from.
        label: set in a task's own process, so that task runs begun there are not taken for those of another.
        stopped: it was stopped, or reached its time limit: what it has under way is stopped too.
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
    parent: FlowRunContext | None = None
    home: Context = field(default_factory=copy_context)
    pauses: dict[int, Iterator[int]] = field(default_factory=dict)
    lineage: Lineage = field(default_factory=Lineage)
    label: str = ""
    stopped: bool = False
    _named: tuple[tuple[UUID, str], tuple[UUID, str]] | None = field(default=None, repr=False)

    @staticmethod
    def get() -> FlowRunContext | None:
        """The current one, or None."""
        return _flow.get()

    @property
    def run_id(self) -> UUID:
        """The run's id."""
        return self.flow_run.id

    @property
    def named(self) -> tuple[tuple[UUID, str], tuple[UUID, str]]:
        """Id and name of the run and of its flow; the same pairs for all of its tasks, as long as it keeps its name."""
        if self._named is None or self._named[0][1] != self.flow_run.name:
            self._named = (self.flow_run.id, self.flow_run.name), (self.flow_run.flow_id, self.flow.name)
        return self._named

    def number(self, task_key: str) -> int:
        """How many task runs of one task there were before this one."""
        return next(self.counters.setdefault(task_key, itertools.count()))

    def next_pause(self) -> str:
        """The key of the next pause that has none: its number, the same in each execution from the start."""
        return str(next(self.pauses.setdefault(self.running, itertools.count(1))))

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
        tags: its tags.
        persists: whether its result is kept.
    """

    task: Any
    id: UUID
    name: str
    parameters: dict[str, Any] = field(default_factory=dict)
    log_prints: bool = False
    run_count: int = 0
    tags: list[str] = field(default_factory=list)
    persists: bool = False
    _model: Callable[[], TaskRun] | None = field(default=None, repr=False)

    @property
    def task_run(self) -> TaskRun:
        """The task run as the wire has it, made when it is asked for.

        Raises:
            MissingContext: the task does not run here.
        """
        if self._model is None:
            raise MissingContext("this context has no task run: it was made by hand")
        return self._model()

    @staticmethod
    def get() -> TaskRunContext | None:
        """The current one, or None."""
        return _task.get()

    def enter(self) -> Token[TaskRunContext | None]:
        """Makes this the current task run until `leave`."""
        return _task.set(self)

    @staticmethod
    def leave(token: Token[TaskRunContext | None]) -> None:
        """Ends what `enter` began."""
        _task.reset(token)

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

    Raises:
        TypeError: one is no text.

    Example:
        >>> with tags("nightly", "eu") as now:
        ...     sorted(now)
        ['eu', 'nightly']
    """
    for tag in new:
        if not isinstance(tag, str):
            raise TypeError(f"tags are texts; got {tag!r} ({type(tag).__name__}): write tags('one', 'two')")
    token = _tags.set(tuple(dict.fromkeys((*_tags.get(), *new))))
    try:
        yield set(_tags.get())
    finally:
        _tags.reset(token)


RUN_ID = ("MILLRACE__FLOW_RUN_ID", "PREFECT__FLOW_RUN_ID")
WITHIN = "MILLRACE__WITHIN"
"""The runs whose code started this process, as `id:name`, the innermost last; see `millrace.engine.belongings`."""


def run_of_worker() -> UUID | None:
    """The flow run that a worker started this process for, or a process of it."""
    return next((found for found in (_id_in(os.environ.get(name, "")) for name in RUN_ID) if found), None)


def run_of_process() -> UUID | None:
    """The flow run that this whole process belongs to: a worker's, or one whose code started it."""
    return run_of_worker() or _id_in(_within()[0])


def name_of_process() -> str:
    """The name of the flow run whose code started this process; empty where that is not known."""
    return unquote(_within()[1])


def _within() -> tuple[str, str]:
    known, _, name = os.environ.get(WITHIN, "").rpartition("/")[2].partition(":")
    return known, name


def _id_in(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


class RunLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger whose lines belong to one run, from whatever thread it is used."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Adds the run to each line."""
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


def run_logger(flow: FlowRunContext | None, task: TaskRunContext | None, **more: Any) -> RunLogger:
    """The logger of a run.

    Args:
        flow: the flow run, if there is one.
        task: the task run, if it is one's.
        more: attributes of each record.
    """
    extra: dict[str, Any] = {"millrace_flow": flow, "millrace_task": task}
    if flow is not None:
        extra |= {
            "flow_run_id": str(flow.flow_run.id),
            "flow_run_name": flow.flow_run.name,
            "flow_name": getattr(flow.flow, "name", None),
        }
    if task is None:
        return RunLogger(logging.getLogger("millrace.flow_runs"), {**extra, **more})
    extra |= {"task_run_id": str(task.id), "task_run_name": task.name, "task_name": task.task.name}
    return RunLogger(logging.getLogger("millrace.task_runs"), {**extra, **more})


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
