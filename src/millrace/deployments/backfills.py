"""Backfills: runs of a deployment for a time that has passed."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from millrace import plugins
from millrace.deployments.given import tag_list
from millrace.deployments.run import afound, found
from millrace.schema.backfills import Backfill, BackfillCreate, BackfilledFire


def backfill(
    name: str | UUID,
    start: datetime,
    end: datetime,
    *,
    schedule: str | UUID | None = None,
    limit: int | None = None,
    dry_run: bool = False,
    parameters: dict[str, Any] | None = None,
    tags: list[str] | None = None,
    work_queue_name: str | None = None,
    client: Any = None,
) -> list[BackfilledFire]:
    """Make a run of every fire in a past time that has none yet.

    What has a run, of the schedule itself or of a backfill before, is left alone: doing it twice adds nothing. A run
    knows the time it is for: `runtime.flow_run.logical_time`, and a parameter named `logical_time` if there is one.

    Args:
        name: the deployment's id, or `flow name/deployment name`.
        start: from here, included.
        end: up to here, not included; not later than now. A moment without a zone is local.
        schedule: the id or slug of one schedule; all of the deployment when not given.
        limit: at most this many new runs, the oldest first.
        dry_run: say what would be made, and make nothing.
        parameters: over those of the schedule and the deployment.
        tags: beside those of the deployment and `backfill`.
        work_queue_name: a queue other than the deployment's, so that ordinary runs do not wait behind these.
        client: a client to use instead of this process's own.

    Returns:
        The fires in the range, each with its run and whether that is new.

    Raises:
        MissingDeployment: there is none of this name.
        NotFound: it has no such schedule, or none.
        InvalidInput: the range is empty or reaches beyond now.

    Example:
        >>> backfill("etl/nightly", datetime(2026, 11, 1), datetime(2026, 11, 8), dry_run=True)  # doctest: +SKIP
        [BackfilledFire(...), ...]
    """
    client = client or plugins.load("millrace.client.locate:connect")()
    deployment = found(client, name)
    asked = _asked(start, end, schedule, dry_run, parameters, tags, work_queue_name, limit)
    done: list[BackfilledFire] = []
    while asked is not None:
        asked = _further(client.backfill_deployment(deployment.id, asked), asked, done)
    return done


async def abackfill(
    name: str | UUID,
    start: datetime,
    end: datetime,
    *,
    schedule: str | UUID | None = None,
    limit: int | None = None,
    dry_run: bool = False,
    parameters: dict[str, Any] | None = None,
    tags: list[str] | None = None,
    work_queue_name: str | None = None,
    client: Any = None,
) -> list[BackfilledFire]:
    """`backfill` for async code.

    Args:
        name: see `backfill`, as for all others.
        start: from here, included.
        end: up to here, not included.
        schedule: the id or slug of one schedule.
        limit: at most this many new runs.
        dry_run: make nothing.
        parameters: over those of the schedule.
        tags: beside those of the deployment.
        work_queue_name: a queue other than the deployment's.
        client: an `AsyncClient`.

    Returns:
        The fires in the range.
    """
    client = client or await plugins.load("millrace.client.locate:aconnect")()
    deployment = await afound(client, name)
    asked = _asked(start, end, schedule, dry_run, parameters, tags, work_queue_name, limit)
    done: list[BackfilledFire] = []
    while asked is not None:
        asked = _further(await client.backfill_deployment(deployment.id, asked), asked, done)
    return done


def _asked(
    start: datetime,
    end: datetime,
    schedule: str | UUID | None,
    dry_run: bool,
    parameters: dict[str, Any] | None,
    tags: list[str] | None,
    work_queue_name: str | None,
    limit: int | None,
) -> BackfillCreate | None:
    return BackfillCreate(
        start=start.astimezone(),
        end=end.astimezone(),
        schedule=None if schedule is None else str(schedule),
        dry_run=dry_run,
        parameters=parameters or {},
        tags=tag_list(tags),
        work_queue_name=work_queue_name,
        limit=limit,
    )


def _further(answer: Backfill, asked: BackfillCreate, done: list[BackfilledFire]) -> BackfillCreate | None:
    """What is still to be asked for; fires at the very moment where a part ended may come twice."""
    seen = {(fire.schedule_id, fire.nominal_time) for fire in done[-len(answer.fires) :]} if done else set()
    done += [fire for fire in answer.fires if (fire.schedule_id, fire.nominal_time) not in seen]
    if answer.next_start is None:
        return None
    left = None if asked.limit is None else asked.limit - sum(fire.created for fire in answer.fires)
    return asked.model_copy(update={"start": answer.next_start, "limit": left})
