"""Flow runs and task runs."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BeforeValidator, Field, model_validator

from millrace.schema.fields import DateTime, JsonObject, Labels, Model, Name, Tags, now, run_name
from millrace.schema.flows import (
    BoolCondition,
    Filter,
    IdCondition,
    Operator,
    Stored,
    TagsCondition,
    TextCondition,
    TimeCondition,
)
from millrace.schema.states import State, StateCreate, StateType

RunName = Annotated[str, BeforeValidator(lambda v: v or run_name())]


class FlowRunPolicy(Model):
    """When a failed flow run is run again."""

    max_retries: int = 0
    retry_delay_seconds: float = 0
    retries: int | None = None
    retry_delay: int | None = None
    pause_keys: list[str] | None = Field(default_factory=list)
    resuming: bool | None = False
    retry_type: Literal["in_process", "reschedule"] | None = None


class TaskRunPolicy(Model):
    """When a failed task run is run again."""

    max_retries: int = 0
    retry_delay_seconds: float = 0
    retries: int | None = None
    retry_delay: float | list[float] | None = None
    retry_jitter_factor: float | None = None


class CreatedBy(Model):
    """Who made or changed a thing: a schedule, a user, an automation."""

    id: UUID | None = None
    type: str | None = None
    display_value: str | None = None


class FlowRunCreate(Model):
    """A run to create."""

    state: StateCreate | None = None
    name: RunName = Field(default_factory=run_name)
    flow_id: UUID
    flow_version: str | None = None
    parameters: JsonObject = Field(default_factory=dict)
    context: JsonObject = Field(default_factory=dict)
    parent_task_run_id: UUID | None = None
    infrastructure_document_id: UUID | None = None
    empirical_policy: FlowRunPolicy = Field(default_factory=FlowRunPolicy)
    tags: Tags = Field(default_factory=list)
    labels: Labels = Field(default_factory=dict)
    idempotency_key: str | None = None
    work_pool_name: str | None = None
    work_queue_name: str | None = None
    job_variables: JsonObject | None = None
    deployment_id: UUID | None = None


class DeploymentFlowRunCreate(Model):
    """A run of a deployment to create."""

    state: StateCreate | None = None
    name: RunName = Field(default_factory=run_name)
    parameters: JsonObject = Field(default_factory=dict)
    enforce_parameter_schema: bool | None = None
    context: JsonObject = Field(default_factory=dict)
    infrastructure_document_id: UUID | None = None
    empirical_policy: FlowRunPolicy = Field(default_factory=FlowRunPolicy)
    tags: Tags = Field(default_factory=list)
    idempotency_key: str | None = None
    labels: Labels = Field(default_factory=dict)
    parent_task_run_id: UUID | None = None
    work_queue_name: str | None = None
    job_variables: JsonObject | None = None


class FlowRun(FlowRunCreate, Stored):
    """A run as stored and answered."""

    state: State | None = None
    state_id: UUID | None = None
    state_type: StateType | None = None
    state_name: str | None = None
    deployment_version: str | None = None
    work_queue_id: UUID | None = None
    work_pool_id: UUID | None = None
    run_count: int = 0
    expected_start_time: DateTime | None = None
    next_scheduled_start_time: DateTime | None = None
    start_time: DateTime | None = None
    end_time: DateTime | None = None
    total_run_time: float = 0.0
    estimated_run_time: float = 0.0
    estimated_start_time_delta: float = 0.0
    auto_scheduled: bool = False
    nominal_time: DateTime | None = Field(
        None, description="Ours: the fire of the schedule that this run is for; its logical time."
    )
    infrastructure_pid: str | None = None
    created_by: CreatedBy | None = None
    attempt: int = Field(0, description="Ours: the fencing token, one higher with every claim; 0 before the first.")


class FlowRunUpdate(Model):
    """What of a run a client may change; only the fields that were sent are changed."""

    name: str | None = None
    flow_version: str | None = None
    parameters: JsonObject | None = None
    empirical_policy: FlowRunPolicy | None = None
    tags: Tags | None = None
    infrastructure_pid: str | None = None
    job_variables: JsonObject | None = None


class FlowRunSort(StrEnum):
    """Orders of flow runs."""

    ID_DESC = "ID_DESC"
    START_TIME_ASC = "START_TIME_ASC"
    START_TIME_DESC = "START_TIME_DESC"
    EXPECTED_START_TIME_ASC = "EXPECTED_START_TIME_ASC"
    EXPECTED_START_TIME_DESC = "EXPECTED_START_TIME_DESC"
    NAME_ASC = "NAME_ASC"
    NAME_DESC = "NAME_DESC"
    NEXT_SCHEDULED_START_TIME_ASC = "NEXT_SCHEDULED_START_TIME_ASC"
    END_TIME_DESC = "END_TIME_DESC"


class StateTypeCondition(Model):
    """On the type of a state."""

    any_: list[StateType] | None = None
    not_any_: list[StateType] | None = None


class StateCondition(Model):
    """On the state of a run."""

    type: StateTypeCondition | None = None
    name: TextCondition | None = None
    operator: Operator = Operator.AND


class CreatedByCondition(Model):
    """On who made a run."""

    id_: list[UUID] | None = None
    type_: list[str] | None = None
    is_null_: bool | None = None
    operator: Operator = Operator.AND


class FlowRunFilter(Filter):
    """Over flow runs."""

    id: IdCondition | None = None
    name: TextCondition | None = None
    tags: TagsCondition | None = None
    deployment_id: IdCondition | None = None
    work_queue_name: TextCondition | None = None
    state: StateCondition | None = None
    flow_version: TextCondition | None = None
    start_time: TimeCondition | None = None
    end_time: TimeCondition | None = None
    expected_start_time: TimeCondition | None = None
    next_scheduled_start_time: TimeCondition | None = None
    parent_flow_run_id: IdCondition | None = None
    parent_task_run_id: IdCondition | None = None
    idempotency_key: TextCondition | None = None
    created_by: CreatedByCondition | None = None


class TaskRunInput(Model):
    """One source of a task's argument: another run, a parameter or a constant."""

    input_type: Literal["task_run", "flow_run", "parameter", "constant"]
    id: UUID | None = None
    name: str | None = None
    type: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _kind(cls, given: Any) -> Any:
        """Which kind it is shows in what is given, where it is not said."""
        if isinstance(given, dict) and given.get("input_type") is None:
            kind = "task_run" if "id" in given else "parameter" if "name" in given else "constant"
            return {**given, "input_type": kind}
        return given


