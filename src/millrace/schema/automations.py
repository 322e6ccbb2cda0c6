"""Automations: when this happens, do that."""

from __future__ import annotations

from enum import StrEnum
from typing import Self
from uuid import UUID

from pydantic import Field, model_validator

from millrace.schema.actions import AnyAction, RunDeployment
from millrace.schema.events import ReceivedEvent
from millrace.schema.fields import DateTime, Model, Tags
from millrace.schema.flows import Filter, IdCondition, Page, Stored, TagsCondition, TextCondition, TimeCondition
from millrace.schema.triggers import AnyTrigger, EventTrigger, MetricTrigger, Posture, covers_every

_ON_THE_WAY = {f"prefect.flow-run.{name}" for name in ("Scheduled", "Pending", "Running", "*")}
"""Events of every run of a deployment: an automation that runs one at them may never come to rest."""


class AutomationCore(Model):
    """When its trigger fires, an automation does its actions."""

    name: str
    description: str = ""
    enabled: bool = True
    tags: Tags = Field(default_factory=list)
    trigger: AnyTrigger
    actions: list[AnyAction]
    actions_on_trigger: list[AnyAction] = Field(default_factory=list)
    actions_on_resolve: list[AnyAction] = Field(
        default_factory=list, description="Kept for the wire: only metric triggers resolve."
    )


class AutomationUpdate(AutomationCore):
    """An automation to put in the place of another."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if any(isinstance(part, MetricTrigger) for part in self.trigger.parts()):
            raise ValueError(
                "metric triggers are not supported. Expect events instead: a proactive trigger with within tells of "
                "runs that take too long"
            )
        self._no_loop()
        return self

    def _no_loop(self) -> None:
        trigger = self.trigger
        runs = [action for action in self.actions if isinstance(action, RunDeployment)]
        if not runs or not self.enabled or not isinstance(trigger, EventTrigger):
            return
        if trigger.posture is not Posture.REACTIVE or not _ON_THE_WAY & trigger.expect:
            return
        if any(action.source == "inferred" for action in runs):
            raise ValueError(
                "a run of a deployment makes the events that this trigger expects, so running the deployment of the "
                "event would never end. Select a deployment, and narrow match or match_related"
            )
        related = trigger.match_related if isinstance(trigger.match_related, list) else [trigger.match_related]
        kind = "prefect.flow-run"
        if covers_every(trigger.match, kind) and any(covers_every(one, kind) for one in related):
            raise ValueError(
                "a run of a deployment makes the events that this trigger expects, and nothing excludes those of the "
                "selected deployment. Narrow match or match_related"
            )


class AutomationCreate(AutomationUpdate):
    """An automation to store."""

    owner_resource: str | None = Field(
        None, description="The resource it belongs to, `prefect.deployment.<id>`: it goes with it."
    )


class AutomationPatch(Model):
    """What of an automation may change alone."""

    enabled: bool = True


class Automation(AutomationCore, Stored):
    """A stored automation."""


class CreatedCondition(TimeCondition):
    """On the moment of creation."""


class AutomationFilter(Filter):
    """Over automations."""

    id: IdCondition | None = None
    name: TextCondition | None = None
    created: CreatedCondition | None = None
    tags: TagsCondition | None = None


class AutomationSort(StrEnum):
    """Their order."""

    CREATED_DESC = "CREATED_DESC"
    UPDATED_DESC = "UPDATED_DESC"
    NAME_ASC = "NAME_ASC"
    NAME_DESC = "NAME_DESC"


class AutomationCount(Model):
    """The body of automations/count."""

    automations: AutomationFilter | None = None


class AutomationQuery(Page, AutomationCount):
    """The body of automations/filter."""

    sort: AutomationSort | None = None


class Firing(Model):
    """One time a trigger fired.

    Attributes:
        trigger_id: the trigger.
        triggered: when.
        labels: the values it counted apart.
        event: the one that made it fire, or the last it counted.
        firings: of a composite trigger, those of its parts.
    """

    trigger_id: UUID
    triggered: DateTime
    labels: dict[str, str] = Field(default_factory=dict)
    event: ReceivedEvent | None = None
    firings: list[Firing] = Field(default_factory=list)

    def events(self) -> list[ReceivedEvent]:
        """The events of it and of its parts."""
        own = [self.event] if self.event is not None else []
        return own + [event for part in self.firings for event in part.events()]


class Invocation(Model):
    """One action to do because a trigger fired."""

    id: UUID
    automation_id: UUID
    automation_name: str
    place: int
    trigger_type: str
    posture: str | None = None
    action: AnyAction
    firing: Firing
    triggered_event: UUID
    attempts: int = 0
