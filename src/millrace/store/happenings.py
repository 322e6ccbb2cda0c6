"""What a template in an action may name: the event, what it is about, variables and, for targets, secrets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from millrace.errors import NotFound
from millrace.schema.automations import Invocation
from millrace.schema.blocks import SECRET
from millrace.schema.events import RESOURCE_ID, Event
from millrace.schema.fields import JsonObject
from millrace.schema.templates import Lookup, Path
from millrace.store import automations, block_documents, deployments, flow_runs, flows, queues, task_runs, variables
from millrace.store.database import Transaction
from millrace.store.events import object_id
from millrace.store.vault import Vault

_STATE = ("type", "name", "message", "timestamp")
_READERS: dict[str, Callable[[Transaction, UUID], Any]] = {
    "flow_run": flow_runs.read,
    "flow": flows.read,
    "deployment": deployments.read,
    "task_run": task_runs.read,
    "work_queue": queues.read,
}


def thing(event: Event, kind: str) -> UUID | None:
    """The first thing of a kind that an event is about."""
    for resource in (event.resource, *event.related):
        name = resource.get(RESOURCE_ID, "")
        if name.rpartition(".")[0] == kind:
            return object_id(name)
    return None


def lookup(tx: Transaction, invocation: Invocation, vault: Vault | None = None) -> Lookup:
    """What finds the value at the path of a placeholder; None where there is none.

    Args:
        tx: the transaction.
        invocation: the action whose templates are filled in.
        vault: opens secrets; None: none are to be told.
    """
    roots: dict[str, Any] = {}

    def find(path: Path) -> Any:
        if path.secret is not None and vault is not None:
            return block_documents.by_name(tx, vault, SECRET, path.secret, include_secrets=True).data.get("value")
        first = str(path.steps[0])
        if first == "variables":
            return _descend(_variable(tx, str(path.steps[1])), path.steps[2:]) if len(path.steps) > 1 else None
        if first not in roots:
            roots[first] = _root(tx, invocation, first)
        if first == "labels":
            # their names have dots
            return roots[first].get(".".join(map(str, path.steps[1:])))
        return _descend(roots[first], path.steps[1:])

    return find


def _variable(tx: Transaction, name: str) -> Any:
    try:
        return variables.by_name(tx, name).value
    except NotFound:
        return None


def _root(tx: Transaction, invocation: Invocation, name: str) -> Any:
    event = invocation.firing.event
    match name:
        case "automation":
            return _found(tx, automations.read, invocation.automation_id)
        case "event":
            return None if event is None else _told(event)
        case "events":
            return [_told(one) for one in invocation.firing.events()]
        case "firing":
            return invocation.firing.model_dump(mode="json")
        case "labels":
            return invocation.firing.labels
    id = None if event is None else thing(event, f"prefect.{name.replace('_', '-')}")
    if event is None or id is None:
        return None
    if name == "work_pool":
        return {"id": str(id), "name": _name_in(event, id)}
    found = _found(tx, _READERS[name], id)
    return _as_it_was(found, event) if name == "flow_run" else found


def _found(tx: Transaction, read: Callable[[Transaction, UUID], Any], id: UUID) -> JsonObject | None:
    try:
        found: JsonObject = read(tx, id).model_dump(mode="json")
    except NotFound:
        return None
    return found


def _name_in(event: Event, id: UUID) -> str | None:
    every = (event.resource, *event.related)
    return next((one.get("prefect.resource.name") for one in every if one.get(RESOURCE_ID, "").endswith(str(id))), None)


def _as_it_was(run: JsonObject | None, event: Event) -> JsonObject | None:
    """The run with the state that the event tells of: it may be in another by now."""
    told = {name: event.resource.get(f"prefect.state-{name}") for name in _STATE}
    if run is None or None in told.values() or not event.resource[RESOURCE_ID].endswith(run["id"]):
        return run
    return {
        **run,
        "state": {**(run.get("state") or {}), **told},
        "state_name": told["name"],
        "state_type": told["type"],
    }


def _told(event: Event) -> JsonObject:
    told = event.model_dump(mode="json")
    told["resource"] = _resource(event.resource)
    told["related"] = [_resource(one) for one in event.related]
    return told


def _resource(resource: dict[str, str]) -> dict[str, str]:
    short = {"id": resource.get(RESOURCE_ID, ""), "name": resource.get("prefect.resource.name", "")}
    return {**{name: value for name, value in short.items() if value}, **resource}


def _descend(value: Any, steps: tuple[str | int, ...]) -> Any:
    for step in steps:
        if isinstance(value, dict):
            value = value.get(str(step))
        elif isinstance(value, list) and isinstance(step, int):
            value = value[step] if step < len(value) else None
        else:
            return None
    return value
