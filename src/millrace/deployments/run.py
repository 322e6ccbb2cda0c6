"""Run a deployment and wait for it."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Generator, Iterable
from contextlib import suppress
from datetime import datetime
from typing import Any
from uuid import UUID

from millrace import plugins
from millrace.client.handle import RunHandle
from millrace.client.waiting import Waiting, awhy, overdue, why
from millrace.deployments.given import tag_list
from millrace.engine.context import FlowRunContext, TaskRunContext
from millrace.engine.inputs import Dependencies, resolve, result_of_upstream
from millrace.engine.secrecy import refuse_values
from millrace.engine.sent_values import named_values, sendable
from millrace.errors import InvalidInput, MillraceError, MissingDeployment, NotFound
from millrace.schema.deployments import Deployment
from millrace.schema.fields import JsonObject, new_id, now
from millrace.schema.job_variables import expand
from millrace.schema.logs import Log
from millrace.schema.queries import DeploymentQuery
from millrace.schema.runs import DeploymentFlowRunCreate, FlowRun, TaskRunCreate
from millrace.schema.states import State, named, scheduled
from millrace.suggestions import near_or_listed

# The first looks come sooner than `poll_interval`: most runs people wait for are short.
_FIRST_LOOK = 0.05
_SLOWER = 1.5

_log = logging.getLogger("millrace.deployments")


class DeploymentRun(FlowRun):
    """The run that `run_deployment` made: a flow run that can be waited for, read and cancelled.

    It can be awaited too, which changes nothing. `handle` knows the run as it is now.
    """

    @property
    def handle(self) -> RunHandle:
        """What waits for the run and reads it anew."""
        return RunHandle(self)

    def wait(self, timeout: float | None = None) -> DeploymentRun:
        """The run as it is at its end; waits for it. An interrupt ends the waiting, not the run.

        Args:
            timeout: seconds; None: as long as it takes.

        Raises:
            TimeoutError: it is not over yet. It goes on.
        """
        return DeploymentRun.model_validate(dict(self.handle.wait(timeout)))

    def result(self, timeout: float | None = None, *, allow_pickle: bool = False) -> Any:
        """What the run returned; waits for it. See `RunHandle.result`."""
        return self.handle.result(timeout, allow_pickle=allow_pickle)

    def cancel(self) -> State:
        """Ask the run to stop. See `RunHandle.cancel`."""
        return self.handle.cancel()

    def logs(self) -> list[Log]:
        """The run's log lines so far."""
        return self.handle.logs()

    def __await__(self) -> Generator[Any, None, DeploymentRun]:
        yield from ()
        return self

    def __repr__(self) -> str:
        return f"<DeploymentRun {self.name!r}: {self.state_name or 'unknown'}, id {self.id}>"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        return self.handle._repr_html_()


def run_deployment(
    name: str | UUID,
    client: Any = None,
    parameters: dict[str, Any] | None = None,
    scheduled_time: datetime | str | None = None,
    flow_run_name: str | None = None,
    timeout: float | None = None,
    poll_interval: float = 5,
    tags: Iterable[str] | None = None,
    idempotency_key: str | None = None,
    work_queue_name: str | None = None,
    as_subflow: bool = True,
    job_variables: dict[str, Any] | None = None,
) -> DeploymentRun:
    """Create a run of a deployment and wait for its end.

    Args:
        name: the deployment's id, or `flow name/deployment name`.
        client: a client to use instead of this process's own.
        parameters: over the deployment's. Futures and states of tasks in them are waited for and replaced by what they
            stand for; the graph shows where the values came from.
        scheduled_time: when it is to start, as a datetime or its ISO text; now when not given. Without a zone it is
            the wall clock of this machine.
        flow_run_name: a name for the run.
        timeout: seconds to wait; 0 returns at once, None waits until it has ended. The run is returned either way.
        poll_interval: seconds between two looks, at most.
        tags: tags of the run.
        idempotency_key: with a known key the known run is returned and none is made.
        work_queue_name: a queue other than the deployment's.
        as_subflow: within a flow or task, link the new run to it.
        job_variables: over the deployment's; `env.KEY` means one key.

    Returns:
        The run as it is at the end, or when the time is over.

    Raises:
        MissingDeployment: there is none of this name; the message names similar ones.
        InvalidInput: the time-out is negative, or the scheduled time no moment.
        ParameterError: a value has no form in JSON (NaN and infinity have none); it is named.

    Example:
        >>> run_deployment("etl/nightly", parameters={"n": 5}, timeout=0).state_name  # doctest: +SKIP
        'Scheduled'
    """
    _check(timeout, poll_interval)
    due = _moment(scheduled_time)
    named_values(parameters, f"the deployment {str(name)!r}")
    client = client or plugins.load("millrace.client.locate:connect")()
    deployment = found(client, name)
    needs = _needs(parameters)
    given = _given(parameters, needs, str(name))
    task_run_id = None
    if as_subflow and _within():
        flow = client.read_flow(deployment.flow_id)
        task_run_id = client.create_task_run(_link(deployment, f"{flow.name}/{deployment.name}", needs)).id
    body = _body(given, due, flow_run_name, tags, idempotency_key, work_queue_name, job_variables)
    body = body.model_copy(update={"parent_task_run_id": task_run_id})
    flow_run = client.create_flow_run_from_deployment(deployment.id, body)
    deadline = None if timeout is None else time.monotonic() + timeout
    pause, told = _FIRST_LOOK, False
    while (wait := _wait(flow_run, deadline, pause)) is not None:
        time.sleep(wait)
        pause = min(pause * _SLOWER, poll_interval)
        flow_run = client.read_flow_run(flow_run.id)
        if not told and overdue(flow_run, now()):
            with suppress(MillraceError):
                told = _told(flow_run, why(client, flow_run))
    return DeploymentRun.model_validate(dict(flow_run))


