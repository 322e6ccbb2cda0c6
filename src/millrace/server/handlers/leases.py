"""Leases: claim work, say that it lives, give it back."""

from __future__ import annotations

import asyncio
from datetime import datetime

from millrace.schema.fields import now
from millrace.schema.pools import ClaimedRun, ClaimRuns
from millrace.schema.runs import ExtendedLeases, ExtendLeases, ReleaseLease
from millrace.server.context import Call
from millrace.store import leases

WAKE_SPACING = 0.02
LONGEST_SLEEP = 30.0
LONGEST_PAUSE = 1.0
LEAVING_PAUSE = 0.1


def extend_leases(call: Call, body: ExtendLeases) -> ExtendedLeases:
    """Extend what still holds, and say what does not."""
    return call.write(leases.extend, body)


def release_lease(call: Call, body: ReleaseLease) -> None:
    """Give a claim back unused."""
    call.write(leases.release, body)


async def claim_flow_runs(call: Call, name: str, body: ClaimRuns) -> list[ClaimedRun]:
    """Take due runs; without any, wait for a commit that brings one or for the moment one is due.

    Waiting holds no thread, and looking reads only: many waiting workers do not wake each other by writing. A worker
    that was killed while it waited is granted nothing.
    """
    context, bell = call.context, call.context.bell
    deadline = asyncio.get_running_loop().time() + body.wait_seconds
    pause = WAKE_SPACING
    while not call.gone():
        seen, asked = bell.count, now()
        claimed: list[ClaimedRun] = await context.write(leases.claim, name, body)
        if claimed or not await _work_may_be_there(call, name, body, seen, asked, deadline):
            return claimed
        # what was due and could not be taken (another was faster, no slot is free) is not asked for all the time
        await asyncio.sleep(pause)
        pause = min(LONGEST_PAUSE, 2 * pause)
    return []


async def _work_may_be_there(
    call: Call, name: str, body: ClaimRuns, seen: int, asked: datetime, deadline: float
) -> bool:
    """Wait until a claim may find something; false when the time is up or the server stops.

    Args:
        call: the request.
        name: of the pool.
        body: of the claim.
        seen: the bell's count when the last claim began.
        asked: the moment it began: what was due by then was refused, until something happens.
        deadline: of the loop's clock.
    """
    context, bell, clock = call.context, call.context.bell, asyncio.get_running_loop().time
    heard = False
    if context.leaving:  # who asks again and again until it is told to stop, too
        await asyncio.sleep(LEAVING_PAUSE)
    while clock() < deadline and not (bell.closed or context.leaving):
        due = await context.read(leases.next_due, name, body.queue_names)
        ahead = LONGEST_SLEEP if due is None else (due - now()).total_seconds()
        if due is not None and ahead <= 0:
            if heard or due > asked:
                return True
            ahead = LONGEST_SLEEP
        await bell.wait(seen, min(ahead, deadline - clock()))
        if bell.count != seen:
            heard, seen = True, bell.count
            await asyncio.sleep(WAKE_SPACING)
    return False
