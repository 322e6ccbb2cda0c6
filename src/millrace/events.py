"""Events: tell that something happened, and let it start deployments.

`emit_event` tells. The trigger classes say what a deployment waits for: `flow.deploy(…, triggers=[…])`. What else an
automation can wait for and do is in `millrace.automations`.
"""

from __future__ import annotations

import os
import sys
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import ConfigDict, Field, ValidationError

from millrace.engine.context import FlowRunContext, TaskRunContext
from millrace.engine.recorder import recorder
from millrace.engine.secrecy import masked_value
from millrace.errors import InvalidInput
from millrace.schema.actions import RunDeployment
from millrace.schema.automations import AutomationCreate
from millrace.schema.events import RESOURCE_ID, RESOURCE_ROLE, Event, ReceivedEvent, Resource
from millrace.schema.fields import JsonObject, Model, new_id, now
from millrace.schema.triggers import (
    AnyTrigger,
    CompoundTrigger,
    EventTrigger,
    MetricTrigger,
    Posture,
    SequenceTrigger,
    kind_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "CompoundTrigger",
    "DeploymentCompoundTrigger",
    "DeploymentEventTrigger",
    "DeploymentMetricTrigger",
    "DeploymentSequenceTrigger",
    "Event",
    "EventTrigger",
    "MetricTrigger",
    "Posture",
    "ReceivedEvent",
    "Resource",
    "SequenceTrigger",
    "deployment_trigger",
    "emit_event",
]

LARGEST_EVENT = 1_500_000
"""Bytes of JSON; what is larger belongs into a file or an artifact."""

_TIGHT = timedelta(minutes=5)
_RUN = ("MILLRACE__FLOW_RUN_ID", "PREFECT__FLOW_RUN_ID")
_LONGEST_NAME = 1024


def emit_event(
    event: str,
    resource: Mapping[str, str],
    occurred: datetime | None = None,
    related: Sequence[Mapping[str, str]] | None = None,
    payload: Mapping[str, Any] | None = None,
    id: UUID | None = None,
    follows: Event | None = None,
) -> Event:
    """Tells that something happened.

    It returns at once, in plain and in async code alike; the event is sent from a thread beside. In a run, the run, its
    flow and deployment, the task run and the tags are added to what it is related to.

    Args:
        event: what happened, such as `order.arrived`.
        resource: labels of the thing it happened to; `prefect.resource.id` names it.
        occurred: when; None: now.
        related: labels of other things that are concerned; each has `prefect.resource.id` and `prefect.resource.role`.
        payload: JSON for whoever reads it.
        id: its id; one that the server knows is not stored again.
        follows: an event that came before this one; ignored if that is more than five minutes away.

    Returns:
        The event.

    Raises:
        InvalidInput: it is no event, or too large.

    Example:
        >>> emit_event("order.arrived", {"prefect.resource.id": "order.7"}, payload={"rows": 3})  # doctest: +SKIP
    """
    moment = now() if occurred is None else occurred.astimezone()
    others = [dict(one) for one in related or ()] + _surroundings()
    try:
        made = Event(
            event=event,
            resource=dict(resource),
            occurred=moment,
            related=others,
            payload=masked_value(dict(payload or {})),
            id=id or new_id(),
            follows=follows.id if follows is not None and abs(moment - follows.occurred) < _TIGHT else None,
        )
        size = len(made.model_dump_json())
    except (ValidationError, ValueError, TypeError) as error:
        raise InvalidInput(f"The event {event!r} cannot be told: {error}") from None
    _check(made, size)
    here = FlowRunContext.get()
    recorder().record(here.sender if here is not None else None, lambda: made)
    return made


def _check(event: Event, size: int) -> None:
    if not event.event or len(event.event) > _LONGEST_NAME:
        raise InvalidInput(f"The name of an event has between 1 and {_LONGEST_NAME:,} characters.")
    if not event.resource.get(RESOURCE_ID):
        raise InvalidInput(f"The resource of an event needs the label {RESOURCE_ID!r}, such as 'order.7'.")
    for one in event.related:
        if not one.get(RESOURCE_ID) or not one.get(RESOURCE_ROLE):
            raise InvalidInput(f"A related resource needs the labels {RESOURCE_ID!r} and {RESOURCE_ROLE!r}: {one}.")
    if size > LARGEST_EVENT:
        raise InvalidInput(
            f"The event {event.event!r} has {size:,} bytes; at most {LARGEST_EVENT:,} are taken. "
            "Leave the data in a file, and tell where it is."
        )


def _resource(role: str, id: object, name: str | None = None) -> Resource:
    named = {"prefect.resource.name": name} if name else {}
    return {RESOURCE_ID: f"prefect.{role}.{id}", RESOURCE_ROLE: role, **named}


