"""Events: what happened to what, append-only."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from pydantic import Field

from millrace.schema.fields import DateTime, JsonObject, Model, new_id, now

Resource = dict[str, str]
"""Labels of a thing; `prefect.resource.id` names it (`prefect.flow-run.<uuid>`), `prefect.resource.role` its part."""

RESOURCE_ID = "prefect.resource.id"
RESOURCE_ROLE = "prefect.resource.role"


class Event(Model):
    """Something that happened.

    `prefect.flow-run.Completed` with resource `prefect.flow-run.<id>` is written by the server with every state of a
    flow run; `prefect.task-run.*` come from the engine and are what task runs are stored from; `millrace.cell.*` tell
    of the cells of a notebook flow, `millrace.artifact.*` of what a run leaves behind.
    """

    occurred: DateTime = Field(default_factory=now)
    event: str
    resource: Resource
    related: list[Resource] = Field(default_factory=list)
    payload: JsonObject = Field(default_factory=dict)
    id: UUID = Field(default_factory=new_id)
    follows: UUID | None = None


class ReceivedEvent(Event):
    """An event as stored."""

    received: DateTime = Field(default_factory=now)
    sequence: int | None = Field(None, description="Ours: its place in the log; a stream resumes after it.")


class OccurredFilter(Model):
    """When."""

    since: DateTime = Field(default_factory=lambda: now() - timedelta(days=180))
    until: DateTime = Field(default_factory=now)


class EventNameFilter(Model):
    """By name or the start of the name."""

    prefix: list[str] | None = None
    exclude_prefix: list[str] | None = None
    name: list[str] | None = None
    exclude_name: list[str] | None = None


class EventResourceFilter(Model):
    """By the thing it happened to."""

    id: list[str] | None = None
    id_prefix: list[str] | None = None
    labels: dict[str, str | list[str]] | None = None
    distinct: bool = False


class EventRelatedFilter(Model):
    """By a related thing."""

    id: list[str] | None = None
    role: list[str] | None = None
    resources_in_roles: list[list[Any]] | None = None
    labels: dict[str, str | list[str]] | None = None


class EventAnyResourceFilter(Model):
    """By the thing or a related one."""

    id: list[str] | None = None
    id_prefix: list[str] | None = None
    labels: dict[str, str | list[str]] | None = None


class EventIdFilter(Model):
    """By id."""

    id: list[UUID] | None = None


class EventTextFilter(Model):
    """By words."""

    query: str


class EventOrder(StrEnum):
    """Oldest or newest first."""

    ASC = "ASC"
    DESC = "DESC"


class EventFilter(Model):
    """Over events; all conditions hold."""

    occurred: OccurredFilter = Field(default_factory=OccurredFilter)
    event: EventNameFilter | None = None
    resource: EventResourceFilter | None = None
    related: EventRelatedFilter | list[EventRelatedFilter] | None = None
    any_resource: EventAnyResourceFilter | list[EventAnyResourceFilter] | None = None
    id: EventIdFilter = Field(default_factory=EventIdFilter)
    text: EventTextFilter | None = None
    order: EventOrder = EventOrder.DESC


class EventQuery(Model):
    """The body of events/filter."""

    filter: EventFilter | None = None
    limit: int = Field(50, ge=0, le=50)


class EventPage(Model):
    """A page of events."""

    events: list[ReceivedEvent]
    total: int
    next_page: str | None = None
