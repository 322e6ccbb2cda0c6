"""What deploying again changed of deployments that were there: in words, beside `applied`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from millrace.deployments.triggers import without_ids
from millrace.errors import MillraceError
from millrace.schema.automations import AutomationQuery
from millrace.schema.deployments import Deployment
from millrace.schema.fields import JsonObject
from millrace.schema.queries import DeploymentQuery

MANY = 200
"""In one answer; where more are deployed at once nothing is compared."""

_FIELDS = {
    "entrypoint": "entrypoint",
    "version": "version",
    "description": "description",
    "parameters": "parameters",
    "job_variables": "job variables",
    "pull_steps": "pull steps",
    "work_pool_name": "work pool",
    "work_queue_name": "work queue",
    "concurrency_limit": "concurrency limit",
    "paused": "paused",
}


class Stored(NamedTuple):
    """A deployment as the server has it.

    Attributes:
        deployment: the deployment.
        triggers: the automations that run it, without what tells two alike ones apart.
    """

    deployment: Deployment
    triggers: list[JsonObject]


def stored(client: Any, *, names: Sequence[str] = (), ids: Sequence[UUID] = ()) -> dict[UUID, Stored]:
    """Deployments as the server has them, by id; none where they cannot be asked for.

    Args:
        client: the client.
        names: of deployments of any flow.
        ids: of deployments.
    """
    wanted = {"name": {"any_": sorted(set(names))}} if names else {"id": {"any_": [str(one) for one in ids]}}
    if not (names or ids) or len(names) + len(ids) > MANY:
        return {}
    try:
        query = DeploymentQuery.model_validate({"deployments": wanted, "limit": MANY})
        found = client.read_deployments(query)
    except MillraceError:
        return {}
    triggers = _triggers(client) if found else {}
    return {one.id: Stored(one, triggers.get(str(one.id), [])) for one in found}


def _triggers(client: Any) -> dict[str, list[JsonObject]]:
    """What the automations say, by the deployment that they run."""
    try:
        automations = client.read_automations(AutomationQuery(limit=MANY))
    except MillraceError:  # a server without them
        return {}
    found: dict[str, list[JsonObject]] = {}
    for one in automations:
        said = one.model_dump(mode="json", exclude={"id", "created", "updated"})
        said["trigger"] = without_ids(said["trigger"])
        for id in {str(id) for action in one.actions if (id := getattr(action, "deployment_id", None)) is not None}:
            found.setdefault(id, []).append(said)
    return found


def changed(id: UUID | None, were: Mapping[UUID, Stored], are: Mapping[UUID, Stored]) -> str:
    """What is other than before; empty for a new one.

    Args:
        id: of the deployment.
        were: deployments as they were.
        are: deployments as they are.

    Example:
        >>> changed(id, before, after)  # doctest: +SKIP
        "changed: version, tags (without 'shop'), schedules (without every day)"
    """
    if id is None or id not in were or id not in are:
        return ""
    before, after = were[id].deployment, are[id].deployment
    told = [word for name, word in _FIELDS.items() if getattr(before, name) != getattr(after, name)]
    told += _lists("tags", map(repr, before.tags), map(repr, after.tags))
    told += _lists("schedules", *([one.schedule.describe() for one in of.schedules] for of in (before, after)))
    told += ["triggers"] if were[id].triggers != are[id].triggers else []
    return f"changed: {', '.join(told)}" if told else "nothing changed"


def _lists(word: str, before: Iterable[str], after: Iterable[str]) -> list[str]:
    was, now = list(before), list(after)
    parts = [
        f"{sign} {', '.join(some)}"
        for sign, some in (
            ("without", [one for one in was if one not in now]),
            ("with", [one for one in now if one not in was]),
        )
        if some
    ]
    return [f"{word} ({'; '.join(parts)})"] if parts else []
