"""Work pools, their queues and the workers that poll them."""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

from pydantic import Field

from millrace.schema.deployments import Deployment
from millrace.schema.fields import DateTime, JsonObject, Model, Name
from millrace.schema.flows import Filter, IdCondition, Page, Stored, TextCondition, TimeCondition
from millrace.schema.runs import FlowRun, Lease
from millrace.schema.states import StateType


class StorageConfiguration(Model):
    """Where bundles and results of a pool lie; kept for the wire."""

    bundle_upload_step: JsonObject | None = None
    bundle_execution_step: JsonObject | None = None
    default_result_storage_block_id: UUID | None = None


class WorkPoolCreate(Model):
    """A pool to create."""

    name: Name
    description: str | None = None
    type: str = "prefect-agent"
    base_job_template: JsonObject = Field(default_factory=dict)
    is_paused: bool = False
    concurrency_limit: int | None = Field(None, ge=0)
    storage_configuration: StorageConfiguration = Field(default_factory=StorageConfiguration)


class PoolStatus(StrEnum):
    """READY: a worker polls it."""

    READY = "READY"
    NOT_READY = "NOT_READY"
    PAUSED = "PAUSED"


class WorkPool(WorkPoolCreate, Stored):
    """A stored pool."""

    status: PoolStatus | None = None
    default_queue_id: UUID | None = None
    active_slots: int | None = None


class WorkPoolUpdate(Model):
    """What of a pool may change; only the fields that were sent are changed."""

    description: str | None = None
    is_paused: bool | None = None
    base_job_template: JsonObject | None = None
    concurrency_limit: int | None = Field(None, ge=0)
    storage_configuration: StorageConfiguration | None = None


class WorkPoolFilter(Filter):
    """Over pools."""

    id: IdCondition | None = None
    name: TextCondition | None = None
    type: TextCondition | None = None


class WorkPoolQuery(Page):
    """The body of work_pools/filter."""

    work_pools: WorkPoolFilter | None = None


class QueueFilter(Model):
    """Which runs an old kind of queue takes; kept for the wire."""

    tags: list[str] | None = None
    deployment_ids: list[UUID] | None = None


class WorkQueueCreate(Model):
    """A queue to create."""

    name: Name
    description: str | None = ""
    is_paused: bool = False
    concurrency_limit: int | None = Field(None, ge=0)
    priority: int | None = Field(None, ge=1, description="1 goes first.")
    filter: QueueFilter | None = None


class WorkQueue(WorkQueueCreate, Stored):
    """A stored queue."""

    priority: int = 1
    work_pool_id: UUID | None = None
    work_pool_name: str | None = None
    last_polled: DateTime | None = None
    status: PoolStatus | None = None
    active_slots: int | None = None


class WorkQueueUpdate(Model):
    """What of a queue may change; only the fields that were sent are changed."""

    name: str | None = None
    description: str | None = None
    is_paused: bool | None = None
    concurrency_limit: int | None = Field(None, ge=0)
    priority: int | None = Field(None, ge=1)
    last_polled: DateTime | None = None
    filter: QueueFilter | None = None


class WorkQueueFilter(Filter):
    """Over queues."""

    id: IdCondition | None = None
    name: TextCondition | None = None


class WorkQueueQuery(Page):
    """The body of queues/filter."""

    work_queues: WorkQueueFilter | None = None


class QueueHealthPolicy(Model):
    """When a queue counts as healthy."""

    maximum_late_runs: int | None = 0
    maximum_seconds_since_last_polled: int | None = 60


class QueueStatusDetail(Model):
    """How a queue does."""

    healthy: bool
    late_runs_count: int = 0
    last_polled: DateTime | None = None
    health_check_policy: QueueHealthPolicy = Field(default_factory=QueueHealthPolicy)


class SlotSummary(Model):
    """A run that holds a slot."""

    id: UUID
    name: str
    state_type: StateType | None = None
    state_name: str | None = None
    start_time: DateTime | None = None
    state_timestamp: DateTime | None = None
    time_in_current_state: float | None = None


class QueueConcurrency(Model):
    """The slots of one queue."""

    queue_id: UUID
    queue_name: str
    active_slots: int
    concurrency_limit: int | None = None
    flow_runs: list[SlotSummary] = Field(default_factory=list)
    flow_run_count: int | None = None


class PoolConcurrencyQuery(Model):
    """The body of concurrency_status."""

    page: int = Field(1, ge=1)
    flow_run_limit: int = Field(10, ge=0, le=200)
    limit: int | None = Field(None, ge=0, le=200)


class PoolConcurrency(Model):
    """The slots of a pool."""

    active_slots: int
    concurrency_limit: int | None = None
    queues: list[QueueConcurrency] = Field(default_factory=list)
    count: int
    limit: int
    pages: int
    page: int


class WorkerStatus(StrEnum):
    """ONLINE: heard of within three heartbeats, and it did not say that it ends."""

    ONLINE = "ONLINE"
    OFFLINE = "OFFLINE"


class WorkerHeartbeat(Model):
    """A worker says that it lives, and when it will say so again; 0: it ends, and says so no more."""

    name: str
    heartbeat_interval_seconds: int | None = None


class Worker(Stored):
    """A worker as the server knows it."""

    name: str
    work_pool_id: UUID
    last_heartbeat_time: DateTime | None = None
    heartbeat_interval_seconds: int | None = None
    status: WorkerStatus = WorkerStatus.OFFLINE
    queue_names: list[str] | None = Field(None, description="Ours: the queues it takes runs of; null: all of its pool.")


class BusyWorker(Worker):
    """Ours: a worker and what it has under way."""

    flow_runs: list[SlotSummary] = Field(default_factory=list, description="The runs under its lease, oldest first.")


class WorkerStatusCondition(Model):
    """On a worker's status."""

    any_: list[WorkerStatus] | None = None
    not_any_: list[WorkerStatus] | None = None


class WorkerFilter(Filter):
    """Over workers."""

    last_heartbeat_time: TimeCondition | None = None
    status: WorkerStatusCondition | None = None


class WorkerQuery(Page):
    """The body of workers/filter."""

    workers: WorkerFilter | None = None


class ScheduledRunsQuery(Model):
    """The body of work_pools/{name}/get_scheduled_flow_runs: which runs a polling worker may take."""

    work_queue_names: list[str] | None = None
    scheduled_before: DateTime | None = None
    scheduled_after: DateTime | None = None
    limit: int | None = Field(None, ge=0, le=200)


class DeploymentScheduledRunsQuery(Model):
    """The body of deployments/get_scheduled_flow_runs."""

    deployment_ids: list[UUID]
    scheduled_before: DateTime | None = None
    limit: int | None = Field(None, ge=0, le=200)


class WorkerFlowRun(Model):
    """A run offered to a polling worker."""

    work_pool_id: UUID
    work_queue_id: UUID
    flow_run: FlowRun


class ClaimRuns(Model):
    """Ours: take due runs of a pool, or wait for one."""

    worker_name: str
    queue_names: list[str] | None = Field(None, description="Only these queues; null: all.")
    limit: int = Field(1, ge=0, le=200)
    lease_seconds: float = Field(30.0, gt=0, le=3600)
    wait_seconds: float = Field(0.0, ge=0, le=60, description="Wait this long for a due run (long poll).")
    heartbeat_interval_seconds: int | None = None


class ClaimedRun(Model):
    """A run that is now this worker's, PENDING, with all it needs to start it."""

    flow_run: FlowRun
    flow_name: str
    deployment: Deployment | None = None
    work_pool: WorkPool
    lease: Lease
