"""The wire: every operation of the API, one line each.

The server's routes, both clients and the page of the API come from this table; a test asserts that they agree. All
paths lie under `/api` and are answered with and without their trailing slash. Where Prefect 3 has the operation, path
and shape are its own; ours stand under `/millrace` and `/admin/millrace`, which it does not use.

Source of the shapes: the Prefect 3 REST API, version 0.8.4, as its client 3.8.8 uses it.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import Field

from millrace.schema import (
    automation_operations,
    backfills,
    deployments,
    events,
    flows,
    graphs,
    inputs,
    limit_operations,
    logs,
    pools,
    queries,
    runs,
    states,
)
from millrace.schema.fields import DateTime, JsonObject, Model
from millrace.schema.operation import Operation, Stream
from millrace.schema.run_operations import RUNS
from millrace.schema.value_operations import VALUES

__all__ = ["OPERATIONS", "STREAMS", "Counters", "Operation", "ServerInfo", "ServerStorage", "Stream"]


class ServerInfo(Model):
    """What a Millrace server says of itself; other servers answer 404."""

    version: str
    api_version: str
    embedded: bool
    home: str | None = Field(None, description="The data directory, told only over the embedded server's own socket.")
    server_time: DateTime
    features: list[str]


class ServerStorage(Model):
    """Where results lie by default; kept for the wire."""

    default_result_storage_block_id: UUID | None = None


class Counters(Model):
    """How busy a server is: what `millrace status` shows."""

    running: int = 0
    pending: int = 0
    scheduled: int = 0
    late: int = 0
    deployments: int = 0
    active_schedules: int = 0
    next_due: DateTime | None = None
    workers_online: int = 0
    waiting_automations: int = Field(0, description="Triggers that wait for the end of a time, and actions to do.")


NAMED = {"name": str}
KEYED = {"key": str}
POOL = {"work_pool_name": str}
Op = Operation

OPERATIONS: tuple[Operation, ...] = (
    *RUNS,
    # -- the server itself
    Op("server_version", "GET", "/admin/version", str, doc="the version of the API's implementation"),
    Op("server_storage", "GET", "/admin/storage", ServerStorage, doc="the default result storage"),
    Op("server_info", "GET", "/admin/millrace", ServerInfo, doc="that this is Millrace, and what it offers"),
    Op("counters", "GET", "/millrace/counters", Counters, doc="how busy the server is"),
    # -- flows
    Op("read_flows", "POST", "/flows/filter", list[flows.Flow], queries.FlowQuery, body_optional=True),
    Op("read_flow_by_name", "GET", "/flows/name/{name}", flows.Flow, paths=NAMED),
    Op("read_flow", "GET", "/flows/{id}", flows.Flow),
    Op("delete_flow", "DELETE", "/flows/{id}", status=204, doc="with its runs and deployments"),
    # -- flow runs
    Op("read_flow_runs", "POST", "/flow_runs/filter", list[runs.FlowRun], queries.FlowRunQuery, body_optional=True),
    Op("count_flow_runs", "POST", "/flow_runs/count", int, queries.FlowRunQuery, body_optional=True),
    Op("delete_flow_run", "DELETE", "/flow_runs/{id}", status=204),
    Op("label_flow_run", "PATCH", "/flow_runs/{id}/labels", body=JsonObject, status=204, doc="add labels"),
    Op(
        "resume_flow_run",
        "POST",
        "/flow_runs/{id}/resume",
        states.OrchestrationResult,
        inputs.RunResume,
        201,
        body_optional=True,
        doc="let a paused run go on, with the input it waits for; a wrong input is rejected and the run stays paused",
    ),
    Op("create_flow_run_input", "POST", "/flow_runs/{id}/input", None, inputs.FlowRunInputCreate, 201),
    Op(
        "filter_flow_run_inputs",
        "POST",
        "/flow_runs/{id}/input/filter",
        list[inputs.FlowRunInput],
        inputs.FlowRunInputQuery,
    ),
    Op("read_flow_run_input", "GET", "/flow_runs/{id}/input/{key}", str, paths=KEYED, text=True, doc="its value"),
    Op("delete_flow_run_input", "DELETE", "/flow_runs/{id}/input/{key}", status=204, paths=KEYED),
    Op("read_flow_run_states", "GET", "/flow_run_states/", list[states.State], query={"flow_run_id": UUID}),
    Op(
        "read_flow_run_graph",
        "GET",
        "/flow_runs/{id}/graph-v2",
        graphs.RunGraph,
        query={"since": datetime | None},
        doc="its tasks and nested runs, and what led to what",
    ),
    # -- task runs
    Op("read_task_runs", "POST", "/task_runs/filter", list[runs.TaskRun], queries.TaskRunQuery, body_optional=True),
    Op("count_task_runs", "POST", "/task_runs/count", int, queries.TaskRunQuery, body_optional=True),
    # -- events and logs
    Op("read_events", "POST", "/events/filter", events.EventPage, events.EventQuery, body_optional=True),
    Op("read_logs", "POST", "/logs/filter", list[logs.Log], logs.LogQuery, body_optional=True),
    *VALUES,
    # -- deployments
    Op(
        "create_deployment",
        "POST",
        "/deployments/",
        deployments.Deployment,
        deployments.DeploymentCreate,
        201,
        doc="create, or replace the one of this flow and name (200)",
    ),
    Op(
        "create_deployments",
        "POST",
        "/millrace/deployments",
        deployments.BatchDone,
        deployments.DeploymentBatch,
        201,
        doc="create or replace several; triggers that belong to them go, and one that is refused stops no other",
    ),
    Op(
        "read_deployments",
        "POST",
        "/deployments/filter",
        list[deployments.Deployment],
        queries.DeploymentQuery,
        body_optional=True,
    ),
    Op("count_deployments", "POST", "/deployments/count", int, queries.DeploymentQuery, body_optional=True),
    Op(
        "scheduled_runs_of_deployments",
        "POST",
        "/deployments/get_scheduled_flow_runs",
        list[runs.FlowRun],
        pools.DeploymentScheduledRunsQuery,
    ),
    Op(
        "read_deployment_by_name",
        "GET",
        "/deployments/name/{flow_name}/{deployment_name}",
        deployments.Deployment,
        paths={"flow_name": str, "deployment_name": str},
    ),
    Op("read_deployment", "GET", "/deployments/{id}", deployments.Deployment),
    Op("update_deployment", "PATCH", "/deployments/{id}", body=deployments.DeploymentUpdate, status=204),
    Op("delete_deployment", "DELETE", "/deployments/{id}", status=204),
    Op("pause_deployment", "POST", "/deployments/{id}/pause_deployment", doc="all its schedules rest"),
    Op("resume_deployment", "POST", "/deployments/{id}/resume_deployment"),
    Op(
        "create_flow_run_from_deployment",
        "POST",
        "/deployments/{id}/create_flow_run",
        runs.FlowRun,
        runs.DeploymentFlowRunCreate,
        201,
        doc="a run of the deployment; with a known idempotency key the known run (200)",
    ),
    Op(
        "create_deployment_schedules",
        "POST",
        "/deployments/{id}/schedules",
        list[deployments.DeploymentSchedule],
        list[deployments.DeploymentScheduleCreate],
        201,
    ),
    Op("read_deployment_schedules", "GET", "/deployments/{id}/schedules", list[deployments.DeploymentSchedule]),
    Op(
        "update_deployment_schedule",
        "PATCH",
        "/deployments/{id}/schedules/{schedule_id}",
        body=deployments.DeploymentScheduleUpdate,
        status=204,
    ),
    Op("delete_deployment_schedule", "DELETE", "/deployments/{id}/schedules/{schedule_id}", status=204),
    Op(
        "read_skipped_fires",
        "GET",
        "/millrace/deployments/{id}/skipped",
        list[deployments.SkippedFire],
        doc="fires that were missed and not run, newest first",
    ),
    Op(
        "backfill_deployment",
        "POST",
        "/millrace/deployments/{id}/backfill",
        backfills.Backfill,
        backfills.BackfillCreate,
        doc="make a run of every fire in a past time that has none",
    ),
    *automation_operations.OPERATIONS,
    Op("read_collection", "GET", "/collections/views/{view}", JsonObject, paths={"view": str}, doc="kinds of workers"),
    *limit_operations.OPERATIONS,
    # -- pools, queues, workers
    Op("create_work_pool", "POST", "/work_pools/", pools.WorkPool, pools.WorkPoolCreate, 201),
    Op("read_work_pools", "POST", "/work_pools/filter", list[pools.WorkPool], pools.WorkPoolQuery, body_optional=True),
    Op("read_work_pool", "GET", "/work_pools/{name}", pools.WorkPool, paths=NAMED),
    Op("update_work_pool", "PATCH", "/work_pools/{name}", body=pools.WorkPoolUpdate, status=204, paths=NAMED),
    Op("delete_work_pool", "DELETE", "/work_pools/{name}", status=204, paths=NAMED),
    Op(
        "work_pool_concurrency",
        "POST",
        "/work_pools/{name}/concurrency_status",
        pools.PoolConcurrency,
        pools.PoolConcurrencyQuery,
        paths=NAMED,
        body_optional=True,
    ),
    Op(
        "scheduled_runs_of_pool",
        "POST",
        "/work_pools/{name}/get_scheduled_flow_runs",
        list[pools.WorkerFlowRun],
        pools.ScheduledRunsQuery,
        paths=NAMED,
        body_optional=True,
    ),
    Op(
        "create_work_queue",
        "POST",
        "/work_pools/{work_pool_name}/queues",
        pools.WorkQueue,
        pools.WorkQueueCreate,
        201,
        paths=POOL,
    ),
    Op(
        "read_work_queues",
        "POST",
        "/work_pools/{work_pool_name}/queues/filter",
        list[pools.WorkQueue],
        pools.WorkQueueQuery,
        paths=POOL,
        body_optional=True,
    ),
    Op(
        "read_work_queue_by_name",
        "GET",
        "/work_pools/{work_pool_name}/queues/{name}",
        pools.WorkQueue,
        paths={**POOL, **NAMED},
    ),
    Op("read_work_queue", "GET", "/work_queues/{id}", pools.WorkQueue),
    Op("read_work_queue_status", "GET", "/work_queues/{id}/status", pools.QueueStatusDetail),
    Op("update_work_queue", "PATCH", "/work_queues/{id}", body=pools.WorkQueueUpdate, status=204),
    Op("delete_work_queue", "DELETE", "/work_queues/{id}", status=204),
    Op(
        "read_workers",
        "POST",
        "/work_pools/{work_pool_name}/workers/filter",
        list[pools.Worker],
        pools.WorkerQuery,
        paths=POOL,
        body_optional=True,
    ),
    Op(
        "read_busy_workers",
        "GET",
        "/millrace/work_pools/{name}/workers",
        list[pools.BusyWorker],
        paths=NAMED,
        doc="the workers of a pool, each with its queues and the runs it has under way",
    ),
    Op(
        "worker_heartbeat",
        "POST",
        "/work_pools/{work_pool_name}/workers/heartbeat",
        body=pools.WorkerHeartbeat,
        status=204,
        paths=POOL,
    ),
    Op(
        "delete_worker",
        "DELETE",
        "/work_pools/{work_pool_name}/workers/{name}",
        status=204,
        paths={**POOL, **NAMED},
        doc="forget a worker",
    ),
    Op(
        "claim_flow_runs",
        "POST",
        "/millrace/work_pools/{name}/claim",
        list[pools.ClaimedRun],
        pools.ClaimRuns,
        paths=NAMED,
        doc="take due runs with a lease, or wait for one",
    ),
)

STREAMS: tuple[Stream, ...] = (
    Stream("events_in", "websocket", "/events/in", "clients send events, one JSON object a message"),
    Stream("events_out", "websocket", "/events/out", "events that match a filter, as they are stored"),
    Stream("logs_out", "websocket", "/logs/out", "log lines that match a filter, as they are stored"),
    Stream("worker_channel", "websocket", "/work_pools/{name}/workers/connect", "a worker's heartbeats"),
    Stream("follow_events", "sse", "/millrace/events", "events after a sequence number, with resume by Last-Event-ID"),
)
