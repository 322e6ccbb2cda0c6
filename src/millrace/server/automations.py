"""The third loop: events make triggers fire, and so does the end of the time in which they were expected.

One step looks at the events after the last one it saw. What triggers have counted, the place in the log, what fired and
what it did in the store are written in one transaction: a server that is killed fires nothing twice and forgets
nothing. What leaves the house - webhooks and e-mails - is noted in that transaction and done by `server/courier.py`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from millrace.schema.actions import CallWebhook, SendNotification
from millrace.schema.automations import Automation, Firing, Invocation
from millrace.schema.events import RESOURCE_ID, RESOURCE_ROLE, Event, ReceivedEvent
from millrace.schema.fields import JsonObject, new_id
from millrace.schema.triggers import CompoundTrigger, EventTrigger, SequenceTrigger
from millrace.server import firing
from millrace.server.firing import Outcome, Window
from millrace.store import acting, events, watches
from millrace.store.database import Transaction
from millrace.store.watches import Watch

EVENTS_A_STEP = 200
ENDS_A_STEP = 200

_ABOUT = "prefect.automation."


class Automations:
    """What the loop keeps between its steps: automations as they were last read."""

    def __init__(self) -> None:
        self._known: dict[UUID, Watch] = {}

    def step(self, tx: Transaction) -> datetime | None:
        """Looks at what happened since, and at what did not.

        Returns:
            When the next step is due: now if something is left, None if nothing is waited for.
        """
        self._known = watches.enabled(tx, self._known)
        if not self._known:
            return None
        self._open(tx)
        last = watches.cursor(tx)
        first = min(watch.active_after for watch in self._known.values())
        after = first if last is None else max(first, last)
        batch = watches.next_events(tx, after, EVENTS_A_STEP)
        for event in batch:
            self._look(tx, event)
        if batch and batch[-1].sequence is not None:
            watches.move_cursor(tx, batch[-1].sequence)
        if len(batch) >= EVENTS_A_STEP:
            return tx.now
        # only after all that happened is known can something be missed
        ended = watches.ended(tx, ENDS_A_STEP)
        for row in ended:
            self._end(tx, row)
        # what was done may be what another automation waits for
        return tx.now if batch or ended else watches.next_end(tx)

    def _open(self, tx: Transaction) -> None:
        """Triggers that miss something without having seen anything begin to count."""
        wanted = {
            part.id: (watch.automation, part, window)
            for watch in self._known.values()
            for part in watch.automation.trigger.parts()
            if isinstance(part, EventTrigger) and (window := firing.opening(part, tx.now)) is not None
        }
        if not wanted:
            return
        counting = watches.windows(tx, wanted)
        for id, (automation, part, window) in wanted.items():
            if id not in counting:
                _write(tx, automation, part, window.labels, Outcome(window))

    def _look(self, tx: Transaction, event: ReceivedEvent) -> None:
        for watch in self._known.values():
            if (event.sequence or 0) <= watch.active_after or not _sees(watch.automation, event):
                continue
            for part in watch.automation.trigger.parts():
                if isinstance(part, EventTrigger) and part.covers(event) and _means(part, event):
                    labels = part.labels(event)
                    stored = watches.window(tx, watch.automation.id, part.id, labels)
                    outcome = firing.count(part, _window(part, stored, labels), event)
                    _write(tx, watch.automation, part, labels, outcome)

    def _end(self, tx: Transaction, row: JsonObject) -> None:
        watch = self._known.get(row["automation_id"])
        parts = watch.automation.trigger.parts() if watch is not None else ()
        part = next((one for one in parts if one.id == row["trigger_id"]), None)
        if watch is None or not isinstance(part, EventTrigger):
            return
        window = _window(part, row, None)
        assert window is not None
        _write(tx, watch.automation, part, window.labels, firing.end(part, window, tx.now))


def _sees(automation: Automation, event: ReceivedEvent) -> bool:
    """An automation does not look at what it does itself."""
    return event.resource.get(RESOURCE_ID) != f"{_ABOUT}{automation.id}"


def _means(part: EventTrigger, event: ReceivedEvent) -> bool:
    """What automations do is looked at only by triggers that name it: two that expect anything would never rest."""
    if not event.event.startswith(_ABOUT):
        return True
    return any(one.startswith(_ABOUT) for one in part.expect | part.after)


def _window(part: EventTrigger, row: JsonObject | None, labels: dict[str, str] | None) -> Window | None:
    if row is None:
        return None
    event = None if row["event"] is None else ReceivedEvent.model_validate(row["event"])
    if labels is None:
        labels = acting.labels_of(row["labels"])
    return Window(row["start"], row["end"], row["count"], labels, event)


def _write(
    tx: Transaction, automation: Automation, part: EventTrigger, labels: dict[str, str], outcome: Outcome
) -> None:
    window = outcome.window
    columns: JsonObject | None = None
    if window is not None:
        columns = {
            "start": window.start,
            "end": window.end,
            "count": window.count,
            "event": None if window.event is None else window.event.model_dump(mode="json"),
            "wake": firing.wake(part, window),
        }
    watches.write_window(tx, automation.id, part.id, labels, columns)
    for fired in outcome.firings:
        _fire(tx, automation, fired)


def _fire(tx: Transaction, automation: Automation, fired: Firing) -> None:
    """A trigger fired: its parent may, or the automation acts."""
    parent = _parent(automation.trigger, fired.trigger_id)
    if parent is None:
        _act(tx, automation, fired)
        return
    known = {one.trigger_id: one for one in watches.parts_fired(tx, automation.id, parent.id)}
    kept, whole = firing.complete(parent, known, fired)
    watches.write_parts_fired(tx, automation.id, parent.id, list(kept.values()))
    if whole is not None:
        _fire(tx, automation, whole)


def _parent(top: Any, id: UUID) -> CompoundTrigger | SequenceTrigger | None:
    for part in top.parts():
        if isinstance(part, CompoundTrigger | SequenceTrigger) and any(one.id == id for one in part.triggers):
            return part
    return None


def _act(tx: Transaction, automation: Automation, fired: Firing) -> None:
    told = _triggered(tx, automation, fired)
    firings = [(action, fired) for action in automation.actions]
    own = fired.model_copy(update={"event": told})
    firings += [(action, own) for action in automation.actions_on_trigger]
    for place, (action, cause) in enumerate(firings):
        invocation = Invocation(
            id=new_id(),
            automation_id=automation.id,
            automation_name=automation.name,
            place=place,
            trigger_type=automation.trigger.type,
            posture=getattr(automation.trigger, "posture", None),
            action=action,
            firing=cause,
            triggered_event=told.id,
        )
        if isinstance(action, CallWebhook | SendNotification):
            watches.put_off(tx, invocation)
        else:
            acting.perform(tx, invocation)


def _triggered(tx: Transaction, automation: Automation, fired: Firing) -> ReceivedEvent:
    """The event that tells that an automation fired."""
    cause = fired.event
    related = [] if cause is None else [{RESOURCE_ID: f"prefect.event.{cause.id}", RESOURCE_ROLE: "triggering-event"}]
    posture = getattr(automation.trigger, "posture", None)
    event = Event(
        occurred=tx.now,
        event=f"{_ABOUT}triggered",
        resource={
            RESOURCE_ID: f"{_ABOUT}{automation.id}",
            "prefect.resource.name": automation.name,
            **({"prefect.posture": str(posture)} if posture else {}),
        },
        related=related,
        payload={
            "triggering_labels": fired.labels,
            "triggering_event": None if cause is None else cause.model_dump(mode="json"),
        },
    )
    events.append(tx, [event])
    return events.read(tx, event.id)
