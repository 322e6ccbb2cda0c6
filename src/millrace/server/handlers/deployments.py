"""Deployments and their schedules."""

from __future__ import annotations

from uuid import UUID

from millrace.schema.backfills import Backfill, BackfillCreate
from millrace.schema.deployments import (
    BatchDone,
    Deployment,
    DeploymentBatch,
    DeploymentCreate,
    DeploymentSchedule,
    DeploymentScheduleCreate,
    DeploymentScheduleUpdate,
    DeploymentUpdate,
    SkippedFire,
)
from millrace.schema.pools import DeploymentScheduledRunsQuery
from millrace.schema.queries import DeploymentQuery
from millrace.schema.runs import DeploymentFlowRunCreate, FlowRun
from millrace.server.answers import Answer, created_or_known
from millrace.server.context import Call
from millrace.store import backfills, deployments, flow_runs


def create_deployment(call: Call, body: DeploymentCreate) -> Answer:
    """Create a deployment, or replace the one of this flow and name."""
    return created_or_known(call.write_plan(deployments.upsert, body))


def create_deployments(call: Call, body: DeploymentBatch) -> BatchDone:
    """Create or replace several deployments."""
    return BatchDone(ids=call.write_plan(deployments.upsert_all, body.deployments))


def read_deployments(call: Call, body: DeploymentQuery) -> list[Deployment]:
    """Deployments that match."""
    return call.read(deployments.query, body)


def count_deployments(call: Call, body: DeploymentQuery) -> int:
    """How many match."""
    return call.read(deployments.count, body)


def scheduled_runs_of_deployments(call: Call, body: DeploymentScheduledRunsQuery) -> list[FlowRun]:
    """Due runs of these deployments, for a process that serves them."""
    return call.write(flow_runs.scheduled_for, body)


def read_deployment_by_name(call: Call, flow_name: str, deployment_name: str) -> Deployment:
    """The deployment of a flow's name and its own."""
    return call.read(deployments.by_name, flow_name, deployment_name)


def read_deployment(call: Call, id: UUID) -> Deployment:
    """One deployment."""
    return call.read(deployments.read, id)


def update_deployment(call: Call, id: UUID, body: DeploymentUpdate) -> None:
    """Change what was sent."""
    call.write_plan(deployments.update, id, body)


def delete_deployment(call: Call, id: UUID) -> None:
    """Forget a deployment."""
    call.write_plan(deployments.delete, id)


def pause_deployment(call: Call, id: UUID) -> None:
    """Let all its schedules rest."""
    call.write_plan(deployments.set_paused, id, True)


def resume_deployment(call: Call, id: UUID) -> None:
    """Let its schedules fire again."""
    call.write_plan(deployments.set_paused, id, False)


def create_flow_run_from_deployment(call: Call, id: UUID, body: DeploymentFlowRunCreate) -> Answer:
    """A run of the deployment, now or when its state says."""
    return created_or_known(call.write(flow_runs.create_from_deployment, id, body))


def create_deployment_schedules(call: Call, id: UUID, body: list[DeploymentScheduleCreate]) -> list[DeploymentSchedule]:
    """Add schedules."""
    return call.write_plan(deployments.add_schedules, id, body)


def read_deployment_schedules(call: Call, id: UUID) -> list[DeploymentSchedule]:
    """Its schedules."""
    return call.read(deployments.schedules, id)


def update_deployment_schedule(call: Call, id: UUID, schedule_id: UUID, body: DeploymentScheduleUpdate) -> None:
    """Change what was sent."""
    call.write_plan(deployments.update_schedule, id, schedule_id, body)


def delete_deployment_schedule(call: Call, id: UUID, schedule_id: UUID) -> None:
    """Forget a schedule and its runs that nobody took."""
    call.write_plan(deployments.delete_schedule, id, schedule_id)


def read_skipped_fires(call: Call, id: UUID) -> list[SkippedFire]:
    """Fires that were missed and not run."""
    return call.read(deployments.skipped, id)


def backfill_deployment(call: Call, id: UUID, body: BackfillCreate) -> Backfill:
    """Make a run of every fire in a past time that has none."""
    return call.write(backfills.backfill, id, body)
