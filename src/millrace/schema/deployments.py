"""Deployments: a flow, where its code is, with which parameters, when and where it runs."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal
from uuid import UUID

from pydantic import Field

from millrace.schema.fields import DateTime, JsonObject, Labels, Model, Name, Tags
from millrace.schema.flows import (
    BoolCondition,
    Filter,
    IdCondition,
    NumberCondition,
    Stored,
    TagsCondition,
    TextCondition,
)
from millrace.schema.limits import GlobalLimit
from millrace.schema.runs import CreatedBy
from millrace.schema.schedules import Schedule

CATCH_UP_LABEL = "millrace.catch-up"
CatchUp = Literal["skip", "latest", "all"]
"""What becomes of fires missed while nothing ran: none, the newest only, or all. Kept in the label `CATCH_UP_LABEL`,
because labels are what every server of this API stores."""

DEFAULT_CATCH_UP: CatchUp = "latest"


class DeploymentScheduleCreate(Model):
    """A schedule of a deployment."""

    schedule: Schedule
    active: bool = True
    max_scheduled_runs: int | None = Field(None, gt=0, description="How many runs may wait at once, at most.")
    parameters: JsonObject = Field(default_factory=dict, description="Over the deployment's parameters, for its runs.")
    slug: str | None = None
    replaces: str | None = None


class DeploymentSchedule(DeploymentScheduleCreate, Stored):
    """A stored schedule."""

    deployment_id: UUID | None = None


class DeploymentScheduleUpdate(Model):
    """What of a schedule may change; only the fields that were sent are changed."""

    active: bool | None = None
    schedule: Schedule | None = None
    max_scheduled_runs: int | None = Field(None, gt=0)
    parameters: JsonObject | None = None
    slug: str | None = None
    replaces: str | None = None


class ConcurrencyLimitStrategy(StrEnum):
    """What a run does when the deployment's slots are taken: it waits, or it is cancelled."""

    ENQUEUE = "ENQUEUE"
    CANCEL_NEW = "CANCEL_NEW"


class ConcurrencyOptions(Model):
    """What a run does when the deployment's slots are taken."""

    collision_strategy: ConcurrencyLimitStrategy
    grace_period_seconds: int | None = Field(None, ge=60, le=86400)


class ConcurrencyLimitConfig(ConcurrencyOptions):
    """How many runs of a deployment there may be at once, and what becomes of one more.

    Attributes:
        limit: how many.
        collision_strategy: whether one more waits or is cancelled.
        grace_period_seconds: how long a run that was taken may need to start; 60 to 86400. Stored for servers that
            heed it: a Millrace server leases slots and needs no such period.

    Example:
        >>> ConcurrencyLimitConfig(limit=1, collision_strategy="CANCEL_NEW").limit
        1
    """

    limit: int = Field(ge=0)
    collision_strategy: ConcurrencyLimitStrategy = ConcurrencyLimitStrategy.ENQUEUE


class VersionInfo(Model):
    """Which version of the code this is."""

    type: str
    version: str


class DeploymentCreate(Model):
    """A deployment to create; creating a known (flow, name) replaces it."""

    name: Name
    flow_id: UUID
    paused: bool = False
    schedules: list[DeploymentScheduleCreate] = Field(default_factory=list)
    concurrency_limit: int | None = Field(None, ge=0)
    concurrency_options: ConcurrencyOptions | None = None
    global_concurrency_limit_id: UUID | None = None
    enforce_parameter_schema: bool = True
    parameter_openapi_schema: JsonObject | None = Field(default_factory=dict)
    parameters: JsonObject = Field(default_factory=dict)
    tags: Tags = Field(default_factory=list)
    labels: Labels = Field(default_factory=dict)
    pull_steps: list[JsonObject] | None = None
    work_queue_name: str | None = None
    work_pool_name: str | None = None
    storage_document_id: UUID | None = None
    infrastructure_document_id: UUID | None = None
    description: str | None = None
    path: str | None = None
    version: str | None = None
    entrypoint: str | None = None
    job_variables: JsonObject = Field(default_factory=dict)
    version_info: VersionInfo | None = None

    @property
    def unsaid(self) -> JsonObject:
        """What was left out, for which a server would take the default as said: it is not sent."""
        rests = {place: {"active"} for place, one in enumerate(self.schedules) if "active" not in one.model_fields_set}
        return {"schedules": rests} | ({} if "paused" in self.model_fields_set else {"paused": True})


class DeploymentStatus(StrEnum):
    """Whether somebody would run it: a worker polls its pool."""

    READY = "READY"
    NOT_READY = "NOT_READY"


class Deployment(DeploymentCreate, Stored):
    """A deployment as stored and answered."""

    schedules: list[DeploymentSchedule] = Field(default_factory=list)  # type: ignore[assignment]
    global_concurrency_limit: GlobalLimit | None = None
    work_queue_id: UUID | None = None
    last_polled: DateTime | None = None
    created_by: CreatedBy | None = None
    updated_by: CreatedBy | None = None
    status: DeploymentStatus | None = DeploymentStatus.NOT_READY


class DeploymentUpdate(Model):
    """What of a deployment may change; only the fields that were sent are changed."""

    version: str | None = None
    description: str | None = None
    paused: bool | None = None
    schedules: list[DeploymentScheduleUpdate] | None = None
    concurrency_limit: int | None = Field(None, ge=0)
    concurrency_options: ConcurrencyOptions | None = None
    global_concurrency_limit_id: UUID | None = None
    parameters: JsonObject | None = None
    parameter_openapi_schema: JsonObject | None = None
    tags: Tags | None = None
    work_queue_name: str | None = None
    work_pool_name: str | None = None
    path: str | None = None
    job_variables: JsonObject | None = None
    pull_steps: list[JsonObject] | None = None
    entrypoint: str | None = None
    storage_document_id: UUID | None = None
    infrastructure_document_id: UUID | None = None
    enforce_parameter_schema: bool | None = None
    version_info: VersionInfo | None = None


class DeploymentSort(StrEnum):
    """Orders of deployments."""

    CREATED_DESC = "CREATED_DESC"
    UPDATED_DESC = "UPDATED_DESC"
    NAME_ASC = "NAME_ASC"
    NAME_DESC = "NAME_DESC"


class DeploymentFilter(Filter):
    """Over deployments."""

    id: IdCondition | None = None
    name: TextCondition | None = None
    flow_or_deployment_name: TextCondition | None = None
    paused: BoolCondition | None = None
    tags: TagsCondition | None = None
    work_queue_name: TextCondition | None = None
    concurrency_limit: NumberCondition | None = None


class SkippedFire(Model):
    """Ours: a fire that was missed and, by the deployment's policy, not run."""

    deployment_id: UUID
    schedule_id: UUID
    nominal_time: DateTime
    recorded: DateTime
    reason: str


class DeploymentBatch(Model):
    """Ours: deployments to create or replace in one write."""

    deployments: list[DeploymentCreate] = Field(max_length=200)

    @property
    def unsaid(self) -> JsonObject:
        """What was left out of each."""
        return {"deployments": {place: one.unsaid for place, one in enumerate(self.deployments)}}


class BatchDone(Model):
    """The answer: the id of each, in order; null where one was refused. Sent alone it is told why."""

    ids: list[UUID | None]
