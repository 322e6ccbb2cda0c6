"""Why a run has not begun, in the words of notebooks, terminals and logs."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from millrace.client.asynchronous import AsyncClient
from millrace.client.synchronous import Client
from millrace.errors import NotFound
from millrace.schema.deployments import DeploymentStatus
from millrace.schema.pools import WorkerStatus
from millrace.schema.runs import FlowRun
from millrace.schema.states import StateType

PATIENCE = 3.0
"""Seconds that a run is due before it is worth a word."""

_WAITS = frozenset({StateType.SCHEDULED, StateType.PENDING})


@dataclass(frozen=True)
class Waiting:
    """Why a run has not begun.

    Args:
        reason: a sentence.
        command: what would help, for a terminal; empty if nothing is to be done.
    """

    reason: str
    command: str = ""

    def __str__(self) -> str:
        return f"{self.reason} In a terminal: {self.command}" if self.command else self.reason


@dataclass(frozen=True)
class Around:
    """What a run that waits depends on.

    Args:
        pool: its work pool; None: it has none.
        workers: how many workers of the pool are online.
        paused: whether the pool rests.
        resting_queue: the run's queue, if that rests.
        served: whether a process serves the deployment itself, or the run has none.
    """

    pool: str | None
    workers: int = 0
    paused: bool = False
    resting_queue: str | None = None
    served: bool = False


def explained(around: Around, *, late: bool) -> Waiting | None:
    """Why a run waits; None: for no reason that is worth a word.

    Args:
        around: what it depends on.
        late: whether it should have begun long ago.

    Example:
        >>> explained(Around("gpu"), late=False)
        Waiting(reason='No worker polls the pool gpu.', command='millrace worker start --pool gpu')
    """
    pool = around.pool
    if pool is None:
        if around.served:
            return None
        return Waiting("Its deployment has no work pool: nothing runs it, unless a process serves it.")
    quoted = shlex.quote(pool)
    if around.paused:
        return Waiting(f"The pool {pool} is paused.", f"millrace work-pool resume {quoted}")
    if around.resting_queue is not None:
        command = f"millrace work-queue resume {shlex.quote(around.resting_queue)} --pool {quoted}"
        return Waiting(f"The queue {around.resting_queue} of the pool {pool} is paused.", command)
    if not around.workers:
        return Waiting(f"No worker polls the pool {pool}.", f"millrace worker start --pool {quoted}")
    return Waiting(f"The workers of the pool {pool} are busy.") if late else None


def overdue(run: FlowRun, now: datetime) -> bool:
    """Whether a run has waited so long that somebody wants to know why.

    Args:
        run: the run.
        now: the current moment.
    """
    due = run.expected_start_time
    return run.state_type in _WAITS and due is not None and (now - due).total_seconds() > PATIENCE


def look(client: Client, pool: str | None, queue: str | None = None, deployment: UUID | None = None) -> Around:
    """What surrounds a run.

    Args:
        client: the server.
        pool: the run's work pool.
        queue: its queue.
        deployment: its deployment.
    """
    try:
        if pool is None:
            found = client.read_deployment(deployment) if deployment else None
            return Around(None, served=found is None or found.status is DeploymentStatus.READY)
        paused = client.read_work_pool(pool).is_paused
        rests = queue is not None and client.read_work_queue_by_name(pool, queue).is_paused
        workers = client.read_workers(pool)
    except NotFound:
        return Around(None)
    online = sum(worker.status is WorkerStatus.ONLINE for worker in workers)
    return Around(pool, online, paused, queue if rests else None)


async def alook(
    client: AsyncClient, pool: str | None, queue: str | None = None, deployment: UUID | None = None
) -> Around:
    """What surrounds a run; see `look`."""
    try:
        if pool is None:
            found = await client.read_deployment(deployment) if deployment else None
            return Around(None, served=found is None or found.status is DeploymentStatus.READY)
        paused = (await client.read_work_pool(pool)).is_paused
        rests = queue is not None and (await client.read_work_queue_by_name(pool, queue)).is_paused
        workers = await client.read_workers(pool)
    except NotFound:
        return Around(None)
    online = sum(worker.status is WorkerStatus.ONLINE for worker in workers)
    return Around(pool, online, paused, queue if rests else None)


def why(client: Client, run: FlowRun) -> Waiting | None:
    """Why a run waits, as of now.

    Args:
        client: the server.
        run: the run.
    """
    around = look(client, run.work_pool_name, run.work_queue_name, run.deployment_id)
    return explained(around, late=run.state_name == "Late")


async def awhy(client: AsyncClient, run: FlowRun) -> Waiting | None:
    """Why a run waits; see `why`."""
    around = await alook(client, run.work_pool_name, run.work_queue_name, run.deployment_id)
    return explained(around, late=run.state_name == "Late")
