"""Events of slots: taken, given back. The names and labels are those of the original, whose client sends them too."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from millrace.engine.context import FlowRunContext, TaskRunContext
from millrace.engine.recorder import recorder
from millrace.schema.events import RESOURCE_ID, RESOURCE_ROLE, Event, Resource
from millrace.schema.limits import LimitTaken

_KIND = "prefect.concurrency-limit"


def tell_acquired(limits: Sequence[LimitTaken], slots: int) -> dict[UUID, UUID]:
    """Says that slots were taken.

    Args:
        limits: of which.
        slots: how many of each.

    Returns:
        The event of each limit, by the limit's id.
    """
    return _tell("acquired", limits, slots, {})


def tell_released(limits: Sequence[LimitTaken], slots: int, acquired: dict[UUID, UUID]) -> None:
    """Says that slots are held no longer.

    Args:
        limits: of which.
        slots: how many of each.
        acquired: what `tell_acquired` gave.
    """
    _tell("released", limits, slots, acquired)


def _tell(phase: str, limits: Sequence[LimitTaken], slots: int, follows: dict[UUID, UUID]) -> dict[UUID, UUID]:
    flow = FlowRunContext.get()
    told: dict[UUID, UUID] = {}
    for limit in limits:
        others = [_related(f"{_KIND}.{other.id}", "concurrency-limit") for other in limits if other.id != limit.id]
        event = Event(
            event=f"{_KIND}.{phase}",
            resource={
                RESOURCE_ID: f"{_KIND}.{limit.id}",
                "prefect.resource.name": limit.name,
                "slots-acquired": str(slots),
                "limit": str(limit.limit),
            },
            related=[*others, *_runs(flow)],
            follows=follows.get(limit.id),
        )
        told[limit.id] = event.id
        recorder().record(flow.sender if flow else None, lambda event=event: event)
    return told


def _runs(flow: FlowRunContext | None) -> list[Resource]:
    task = TaskRunContext.get()
    found = [_related(f"prefect.flow-run.{flow.run_id}", "flow-run")] if flow else []
    return found + ([_related(f"prefect.task-run.{task.id}", "task-run")] if task else [])


def _related(id: str, role: str) -> Resource:
    return {RESOURCE_ID: id, RESOURCE_ROLE: role}