async def arun_deployment(
    name: str | UUID,
    client: Any = None,
    parameters: dict[str, Any] | None = None,
    scheduled_time: datetime | str | None = None,
    flow_run_name: str | None = None,
    timeout: float | None = None,
    poll_interval: float = 5,
    tags: Iterable[str] | None = None,
    idempotency_key: str | None = None,
    work_queue_name: str | None = None,
    as_subflow: bool = True,
    job_variables: dict[str, Any] | None = None,
) -> DeploymentRun:
    """`run_deployment` for async code: the loop runs on while it waits.

    Args:
        name: see `run_deployment`, as for all others.
        client: an `AsyncClient`.
        parameters: over the deployment's.
        scheduled_time: when it is to start.
        flow_run_name: a name for the run.
        timeout: seconds to wait.
        poll_interval: seconds between two looks, at most.
        tags: tags of the run.
        idempotency_key: makes the call repeatable.
        work_queue_name: a queue other than the deployment's.
        as_subflow: within a run, link the new run to it.
        job_variables: over the deployment's.

    Returns:
        The run as it is at the end, or when the time is over.
    """
    _check(timeout, poll_interval)
    due = _moment(scheduled_time)
    named_values(parameters, f"the deployment {str(name)!r}")
    client = client or await plugins.load("millrace.client.locate:aconnect")()
    deployment = await afound(client, name)
    needs = _needs(parameters)
    for future in needs.futures:
        with suppress(Exception):  # whether it may have failed is seen where its value is taken
            await future
    given = _given(parameters, needs, str(name))
    task_run_id = None
    if as_subflow and _within():
        flow = await client.read_flow(deployment.flow_id)
        task_run_id = (await client.create_task_run(_link(deployment, f"{flow.name}/{deployment.name}", needs))).id
    body = _body(given, due, flow_run_name, tags, idempotency_key, work_queue_name, job_variables)
    body = body.model_copy(update={"parent_task_run_id": task_run_id})
    flow_run = await client.create_flow_run_from_deployment(deployment.id, body)
    deadline = None if timeout is None else time.monotonic() + timeout
    pause, told = _FIRST_LOOK, False
    while (wait := _wait(flow_run, deadline, pause)) is not None:
        await asyncio.sleep(wait)
        pause = min(pause * _SLOWER, poll_interval)
        flow_run = await client.read_flow_run(flow_run.id)
        if not told and overdue(flow_run, now()):
            with suppress(MillraceError):
                told = _told(flow_run, await awhy(client, flow_run))
    return DeploymentRun.model_validate(dict(flow_run))


def _check(timeout: float | None, poll_interval: float) -> None:
    if timeout is not None and timeout < 0:
        raise InvalidInput(f"timeout cannot be negative, but is {timeout:g}. Give 0 to return at once, None to wait.")
    if poll_interval <= 0:
        raise InvalidInput(f"poll_interval must be more than 0 seconds, not {poll_interval:g}.")


def _moment(given: datetime | str | None) -> datetime:
    if given is None:
        return now()
    try:
        found = datetime.fromisoformat(given) if isinstance(given, str) else given
        return found if found.tzinfo is not None else found.astimezone()  # the wall clock of whoever wrote it
    except (ValueError, AttributeError):
        raise InvalidInput(
            f"scheduled_time {given!r} is no moment: give a datetime, or its text as in '2026-11-21T18:00' (local) or "
            "'2026-11-21T17:00Z'."
        ) from None


def _wait(flow_run: FlowRun, deadline: float | None, pause: float) -> float | None:
    """Seconds until the next look; None: do not look again."""
    if flow_run.state is not None and flow_run.state.is_final():
        return None
    if deadline is None:
        return pause
    left = deadline - time.monotonic()
    return min(pause, left) if left > 0 else None


