"""The triggers of a deployment, given to the server as automations that belong to it. The one seam to automations."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ValidationError

from millrace.errors import InvalidInput, NotFound, NotSupported, ParameterError
from millrace.schema.actions import RunDeployment
from millrace.schema.automations import AutomationCreate
from millrace.schema.fields import JsonObject
from millrace.schema.triggers import EventTrigger, kind_of, strange
from millrace.suggestions import did_you_mean

OWNER = "prefect.deployment."
_OF_THE_AUTOMATION = ("name", "description", "enabled")
_OF_THE_RUN = ("parameters", "job_variables", "schedule_after")


def require(triggers: Sequence[Any], schema: JsonObject | None = None, flow_name: str = "", first: int = 1) -> None:
    """Refuse triggers that nobody could pull, before anything is made.

    Args:
        triggers: as given.
        schema: the parameters of the flow; None: they are not looked at.
        flow_name: for messages.
        first: the number of the first, for messages.

    Raises:
        InvalidInput: one is no trigger, or cannot work.
    """
    if isinstance(triggers, str | Mapping) or not isinstance(triggers, Sequence):
        raise InvalidInput(
            f"triggers cannot be {triggers!r}: they are a list, such as triggers=[{{'expect': ['order.arrived']}}]."
        )
    for number, trigger in enumerate(triggers, first):
        made = automation(trigger, UUID(int=0), f"trigger {number}")
        if schema is not None:
            _taken(made, schema, flow_name)


def _taken(made: AutomationCreate, schema: JsonObject, flow_name: str) -> None:
    known = schema.get("properties") or {}
    for action in made.actions:
        for name in getattr(action, "parameters", None) or {}:
            if name not in known:
                hint = did_you_mean(name, known) or f" It takes: {', '.join(known) or 'none'}."
                raise ParameterError(
                    f"The trigger {made.name!r} gives the parameter {name!r}, which the flow {flow_name!r} does not "
                    f"take.{hint}"
                )


def declare(client: Any, deployment_id: UUID, name: str, triggers: Sequence[Any]) -> None:
    """Make the automations that belong to a deployment those of its triggers: the old ones go, the new ones come.

    Args:
        client: the client.
        deployment_id: the deployment.
        name: the deployment's name, from which automations without one get theirs.
        triggers: as given.

    Raises:
        NotSupported: there are triggers, and a server without automations.
    """
    made = [automation(trigger, deployment_id, f"{name}__automation_{n}") for n, trigger in enumerate(triggers, 1)]
    try:
        client.delete_owned_automations(f"{OWNER}{deployment_id}")
    except NotFound:
        if made:
            raise NotSupported("This server has no automations, so triggers start nothing. Leave them out.") from None
        return
    for one in made:
        client.create_automation(one)


def declared(client: Any, deployment_id: UUID, name: str) -> list[JsonObject]:
    """The triggers of a stored deployment, as they would be declared.

    No server tells to whom an automation belongs, so these are all that do nothing but run this deployment.

    Args:
        client: the client.
        deployment_id: the deployment.
        name: the deployment's name.
    """
    try:
        related = client.read_related_automations(f"{OWNER}{deployment_id}")
    except NotFound:
        return []
    found = []
    for one in related:
        action = one.actions[0] if len(one.actions) == 1 else None
        if isinstance(action, RunDeployment) and action.deployment_id == deployment_id:
            said = one.model_dump(mode="json", include={*_OF_THE_AUTOMATION}, exclude_defaults=True)
            run = action.model_dump(mode="json", include={*_OF_THE_RUN}, exclude_defaults=True)
            given = one.trigger.model_dump(mode="json", exclude_defaults=isinstance(one.trigger, EventTrigger))
            if re.fullmatch(rf"{re.escape(name)}__automation_\d+", str(said["name"])):
                del said["name"]
            found.append({**said, **without_ids(given), **run})
    return found


def without_ids(trigger: JsonObject) -> JsonObject:
    """A trigger without the ids that the server gave to it and to its parts.

    Args:
        trigger: as it is stored.
    """
    kept = {key: one for key, one in trigger.items() if key != "id"}
    if isinstance(parts := kept.get("triggers"), list):
        kept["triggers"] = [without_ids(part) for part in parts]
    return kept


def automation(trigger: Any, deployment_id: UUID, name: str) -> AutomationCreate:
    """The automation that runs a deployment when a trigger fires.

    Args:
        trigger: a mapping or a trigger object: what is expected, and `name`, `enabled`, `parameters`, `job_variables`.
        deployment_id: the deployment to run.
        name: its name where the trigger has none.

    Raises:
        InvalidInput: it is no trigger, or cannot work.
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
    about = {key: one for key in _OF_THE_AUTOMATION if (one := given.pop(key, None)) is not None}
    run = {key: one for key in _OF_THE_RUN if (one := given.pop(key, None)) is not None}
    if problem := strange(given):
        raise InvalidInput(f"The trigger {about.get('name') or name!r} cannot be used: {problem}")
    given.setdefault("type", kind_of(given))
    whole = {
        "enabled": True,
        **about,
        "name": about.get("name") or name,
        "trigger": given,
        "actions": [{"type": "run-deployment", "source": "selected", "deployment_id": deployment_id, **run}],
        "owner_resource": f"{OWNER}{deployment_id}",
    }
    try:
        return AutomationCreate.model_validate(whole)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, one['loc']))}: {str(one['msg']).removeprefix('Value error, ')}".removeprefix(": ")
            for one in error.errors()
        )
        raise InvalidInput(f"The trigger {whole['name']!r} cannot be used: {problems}.") from None
