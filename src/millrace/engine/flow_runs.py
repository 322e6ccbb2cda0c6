"""Running flows: called, awaited, as part of another flow, or claimed by a worker.

One session a run performs what the protocol asks. Both colours use the plain client: in `async def` flows its calls run
in a thread, so that a cancelled asyncio task never leaves a proposal half sent and no connection is bound to a loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from millrace import settings
from millrace.client.locate import revive
from millrace.engine import belongings, protocol
from millrace.engine.alarms import TimeLimitReached, time_limit_message
from millrace.engine.beginning import Beginning
from millrace.engine.context import FlowRunContext
from millrace.engine.declared import refuse_coroutine
from millrace.engine.drivers import adrive, drive
from millrace.engine.effects import Announce, Call, Effect, Keep, Propose, Sleep
from millrace.engine.flow_like import FlowLike
from millrace.engine.hooks import Hooked, acall_hook, call_hook
from millrace.engine.inputs import settle
from millrace.engine.interrupts import PART_STOPPED, SLICE, RunSuspended, Stopped, Terminated
from millrace.engine.leases import Held, keeper
from millrace.engine.logs import Spool, belong_to, prints_logged
from millrace.engine.recorder import recorder
from millrace.engine.results import ResultStore, store_for
from millrace.engine.secrecy import masked
from millrace.engine.states import RunState, shortened
from millrace.engine.stopping import STOP_SECONDS, await_end, stop_all, stop_late
from millrace.engine.tracebacks import log_failure
from millrace.errors import RunCancelled, SerializationError, StorageUnavailable
from millrace.schema.fields import now
from millrace.schema.runs import FlowRun, FlowRunUpdate, Lease
from millrace.schema.states import OrchestrationResult, State, StateCreate, StateType

if TYPE_CHECKING:
    from millrace.client.synchronous import Client

_log = logging.getLogger("millrace.flow_runs")


class FlowRunSession:
    """One flow run: performs the effects of its conversation.

    Args:
        flow: the flow.
        parameters: by name, checked; for a claimed run, as the server has them.
        beginning: how the run comes to be.
    """

    def __init__(self, flow: FlowLike, parameters: dict[str, Any], beginning: Beginning) -> None:
        self.flow = flow
        self.parameters = parameters
        self.beginning = beginning
        self.parent = FlowRunContext.get()
        self.results: ResultStore = store_for(
            flow.result_storage, flow.result_serializer, self.parent.results if self.parent else None
        )
        self.client: Client | None = None
        self.context: FlowRunContext | None = None
        self.unnamed: Exception | None = None
        recorder()  # its log handler is in place before the first line

    # -- effects

    def perform(self, effect: Effect) -> Any:
        """Performs one effect, in `def` colour."""
        match effect:
            case Propose(state):
                return self.propose(state)
            case Call():
                return self.call()
            case Sleep():
                deadline = time.monotonic() + effect.remaining(now())
                while (left := deadline - time.monotonic()) > 0:
                    time.sleep(min(left, SLICE))
                    self.check()
            case Keep(value):
                return self.keep(value)
            case Announce(state, ending):
                for hook in self.announce(state):
                    call_hook(hook, self.flow, self.context, self._told(state, ending))
            case _:
                raise TypeError(f"a flow run cannot {effect!r}")

    async def aperform(self, effect: Effect) -> Any:
        """Performs one effect, in `async def` colour."""
        match effect:
            case Call():
                return await self.acall()
            case Sleep():
                deadline = time.monotonic() + effect.remaining(now())
                while (left := deadline - time.monotonic()) > 0:
                    await asyncio.sleep(min(left, SLICE))
                    self.check()
            case Announce(state, ending):
                for hook in self.announce(state):
                    await acall_hook(hook, self.flow, self.context, self._told(state, ending))
            case _:
                return await asyncio.shield(asyncio.to_thread(self.perform, effect))

    def check(self) -> None:
        """Raises if the run was stopped from outside."""
        if self.context is not None:
            self.context.stoppable.check()
        if self.parent is not None:
            self.parent.stoppable.check()

    def propose(self, state: StateCreate) -> OrchestrationResult:
        """Asks the judge; the first proposal of a run that does not exist yet creates it."""
        if state.message:
            state = state.model_copy(update={"message": masked(state.message)})
        if self.context is None:
            answer, run, lease = self.beginning.enter(self.flow, self.parameters, state)
            self._open(run, lease)
            self._name()
            return answer
        assert self.client is not None
        if not self.beginning.claimed:
            revive(self.client, stopped=True)
        if state.type is not StateType.RUNNING:
            recorder().flush(logs=self.beginning.claimed)
        if state.state_details.transition_id is None:  # pragma: no cover - the protocol always sets it
            raise TypeError("a proposal needs a transition_id")
        answer = self.client.set_flow_run_state(self.context.flow_run.id, state)
        if state.type is StateType.RUNNING and answer.state is not None and answer.state.type is StateType.RUNNING:
            self.context.running += 1
        return answer

    def _open(self, run: FlowRun, lease: Lease | None) -> None:
        base = self.beginning.client
        assert base is not None
        self.client = base.with_lease(lease) if lease else base
        spool = Spool(settings.current().run_directory(run.id) / f"{run.attempt}.log.jsonl")
        inherited = self.parent.log_prints if self.parent else None
        self.context = FlowRunContext(
            self.flow,
            run,
            self.parameters,
            self.client,
            self.client if self.beginning.claimed else base,
            lease,
            spool,
            self.flow.logs_prints(inherited),
            results=self.results,
        )
        self.context.running = max(run.run_count, 1)
        self.context.parent = self.parent
        if self.beginning.ends_process:
            belong_to(self.context)
        belongings.watch()
        if self.parent is not None:
            self.parent.stoppable.join(self.context.stoppable)
        if lease is not None:
            ends = self.beginning.ends_process
            late = partial(stop_late, self.context, processes=not self.beginning.claimed)
            keeper().hold(Held(lease, base, self.context.stoppable, ends, late))

    def _name(self) -> None:
        """Gives the run its name, if only the run itself can tell it; what that raises is raised by the call."""
        assert self.context is not None and self.client is not None
        naming = self.flow.flow_run_name
        if naming is None or (isinstance(naming, str) and not self.beginning.claimed):
            return
        try:
            with self.context.entered():
                if self.beginning.claimed and self.flow.should_validate_parameters:
                    values = self.flow.validate_parameters(self.parameters)
                else:
                    values = self.parameters
                name = self.flow.run_name(self.flow.signature.with_defaults(values))
        except Exception as error:
            self.unnamed = error
            return
        if name and name != self.context.flow_run.name:
            self.client.update_flow_run(self.context.flow_run.id, FlowRunUpdate(name=name))
            self.context.flow_run.name = name

    def keep(self, value: Any) -> dict[str, Any] | None:
        """Stores the result; that it cannot be stored is an error only if storing was asked for."""
        assert self.context is not None
        run = self.context.flow_run
        try:
            return self.results.write(str(run.id), value, of=f"the flow {self.flow.name!r}")
        except (SerializationError, StorageUnavailable) as error:
            if self.flow.persist_result:
                raise
            # in the process that called the flow its value is at hand; a worker's run leaves nothing else
            quiet = logging.INFO if self.beginning.claimed else logging.DEBUG
            level = quiet if isinstance(error, SerializationError) else logging.WARNING
            with self.context.entered():
                _log.log(level, "The result of flow run %r was not kept: %s", run.name, error)
            return None

    def call(self) -> Any:
        """Calls the flow's function and waits for its tasks."""
        context = self.begin_call()
        with ExitStack() as stack:
            stack.enter_context(context.entered())
            stack.enter_context(prints_logged(context.log_prints))
            try:
                return context.stoppable.call(partial(self._body, context), self.flow.timeout_seconds)
            except BaseException as error:
                self.failed(error)
                raise
            finally:
                self.end_call(context)

    def _body(self, context: FlowRunContext) -> Any:
        args, kwargs = self.arguments(context)
        value = self.flow.fn(*args, **kwargs)
        refuse_coroutine(value, f"flow {self.flow.name!r}")
        value = settle(value)
        if context.runner is not None:
            context.runner.close()
        return value

    async def acall(self) -> Any:
        """Awaits the flow's coroutine and its tasks."""
        context = self.begin_call()
        with context.entered(), prints_logged(context.log_prints):
            try:
                return await context.stoppable.acall(partial(self._abody, context), self.flow.timeout_seconds)
            except BaseException as error:
                self.failed(error)
                raise
            finally:
                await asyncio.to_thread(self.end_call, context)

    async def _abody(self, context: FlowRunContext) -> Any:
        args, kwargs = self.arguments(context)
        value = await self.flow.fn(*args, **kwargs)
        if context.runner is None:
            return settle(value)
        value = await asyncio.to_thread(settle, value)
        await asyncio.to_thread(context.runner.close)
        return value

    def begin_call(self) -> FlowRunContext:
        """A try begins: with a task runner of its own."""
        assert self.context is not None
        self.context.over = False
        self.context.runner = self.flow.task_runner.open()
        return self.context

    def arguments(self, context: FlowRunContext) -> tuple[list[Any], dict[str, Any]]:
        """What to call the function with."""
        if self.unnamed is not None:
            raise self.unnamed
        if self.beginning.claimed and self.flow.should_validate_parameters:
            given = self.flow.validate_parameters(self.parameters)
            context.parameters = self.flow.signature.with_defaults(given)
        return self.flow.signature.arguments(context.parameters)

    def failed(self, error: BaseException) -> None:
        """A try has raised: what has not begun does not begin, and the log says why."""
        assert self.context is not None
        self.context.over = True
        if isinstance(error, RunSuspended):  # tasks that run do so to their end
            self.context.stoppable.suspension = error
            return
        asked = self.context.stoppable.reason is not None
        if asked or isinstance(error, TimeLimitReached) or not isinstance(error, Exception):
            stop_all(self.context)
        if isinstance(error, TimeLimitReached):
            error = protocol.timed_out(error, self.plan().overdue)
        elif isinstance(error, Terminated):
            error = error.meaning()
        elif isinstance(error, Stopped):
            error = RunCancelled(PART_STOPPED).with_traceback(error.__traceback__)
        with self.context.entered():  # that of a generator's consumer is another
            log_failure(_log, "Raised", error)

    def end_call(self, context: FlowRunContext) -> None:
        """Tasks that run are waited for, those of a stopped run for a moment; no task outlives the run's record."""
        if context.stoppable.reason is not None and not context.over:
            with context.entered():
                _log.warning("Told to stop (%s), its code went on to its end all the same.", context.stoppable.reason)
        await_end(context, processes=not self.beginning.claimed)
        context.over = True

    # -- what people see

    def _told(self, state: State, ending: RunState | None) -> State:
        """What a hook gets: a final state knows the result or the exception."""
        return state if ending is None else ending.stored_in(self.results, keep_value=True)

    def announce(self, state: State) -> list[Callable[..., Any]]:
        """Logs a state; gives the hooks to call for it."""
        assert self.context is not None
        run = self.context.flow_run
        run.state, run.state_type, run.state_name = state, state.type, state.name
        run.run_count = self.context.running
        with self.context.entered():
            if state.type is StateType.RUNNING:
                again = f", run {self.context.running}" if self.context.running > 1 else ""
                _log.info("Flow %r begins%s", self.flow.name, again)
            elif state.is_paused():
                _log.info("Left, to begin again when it is resumed: %s", state)
            else:
                level = logging.INFO if state.type is StateType.COMPLETED else logging.ERROR
                said = shortened(state)
                _log.log(level, "Ended: %s", said, extra={"millrace_short": f"Ended: {state.name}"})
        return self.flow.hooks(state.type) if isinstance(self.flow, Hooked) else []

    # -- the whole

    def plan(self) -> protocol.FlowPlan:
        """What the conversation has to know."""
        claimed = self.beginning.claimed
        persist = [self.flow.persist_result, settings.current().results_persist, claimed]
        kept = next(said for said in persist if said is not None)
        overdue = time_limit_message(f"flow {self.flow.name!r}", self.flow.timeout_seconds)
        return protocol.FlowPlan(kept, 10 if claimed else 0, overdue)

    def _given(self, state: RunState) -> RunState:
        if self.parent is not None and self.beginning.task is not None and state._has_value:
            self.parent.lineage.add(state._value, self.beginning.task.id, fresh=False)
        return state.stored_in(self.results, keep_value=self.flow.cache_result_in_memory)

    def run(self) -> RunState:
        """Runs it to its end here."""
        try:
            return self._given(drive(protocol.flow_run(self.plan()), self.perform))
        except BaseException as error:
            self.beginning.ended(None, error)
            raise
        finally:
            self.close()

    async def arun(self) -> RunState:
        """The same for a coroutine."""
        try:
            return self._given(await adrive(protocol.flow_run(self.plan()), self.aperform))
        except BaseException as error:
            self.beginning.ended(None, error)
            raise
        finally:
            self.close()

    def close(self) -> None:
        """Lets go of the lease and the files."""
        if self.context is None:
            return
        keeper().release(self.context.flow_run.id)
        if self.parent is not None:
            self.parent.stoppable.parts.discard(self.context.stoppable)
        self.beginning.ended(self.context.flow_run.state, None)
        if self.beginning.claimed:
            recorder().flush(STOP_SECONDS, logs=True)
        else:
            recorder().gather(self.context)
        if self.context.spool is not None:
            self.context.spool.close()
