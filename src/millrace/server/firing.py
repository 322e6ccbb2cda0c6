"""When a trigger fires. Pure: what it has counted and an event or the end of its time go in, the outcome out.

A trigger counts in a window of time, one for each value of the labels it counts apart. A reactive trigger fires as soon
as it has counted enough, and then rests until its window is over. A proactive one can only tell at the end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from millrace.schema.automations import Firing
from millrace.schema.events import ReceivedEvent
from millrace.schema.triggers import CompoundTrigger, EventTrigger, Posture, SequenceTrigger

LOOK_BACK = timedelta(minutes=15)
"""Events that come out of order count up to so long before the first one."""

SETTLE = timedelta(seconds=1)
"""Events of the last moment of a window are on their way so long."""


@dataclass(frozen=True, slots=True)
class Window:
    """What a trigger has counted.

    Attributes:
        start, end: the time it counts in.
        count: how many.
        labels: the values it counts apart.
        event: the last one that counted, or that opened it.
    """

    start: datetime
    end: datetime
    count: int
    labels: dict[str, str]
    event: ReceivedEvent | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a window.

    Attributes:
        window: as it is now; None: closed.
        firings: the times the trigger fired.
    """

    window: Window | None
    firings: tuple[Firing, ...] = ()


def count(trigger: EventTrigger, window: Window | None, event: ReceivedEvent) -> Outcome:
    """An event that the trigger covers happened.

    Args:
        trigger: the trigger.
        window: what it has counted so far for these labels; None: nothing.
        event: the event.
    """
    moment = min(event.occurred, event.received)
    before: tuple[Firing, ...] = ()
    if window is not None and window.end <= moment and not trigger.immediate:
        ended = end(trigger, window, moment)
        window, before = ended.window, ended.firings
    window = window or _opened(trigger, event, moment)
    if window is None:
        return Outcome(None, before)
    if not trigger.expects(event.event) or moment < window.start:
        return Outcome(window, before)
    counted = replace(window, count=window.count + 1, event=event)
    if trigger.posture is Posture.REACTIVE:
        after = _reacted(trigger, counted, moment)
    elif trigger.starts(event.event) and counted.count >= trigger.threshold:
        # the same event ends one wait and begins the next: a heartbeat
        after = Outcome(replace(counted, start=moment, end=moment + trigger.within, count=0))
    else:
        after = Outcome(counted)
    return Outcome(after.window, before + after.firings)


def _opened(trigger: EventTrigger, event: ReceivedEvent, moment: datetime) -> Window | None:
    labels = trigger.labels(event)
    if trigger.after:
        if not trigger.starts(event.event):
            return None
        # an event that both opens and is expected opens only
        counted = -1 if trigger.expects(event.event) else 0
        return Window(moment, moment + trigger.within, counted, labels, event)
    return Window(moment - LOOK_BACK, moment + trigger.within, 0, labels, event)


def _reacted(trigger: EventTrigger, window: Window, moment: datetime) -> Outcome:
    if window.count < trigger.threshold:
        return Outcome(window)
    fired = (Firing(trigger_id=trigger.id, triggered=moment, labels=window.labels, event=window.event),)
    if trigger.after or trigger.immediate:
        return Outcome(None, fired)
    rest = Window(window.end, window.end + trigger.within, 0, window.labels, window.event)
    return Outcome(rest, fired)


def opening(trigger: EventTrigger, now: datetime) -> Window | None:
    """The window a trigger opens without any event: to miss something, one need not have seen it before.

    Args:
        trigger: the trigger.
        now: the moment it begins to count.
    """
    if trigger.posture is not Posture.PROACTIVE or trigger.after or trigger.for_each:
        return None
    return Window(now, now + trigger.within, 0, {})


def end(trigger: EventTrigger, window: Window, now: datetime) -> Outcome:
    """The time of a window is up.

    Args:
        trigger: the trigger.
        window: ends at or before `now`.
        now: the moment.
    """
    if trigger.posture is Posture.REACTIVE:
        return Outcome(None)
    fired: tuple[Firing, ...] = ()
    if window.count < trigger.threshold:
        fired = (Firing(trigger_id=trigger.id, triggered=now, labels=window.labels, event=window.event),)
    if trigger.after:
        return Outcome(None, fired)
    # windows that passed while nobody looked are one: nothing is told many times
    start = window.end if window.end + trigger.within > now else now
    return Outcome(replace(window, start=start, end=start + trigger.within, count=0), fired)


def wake(trigger: EventTrigger, window: Window) -> datetime | None:
    """When the end of a window is to be looked at; None: never."""
    return None if trigger.immediate else window.end + SETTLE


def complete(
    trigger: CompoundTrigger | SequenceTrigger, known: dict[UUID, Firing], fresh: Firing
) -> tuple[dict[UUID, Firing], Firing | None]:
    """A part of a composite trigger fired.

    Args:
        trigger: the composite trigger.
        known: the last firing of each of its parts, in their order.
        fresh: the new one.

    Returns:
        The firings to remember, in their order, and that of the whole if it fired.
    """
    kept = {id: one for id, one in known.items() if id != fresh.trigger_id and _near(trigger.within, one, fresh)}
    kept[fresh.trigger_id] = fresh
    if not trigger.ready(list(kept)):
        return kept, None
    whole = Firing(trigger_id=trigger.id, triggered=fresh.triggered, event=fresh.event, firings=list(kept.values()))
    return {}, whole


def _near(within: timedelta | None, one: Firing, other: Firing) -> bool:
    return within is None or abs(other.triggered - one.triggered) <= within
