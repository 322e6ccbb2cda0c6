"""The three ways into the engine: call a flow, await one, or run one that a worker claimed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from millrace import settings
from millrace.engine.async_generators import aexhausted
from millrace.engine.beginning import Beginning, Wish, holder
from millrace.engine.calls import conclude, not_ready, refusal_of, session_of
from millrace.engine.context import FlowRunContext
from millrace.engine.effects import Announce
from millrace.engine.flow_like import FlowLike
from millrace.engine.flow_runs import FlowRunSession
from millrace.engine.generators import exhausted
from millrace.engine.hooks import Hooked, call_hook
from millrace.engine.logs import Spool, belong_to
from millrace.engine.recorder import recorder
from millrace.engine.stopping import STOP_SECONDS
from millrace.errors import NotFound, ParameterError, UpstreamFailed
from millrace.schema.runs import FlowRun, FlowRunCreate, Lease
from millrace.schema.states import SetState, State, named

if TYPE_CHECKING:
    from millrace.client.synchronous import Client


def run_flow(
    flow: FlowLike, parameters: dict[str, Any], *, return_state: bool = False, wait_for: Iterable[Any] | None = None
) -> Any:
    """Runs a `def` flow here: makes a run, calls the function, tells the server how it ended.

    Args:
        flow: the flow.
        parameters: by name.
        return_state: give the final state instead of the value, and do not raise.
        wait_for: futures to wait for first.

    Raises:
        ParameterError: before any run is made. With `return_state` a Failed run is recorded instead.
        UpstreamFailed: likewise; with `return_state` the state is NotReady, and no run is recorded.
        ServerUnavailable: no server answers and none could be started.
    """
    __tracebackhide__ = True  # in a notebook: a traceback shows the user's lines
    try:
        session = session_of(flow, parameters, wait_for)
    except UpstreamFailed as error:
        if not return_state:
            raise
        return not_ready(error)
    except ParameterError as error:
        if not return_state:
            raise
        session, state = refusal_of(flow, parameters, error)
        session.perform(Announce(state, state))
        session.close()
        return state
    return conclude(session.run(), return_state)


async def arun_flow(
    flow: FlowLike, parameters: dict[str, Any], *, return_state: bool = False, wait_for: Iterable[Any] | None = None
) -> Any:
    """The same for an `async def` flow."""
    __tracebackhide__ = True
    try:
        session = await asyncio.to_thread(session_of, flow, parameters, wait_for) if wait_for else None
        session = session or session_of(flow, parameters, wait_for)
    except UpstreamFailed as error:
        if not return_state:
            raise
        return not_ready(error)
    except ParameterError as error:
        if not return_state:
            raise
        refused, state = await asyncio.to_thread(refusal_of, flow, parameters, error)
        await refused.aperform(Announce(state, state))
        await asyncio.to_thread(refused.close)
        return state
    return conclude(await session.arun(), return_state)


def run_claimed(flow: FlowLike, flow_run: FlowRun, lease: Lease | None, client: Client) -> State:
    """Runs a run that exists, in the worker's child process, and gives its final state; does not raise its exception.

    Args:
        flow: the flow.
        flow_run: the run as the server gave it.
        lease: the right to run it; None on a server that has no leases.
        client: the connection to that server.

    Raises:
        LeaseLost: another attempt holds the run.
        StateRefused: the server wants this attempt to stop.
    """
    ours = str(flow_run.id) in (os.environ.get("MILLRACE__FLOW_RUN_ID"), os.environ.get("PREFECT__FLOW_RUN_ID"))
    beginning = Beginning(Wish(None), client=client, flow_run=flow_run, lease=lease, ends_process=ours)
    session = FlowRunSession(flow, flow_run.parameters, beginning)
    if flow.isgenerator:
        return asyncio.run(aexhausted(session)) if flow.isasync else exhausted(session)
    return asyncio.run(session.arun()) if flow.isasync else session.run()


def call_hooks_of(flow: FlowLike, flow_run: FlowRun, client: Client) -> None:
    """Calls the hooks of the state that a run has ended in, for a process that could not call them itself.

    Args:
        flow: the flow; a notebook has no hooks.
        flow_run: the run, which has ended.
        client: the connection to its server.
    """
    state = flow_run.state
    if state is None or not state.is_final() or not isinstance(flow, Hooked):
        return
    spool = Spool(settings.current().run_directory(flow_run.id) / f"{flow_run.attempt}.hooks.log.jsonl")
    context = FlowRunContext(flow, flow_run, flow_run.parameters, client, client, None, spool, flow.logs_prints(None))
    belong_to(context)
    recorder()  # its handler is in place before the first line
    for hook in flow.hooks(state.type):
        call_hook(hook, flow, context, state)
    recorder().flush(STOP_SECONDS, logs=True)
    spool.close()


def take_up(flow: FlowLike, flow_run: FlowRun, client: Client) -> State:
    """Runs a run that has ended again, in this process, and gives its final state; does not raise its exception.

    Args:
        flow: its flow.
        flow_run: the run.
        client: the connection to its server.

    Raises:
        Conflict: it is somebody's.
    """
    try:
        begun = client.begin_flow_run(
            flow_name=flow.name,
            flow_run=FlowRunCreate(flow_id=flow_run.flow_id),
            holder=holder(),
            lease_seconds=settings.current().lease_seconds,
            again=flow_run.id,
        )
    except NotFound:  # a server that gives no leases
        client.set_flow_run_state(flow_run.id, SetState(state=named("Scheduled", "Retried by a user"), force=True))
        return run_claimed(flow, client.read_flow_run(flow_run.id), None, client)
    return run_claimed(flow, begun.flow_run, begun.lease, client)
