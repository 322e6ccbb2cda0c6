"""The scheduler: due fires become runs.

Every active schedule always has its next fire as a run that waits, and all fires of the next minute. A step looks only
at schedules whose time has come, so its cost is that of the fires due. It remembers when it last had nothing left to
do: fires in a longer gap than a minute were missed, and the deployment's catch-up policy says what becomes of them.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from millrace.store import fires
from millrace.store.database import Transaction
from millrace.store.fires import Due, Outcome

AHEAD = timedelta(seconds=60)
"""How far ahead runs are made."""

GAP = timedelta(seconds=60)
"""Fires in a longer time without a step were missed."""

HEARTBEAT = timedelta(seconds=30)
"""A step is due after this time in any case, so that rest is not taken for a gap."""

SCHEDULES_A_STEP = 100
FIRES_A_STEP = 500


def step(tx: Transaction) -> datetime | None:
    """Makes runs of what is due.

    Returns:
        When the next step is due: now if something is left, None if nothing is scheduled at all.
    """
    last = fires.last_step(tx)
    due = fires.due(tx, SCHEDULES_A_STEP)
    outcomes: list[Outcome] = []
    handled = 0
    for schedule in due:
        outcomes.append(_look(tx, schedule, last))
        handled += len(outcomes[-1].make) + len(outcomes[-1].skip)
        if handled >= FIRES_A_STEP:
            break
    fires.write(tx, outcomes)
    wake = fires.next_wake(tx)
    if wake is not None and wake <= tx.now:
        return tx.now
    if wake is not None or last is not None or due:
        fires.remember_step(tx)
    return None if wake is None else min(wake, tx.now + HEARTBEAT)


def _look(tx: Transaction, due: Due, last: datetime | None) -> Outcome:
    """What becomes of one schedule."""
    seen = max(last, due.since) if last is not None else due.since
    missing = tx.now - seen > GAP
    if due.max_scheduled_runs is None and not missing:
        return plan(due, tx.now, [], missing=False)
    waiting = fires.waiting(tx, due.id, seen if missing else tx.now)
    return plan(due, tx.now, waiting, missing=missing)


def plan(due: Due, now: datetime, waiting: list[datetime], *, missing: bool) -> Outcome:
    """Which fires of a schedule become runs and which are skipped, and when to look again. Pure.

    Args:
        due: the schedule.
        now: the moment.
        waiting: the nominal times of its runs that nobody took; only needed with a limit, or if fires were missed.
        missing: fires up to now were missed.
    """
    untaken = [nominal for nominal in waiting if nominal <= now]
    ahead = [nominal for nominal in waiting if nominal > now]
    make: list[datetime] = []
    skip: list[datetime] = []
    newest, coming = due.last_made, _Coming(due)
    if missing and due.catch_up != "all":
        latest = due.catch_up == "latest" and not coming.reaches(now)
        skip = untaken[:-1] if latest else untaken
    room = len(ahead)
    while coming.time is not None and len(make) + len(skip) < FIRES_A_STEP:
        time = coming.time
        if time > now and not _wanted(due, time, now, newest, room):
            break
        coming.move()
        newest = time
        if time <= now and missing and _skips(due, coming, now):
            skip.append(time)
        else:
            make.append(time)
            room += time > now
    return Outcome(due, make, skip, newest, coming.time, _wake(due, coming.time, newest, now, room, ahead + make))


class _Coming:
    """The fires of a schedule still to be made, one after the other."""

    def __init__(self, due: Due) -> None:
        self._due = due
        self.time: datetime | None = due.next_fire

    def move(self) -> None:
        """Go to the next one."""
        if self.time is not None:
            self.time = self._due.schedule.next_after(self.time)

    def reaches(self, now: datetime) -> bool:
        """Whether the next one is due."""
        return self.time is not None and self.time <= now


def _wanted(due: Due, time: datetime, now: datetime, newest: datetime | None, ahead: int) -> bool:
    """Whether a fire in the future becomes a run already."""
    if due.max_scheduled_runs is not None and ahead >= due.max_scheduled_runs:
        return False
    return time <= now + AHEAD or newest is None or newest <= now


def _skips(due: Due, coming: _Coming, now: datetime) -> bool:
    """Whether a missed fire, which is no longer among those coming, is not run."""
    return due.catch_up == "skip" or (due.catch_up == "latest" and coming.reaches(now))


def _wake(
    due: Due, coming: datetime | None, newest: datetime | None, now: datetime, room: int, made: list[datetime]
) -> datetime | None:
    if coming is None:
        return None
    if due.max_scheduled_runs is not None and room >= due.max_scheduled_runs:
        return min(time for time in made if time > now)
    early = coming - AHEAD
    return early if newest is None else min(newest, early)
