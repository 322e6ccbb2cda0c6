"""Slots of the limits of tags, held while a task runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

from millrace.engine.concurrency import THREAD_POLL_SECONDS, Slots
from millrace.engine.context import FlowRunContext
from millrace.engine.slot_wishes import Wish
from millrace.schema.limits import TAG, SlotHolder, SlotLease

NO_LIMIT_SECONDS = 5.0
"""For so long a tag that had no limit is taken to have none; a limit that is created is heeded after this time."""

LOOK_SECONDS = 0.2
LEASE_SECONDS = 60.0

_without: dict[tuple[str, str], float] = {}


class TagSlots(Slots):
    """A block that holds a slot of each tag that has a limit; made by `tag_slots`.

    Args:
        tags: the tags.
        task_run_id: who holds the slots.
        waiting: called once if there are none at once.
        check: called between two requests; raises if the run was stopped.
    """

    def __init__(
        self,
        tags: Iterable[str],
        task_run_id: UUID,
        waiting: Callable[[], object] | None = None,
        check: Callable[[], object] | None = None,
    ) -> None:
        self._tags = [TAG + tag for tag in dict.fromkeys(tags)]
        super().__init__(Wish([]), LEASE_SECONDS, SlotHolder(type="task_run", id=task_run_id), quiet=True, stops=False)
        self._waiting, self._asked = waiting, 0
        self._check = check

    def _begin(self) -> bool:
        place, moment, self._asked = _place(), time.monotonic(), 0
        names = [name for name in self._tags if _without.get((place, name), 0.0) <= moment]
        self._wish = Wish(names)
        return bool(names)

    def _fields(self, wait_seconds: float) -> dict[str, Any]:
        # The first request hears soon whether there is a queue, so that the task run can say that it waits.
        self._asked += 1
        if self._asked == 2 and self._waiting is not None:
            self._waiting()
        return super()._fields(min(wait_seconds, LOOK_SECONDS if self._asked == 1 else THREAD_POLL_SECONDS))

    def _granted(self, lease: SlotLease) -> bool:
        place, until = _place(), time.monotonic() + NO_LIMIT_SECONDS
        for name in self._wish.missing(lease.limits):
            _without[place, name] = until
        return bool(lease.limits)


def tag_slots(
    tags: Iterable[str],
    task_run_id: UUID,
    waiting: Callable[[], object] | None = None,
    check: Callable[[], object] | None = None,
) -> TagSlots:
    """Holds a slot of each tag that has a limit while a task runs; with `with` or `async with`.

    Tags without a limit cost nothing but a question every few seconds.

    Args:
        tags: of the task run.
        task_run_id: who holds the slots.
        waiting: called once if there are none at once.
        check: called again and again while waiting; raises if the run was stopped.

    Raises:
        ConcurrencySlotAcquisitionError: a tag has the limit 0.
    """
    return TagSlots(tags, task_run_id, waiting, check)


def _place() -> str:
    flow = FlowRunContext.get()
    return "" if flow is None else flow.client.endpoint.place
