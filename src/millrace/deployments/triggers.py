"""The triggers of a deployment, given to the server as automations that belong to it. The one seam to automations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from millrace.errors import InvalidInput, NotFound, NotSupported
from millrace.schema.fields import JsonObject

OWNER = "prefect.deployment."
_OF_THE_AUTOMATION = ("name", "description", "enabled")
_OF_THE_RUN = ("parameters", "job_variables", "schedule_after")


def require(client: Any, triggers: Sequence[Any]) -> None:
    """Refuse triggers where nobody would pull them, before anything is made.

    Args:
        client: the client.
        triggers: as given.

    Raises:
        NotSupported: there are no automations.
        InvalidInput: one is no trigger.
    """
    for number, trigger in enumerate(triggers, 1):
        automation(trigger, UUID(int=0), f"trigger {number}")
    if triggers and _maker(client) is None:
        raise NotSupported(
            "Triggers start runs through automations, which this version does not have. Leave triggers out, and start "
            "runs with run_deployment(…) where the event happens."
        )


def declare(client: Any, deployment_id: UUID, name: str, triggers: Sequence[Any]) -> None:
    """Make the automations that belong to a deployment those of its triggers: the old ones go, the new ones come.

    Args:
        client: the client.
        deployment_id: the deployment.
        name: the deployment's name, from which automations without one get theirs.
        triggers: as given.
    """
    make = _maker(client)
    if make is None:
        return
    forget = getattr(client, "delete_owned_automations", None)
    if forget is not None:
        try:
            forget(f"{OWNER}{deployment_id}")
        except NotFound:
            return  # a server without automations, as the original says it
    for number, trigger in enumerate(triggers, 1):
        make(automation(trigger, deployment_id, f"{name}__automation_{number}"))


def automation(trigger: Any, deployment_id: UUID, name: str) -> JsonObject:
    """The automation that runs a deployment when a trigger fires, as the wire has it.

    Args:
        trigger: a mapping or a trigger object: what is expected, and `name`, `enabled`, `parameters`, `job_variables`.
        deployment_id: the deployment to run.
        name: its name where the trigger has none.

    Raises:
        InvalidInput: it is no trigger.
    """
    if isinstance(trigger, BaseModel):
        given: JsonObject = trigger.model_dump(mode="json", exclude_unset=True)
        given.setdefault("type", getattr(trigger, "type", "event"))
    elif isinstance(trigger, Mapping):
        given = dict(trigger)
    else:
        raise InvalidInput(
            f"{trigger!r} is no trigger. Give a dict such as {{'expect': ['order.arrived']}} or a trigger object."
        )
    about = {key: given.pop(key) for key in _OF_THE_AUTOMATION if given.get(key) is not None}
    run = {key: given.pop(key) for key in _OF_THE_RUN if given.get(key) is not None}
    given.setdefault("type", "event")
    return {
        "enabled": True,
        **about,
        "name": about.get("name") or name,
        "trigger": given,
        "actions": [
            {"type": "run-deployment", "source": "selected", "deployment_id": str(deployment_id), **run},
        ],
        "owner_resource": f"{OWNER}{deployment_id}",
    }


def _maker(client: Any) -> Callable[[Any], Any] | None:
    return getattr(client, "create_automation", None)
