"""Running tasks: in place, awaited, or submitted to a runner. A session performs what the protocol asks for."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Protocol

from millrace.engine import protocol
from millrace.engine.context import FlowRunContext, TaskRunContext, current_tags
from millrace.engine.drivers import adrive, drive
from millrace.engine.effects import Call, Effect, Record, Sleep, Step
from millrace.engine.futures import TaskFuture, UpstreamFailed, find, resolve, result_of_upstream
from millrace.engine.interrupts import SLICE, Stoppable, limited
from millrace.engine.logs import prints_logged
from millrace.engine.parameters import Signature
from millrace.engine.recorder import recorder
from millrace.engine.runners import TaskRunner, ThreadPoolTaskRunner
from millrace.engine.states import Outcome, RunState, _made
from millrace.engine.tag_slots import tag_slots
from millrace.engine.task_events import TaskClock, TaskFacts, event_of
from millrace.engine.tracebacks import log_failure, own
from millrace.errors import ConcurrencyError, RunCancelled, ServerUnavailable
from millrace.schema.fields import new_id
from millrace.schema.states import State, StateDetails, StateType

_log = logging.getLogger("millrace.task_runs")


class TaskLike(Protocol):
    """What the engine needs to know of a task."""

    name: str
    task_key: str
    signature: Signature
    fn: Callable[..., Any]
    isasync: bool
    tags: frozenset[str]
    timeout_seconds: float | None
    policy: dict[str, Any]

    def plan(self, submitted: bool) -> protocol.TaskPlan:
        """Its retries."""

    def run_name(self, number: int, parameters: dict[str, Any]) -> str:
        """The name of one run."""

    def logs_prints(self, inherited: bool) -> bool:
        """Whether `print` is logged."""


@dataclass(frozen=True, slots=True)
class TaskCall:
    """One call of a task: its parameters by name, and what to wait for."""

    task: TaskLike
    parameters: dict[str, Any]
    wait_for: Iterable[Any] | None = None


class TaskRunSession:
    """One task run: performs the effects of its conversation.

    Args:
        call: the task and its arguments.
        submitted: it runs on a runner, with a stop of its own.
    """

    def __init__(self, call: TaskCall, *, submitted: bool = False) -> None:
        task = call.task
        self.call_ = call
        self.task = task
        self.flow = FlowRunContext.get()
        self.parameters = call.parameters
        self.submitted = submitted
        self.stoppable = Stoppable() if submitted else None
        number = self.flow.number(task.task_key) if self.flow else 0
        values = task.signature.with_defaults(call.parameters)
        self.context = TaskRunContext(
            task,
            new_id(),
            task.run_name(number, values),
            values,
            task.logs_prints(bool(self.flow and self.flow.log_prints)),
        )
        self.clock = TaskClock()
        self.facts = self._facts(number)

    def _facts(self, number: int) -> TaskFacts:
        task, flow = self.task, self.flow
        started = Step(StateType.PENDING, "Pending")
        facts = TaskFacts(
            self.context.id, self.context.name, task.task_key, f"{number}", started.timestamp, policy=task.policy
        )
        facts.tags = self.context.tags = [*dict.fromkeys([*current_tags(), *task.tags])]
        if flow is not None:
            facts.dynamic_key = f"{flow.running}-{number}"
            facts.flow_run = (flow.flow_run.id, flow.flow_run.name)
            facts.flow = (flow.flow_run.flow_id, flow.flow.name)
            facts.flow_run_running = flow.running
        for name, value in self.parameters.items():
            sources = find(value)
            if sources:
                facts.inputs[name] = [{"input_type": "task_run", "id": str(one.task_run_id)} for one in sources]
        return facts

    # -- effects

    def perform(self, effect: Effect) -> Any:
        """Performs one effect, in `def` colour."""
        kind = type(effect)
        if kind is Record:
            return self.record(effect)  # type: ignore[arg-type]
        if kind is Call:
            return self.call()
        if isinstance(effect, Sleep):
            deadline = time.monotonic() + effect.seconds
            self.check()
            while (left := deadline - time.monotonic()) > 0:
                time.sleep(min(left, SLICE))
                self.check()
            return None
        raise TypeError(f"a task run cannot {effect!r}")

    async def aperform(self, effect: Effect) -> Any:
        """Performs one effect, in `async def` colour."""
        if isinstance(effect, Call):
            return await self.acall()
        if isinstance(effect, Sleep):
            deadline = time.monotonic() + effect.seconds
            self.check()
            while (left := deadline - time.monotonic()) > 0:
                await asyncio.sleep(min(left, SLICE))
                self.check()
            return None
        return self.perform(effect)

    def record(self, effect: Record) -> None:
        """Tells the server, some time soon, and the log of what went wrong."""
        before, self.clock = self.clock, self.clock.advance(effect.step, effect.run_count)
        self.context.run_count = effect.run_count
        client = self.flow.sender if self.flow else None
        recorder().record(client, partial(event_of, self.facts, before, self.clock))
        if effect.error is not None:
            with self.context.entered():
                self._log_failure(effect.step, effect.error)

    def _log_failure(self, step: Step, error: BaseException) -> None:
        if step.name == "AwaitingRetry":
            _log.warning("Failed and will be tried again: %s", step.message)
        elif step.type is StateType.FAILED:
            log_failure(_log, "Failed", error)

    def check(self) -> None:
        """Raises if the flow run or this task run was stopped."""
        if self.stoppable is not None:
            self.stoppable.check()
        if self.flow is not None:
            self.flow.stoppable.check()
            if self.submitted and (self.flow.over or self.flow.stoppable.suspension is not None):
                raise RunCancelled("The flow run ended before this task began.")

    def call(self) -> Any:
        """Calls the task's function."""
        self.check()
        args, kwargs = self.task.signature.arguments(self.parameters)
        seconds = self.task.timeout_seconds
        with ExitStack() as stack:
            stack.enter_context(self.context.entered())
            if self.context.log_prints:
                stack.enter_context(prints_logged(True))
            if self.stoppable is not None:
                return self.stoppable.call(partial(self.task.fn, *args, **kwargs), seconds)
            if seconds is None:
                return self.task.fn(*args, **kwargs)
            return limited(partial(self.task.fn, *args, **kwargs), seconds)

    async def acall(self) -> Any:
        """Awaits the task's coroutine."""
        self.check()
        args, kwargs = self.task.signature.arguments(self.parameters)
        stoppable, seconds = self.stoppable, self.task.timeout_seconds
        with self.context.entered(), prints_logged(self.context.log_prints):
            if stoppable is None and seconds is None:
                return await self.task.fn(*args, **kwargs)
            return await (stoppable or Stoppable()).acall(partial(self.task.fn, *args, **kwargs), seconds)

    # -- limits of its tags

    @property
    def limited_tags(self) -> bool:
        """Whether limits of its tags are to be heeded: in a flow run, which has a server to ask."""
        return self.flow is not None and bool(self.facts.tags)

    def waits(self) -> None:
        """Records that it waits for slots of its tags."""
        self.record(Record(Step(StateType.PENDING, "AwaitingConcurrencySlot"), 0))

    def without_slots(self, error: BaseException) -> RunState:
        """The end of a task run that can have no slots of its tags."""
        cancelled = isinstance(error, RunCancelled)
        kind, name = (StateType.CANCELLED, "Cancelled") if cancelled else (StateType.FAILED, "Failed")
        self.record(Record(Step(kind, name, str(error)), 0, error))
        return _made(kind, name, str(error), None, error)

    # -- the whole

    def upstream(self) -> RunState | None:
        """Takes the values of the futures among the arguments; a state to end with if one of them has none."""
        try:
            for source in find(list(self.call_.wait_for or ())):
                result_of_upstream(source)
            self.parameters = {name: resolve(value, result_of_upstream) for name, value in self.parameters.items()}
        except UpstreamFailed as error:
            self.record(Record(Step(StateType.PENDING, "NotReady", str(error)), 0))
            return _made(StateType.PENDING, "NotReady", str(error), None, error)
        self.context.parameters = self.task.signature.with_defaults(self.parameters)
        return None

    def run(self) -> RunState:
        """Runs it to its end here."""
        early = self.upstream()
        if early is not None:
            return early
        if not self.limited_tags:
            return self.ending(*drive(protocol.task_run(self.task.plan(self.submitted)), self.perform))
        try:
            with tag_slots(self.facts.tags, self.context.id, self.waits, self.check):
                return self.ending(*drive(protocol.task_run(self.task.plan(self.submitted)), self.perform))
        except (ConcurrencyError, RunCancelled, ServerUnavailable) as error:
            return self.without_slots(error)

    async def arun(self) -> RunState:
        """The same for a coroutine."""
        if self.call_.wait_for or self.facts.inputs:
            await asyncio.to_thread(_wait_all, [*find(list(self.call_.wait_for or ())), *find(self.parameters)])
        early = self.upstream()
        if early is not None:
            return early
        if not self.limited_tags:
            return self.ending(*await adrive(protocol.task_run(self.task.plan(self.submitted)), self.aperform))
        try:
            async with tag_slots(self.facts.tags, self.context.id, self.waits, self.check):
                return self.ending(*await adrive(protocol.task_run(self.task.plan(self.submitted)), self.aperform))
        except (ConcurrencyError, RunCancelled, ServerUnavailable) as error:
            return self.without_slots(error)

    def ending(self, step: Step, outcome: Outcome) -> RunState:
        """The final state, with value and exception."""
        details = StateDetails.model_construct(
            task_run_id=self.context.id, flow_run_id=self.flow.flow_run.id if self.flow else None
        )
        state = RunState.model_construct(
            type=step.type,
            name=step.name,
            message=step.message,
            data=None,
            state_details=details,
            id=step.id,
            timestamp=step.timestamp,
        )
        state._value, state._error, state._has_value = outcome.value, outcome.error, step.type is StateType.COMPLETED
        return state


