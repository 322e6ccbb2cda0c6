"""What of a deployment is sent to the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import ValidationError

from millrace.deployments import resting
from millrace.errors import (
    Busy,
    DeploymentApplyError,
    InvalidInput,
    MillraceError,
    NotAllowed,
    NotFound,
    ParameterError,
    ServerUnavailable,
)
from millrace.schema.deployments import CATCH_UP_LABEL, DeploymentCreate, VersionInfo
from millrace.schema.fields import JsonObject
from millrace.schema.flows import FlowCreate
from millrace.storage.local import SET_DIRECTORY

if TYPE_CHECKING:
    from millrace.deployments.deployment import RunnerDeployment


def check(deployment: RunnerDeployment, pool: str | None, image: str | None) -> None:
    """Refuse what only makes sense with a pool where there is none.

    Args:
        deployment: the deployment.
        pool: the pool it goes to, if any.
        image: the image, if any.

    Raises:
        InvalidInput: an image, a queue or job variables without a pool.
    """
    for value, what, argument in (
        (image, "An image", "image"),
        (deployment.work_queue_name, "A work queue", "work_queue_name"),
        (deployment.job_variables, "Job variables", "job_variables"),
    ):
        if value and not pool:
            raise InvalidInput(
                f"{what} can only be given with a work pool: the deployment {deployment.full_name!r} has "
                f"{argument}={value!r} and no pool. Add work_pool_name=…"
            )


def send(client: Any, deployment: RunnerDeployment, pool: str | None, image: str | None) -> UUID:
    """Create a deployment, or replace the one of this flow and name.

    Args:
        client: the client.
        deployment: the deployment.
        pool: the pool it goes to, if any.
        image: the image its runs use, if any.

    Returns:
        Its id.

    Raises:
        DeploymentApplyError: the server refused it.
        InvalidInput: there is no such pool, or a value cannot be sent.
    """
    name = deployment.full_name
    try:
        flow = client.create_flow(FlowCreate(name=str(deployment.flow_name)))
        wanted = body(deployment, flow.id, pool, image)
        if not _remembers(client):
            wanted = resting.kept(client, str(deployment.flow_name), wanted, paused=deployment.paused)
        made: UUID = client.create_deployment(wanted).id
        return made
    except (ServerUnavailable, NotAllowed, Busy, ParameterError):
        raise
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InvalidInput(f"The deployment {name!r} cannot be made: {first['msg']}.") from None
    except NotFound as error:
        raise InvalidInput(f"The deployment {name!r} was not made: {error}") from error
    except MillraceError as error:
        raise DeploymentApplyError(f"The server refused the deployment {name!r}: {error}") from error


def _remembers(client: Any) -> bool:
    """Whether the server knows what the last deployment said, and so what a person paused since."""
    try:
        client.server_info()
    except NotFound:
        return False
    except MillraceError:  # the request that follows says what is wrong
        return True
    return True


def body(deployment: RunnerDeployment, flow_id: UUID, pool: str | None, image: str | None) -> DeploymentCreate:
    """The request that makes or replaces a deployment.

    Args:
        deployment: the deployment, whose code was found.
        flow_id: its flow.
        pool: the pool it goes to, if any.
        image: the image its runs use, if any.
    """
    code = deployment.code
    variables: JsonObject = dict(deployment.job_variables)
    if code.working_dir is not None:
        variables.setdefault("working_dir", str(code.working_dir))
    if image:
        variables["image"] = image
    labels = dict(deployment.labels)
    if deployment.catch_up:
        labels[CATCH_UP_LABEL] = deployment.catch_up
    path = str(code.path) if code.path else None
    version = deployment.version
    return DeploymentCreate(
        name=deployment.name,
        flow_id=flow_id,
        schedules=deployment.schedules,
        concurrency_limit=deployment.concurrency_limit,
        concurrency_options=deployment.concurrency_options,
        enforce_parameter_schema=deployment.enforce_parameter_schema,
        parameter_openapi_schema=_closed(deployment.parameter_openapi_schema),
        parameters=deployment.parameters,
        tags=deployment.tags,
        labels=labels,
        pull_steps=list(code.pull_steps) or ([{SET_DIRECTORY: {"directory": path}}] if path else []),
        work_queue_name=deployment.work_queue_name,
        work_pool_name=pool,
        description=deployment.description,
        path=path,
        version=version,
        version_info=VersionInfo(type="millrace:simple", version=version) if version else None,
        entrypoint=deployment.entrypoint,
        job_variables=variables,
        paused=bool(deployment.paused),
    )


def _closed(schema: JsonObject) -> JsonObject:
    """The schema that takes no other parameters: so any server refuses a misspelt one before a run is made."""
    return {**schema, "additionalProperties": False} if "properties" in schema else schema
