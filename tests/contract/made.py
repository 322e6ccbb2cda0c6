"""Things to test with: a flow, a pool, a deployment, a claimed run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from millrace.schema.deployments import Deployment, DeploymentCreate, DeploymentScheduleCreate
from millrace.schema.flows import Flow, FlowCreate
from millrace.schema.pools import ClaimedRun, ClaimRuns, WorkPool, WorkPoolCreate
from millrace.schema.runs import DeploymentFlowRunCreate, FlowRun
from millrace.schema.schedules import IntervalSchedule
from millrace.schema.states import NAMES, OrchestrationResult, SetState, StateCreate
from millrace.store import deployments, flow_runs, flow_states, flows, leases, pools
from millrace.store.database import Database, Transaction


class Clock:
    """A clock that moves only when told to."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 21, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> datetime:
        """Moves on."""
        self.now += timedelta(seconds=seconds)
        return self.now


def flow(db: Database, name: str = "etl") -> Flow:
    return db.write(lambda tx: flows.create(tx, FlowCreate(name=name)))[0]


def pool(db: Database, name: str = "default", **fields: Any) -> WorkPool:
    return db.write(lambda tx: pools.create(tx, WorkPoolCreate(name=name, type="process", **fields)))


def every(seconds: float, **fields: Any) -> DeploymentScheduleCreate:
    return DeploymentScheduleCreate(schedule=IntervalSchedule(interval=timedelta(seconds=seconds)), **fields)


def deployment(db: Database, flow_id: UUID, name: str = "nightly", **fields: Any) -> Deployment:
    fields.setdefault("work_pool_name", "default")
    return db.write(lambda tx: deployments.upsert(tx, DeploymentCreate(name=name, flow_id=flow_id, **fields)))[0]


def run(db: Database, deployment_id: UUID, **fields: Any) -> FlowRun:
    body = DeploymentFlowRunCreate(**fields)
    return db.write(lambda tx: flow_runs.create_from_deployment(tx, deployment_id, body))[0]


def claim(db: Database, limit: int = 10, pool: str = "default", **fields: Any) -> list[ClaimedRun]:
    body = ClaimRuns(worker_name=fields.pop("worker_name", "w1"), limit=limit, **fields)
    return db.write(lambda tx: leases.claim(tx, pool, body))


def propose(
    db: Database, id: UUID, name: str, *, attempt: int | None = None, force: bool = False, **fields: Any
) -> OrchestrationResult:
    """Proposes a state, under the lease of an attempt if one is given."""
    body = SetState(state=StateCreate(type=NAMES[name], name=name, **fields), force=force)

    def fenced(tx: Transaction) -> OrchestrationResult:
        if attempt is not None:
            leases.check(tx, id, attempt)
        return flow_states.set_state(tx, id, body)

    return db.write(fenced)


def read(db: Database, id: UUID) -> FlowRun:
    return db.read(lambda tx: flow_runs.read(tx, id))


def names(db: Database, id: UUID) -> list[str | None]:
    """The names of the states a run has been in."""
    return [state.name for state in db.read(lambda tx: flow_runs.states(tx, id))]
