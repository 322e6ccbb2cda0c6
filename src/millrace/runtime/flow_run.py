"""The flow run that this code belongs to.

Attributes:
    id: its id, as text.
    name: its name.
    tags: its tags.
    parameters: its parameters by name, as the function got them.
    run_count: which time it runs, from 1; more than 1 in a retry.
    scheduled_start_time: when it was to start; now, outside of a run.
    logical_time: the moment it is for: the fire of its schedule, also in a backfill; else when it was to start.
    flow_name, flow_version: of its flow.
    parent_flow_run_id, parent_deployment_id: of the run that called it, if one did.
    root_flow_run_id: of the run where it all began; its own id, if no run called it.
    job_variables: what its job was given beside its work pool's.
    api_url: where the API shows it; None with an embedded server, which listens on no port.
    ui_url: None: Millrace shows runs in the notebook and the terminal.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from millrace import settings
from millrace.client.locate import connect
from millrace.engine.context import FlowRunContext, run_of_process
from millrace.runtime.attributes import JSON, MOMENT, NUMBER, TEXT, Attributes
from millrace.schema.fields import now

if TYPE_CHECKING:
    from millrace.client.synchronous import Client
    from millrace.schema.runs import FlowRun


def _id() -> str | None:
    context = FlowRunContext.get()
    found = context.flow_run.id if context else run_of_process()
    return str(found) if found else None


def client_here() -> Client:
    """The connection of the current run, or of this process."""
    context = FlowRunContext.get()
    return context.client if context else connect()


def run_here() -> FlowRun | None:
    """The current run; one that another process drives is read from the server."""
    context = FlowRunContext.get()
    if context is not None:
        return context.flow_run
    known = run_of_process()
    return connect().read_flow_run(known) if known else None


def _of_run(name: str, empty: Any = None) -> Any:
    run = run_here()
    return getattr(run, name) if run is not None else empty


def _run_count() -> int:
    context = FlowRunContext.get()
    return context.running if context else int(_of_run("run_count", 0))


def _parameters() -> dict[str, Any]:
    context = FlowRunContext.get()
    return context.parameters if context else dict(_of_run("parameters", {}))


def _start() -> datetime:
    run = run_here()
    found = (run.expected_start_time or run.start_time) if run is not None else None
    return found or now()


def _logical_time() -> datetime:
    found: datetime | None = _of_run("nominal_time")
    return found or _start()


def _flow_name() -> str | None:
    context = FlowRunContext.get()
    if context is not None:
        return str(context.flow.name)
    run = run_here()
    return connect().read_flow(run.flow_id).name if run is not None else None


def _flow_version() -> str | None:
    context = FlowRunContext.get()
    if context is not None:
        return str(context.flow.version) if context.flow.version else None
    found = _of_run("flow_version")
    return str(found) if found else None


@lru_cache(maxsize=1024)
def _caller(task_run: UUID) -> UUID | None:
    # a run within a run has a task run in its caller; who called whom never changes
    return client_here().read_task_run(task_run).flow_run_id


def _parent() -> UUID | None:
    context = FlowRunContext.get()
    if context is not None and context.parent is not None:
        return context.parent.flow_run.id
    task_run = _of_run("parent_task_run_id")
    return _caller(task_run) if task_run else None


def _parent_id() -> str | None:
    found = _parent()
    return str(found) if found else None


def _root() -> str | None:
    found, context = _parent(), FlowRunContext.get()
    if found is None:
        return _id()
    while context is not None and context.parent is not None:
        context = context.parent
        found = context.run_id
    above = context.flow_run.parent_task_run_id if context else client_here().read_flow_run(found).parent_task_run_id
    while above is not None and (caller := _caller(above)) is not None:
        found = caller
        above = client_here().read_flow_run(found).parent_task_run_id
    return str(found)


def _parent_deployment() -> str | None:
    context, parent = FlowRunContext.get(), _parent()
    if parent is None:
        return None
    run = context.parent.flow_run if context and context.parent else client_here().read_flow_run(parent)
    return str(run.deployment_id) if run.deployment_id else None


def _api_url() -> str | None:
    url, run = settings.current().api_url, _id()
    return f"{url}/flow_runs/{run}" if url and run else None


_ATTRIBUTES = Attributes(
    __name__,
    "FLOW_RUN",
    {
        "id": (_id, TEXT),
        "name": (lambda: _of_run("name"), TEXT),
        "tags": (lambda: list(_of_run("tags", [])), JSON),
        "parameters": (_parameters, JSON),
        "run_count": (_run_count, NUMBER),
        "scheduled_start_time": (_start, MOMENT),
        "logical_time": (_logical_time, MOMENT),
        "flow_name": (_flow_name, TEXT),
        "flow_version": (_flow_version, TEXT),
        "parent_flow_run_id": (_parent_id, TEXT),
        "parent_deployment_id": (_parent_deployment, TEXT),
        "root_flow_run_id": (_root, TEXT),
        "job_variables": (lambda: _of_run("job_variables"), JSON),
        "api_url": (_api_url, TEXT),
        "ui_url": (lambda: None, TEXT),
    },
)


def __getattr__(name: str) -> Any:
    return _ATTRIBUTES.get(name)


def __dir__() -> list[str]:
    return sorted(_ATTRIBUTES.read)
