"""Deployments as people name them on the command line."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from millrace.client.synchronous import Client
from millrace.errors import MissingDeployment, NotFound
from millrace.schema.deployments import Deployment
from millrace.schema.queries import DeploymentQuery
from millrace.suggestions import near_or_listed

Which = Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="FLOW/NAME, or its id.")]


def find(client: Client, text: str) -> Deployment:
    """The deployment of this id or `flow/name`.

    Args:
        client: the server.
        text: an id or `flow/name`.

    Raises:
        MissingDeployment: there is none; the message lists some.
    """
    try:
        try:
            return client.read_deployment(UUID(text))
        except ValueError:
            flow, _, name = text.rpartition("/")
            if flow:
                return client.read_deployment_by_name(flow, name)
    except NotFound:
        pass
    raise _missing(client, text)


def _missing(client: Client, text: str) -> MissingDeployment:
    known = [full for _, full in named(client, client.read_deployments(limit=200))]
    others = near_or_listed(text, known, "Deployments here", "millrace deployment ls")
    return MissingDeployment(
        f"There is no deployment {text!r}.{others or ' There are none here yet: millrace deploy.'}"
    )


def meant(client: Client, text: str) -> list[Deployment]:
    """The deployment of this id or `flow/name`; of a name alone, the deployments of all flows so named.

    Args:
        client: the server.
        text: an id, `flow/name` or a name.

    Raises:
        MissingDeployment: there is none; the message lists some.
    """
    if "/" not in text and not _is_id(text):
        query = DeploymentQuery.model_validate({"deployments": {"name": {"any_": [text]}}, "limit": 200})
        if found := client.read_deployments(query):
            return found
    return [find(client, text)]


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def named(client: Client, found: list[Deployment]) -> list[tuple[Deployment, str]]:
    """Deployments, each with its `flow/name`.

    Args:
        client: the server.
        found: the deployments.
    """
    flows: dict[UUID, str] = {}
    for one in found:
        if one.flow_id not in flows:
            flows[one.flow_id] = client.read_flow(one.flow_id).name
    return [(one, f"{flows[one.flow_id]}/{one.name}") for one in found]