def _wait_all(futures: list[TaskFuture[Any]]) -> None:
    for future in futures:
        future.wait()


def _conclude(state: RunState, return_state: bool) -> Any:
    if state._error is not None and not isinstance(state._error, Exception):
        raise own(state._error)  # an interrupt goes on to whoever called
    if return_state:
        return state
    if state.type is StateType.COMPLETED:
        return state._value
    error = state.result(raise_on_failure=False)
    raise own(error)


def run_task(call: TaskCall, *, return_state: bool = False) -> Any:
    """Calls a task of a `def` function here and now.

    Args:
        call: the task and its arguments.
        return_state: give the final state instead of the value, and do not raise.
    """
    _leave_if_suspended()
    return _conclude(TaskRunSession(call).run(), return_state)


async def arun_task(call: TaskCall, *, return_state: bool = False) -> Any:
    """The same for an `async def` task."""
    _leave_if_suspended()
    return _conclude(await TaskRunSession(call).arun(), return_state)


def _leave_if_suspended() -> None:
    """The place where a run that somebody suspended is left: where its code would begin another task."""
    flow = FlowRunContext.get()
    if flow is not None and TaskRunContext.get() is None:
        flow.stoppable.check_suspension()


@lru_cache(maxsize=1)
def _default_runner() -> TaskRunner:
    return ThreadPoolTaskRunner()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_default_runner.cache_clear)


