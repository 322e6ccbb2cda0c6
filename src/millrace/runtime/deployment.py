"""The deployment whose run this code belongs to, be it through flows that call flows.

Attributes:
    id: its id, as text.
    name: its name.
    version: its version.
    flow_run_id: the id of the current flow run.
    parameters: the parameters that its run was given: those of the deployment and of the call, without the flow's
        own defaults.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from millrace.engine.context import FlowRunContext
from millrace.runtime import flow_run
from millrace.runtime.attributes import JSON, TEXT, Attributes
from millrace.runtime.flow_run import client_here, run_here

if TYPE_CHECKING:
    from millrace.schema.deployments import Deployment
    from millrace.schema.runs import FlowRun


def _run() -> FlowRun | None:
    """The nearest run that belongs to a deployment."""
    context = FlowRunContext.get()
    while context is not None:
        if context.flow_run.deployment_id is not None:
            return context.flow_run
        context = context.parent
    run = run_here()
    return run if run is not None and run.deployment_id is not None else None


@lru_cache(maxsize=64)
def _read(id: UUID) -> Deployment:
    # what a run's deployment was called and which version it was does not change while it runs
    return client_here().read_deployment(id)


def _of_deployment(name: str) -> Any:
    run = _run()
    return getattr(_read(run.deployment_id), name) if run is not None and run.deployment_id is not None else None


def _id() -> str | None:
    run = _run()
    return str(run.deployment_id) if run is not None else None


def _parameters() -> dict[str, Any]:
    run = _run()
    return dict(run.parameters) if run is not None else {}


_ATTRIBUTES = Attributes(
    __name__,
    "DEPLOYMENT",
    {
        "id": (_id, TEXT),
        "name": (lambda: _of_deployment("name"), TEXT),
        "version": (lambda: _of_deployment("version"), TEXT),
        "flow_run_id": (lambda: flow_run.id, TEXT),
        "parameters": (_parameters, JSON),
    },
)


def __getattr__(name: str) -> Any:
    return _ATTRIBUTES.get(name)


def __dir__() -> list[str]:
    return sorted(_ATTRIBUTES.read)
