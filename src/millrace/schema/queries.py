"""The bodies of queries that filter one kind of thing by others."""

from __future__ import annotations

from millrace.schema.deployments import DeploymentFilter, DeploymentSort
from millrace.schema.flows import FlowFilter, FlowSort, Page
from millrace.schema.pools import WorkPoolFilter, WorkQueueFilter
from millrace.schema.runs import FlowRunFilter, FlowRunSort, TaskRunFilter, TaskRunSort


class FlowQuery(Page):
    """The body of flows/filter."""

    flows: FlowFilter | None = None
    flow_runs: FlowRunFilter | None = None
    task_runs: TaskRunFilter | None = None
    deployments: DeploymentFilter | None = None
    work_pools: WorkPoolFilter | None = None
    sort: FlowSort | None = FlowSort.NAME_ASC


class FlowRunQuery(Page):
    """The body of flow_runs/filter."""

    flows: FlowFilter | None = None
    flow_runs: FlowRunFilter | None = None
    task_runs: TaskRunFilter | None = None
    deployments: DeploymentFilter | None = None
    work_pools: WorkPoolFilter | None = None
    work_pool_queues: WorkQueueFilter | None = None
    sort: FlowRunSort | None = FlowRunSort.ID_DESC


class TaskRunQuery(Page):
    """The body of task_runs/filter."""

    flows: FlowFilter | None = None
    flow_runs: FlowRunFilter | None = None
    task_runs: TaskRunFilter | None = None
    deployments: DeploymentFilter | None = None
    sort: TaskRunSort | None = TaskRunSort.ID_DESC


class DeploymentQuery(Page):
    """The body of deployments/filter."""

    flows: FlowFilter | None = None
    flow_runs: FlowRunFilter | None = None
    task_runs: TaskRunFilter | None = None
    deployments: DeploymentFilter | None = None
    work_pools: WorkPoolFilter | None = None
    work_pool_queues: WorkQueueFilter | None = None
    sort: DeploymentSort | None = DeploymentSort.NAME_ASC
