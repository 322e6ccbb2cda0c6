"""Several deployments given to the server in a few requests instead of some for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import ValidationError

from millrace.deployments import preflight, request
from millrace.errors import MillraceError
from millrace.schema.deployments import DeploymentBatch, DeploymentCreate
from millrace.schema.flows import FlowCreate

if TYPE_CHECKING:
    from millrace.deployments.deployment import RunnerDeployment

AT_ONCE = 50
"""In one request, and one write of the server: others want to write too."""


def applied(client: Any, given: Mapping[int, tuple[RunnerDeployment, str]], image: str | None) -> dict[int, UUID]:
    """Create or replace deployments together, as far as that goes.

    Those with triggers are left out, and so is whatever cannot be sent or is refused: applied alone, it says why.

    Args:
        client: the client.
        given: deployments with their pools, by number.
        image: the image of all of them.

    Returns:
        The ids of those that are made, by number.
    """
    if len(given) < 2:
        return {}
    done: dict[int, UUID] = {}
    bodies = _bodies(client, given, image)
    numbers = list(bodies)
    for start in range(0, len(numbers), AT_ONCE):
        part = numbers[start : start + AT_ONCE]
        try:
            answer = client.create_deployments(DeploymentBatch(deployments=[bodies[number] for number in part]))
        except MillraceError:  # a server that takes one at a time, or none now
            break
        done |= {number: id for number, id in zip(part, answer.ids, strict=True) if id is not None}
    return done


def _bodies(
    client: Any, given: Mapping[int, tuple[RunnerDeployment, str]], image: str | None
) -> dict[int, DeploymentCreate]:
    flows: dict[str, UUID] = {}
    bodies: dict[int, DeploymentCreate] = {}
    for number, (deployment, pool) in given.items():
        name = str(deployment.flow_name)
        try:
            request.check(deployment, pool, image)
            preflight.require(deployment.code)
            if not deployment.triggers:
                flows[name] = flows.get(name) or client.create_flow(FlowCreate(name=name)).id
                bodies[number] = request.body(deployment, flows[name], pool, image)
        except (MillraceError, ValidationError):
            continue
    return bodies
