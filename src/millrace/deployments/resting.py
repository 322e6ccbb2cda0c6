"""Schedules that a person paused rest on when a deployment is made again at a server that forgets them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from millrace.errors import MillraceError, NotFound
from millrace.schema.deployments import DeploymentSchedule, DeploymentScheduleCreate


def kept(
    client: Any, flow_name: str, name: str, wanted: Sequence[DeploymentScheduleCreate]
) -> list[DeploymentScheduleCreate]:
    """The schedules to send. A Millrace server keeps what rests itself; Prefect's makes all schedules anew.

    Args:
        client: the client.
        flow_name: the flow.
        name: the deployment.
        wanted: the schedules it declares.
    """
    if not wanted:
        return []
    try:
        client.server_info()
    except NotFound:
        try:
            stored = client.read_deployment_by_name(flow_name, name).schedules
        except MillraceError:  # there is none yet, or the request that follows says what is wrong
            return list(wanted)
        return resting(stored, wanted)
    except MillraceError:
        pass
    return list(wanted)


def resting(
    stored: Sequence[DeploymentSchedule], wanted: Sequence[DeploymentScheduleCreate]
) -> list[DeploymentScheduleCreate]:
    """What is declared, resting where the stored schedule that it continues rests and nothing is said of that.

    A schedule continues the one of its slug, else an equal one, else one of the same kind and parameters, else the
    next that is left.

    Args:
        stored: the schedules that are there.
        wanted: those that are declared.
    """
    free = list(stored)
    result = list(wanted)
    open_ = list(range(len(result)))
    for fits in (_slug, _equal, _kindred, _edited):
        for index in list(open_):
            old = next((one for one in free if fits(one, result[index])), None)
            if old is None:
                continue
            free.remove(old)
            open_.remove(index)
            if not old.active and "active" not in result[index].model_fields_set:
                result[index] = result[index].model_copy(update={"active": False})
    return result


def _slug(old: DeploymentSchedule, new: DeploymentScheduleCreate) -> bool:
    return old.slug is not None and old.slug in (new.slug, new.replaces)


def _equal(old: DeploymentSchedule, new: DeploymentScheduleCreate) -> bool:
    return _edited(old, new) and old.schedule == new.schedule


def _kindred(old: DeploymentSchedule, new: DeploymentScheduleCreate) -> bool:
    return _edited(old, new) and type(old.schedule) is type(new.schedule) and old.parameters == new.parameters


def _edited(old: DeploymentSchedule, new: DeploymentScheduleCreate) -> bool:
    return old.slug is None or new.slug is None