def submit_task(call: TaskCall) -> TaskFuture[Any]:
    """Hands a task to the runner of the current flow run; outside of one, to threads of the process.

    Args:
        call: the task and its arguments, which may be futures.
    """
    flow = FlowRunContext.get()
    if flow is not None:
        flow.stoppable.check()
        _leave_if_suspended()
    session = TaskRunSession(call, submitted=True)
    future: TaskFuture[Any] = TaskFuture(session.context.id, session.context.name)
    runner = flow.runner if flow is not None and flow.runner is not None else _default_runner()
    after = [one for one in (*find(call.parameters), *find(list(call.wait_for or ()))) if not one.done()]

    def work() -> None:
        try:
            if flow is not None and session.stoppable is not None:
                flow.children.add(session.stoppable)
            state = asyncio.run(session.arun()) if call.task.isasync else session.run()
        except BaseException as error:  # the future must end whatever happens
            state = _made(StateType.CRASHED, "Crashed", str(error), None, error)
        finally:
            if flow is not None and session.stoppable is not None:
                flow.children.discard(session.stoppable)
        future._set(state)

    runner.submit(work, after, isasync=call.task.isasync)
    return future


def state_of(source: State | TaskFuture[Any]) -> State:
    """The state of a future, or the state itself."""
    return source.state if isinstance(source, TaskFuture) else source
