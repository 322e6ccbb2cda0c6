"""The process of one run: `python -m millrace.workers.child`, or a fork of the warm parent.

It finds the run's id in `MILLRACE__FLOW_RUN_ID` (or `PREFECT__FLOW_RUN_ID`, so that a Prefect worker can start it too),
makes the deployment's code available, loads the entrypoint and runs it. It exits with 0 if the run completed or was
suspended.
"""

from __future__ import annotations

import builtins
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, cast
from uuid import UUID

from millrace import entrypoints, plugins
from millrace.client.synchronous import Client
from millrace.engine.context import FlowRunContext, TaskRunContext
from millrace.engine.interrupts import Terminated
from millrace.engine.secrecy import masked
from millrace.errors import Conflict, EntrypointError, InvalidInput, MillraceError
from millrace.schema.deployments import Deployment
from millrace.schema.runs import FlowRun, Lease
from millrace.schema.states import (
    AcceptDetails,
    OrchestrationResult,
    SetState,
    SetStateStatus,
    State,
    StateCreate,
    StateType,
    named,
)
from millrace.storage.steps import origin_of, told_by
from millrace.workers import jobs, steps

RUN_ID = ("MILLRACE__FLOW_RUN_ID", "PREFECT__FLOW_RUN_ID")
LEASE = "MILLRACE__LEASE"
COMPLETED, NOT_COMPLETED, MISUSED = 0, 1, 2


class ChildClient(Client):
    """The client of a run's own process.

    A run counts as cancelled when all of its processes are gone, which this one cannot see: it leaves that word, and
    the word on a termination from outside, to its worker.
    """

    terminated = False

    def set_flow_run_state(self, id: UUID, body: Any = None, **fields: Any) -> OrchestrationResult:
        """Propose a state, unless it is for the worker to say."""
        proposed = body.state if isinstance(body, SetState) else body
        if isinstance(proposed, StateCreate) and self._held(id, proposed):
            state = State(type=proposed.type, name=proposed.name, message=proposed.message)
            return OrchestrationResult(state=state, status=SetStateStatus.ACCEPT, details=AcceptDetails())
        return super().set_flow_run_state(id, body, **fields)

    def _held(self, id: UUID, proposed: StateCreate) -> bool:
        if self.lease is None or self.lease.flow_run_id != id:
            return False
        if proposed.type is StateType.CRASHED:
            return ChildClient.terminated
        if proposed.type is not StateType.CANCELLED:
            return False
        return ChildClient.terminated or self.read_flow_run(id).state_type is StateType.CANCELLING


def main() -> int:
    """Run the run that the environment names; the exit code.

    Returns:
        0 if it completed, 1 if not, 2 if the environment names none.
    """
    text = next((os.environ[name] for name in RUN_ID if os.environ.get(name)), None)
    try:
        flow_run_id = UUID(text or "")
    except ValueError:
        print(f"{RUN_ID[0]} must be the id of a flow run, not {text!r}.", file=sys.stderr)
        return MISUSED
    lease = Lease.model_validate_json(os.environ[LEASE]) if os.environ.get(LEASE) else None
    if lease is not None:
        jobs.sign_in(flow_run_id, lease.attempt)
    client = ChildClient(plugins.load("millrace.client.locate:connect")().endpoint, lease=lease)
    signal.signal(signal.SIGTERM, _terminator(client, flow_run_id))
    try:
        code = _hooks(client, flow_run_id) if os.environ.get(jobs.HOOKS) else _run(client, flow_run_id, lease)
    except Terminated:
        code = NOT_COMPLETED
    if ChildClient.terminated:
        _die_of_it()
    return code


def _terminator(client: ChildClient, flow_run_id: UUID) -> Callable[[int, FrameType | None], None]:
    def cancelled() -> bool:
        with contextlib.suppress(MillraceError):
            return client.read_flow_run(flow_run_id).state_type is StateType.CANCELLING
        return False

    def terminate(number: int, frame: FrameType | None) -> None:
        if not ChildClient.terminated:
            ChildClient.terminated = True
            raise Terminated("SIGTERM", cancelled)

    return terminate


def _die_of_it() -> None:
    # As every process that is terminated: whoever waits for us sees the signal.
    sys.stdout.flush()
    sys.stderr.flush()
    plugins.load("millrace.engine.recorder:recorder")().flush(2.0, logs=True)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)


def _run(client: ChildClient, flow_run_id: UUID, lease: Lease | None) -> int:
    flow_run = client.read_flow_run(flow_run_id)
    try:
        runnable = _loaded(client, flow_run)
    except Terminated:
        raise
    except BaseException as error:
        return _not_loaded(client, flow_run, error)
    builtins.print = _print_once(builtins.print)
    state = runnable.run_claimed(flow_run, lease, client)
    return COMPLETED if state.is_completed() or not state.is_final() else NOT_COMPLETED


def _loaded(client: ChildClient, flow_run: FlowRun) -> entrypoints.Runnable:
    deployment = _deployment(client, flow_run)
    directory = steps.pull(deployment, flow_run)
    steps.work_in(directory, deployment, flow_run)
    with told_by(origin_of(deployment.pull_steps or []), directory):
        return entrypoints.load(str(deployment.entrypoint), directory, made_of=_of_function)


def _hooks(client: ChildClient, flow_run_id: UUID) -> int:
    """Call the hooks of the state that a run has ended in: the process that ran it could not."""
    flow_run = client.read_flow_run(flow_run_id)
    runnable = _loaded(client, flow_run)
    builtins.print = _print_once(builtins.print)
    plugins.load("millrace.engine.running:call_hooks_of")(runnable, flow_run, client)
    return COMPLETED


def _of_function(function: Callable[..., Any]) -> entrypoints.Runnable:
    return cast("entrypoints.Runnable", plugins.load("millrace.flows:Flow")(function, log_prints=True))


def _deployment(client: ChildClient, flow_run: FlowRun) -> Deployment:
    if flow_run.deployment_id is None:
        raise InvalidInput("The run has no deployment, so nobody knows where its code is.")
    deployment = client.read_deployment(flow_run.deployment_id)
    if not deployment.entrypoint:
        raise EntrypointError(f"The deployment {deployment.name!r} has no entrypoint. Deploy it again.")
    return deployment


def _not_loaded(client: ChildClient, flow_run: FlowRun, error: BaseException) -> int:
    print(plugins.load("millrace.engine.tracebacks:of_user")(error), end="", file=sys.stderr)
    text = str(error) if isinstance(error, MillraceError) else f"{type(error).__name__}: {error}"
    state = named("Crashed", masked(f"The run's code could not be loaded on {os.uname().nodename}. {text}"))
    try:
        client.set_flow_run_state(flow_run.id, SetState(state=state))
    except Conflict as refused:
        print(refused, file=sys.stderr)
    return NOT_COMPLETED


def _print_once(original: Callable[..., None]) -> Callable[..., None]:
    """A `print` that leaves out what the engine logs: raw output becomes log lines too, and none should come twice."""

    def quiet(*values: Any, file: Any = None, **options: Any) -> None:
        task, flow = TaskRunContext.get(), FlowRunContext.get()
        logged = task.log_prints if task else flow is not None and flow.log_prints
        if not (logged and file in (None, sys.stdout)):
            original(*values, file=file, **options)

    return quiet


if __name__ == "__main__":
    sys.path[0:1] = [str(Path.cwd())]
    sys.exit(main())