class TaskRunCreate(Model):
    """A task run to create."""

    id: UUID | None = None
    state: StateCreate | None = None
    name: RunName = Field(default_factory=run_name)
    flow_run_id: UUID | None = None
    task_key: str
    dynamic_key: str
    cache_key: str | None = None
    cache_expiration: DateTime | None = None
    task_version: str | None = None
    empirical_policy: TaskRunPolicy = Field(default_factory=TaskRunPolicy)
    tags: Tags = Field(default_factory=list)
    labels: Labels = Field(default_factory=dict)
    task_inputs: dict[str, list[TaskRunInput]] = Field(default_factory=dict)


class TaskRun(TaskRunCreate, Stored):
    """A task run as stored; built by the server from events, in whatever order they come."""

    id: UUID
    state: State | None = None
    state_id: UUID | None = None
    state_type: StateType | None = None
    state_name: str | None = None
    run_count: int = 0
    flow_run_run_count: int = 0
    expected_start_time: DateTime | None = None
    next_scheduled_start_time: DateTime | None = None
    start_time: DateTime | None = None
    end_time: DateTime | None = None
    total_run_time: float = 0.0
    estimated_run_time: float = 0.0
    estimated_start_time_delta: float = 0.0


class TaskRunSort(StrEnum):
    """Orders of task runs."""

    ID_DESC = "ID_DESC"
    EXPECTED_START_TIME_ASC = "EXPECTED_START_TIME_ASC"
    EXPECTED_START_TIME_DESC = "EXPECTED_START_TIME_DESC"
    NAME_ASC = "NAME_ASC"
    NAME_DESC = "NAME_DESC"
    NEXT_SCHEDULED_START_TIME_ASC = "NEXT_SCHEDULED_START_TIME_ASC"
    END_TIME_DESC = "END_TIME_DESC"


class TaskRunFilter(Filter):
    """Over task runs."""

    id: IdCondition | None = None
    name: TextCondition | None = None
    tags: TagsCondition | None = None
    state: StateCondition | None = None
    start_time: TimeCondition | None = None
    end_time: TimeCondition | None = None
    expected_start_time: TimeCondition | None = None
    subflow_runs: BoolCondition | None = None
    flow_run_id: IdCondition | None = None


class Lease(Model):
    """The right to run one flow run, until it expires; ours. Later writes of the attempt carry it as fencing token."""

    flow_run_id: UUID
    attempt: int = Field(ge=1)
    holder: str = Field(description="Who holds it, for people: a worker's name or kernel@host.")
    expires: DateTime

    @property
    def header(self) -> str:
        """The value of the header `Millrace-Lease` that fences writes."""
        return f"{self.flow_run_id}/{self.attempt}"


LEASE_HEADER = "Millrace-Lease"


class BeginRun(Model):
    """Ours: create a flow if new, a run of it, set it Running and lease it, in one durable write."""

    flow_name: Name
    flow_run: FlowRunCreate = Field(description="`flow_id` is ignored: the name decides.")
    again: UUID | None = Field(
        None,
        description="Take up this run instead, which has ended or waits: it becomes Pending and leased.",
    )
    holder: str
    lease_seconds: float = Field(30.0, gt=0, le=3600)


class BegunRun(Model):
    """The answer to `BeginRun`."""

    flow_run: FlowRun
    lease: Lease


class ExtendLeases(Model):
    """Ours: say that these attempts live."""

    leases: list[tuple[UUID, int]] = Field(description="Pairs of flow run id and attempt.")
    lease_seconds: float = Field(30.0, gt=0, le=3600)


class ExtendedLeases(Model):
    """The answer: which hold on, which are lost, and which are asked to stop."""

    extended: list[UUID] = Field(default_factory=list)
    lost: list[UUID] = Field(default_factory=list)
    cancelling: list[UUID] = Field(default_factory=list, description="Extended, but a person asked to cancel the run.")
    suspended: list[UUID] = Field(
        default_factory=list, description="Extended, but suspended by somebody: to be left before the next task."
    )
    ended: list[UUID] = Field(
        default_factory=list, description="Extended, but over: whoever still calls its code stops it."
    )
    server_time: DateTime = Field(default_factory=now)


class ReleaseLease(Model):
    """Ours: give a claim back unused; the run becomes claimable again."""

    flow_run_id: UUID
    attempt: int
    reason: str | None = None
