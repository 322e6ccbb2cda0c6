"""What automations do in the store: run, pause, resume, set states. In the transaction that fired them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any
from uuid import UUID

from sqlalchemy import select

from millrace.errors import Conflict, InvalidInput, MillraceError, NotFound
from millrace.schema import actions, templates
from millrace.schema.automations import Invocation
from millrace.schema.events import RESOURCE_ID, RESOURCE_ROLE, Event, Resource
from millrace.schema.fields import JsonObject, run_name
from millrace.schema.inputs import RunResume
from millrace.schema.pools import WorkPoolUpdate, WorkQueueUpdate
from millrace.schema.runs import DeploymentFlowRunCreate
from millrace.schema.states import (
    OrchestrationResult,
    SetState,
    SetStateStatus,
    State,
    StateCreate,
    StateType,
    named,
    scheduled,
)
from millrace.store import automations, deployments, events, flow_runs, flow_states, happenings, pools, queues, resuming
from millrace.store.database import Transaction
from millrace.store.tables import work_pools

logger = logging.getLogger(__name__)

Done = tuple[list[Resource], JsonObject]
"""What an action touched, and what is to be told of it."""


def labels_of(text: str) -> dict[str, str]:
    """The labels of a window as they are stored."""
    found: dict[str, str] = json.loads(text)
    return found


def perform(tx: Transaction, invocation: Invocation) -> None:
    """Does an action, and writes down what became of it; one that fails leaves nothing behind but that."""
    savepoint = tx.connection.begin_nested()
    try:
        related, told = _KINDS[type(invocation.action)](tx, invocation)
    except (MillraceError, ValueError) as error:
        savepoint.rollback()
        tell(tx, invocation, [], {}, str(error))
    except Exception as error:
        # a mistake of ours must not stop all other automations
        logger.exception("the action %s of the automation %r failed", invocation.place, invocation.automation_name)
        savepoint.rollback()
        tell(tx, invocation, [], {}, f"{type(error).__name__}: {error}")
    else:
        savepoint.commit()
        tell(tx, invocation, related, told, None)


def tell(
    tx: Transaction, invocation: Invocation, related: list[Resource], told: JsonObject, reason: str | None
) -> None:
    """Writes the events of an action: triggered, and executed or failed.

    Args:
        tx: the transaction.
        invocation: the action.
        related: what it touched.
        told: what else is to be told.
        reason: why it failed; None: it did not.
    """
    resource = {
        RESOURCE_ID: f"prefect.automation.{invocation.automation_id}",
        "prefect.resource.name": invocation.automation_name,
        "prefect.trigger-type": invocation.trigger_type,
        **({"prefect.posture": invocation.posture} if invocation.posture else {}),
    }
    causes = [("automation-triggered-event", invocation.triggered_event)]
    if invocation.firing.event is not None:
        causes.append(("triggering-event", invocation.firing.event.id))
    others = related + [{RESOURCE_ID: f"prefect.event.{id}", RESOURCE_ROLE: role} for role, id in causes]
    payload: JsonObject = {
        "action_index": invocation.place,
        "action_type": invocation.action.type,
        "invocation": str(invocation.id),
    }
    started = Event(
        occurred=tx.now, event="prefect.automation.action.triggered", resource=resource, related=others, payload=payload
    )
    ending = "executed" if reason is None else "failed"
    ended = Event(
        occurred=tx.now,
        event=f"prefect.automation.action.{ending}",
        resource=resource,
        related=others,
        payload={**payload, **told, **({} if reason is None else {"reason": reason[:10_000]})},
        follows=started.id,
    )
    events.append(tx, [started, ended])


def _target(kind: str, id: UUID) -> list[Resource]:
    return [{RESOURCE_ID: f"prefect.{kind}.{id}", RESOURCE_ROLE: "target"}]


def _meant(invocation: Invocation, kind: str) -> UUID:
    """The selected thing, or the first of this kind among those that the event is about."""
    selected: UUID | None = getattr(invocation.action, "selected", None)
    if selected is not None:
        return selected
    event = invocation.firing.event
    if event is None:
        raise InvalidInput(f"No event fired, so no {kind} can be inferred. Select one.")
    id = happenings.thing(event, f"prefect.{kind}")
    if id is None:
        raise InvalidInput(f"The event {event.event!r} is about no {kind}. Select one, or match events of one.")
    return id


def _nothing(tx: Transaction, invocation: Invocation) -> Done:
    return [], {}


def _run(tx: Transaction, invocation: Invocation) -> Done:
    action = invocation.action
    assert isinstance(action, actions.RunDeployment)
    id = _meant(invocation, "deployment")
    lookup = happenings.lookup(tx, invocation)
    body = DeploymentFlowRunCreate(
        name=run_name(),
        state=StateCreate.model_validate(scheduled(tx.now + action.schedule_after).model_dump()),
        parameters=templates.fill_all(action.parameters or {}, lookup),
        job_variables=action.job_variables,
        idempotency_key=f"automation {invocation.automation_id}, invocation {invocation.id}",
    )
    run, _ = flow_runs.create_from_deployment(tx, id, body)
    made = {
        RESOURCE_ID: f"prefect.flow-run.{run.id}",
        RESOURCE_ROLE: "flow-run",
        "prefect.resource.name": run.name,
    }
    return [*_target("deployment", id), made], {"flow_run_id": str(run.id)}


def _deployment(paused: bool) -> Callable[[Transaction, Invocation], Done]:
    def act(tx: Transaction, invocation: Invocation) -> Done:
        id = _meant(invocation, "deployment")
        deployments.set_paused(tx, id, paused)
        return _target("deployment", id), {}

    return act


def _pool(paused: bool) -> Callable[[Transaction, Invocation], Done]:
    def act(tx: Transaction, invocation: Invocation) -> Done:
        id = _meant(invocation, "work-pool")
        name = tx.connection.scalar(select(work_pools.c.name).where(work_pools.c.id == id))
        if name is None:
            raise NotFound(f"No work pool has the id {id}.")
        pools.update(tx, name, WorkPoolUpdate(is_paused=paused))
        return _target("work-pool", id), {}

    return act


def _queue(paused: bool) -> Callable[[Transaction, Invocation], Done]:
    def act(tx: Transaction, invocation: Invocation) -> Done:
        id = _meant(invocation, "work-queue")
        queues.update(tx, id, WorkQueueUpdate(is_paused=paused))
        return _target("work-queue", id), {}

    return act


def _automation(enabled: bool) -> Callable[[Transaction, Invocation], Done]:
    def act(tx: Transaction, invocation: Invocation) -> Done:
        id = _meant(invocation, "automation")
        automations.set_enabled(tx, id, enabled)
        return _target("automation", id), {}

    return act


def _propose(tx: Transaction, id: UUID, state: State | StateCreate, *, force: bool = False) -> Done:
    proposed = StateCreate.model_validate(state.model_dump())
    result = flow_states.set_state(tx, id, SetState(state=proposed, force=force))
    ends = (StateType.CANCELLING, StateType.CANCELLED)
    if proposed.type in ends and result.state is not None and result.state.type in ends:
        # whether somebody has to stop it first, or nobody runs it, is for the judge to know
        return _target("flow-run", id), {}
    return _settled(id, result)


def _settled(id: UUID, result: OrchestrationResult) -> Done:
    if result.status is not SetStateStatus.ACCEPT:
        reason = getattr(result.details, "reason", None) or "no reason was given"
        raise Conflict(f"The state was not accepted ({result.status.value}): {reason}")
    return _target("flow-run", id), {}


def _change(tx: Transaction, invocation: Invocation) -> Done:
    action = invocation.action
    assert isinstance(action, actions.ChangeFlowRunState)
    message = action.message or f"State changed by Automation {invocation.automation_id}"
    state = StateCreate(type=action.state, name=action.name, message=message)
    return _propose(tx, _meant(invocation, "flow-run"), state, force=action.force)


def _cancel(tx: Transaction, invocation: Invocation) -> Done:
    id = _meant(invocation, "flow-run")
    kind = StateType(flow_runs.row(tx, id)["state_type"] or "SCHEDULED")
    waits = kind in (StateType.SCHEDULED, StateType.PAUSED)
    message = f"Cancelled by the automation {invocation.automation_name!r}."
    return _propose(tx, id, named("Cancelled" if waits else "Cancelling", message))


def _suspend(tx: Transaction, invocation: Invocation) -> Done:
    message = f"Suspended by the automation {invocation.automation_name!r}."
    state = named("Suspended", message, pause_reschedule=True)
    return _propose(tx, _meant(invocation, "flow-run"), state)


def _resume(tx: Transaction, invocation: Invocation) -> Done:
    id = _meant(invocation, "flow-run")
    return _settled(id, resuming.resume(tx, id, RunResume()))


def _delete(tx: Transaction, invocation: Invocation) -> Done:
    id = _meant(invocation, "flow-run")
    flow_runs.delete(tx, id)
    return _target("flow-run", id), {}


_KINDS: dict[type[Any], Callable[[Transaction, Invocation], Done]] = {
    actions.DoNothing: _nothing,
    actions.RunDeployment: _run,
    actions.PauseDeployment: _deployment(True),
    actions.ResumeDeployment: _deployment(False),
    actions.ChangeFlowRunState: _change,
    actions.CancelFlowRun: _cancel,
    actions.SuspendFlowRun: _suspend,
    actions.ResumeFlowRun: _resume,
    actions.DeleteFlowRun: _delete,
    actions.PauseWorkPool: _pool(True),
    actions.ResumeWorkPool: _pool(False),
    actions.PauseWorkQueue: _queue(True),
    actions.ResumeWorkQueue: _queue(False),
    actions.PauseAutomation: _automation(False),
    actions.ResumeAutomation: _automation(True),
}
