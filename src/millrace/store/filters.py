"""The filters of the wire as SQL, one function a noun, and how a filter over one noun narrows another."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select, and_, not_, or_, select

from millrace.schema.artifacts import ArtifactCount, ArtifactFilter
from millrace.schema.deployments import DeploymentFilter
from millrace.schema.flows import FlowFilter, IdCondition
from millrace.schema.pools import WorkPoolFilter, WorkQueueFilter
from millrace.schema.queries import DeploymentQuery, FlowQuery, FlowRunQuery, TaskRunQuery
from millrace.schema.runs import CreatedByCondition, FlowRunFilter, StateCondition, TaskRunFilter
from millrace.store.columns import member
from millrace.store.conditions import (
    Condition,
    Parts,
    all_of,
    combined,
    ids,
    moment,
    null,
    number,
    switch,
    tags,
    text,
)
from millrace.store.tables import artifacts, deployments, flow_runs, flows, task_runs, work_pools, work_queues

# Other names of the tables, for what is asked beside a query that may have the table already.
_deployed = deployments.alias()
_queue = work_queues.alias()
_flow = flows.alias()
_nested = flow_runs.alias()
_queue_name = select(_queue.c.name)
_flow_name = select(_flow.c.name)


def state(kind: ColumnElement[Any], name: ColumnElement[Any], condition: StateCondition | None) -> Condition | None:
    """On the state of a run."""
    if condition is None:
        return None
    parts: list[Condition | None] = [text(name, condition.name)]
    if condition.type is not None and condition.type.any_ is not None:
        parts.append(kind.in_([value.value for value in condition.type.any_]))
    if condition.type is not None and condition.type.not_any_ is not None:
        parts.append(kind.not_in([value.value for value in condition.type.not_any_]))
    return combined(parts, condition.operator)


def flow(filter: FlowFilter | None) -> Condition | None:
    """Over flows."""

    def deployed(given: FlowFilter) -> Condition | None:
        if given.deployment is None or given.deployment.is_null_ is None:
            return None
        exists = select(_deployed.c.id).where(_deployed.c.flow_id == flows.c.id).exists()
        return not_(exists) if given.deployment.is_null_ else exists

    return all_of(
        filter,
        lambda f: ids(flows.c.id, f.id),
        lambda f: text(flows.c.name, f.name),
        lambda f: tags(flows.c.tags, f.tags),
        deployed,
    )


def _parent(condition: IdCondition | None) -> Condition | None:
    """On the flow run whose task started the run."""
    if condition is None:
        return None
    column = flow_runs.c.parent_task_run_id
    parents = select(task_runs.c.id)
    parts: Parts = []
    if condition.any_ is not None:
        parts.append(column.in_(parents.where(task_runs.c.flow_run_id.in_(condition.any_))))
    if condition.not_any_ is not None:
        others = column.not_in(parents.where(task_runs.c.flow_run_id.in_(condition.not_any_)))
        parts.append(or_(column.is_(None), others))
    if condition.is_null_ is not None:
        parts.append(null(column, condition.is_null_))
    return combined(parts, condition.operator)


def _creator(condition: CreatedByCondition | None) -> Condition | None:
    if condition is None:
        return None
    column = flow_runs.c.created_by
    parts: Parts = []
    if condition.id_ is not None:
        parts.append(member(column, "id").in_([str(value) for value in condition.id_]))
    if condition.type_ is not None:
        parts.append(member(column, "type").in_(condition.type_))
    if condition.is_null_ is not None:
        parts.append(null(column, condition.is_null_))
    return combined(parts, condition.operator)


def flow_run(filter: FlowRunFilter | None) -> Condition | None:
    """Over flow runs."""
    c = flow_runs.c
    queue_names = _queue_name.where(_queue.c.id == c.work_queue_id).scalar_subquery()
    return all_of(
        filter,
        lambda f: ids(c.id, f.id),
        lambda f: text(c.name, f.name),
        lambda f: tags(c.tags, f.tags),
        lambda f: ids(c.deployment_id, f.deployment_id),
        lambda f: text(queue_names, f.work_queue_name),
        lambda f: state(c.state_type, c.state_name, f.state),
        lambda f: text(c.flow_version, f.flow_version),
        lambda f: moment(c.start_time, f.start_time),
        lambda f: moment(c.end_time, f.end_time),
        lambda f: moment(c.expected_start_time, f.expected_start_time),
        lambda f: moment(c.next_scheduled_start_time, f.next_scheduled_start_time),
        lambda f: _parent(f.parent_flow_run_id),
        lambda f: ids(c.parent_task_run_id, f.parent_task_run_id),
        lambda f: text(c.idempotency_key, f.idempotency_key),
        lambda f: _creator(f.created_by),
    )


def task_run(filter: TaskRunFilter | None) -> Condition | None:
    """Over task runs."""
    c = task_runs.c

    def subflows(given: TaskRunFilter) -> Condition | None:
        if given.subflow_runs is None or given.subflow_runs.exists_ is None:
            return None
        exists = select(_nested.c.id).where(_nested.c.parent_task_run_id == c.id).exists()
        return exists if given.subflow_runs.exists_ else not_(exists)

    return all_of(
        filter,
        lambda f: ids(c.id, f.id),
        lambda f: text(c.name, f.name),
        lambda f: tags(c.tags, f.tags),
        lambda f: state(c.state_type, c.state_name, f.state),
        lambda f: moment(c.start_time, f.start_time),
        lambda f: moment(c.end_time, f.end_time),
        lambda f: moment(c.expected_start_time, f.expected_start_time),
        lambda f: ids(c.flow_run_id, f.flow_run_id),
        subflows,
    )


def deployment(filter: DeploymentFilter | None) -> Condition | None:
    """Over deployments."""
    c = deployments.c
    queue_names = _queue_name.where(_queue.c.id == c.work_queue_id).scalar_subquery()
    flow_names = _flow_name.where(_flow.c.id == c.flow_id).scalar_subquery()

    def either_name(given: DeploymentFilter) -> Condition | None:
        condition = given.flow_or_deployment_name
        parts = [text(c.name, condition), text(flow_names, condition)]
        return None if condition is None else or_(*(part for part in parts if part is not None))

    return all_of(
        filter,
        lambda f: ids(c.id, f.id),
        lambda f: text(c.name, f.name),
        either_name,
        lambda f: switch(c.paused, f.paused),
        lambda f: tags(c.tags, f.tags),
        lambda f: text(queue_names, f.work_queue_name),
        lambda f: number(c.concurrency_limit, f.concurrency_limit),
    )


def work_pool(filter: WorkPoolFilter | None) -> Condition | None:
    """Over pools."""
    c = work_pools.c
    return all_of(filter, lambda f: ids(c.id, f.id), lambda f: text(c.name, f.name), lambda f: text(c.type, f.type))


def work_queue(filter: WorkQueueFilter | None) -> Condition | None:
    """Over queues."""
    c = work_queues.c
    return all_of(filter, lambda f: ids(c.id, f.id), lambda f: text(c.name, f.name))


def artifact(filter: ArtifactFilter | None, *extra: Condition | None) -> Condition | None:
    """Over artifacts."""
    c = artifacts.c
    return all_of(
        filter,
        lambda f: ids(c.id, f.id),
        lambda f: text(c.key, f.key),
        lambda f: ids(c.flow_run_id, f.flow_run_id),
        lambda f: ids(c.task_run_id, f.task_run_id),
        lambda f: text(c.type, f.type),
        *(lambda f, part=part: part for part in extra),
    )


def _within(column: ColumnElement[Any], chosen: Select[Any], condition: Condition | None) -> Condition | None:
    return None if condition is None else column.in_(chosen.where(condition))


def flows_of(query: FlowQuery) -> Condition:
    """The flows a query asks for."""
    runs = select(flow_runs.c.flow_id)
    pools = select(work_pools.c.id)
    deployed = select(deployments.c.flow_id)
    pool = _within(deployments.c.work_pool_id, pools, work_pool(query.work_pools))
    tasks = _within(flow_runs.c.id, select(task_runs.c.flow_run_id), task_run(query.task_runs))
    return combined(
        [
            flow(query.flows),
            _within(flows.c.id, runs, flow_run(query.flow_runs)),
            _within(flows.c.id, runs, tasks),
            _within(flows.c.id, deployed, deployment(query.deployments)),
            _within(flows.c.id, deployed, pool),
        ]
    )


def flow_runs_of(query: FlowRunQuery) -> Condition:
    """The flow runs a query asks for."""
    c = flow_runs.c
    return combined(
        [
            flow_run(query.flow_runs),
            _within(c.flow_id, select(flows.c.id), flow(query.flows)),
            _within(c.id, select(task_runs.c.flow_run_id), task_run(query.task_runs)),
            _within(c.deployment_id, select(deployments.c.id), deployment(query.deployments)),
            _within(c.work_pool_id, select(work_pools.c.id), work_pool(query.work_pools)),
            _within(c.work_queue_id, select(work_queues.c.id), work_queue(query.work_pool_queues)),
        ]
    )


def _runs_for(query: TaskRunQuery | ArtifactCount) -> Condition | None:
    """The flow runs that a query over what belongs to runs narrows to; None when it does not."""
    parts = [
        flow_run(query.flow_runs),
        _within(flow_runs.c.flow_id, select(flows.c.id), flow(query.flows)),
        _within(flow_runs.c.deployment_id, select(deployments.c.id), deployment(query.deployments)),
    ]
    present = [part for part in parts if part is not None]
    return and_(*present) if present else None


def task_runs_of(query: TaskRunQuery) -> Condition:
    """The task runs a query asks for."""
    runs = _within(task_runs.c.flow_run_id, select(flow_runs.c.id), _runs_for(query))
    return combined([task_run(query.task_runs), runs])


def artifacts_of(query: ArtifactCount, *, latest: ColumnElement[Any] | None = None) -> Condition:
    """The artifacts a query asks for.

    Args:
        query: what a client sent.
        latest: the column of the newest artifact's id, where there is one.
    """
    newest = query.artifacts.latest_id if query.artifacts else None
    extra = ids(artifacts.c.id if latest is None else latest, newest)
    return combined(
        [
            artifact(query.artifacts, extra),
            _within(artifacts.c.flow_run_id, select(flow_runs.c.id), _runs_for(query)),
            _within(artifacts.c.task_run_id, select(task_runs.c.id), task_run(query.task_runs)),
        ]
    )


def deployments_of(query: DeploymentQuery) -> Condition:
    """The deployments a query asks for."""
    c = deployments.c
    runs = select(flow_runs.c.deployment_id)
    tasks = _within(flow_runs.c.id, select(task_runs.c.flow_run_id), task_run(query.task_runs))
    return combined(
        [
            deployment(query.deployments),
            _within(c.flow_id, select(flows.c.id), flow(query.flows)),
            _within(c.id, runs, flow_run(query.flow_runs)),
            _within(c.id, runs, tasks),
            _within(c.work_pool_id, select(work_pools.c.id), work_pool(query.work_pools)),
            _within(c.work_queue_id, select(work_queues.c.id), work_queue(query.work_pool_queues)),
        ]
    )