def _told(flow_run: FlowRun, reason: Waiting | None) -> bool:
    """Logs why a run waits, for whoever waits for it."""
    if reason is not None:
        _log.warning("The run %r of the deployment waits. %s", flow_run.name, reason)
    return reason is not None


def _id_of(name: str | UUID) -> UUID | None:
    if isinstance(name, UUID):
        return name
    try:
        return UUID(name)
    except ValueError:
        pass
    if name.count("/") != 1:
        raise InvalidInput(f"{name!r} is no deployment: write 'flow name/deployment name', or give its id.")
    return None


def found(client: Any, name: str | UUID) -> Deployment:
    """The deployment of this id or name.

    Args:
        client: a `Client`.
        name: its id, or `flow name/deployment name`.

    Raises:
        MissingDeployment: there is none; the message names similar ones.
    """
    deployment_id = _id_of(name)
    try:
        if deployment_id is not None:
            return _deployment(client.read_deployment(deployment_id))
        flow_name, _, own = str(name).partition("/")
        return _deployment(client.read_deployment_by_name(flow_name, own))
    except NotFound:
        pass
    flows = {flow.id: flow.name for flow in client.read_flows()}
    known = [f"{flows.get(d.flow_id)}/{d.name}" for d in client.read_deployments(DeploymentQuery())]
    raise _missing(name, known)


async def afound(client: Any, name: str | UUID) -> Deployment:
    """The deployment of this id or name.

    Args:
        client: an `AsyncClient`.
        name: its id, or `flow name/deployment name`.

    Raises:
        MissingDeployment: there is none; the message names similar ones.
    """
    deployment_id = _id_of(name)
    try:
        if deployment_id is not None:
            return _deployment(await client.read_deployment(deployment_id))
        flow_name, _, own = str(name).partition("/")
        return _deployment(await client.read_deployment_by_name(flow_name, own))
    except NotFound:
        pass
    flows = {flow.id: flow.name for flow in await client.read_flows()}
    known = [f"{flows.get(d.flow_id)}/{d.name}" for d in await client.read_deployments(DeploymentQuery())]
    raise _missing(name, known)


def _deployment(value: Any) -> Deployment:
    assert isinstance(value, Deployment)
    return value


def _missing(name: str | UUID, known: list[str]) -> MissingDeployment:
    others = near_or_listed(str(name), known, "Deployments here", "millrace deployment ls")
    return MissingDeployment(f"There is no deployment {str(name)!r}.{others}")


def _within() -> bool:
    """Whether a flow or a task asks."""
    return FlowRunContext.get() is not None or TaskRunContext.get() is not None


def _needs(parameters: dict[str, Any] | None) -> Dependencies:
    """What the parameters come from."""
    parent = FlowRunContext.get()
    return Dependencies(parameters or {}, None, parent.lineage if parent else None)


def _given(parameters: dict[str, Any] | None, needs: Dependencies, deployment: str) -> JsonObject:
    """The parameters as JSON, their futures and states replaced by what they stand for; waits for them."""
    found = parameters or {}
    if needs.marked:
        found = {name: resolve(value, result_of_upstream) for name, value in found.items()}
    sent = sendable(found, f"the deployment {deployment!r}")
    refuse_values(found)
    return sent


def _link(deployment: Deployment, name: str, needs: Dependencies) -> TaskRunCreate:
    """The task run that stands for the new run in the run that asks for it."""
    parent, task = FlowRunContext.get(), TaskRunContext.get()
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    key = f"millrace.deployments.run.run_deployment.{slug}"
    number = str(parent.number(key)) if parent else new_id().hex
    inputs = dict(needs.inputs)
    if task is not None:
        inputs["__parents__"] = [{"input_type": "task_run", "id": str(task.id)}]
    return TaskRunCreate.model_validate(
        {
            "name": f"{name}-{number}",
            "flow_run_id": parent.flow_run.id if parent else None,
            "task_key": key,
            "dynamic_key": f"{task.id}-{number}" if task else number,
            "task_version": deployment.version,
            "task_inputs": inputs,
            "state": named("Pending"),
        }
    )


def _body(
    parameters: JsonObject,
    due: datetime,
    name: str | None,
    tags: Iterable[str] | None,
    idempotency_key: str | None,
    work_queue_name: str | None,
    job_variables: dict[str, Any] | None,
) -> DeploymentFlowRunCreate:
    fields: JsonObject = {"name": name} if name else {}
    return DeploymentFlowRunCreate(
        state=scheduled(due),
        parameters=parameters,
        tags=tag_list(tags),
        idempotency_key=idempotency_key,
        work_queue_name=work_queue_name,
        job_variables=expand(job_variables) if job_variables else None,
        **fields,
    )
