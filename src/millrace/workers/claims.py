"""Where a worker gets its runs: claimed with a lease, or, from a server that gives none, polled and taken."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol
from uuid import UUID

from millrace import settings
from millrace.errors import Conflict, NotFound
from millrace.schema.deployments import Deployment
from millrace.schema.fields import JsonObject, now
from millrace.schema.pools import ClaimRuns, DeploymentScheduledRunsQuery, ScheduledRunsQuery
from millrace.schema.runs import FlowRun, Lease
from millrace.schema.states import SetState, SetStateStatus, named

LONG_POLL = 5.0
_POLL = 2.0


@dataclass
class Claimed:
    """A run that is this worker's to start.

    Args:
        flow_run: the run, PENDING.
        deployment: its deployment.
        template: the base job template of its pool.
        lease: the right to run it; None: the server gives no leases.
    """

    flow_run: FlowRun
    deployment: Deployment | None
    template: JsonObject
    lease: Lease | None


class Source(Protocol):
    """Where runs come from."""

    def take(self, limit: int) -> list[Claimed]:
        """Up to that many runs; waits some seconds for one."""


class Leased:
    """Runs of a pool of a Millrace server.

    Args:
        client: the client.
        pool: the pool's name.
        worker: this worker's name.
        queue_names: only these queues; None: all.
    """

    def __init__(self, client: Any, pool: str, worker: str, queue_names: list[str] | None) -> None:
        self._client = client
        self._pool = pool
        self._worker = worker
        self._queues = queue_names

    def take(self, limit: int) -> list[Claimed]:
        """Claim due runs, or wait for one."""
        request = ClaimRuns(
            worker_name=self._worker,
            queue_names=self._queues,
            limit=limit,
            lease_seconds=settings.current().lease_seconds,
            wait_seconds=LONG_POLL,
            heartbeat_interval_seconds=settings.current().worker_heartbeat_seconds,
        )
        return [
            Claimed(run.flow_run, run.deployment, run.work_pool.base_job_template, run.lease)
            for run in self._client.claim_flow_runs(self._pool, request)
        ]


class _Polling:
    def __init__(self, client: Any) -> None:
        self._client = client

    def _offered(self, limit: int) -> list[FlowRun]:
        raise NotImplementedError

    def _template(self) -> JsonObject:
        return {}

    def take(self, limit: int) -> list[Claimed]:
        """Ask what is due and take it by proposing PENDING; whoever is refused was not first."""
        taken: list[Claimed] = []
        for run in self._offered(limit):
            if len(taken) < limit and (claimed := self._take(run)):
                taken.append(claimed)
        if not taken:
            time.sleep(_POLL)
        return taken

    def _take(self, run: FlowRun) -> Claimed | None:
        try:
            answer = self._client.set_flow_run_state(run.id, SetState(state=named("Pending")))
        except (Conflict, NotFound):
            return None
        if answer.status is not SetStateStatus.ACCEPT:
            return None
        deployment = self._client.read_deployment(run.deployment_id) if run.deployment_id else None
        return Claimed(self._client.read_flow_run(run.id), deployment, self._template(), None)


class Polled(_Polling):
    """Runs of a pool of a server without leases, such as Prefect's.

    Args:
        client: the client.
        pool: the pool's name.
        queue_names: only these queues; None: all.
    """

    def __init__(self, client: Any, pool: str, queue_names: list[str] | None) -> None:
        super().__init__(client)
        self._pool = pool
        self._queues = queue_names

    def _offered(self, limit: int) -> list[FlowRun]:
        query = ScheduledRunsQuery(work_queue_names=self._queues, scheduled_before=now(), limit=limit)
        return [offer.flow_run for offer in self._client.scheduled_runs_of_pool(self._pool, query)]

    def _template(self) -> JsonObject:
        template: JsonObject = self._client.read_work_pool(self._pool).base_job_template
        return template


class Served(_Polling):
    """Runs of deployments that this process serves itself.

    Args:
        client: the client.
        deployment_ids: the deployments.
        answered: called whenever the server has said what is due.
    """

    def __init__(self, client: Any, deployment_ids: list[UUID], answered: Callable[[], object] = lambda: None) -> None:
        super().__init__(client)
        self._ids = deployment_ids
        self._answered = answered

    def _offered(self, limit: int) -> list[FlowRun]:
        query = DeploymentScheduledRunsQuery(
            deployment_ids=self._ids, scheduled_before=now() + timedelta(seconds=0.1), limit=limit
        )
        runs: list[FlowRun] = self._client.scheduled_runs_of_deployments(query)
        self._answered()
        return runs
