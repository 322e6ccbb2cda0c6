"""One task run: a session performs what the protocol asks for. The ways to begin one are in `submission`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from types import CoroutineType
from typing import Any

from millrace.engine import protocol
from millrace.engine.alarms import limited
from millrace.engine.asides import aasides, asides
from millrace.engine.context import FlowRunContext, TaskRunContext, current_tags
from millrace.engine.crews import place_given_back
from millrace.engine.declared import listed, refuse_coroutine
from millrace.engine.drivers import adrive, drive
from millrace.engine.effects import Call, Effect, Hit, Keep, Look, Record, Sleep, Step, Tell, Weigh
from millrace.engine.endings import Ending
from millrace.engine.errands import Carrier, Errand
from millrace.engine.futures import wait
from millrace.engine.inputs import Dependencies, resolve, result_of_upstream, wait_for_all
from millrace.engine.interrupts import SLICE, Stoppable
from millrace.engine.lineage import ALONE_RETURNED, holders
from millrace.engine.locks import PAUSE_SECONDS
from millrace.engine.logs import prints_logged
from millrace.engine.recorder import recorder
from millrace.engine.secrecy import masked
from millrace.engine.states import Failed, Outcome, of_interruption, run_state
from millrace.engine.tag_slots import tag_slots
from millrace.engine.task_calls import TaskCall
from millrace.engine.task_events import NEVER, TaskFacts, event_of, task_run_of
from millrace.engine.task_results import TaskResult, persists
from millrace.engine.tracebacks import log_failure, text_of
from millrace.errors import ConcurrencyError, RunCancelled, ServerUnavailable, UpstreamFailed
from millrace.schema.fields import new_id
from millrace.schema.states import State, StateType

_log = logging.getLogger("millrace.task_runs")

SLOTLESS = (ConcurrencyError, RunCancelled, ServerUnavailable)
"""What is raised instead of a slot of a tag."""


class TaskRunSession:
    """One task run: performs the effects of its conversation.

    Args:
        call: the task and its arguments.
        submitted: it runs on a runner, with a stop of its own.
        carrier: calls its function in another process.
    """

    def __init__(self, call: TaskCall, *, submitted: bool = False, carrier: Carrier | None = None) -> None:
        task = call.task
        flow = FlowRunContext.get()
        self.call_ = call
        self.task = task
        self.flow = flow
        self.parameters = call.parameters
        self.submitted = submitted
        self.carrier = carrier
        self.stoppable = Stoppable() if submitted else None
        self.needs = Dependencies(call.parameters, call.wait_for, flow.lineage if flow else None)
        self.context = TaskRunContext(
            task,
            new_id(),
            task.name,
            task.signature.with_defaults(call.parameters),
            task.logs_prints(flow.log_prints if flow else None),
        )
        self.context._model = self.model
        self.context.persists = persists(task, flow, TaskRunContext.get())
        self.result = TaskResult(task, flow, self.context) if self.context.persists else None
        self.clock = NEVER
        self.facts = self._facts()
        if not self.needs.marked and isinstance(task.task_run_name, str):
            self._rename()

    def _facts(self) -> TaskFacts:
        task, flow, context = self.task, self.flow, self.context
        started = Step(StateType.PENDING, "Pending")
        facts = TaskFacts(context.id, task.name, task.task_key, "", started.timestamp, policy=task.policy)
        facts.version = task.version
        facts.tags = context.tags = [*dict.fromkeys([*current_tags(), *task.tags])]
        facts.inputs = self.needs.inputs
        for name, sources in (self.call_.inputs or {}).items():
            known = facts.inputs.setdefault(name, [])
            known.extend(source for source in sources if source not in known)
        around = TaskRunContext.get()
        if around is not None:
            facts.inputs["__parents__"] = [{"input_type": "task_run", "id": str(around.id)}]
        if flow is None:
            facts.dynamic_key = f"{task.task_key}-{context.id.hex}"
            return facts
        number = flow.number(task.task_key)
        facts.name = context.name = f"{task.name}-{number}"
        facts.dynamic_key = f"{flow.running}-{flow.label}{number}"
        facts.flow_run, facts.flow = flow.named
        facts.flow_run_running = flow.running
        return facts

    def _rename(self) -> None:
        with self.context.entered():
            name = self.task.run_name(self.context.parameters)
        if name is not None:
            self.context.name = self.facts.name = masked(name)

    def model(self) -> Any:
        """The task run as the wire has it now."""
        return task_run_of(self.facts, self.clock)

    def state(self) -> State:
        """The state it is in now."""
        return self.facts.state(self.clock.last) if self.clock.last else State(type=StateType.PENDING)

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
            with place_given_back():
                while (left := deadline - time.monotonic()) > 0:
                    time.sleep(min(left, SLICE))
                    self.check()
            return None
        if isinstance(effect, Look):
            return self.look()
        if isinstance(effect, Keep):
            assert self.result is not None
            return self.result.keep(effect.value)
        return self.aside(effect)

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
        if isinstance(effect, (Tell, Weigh)):
            return await self.aaside(effect)
        if isinstance(effect, (Look, Keep)):
            return await asyncio.to_thread(self.perform, effect)
        return self.perform(effect)

    def look(self) -> Hit | None:
        """The result that makes the call needless."""
        result = self.result
        assert result is not None
        result.prepare()
        while not result.locked():
            self.check()
            time.sleep(PAUSE_SECONDS)
        hit = result.look()
        if hit is not None and self.flow is not None:
            self.flow.lineage.add(hit.value, self.context.id)
        return hit

    def record(self, effect: Record) -> None:
        """Tells the server, some time soon, and the log of what went wrong."""
        before, self.clock = self.clock, self.clock.advance(effect.step, effect.run_count)
        self.context.run_count = effect.run_count
        client = self.flow.sender if self.flow else None
        recorder().record(client, event_of, self.facts, before, self.clock)
        if effect.error is not None:
            with self.context.entered():
                self._log_failure(effect.step, effect.error)

    def _log_failure(self, step: Step, error: BaseException) -> None:
        if step.name == "AwaitingRetry":
            _log.warning("Failed and will be tried again: %s", step.message)
        elif step.type is StateType.FAILED:
            log_failure(_log, "Failed", error)

    def aside(self, effect: Effect) -> Any:
        """Calls hooks, or the retry condition; what they raise is logged."""
        with self.context.entered():
            return asides(_log, _role(effect), self._asides(effect))

    async def aaside(self, effect: Effect) -> Any:
        """The same, awaiting what is a coroutine function."""
        with self.context.entered():
            return await aasides(_log, _role(effect), self._asides(effect))

    def _asides(self, effect: Effect) -> list[tuple[Callable[..., Any], tuple[Any, ...]]]:
        """The functions to call on the side, each with its arguments."""
        if isinstance(effect, Weigh):
            condition = self.task.retry_condition_fn
            assert condition is not None
            return [(condition, (self.task, self.model(), Failed(data=effect.error)))]
        if isinstance(effect, Tell):
            has = effect.step.type is StateType.COMPLETED
            state = run_state(self.facts.state(effect.step), effect.value, effect.error, has_value=has)
            return [(hook, (self.task, self.model(), state)) for hook in self.task.hooks(effect.step.type)]
        raise TypeError(f"a task run cannot {effect!r}")

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
        context = self.context
        token = context.enter()
        try:
            if not context.log_prints or self.carrier is not None:
                return self._called()
            with prints_logged(True):
                return self._called()
        finally:
            context.leave(token)

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """What to call the function with; a secret default that is written as a text is the secret."""
        signature = self.task.signature
        secrets = {name: self.context.parameters[name] for name in signature.secret_defaults}
        return signature.arguments({**secrets, **self.parameters})

    def _called(self) -> Any:
        args, kwargs = self.arguments()
        fn, seconds = self.task.fn, self.task.timeout_seconds
        if self.task.isgenerator and self.carrier is None:
            fn = listed(fn)
        if self.carrier is not None and self.stoppable is not None:
            errand = Errand(
                fn, args, kwargs, self.task.isasync, seconds, self.context, self.flow, self.facts, self.clock
            )
            value = self.carrier.carry(errand, self.stoppable)
        elif self.stoppable is not None:
            value = self.stoppable.call(partial(fn, *args, **kwargs), seconds)
        elif seconds is None:
            value = fn(*args, **kwargs)
        else:
            value = limited(partial(fn, *args, **kwargs), seconds)
        if type(value) is CoroutineType:
            refuse_coroutine(value, f"task {self.task.name!r}")
        fresh = holders(value) <= ALONE_RETURNED
        if self.flow is not None:
            self.flow.lineage.add(value, self.context.id, fresh)
        return value

    async def acall(self) -> Any:
        """Awaits the task's coroutine."""
        self.check()
        args, kwargs = self.arguments()
        stoppable, seconds = self.stoppable, self.task.timeout_seconds
        fn = listed(self.task.fn) if self.task.isgenerator else self.task.fn
        with self.context.entered(), prints_logged(self.context.log_prints):
            if stoppable is None and seconds is None:
                value = await fn(*args, **kwargs)
            else:
                value = await (stoppable or Stoppable()).acall(partial(fn, *args, **kwargs), seconds)
            fresh = holders(value) <= ALONE_RETURNED
            if self.flow is not None:
                self.flow.lineage.add(value, self.context.id, fresh)
            return value

    # -- limits of its tags

    @property
    def limited_tags(self) -> bool:
        """Whether limits of its tags are to be heeded: in a flow run, which has a server to ask."""
        return self.flow is not None and bool(self.facts.tags)

    def waits(self) -> None:
        """Records that it waits for slots of its tags."""
        self.record(Record(Step(StateType.PENDING, "AwaitingConcurrencySlot"), 0))

    # -- the whole

    def upstream(self) -> Ending | None:
        """Takes the values of the futures among the arguments; an ending if one of them has none."""
        if not self.needs.marked and not callable(self.task.task_run_name):
            return None
        try:
            wait_for_all(self.needs.wait_for)
            self.parameters = {name: resolve(value, result_of_upstream) for name, value in self.parameters.items()}
            self.context.parameters = self.task.signature.with_defaults(self.parameters)
            self._rename()
        except UpstreamFailed as error:
            return self._early(Step(StateType.PENDING, "NotReady", str(error)), error)
        except RunCancelled as error:
            return self._early(Step(StateType.CANCELLED, "Cancelled", str(error)), error)
        except Exception as error:
            return self._early(Step(StateType.FAILED, "Failed", text_of(error)), error)
        return None

    def _early(self, step: Step, error: BaseException) -> Ending:
        self.record(Record(step, 0, error))
        return self.ending(step, Outcome(step.type, step.name, step.message, error=error))

    def run(self) -> Ending:
        """Runs it to its end here."""
        early = self.upstream()
        if early is not None:
            return early
        if not self.limited_tags:
            return self._run()
        try:
            with tag_slots(self.facts.tags, self.context.id, self.waits, self.check):
                return self._run()
        except SLOTLESS as error:
            return self.broken(error)

    def _run(self) -> Ending:
        try:
            return self.ending(*drive(protocol.task_run(self.plan()), self.perform))
        except BaseException as error:
            return self.lost(error)
        finally:
            self.close()

    async def arun(self) -> Ending:
        """The same for a coroutine."""
        if any(not future.done() for future in self.needs.futures):
            await asyncio.to_thread(wait, self.needs.futures)
        early = self.upstream()
        if early is not None:
            return early
        if not self.limited_tags:
            return await self._arun()
        try:
            async with tag_slots(self.facts.tags, self.context.id, self.waits, self.check):
                return await self._arun()
        except SLOTLESS as error:
            return self.broken(error)

    async def _arun(self) -> Ending:
        try:
            return self.ending(*await adrive(protocol.task_run(self.plan()), self.aperform))
        except BaseException as error:
            return self.lost(error)
        finally:
            self.close()

    def broken(self, error: BaseException) -> Ending:
        """The ending when something around the conversation went wrong: its slots, or itself."""
        if not isinstance(error, SLOTLESS):
            return self.lost(error)
        kind = StateType.CANCELLED if isinstance(error, RunCancelled) else StateType.FAILED
        return self._early(Step(kind, kind.value.title(), str(error)), error)

    def plan(self) -> protocol.TaskPlan:
        """What the conversation has to know."""
        return self.task.plan(self.submitted, self.context.persists)

    def close(self) -> None:
        """Lets others with the same cache key look."""
        if self.result is not None:
            self.result.release()

    def lost(self, error: BaseException) -> Ending:
        """The ending when the conversation itself broke off."""
        outcome = of_interruption(error)
        return self._early(Step(outcome.type, outcome.name, outcome.message), error)

    def ending(self, step: Step, outcome: Outcome) -> Ending:
        """How it ended, with value and exception."""
        found = Ending(step, outcome.value, outcome.error, self.context.id, self.facts.flow_run_id)
        if self.result is not None and step.data is not None:
            found.store, found.in_memory = self.result.store, self.task.cache_result_in_memory
        return found


def _role(effect: Effect) -> str:
    return "retry condition" if isinstance(effect, Weigh) else "hook"