def _surroundings() -> list[Resource]:
    """The run in which something happens, as related resources."""
    here, task = FlowRunContext.get(), TaskRunContext.get()
    found: list[Resource] = []
    if here is not None:
        run = here.flow_run
        found += [_resource("flow-run", run.id, run.name), _resource("flow", run.flow_id, here.flow.name)]
        if run.deployment_id is not None:
            found.append(_resource("deployment", run.deployment_id))
        found += [_resource("tag", tag, tag) for tag in sorted(run.tags)]
    elif (id := _run_of_kernel()) is not None:
        found.append(_resource("flow-run", id))
    if task is not None:
        found.append(_resource("task-run", task.id, task.name))
    return found


def _run_of_kernel() -> UUID | None:
    # A cell of a notebook flow: its run is that of the process that started the kernel.
    text = (
        next((os.environ[name] for name in _RUN if os.environ.get(name)), None) if "ipykernel" in sys.modules else None
    )
    try:
        return UUID(text) if text else None
    except ValueError:
        return None


class _OfDeployment(Model):
    model_config = ConfigDict(ser_json_timedelta="float")

    name: str | None = Field(None, description="Of the automation; None: after the deployment.")
    description: str = ""
    enabled: bool = True
    parameters: JsonObject | None = Field(None, description="Of the run; templates in them are filled in.")
    job_variables: JsonObject | None = None
    schedule_after: timedelta = Field(timedelta(0), ge=timedelta(0), description="Start the run so much later.")

    def as_automation(self, deployment_name: str, deployment_id: UUID) -> AutomationCreate:
        """The automation that runs a deployment when this trigger fires, and belongs to it.

        Args:
            deployment_name: from which an automation without a name gets its own.
            deployment_id: the deployment.

        Raises:
            InvalidInput: it cannot be one.
        """
        own = set(_OfDeployment.model_fields)
        action = RunDeployment(
            deployment_id=deployment_id,
            parameters=self.parameters,
            job_variables=self.job_variables,
            schedule_after=self.schedule_after,
        )
        try:
            return AutomationCreate(
                name=self.name or f"{deployment_name}__automation",
                description=self.description,
                enabled=self.enabled,
                trigger=self.model_dump(exclude=own),
                actions=[action],
                owner_resource=f"prefect.deployment.{deployment_id}",
            )
        except ValidationError as error:
            raise InvalidInput(f"The trigger of {deployment_name!r} cannot be used: {error}") from None


class DeploymentEventTrigger(_OfDeployment, EventTrigger):
    """Runs a deployment when events happen, or when they do not.

    Args:
        expect: the events, such as `order.arrived` or `prefect.flow-run.Completed`.
        match: labels of what they happen to.
        parameters: of the run; `{{ event.payload.rows }}` and its like are filled in.

    Example:
        >>> DeploymentEventTrigger(expect={"order.arrived"}, parameters={"rows": "{{ event.payload.rows }}"}).threshold
        1
    """


class DeploymentMetricTrigger(_OfDeployment, MetricTrigger):
    """Stands for the original's; a server refuses it."""


class DeploymentCompoundTrigger(_OfDeployment, CompoundTrigger):
    """Runs a deployment when some, any or all of several triggers fired.

    Example:
        >>> parts = [EventTrigger(expect={"a"}), EventTrigger(expect={"b"})]
        >>> DeploymentCompoundTrigger(require="any", triggers=parts).needed
        1
    """


class DeploymentSequenceTrigger(_OfDeployment, SequenceTrigger):
    """Runs a deployment when several triggers fired one after the other.

    Example:
        >>> parts = [EventTrigger(expect={"a"}), EventTrigger(expect={"b"})]
        >>> len(DeploymentSequenceTrigger(triggers=parts).triggers)
        2
    """


_KINDS: dict[str, type[_OfDeployment]] = {
    "event": DeploymentEventTrigger,
    "metric": DeploymentMetricTrigger,
    "compound": DeploymentCompoundTrigger,
    "sequence": DeploymentSequenceTrigger,
}


def deployment_trigger(given: Mapping[str, Any]) -> _OfDeployment:
    """A mapping, such as an entry of `triggers` in a YAML file, as a trigger of a deployment.

    Args:
        given: the fields; the type is guessed where it is not named.

    Raises:
        InvalidInput: it is none.

    Example:
        >>> type(deployment_trigger({"expect": ["order.arrived"]})).__name__
        'DeploymentEventTrigger'
    """
    kind = kind_of(dict(given))
    if kind not in _KINDS:
        raise InvalidInput(f"A trigger is of one of the types {', '.join(_KINDS)}, not {kind!r}.")
    try:
        return _KINDS[kind].model_validate(dict(given))
    except ValidationError as error:
        raise InvalidInput(f"This is no trigger of the type {kind}: {error}") from None


_NAMESPACE = {"AnyTrigger": AnyTrigger, **globals()}
DeploymentCompoundTrigger.model_rebuild(_types_namespace=_NAMESPACE)
DeploymentSequenceTrigger.model_rebuild(_types_namespace=_NAMESPACE)
