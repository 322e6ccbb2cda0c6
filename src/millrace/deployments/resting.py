"""What a person paused rests on when a deployment is made again at a server that forgets it, such as Prefect's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from millrace.errors import MillraceError
from millrace.schema.deployments import DeploymentCreate, DeploymentSchedule, DeploymentScheduleCreate
from millrace.schema.fields import now
from millrace.schema.schedule_pairs import Standing, pairs


def kept(client: Any, flow_name: str, wanted: DeploymentCreate, *, paused: bool | None) -> DeploymentCreate:
    """The deployment to send: what it says nothing of stays as it is.

    Args:
        client: the client.
        flow_name: the flow.
        wanted: the deployment.
        paused: whether it says that all its schedules rest; None: it says nothing.
    """
    try:
        stored = client.read_deployment_by_name(flow_name, wanted.name).schedules if wanted.schedules else []
    except MillraceError:  # there is none yet, or the request that follows says what is wrong
        stored = []
    said = wanted.model_fields_set - ({"paused"} if paused is None else set())
    fields = {**dict(wanted), "schedules": resting(stored, wanted.schedules)}
    return DeploymentCreate.model_construct(_fields_set=said, **fields)


def resting(
    stored: Sequence[DeploymentSchedule], wanted: Sequence[DeploymentScheduleCreate]
) -> list[DeploymentScheduleCreate]:
    """What is declared, resting where the stored schedule that it continues rests and nothing is said of that.

    Args:
        stored: the schedules that are there.
        wanted: those that are declared.
    """
    standing = [Standing(one.schedule, one.slug, one.parameters) for one in stored]
    result = list(wanted)
    for index, place in enumerate(pairs(standing, wanted, now())):
        if place is not None and not stored[place].active and "active" not in result[index].model_fields_set:
            result[index] = result[index].model_copy(update={"active": False})
    return result
