"""What people give for a deployment, checked and in the form the wire has."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from millrace.deployments import triggers
from millrace.deployments.timing import schedules_from
from millrace.engine.declared import check_characters
from millrace.engine.secrecy import refuse_values
from millrace.engine.sent_values import named_values, sendable
from millrace.entrypoints import EntrypointType
from millrace.errors import InvalidInput, MissingFile, ParameterError
from millrace.notebooks import parameters as checks
from millrace.schema.deployments import ConcurrencyLimitConfig, ConcurrencyOptions
from millrace.schema.fields import NAME_PATTERN, NO_NAME, JsonObject


def file_there(path: Path, entrypoint: str) -> None:
    """Refuse an entrypoint whose file is not there.

    Args:
        path: the file.
        entrypoint: as the user wrote it.
    """
    if not path.is_file():
        raise MissingFile(f"The entrypoint {entrypoint!r} leads to {path}, which is not a file.")


def named(name: Any) -> str:
    """The name of a deployment; a file name gives its stem.

    Args:
        name: as given.
    """
    if not isinstance(name, str):
        raise InvalidInput(f"The name of a deployment is a text, not {name!r}.")
    stem = Path(name).stem if name.endswith((".py", ".ipynb")) else name
    try:
        check_characters(stem)
    except ValueError as error:
        raise InvalidInput(f"{name!r:.100} cannot be the name of a deployment: {error}.") from None
    return stem


def schema_of(flow: Any) -> JsonObject:
    """The parameter schema of a flow.

    Args:
        flow: the flow.
    """
    found = flow.parameters
    return dict(found) if isinstance(found, dict) else dict(found.model_dump())


def checked(schema: JsonObject, values: dict[str, Any], flow_name: str) -> JsonObject:
    """Parameter values checked against a schema; those that are missing may come with the run.

    Args:
        schema: the flow's parameters.
        values: as given.
        flow_name: for messages.
    """
    named_values(values, f"the flow {flow_name!r}")
    if values and not schema.get("properties"):
        raise ParameterError(f"Unknown parameter {next(iter(values))!r}: the flow {flow_name!r} takes none.")
    refuse_values(values)
    return sendable(checks.validate({**schema, "required": []}, values), f"the flow {flow_name!r}")


def tag_list(given: Iterable[str] | None) -> list[str]:
    """The tags of a run, from the list that people give.

    Args:
        given: texts.

    Raises:
        InvalidInput: it is one text, whose letters would become tags, or holds something else than texts.
    """
    if isinstance(given, str) or not (given is None or isinstance(given, Iterable)):
        raise InvalidInput(f"tags cannot be {given!r}: they are a list of texts, such as tags=[{str(given)!r}].")
    found = list(given or ())
    for tag in found:
        if not isinstance(tag, str):
            raise InvalidInput(f"tags cannot hold {tag!r} ({type(tag).__name__}): they are texts.")
    return found


def entrypoint_type(given: Any) -> EntrypointType:
    """How the code of a flow object is to be named.

    Args:
        given: an `EntrypointType`, one of another package, or its value.
    """
    value = getattr(given, "value", given)
    try:
        return EntrypointType(value)
    except ValueError:
        raise InvalidInput(
            f"entrypoint_type cannot be {given!r}. Give one of "
            f"{', '.join(f'EntrypointType.{one.name}' for one in EntrypointType)}."
        ) from None


def limits(limit: Any) -> JsonObject:
    """The fields that a concurrency limit stands for.

    Args:
        limit: a number, or `ConcurrencyLimitConfig(…)`, or a dict of its fields.
    """
    if limit is None:
        return {}
    try:
        if isinstance(limit, bool):
            raise TypeError
        if isinstance(limit, int):
            return {"concurrency_limit": ConcurrencyLimitConfig(limit=limit).limit}
        known = ConcurrencyLimitConfig.model_fields
        fields = limit if isinstance(limit, Mapping) else {name: getattr(limit, name) for name in known}
        if unknown := sorted(set(fields) - set(known)):
            raise InvalidInput(f"concurrency_limit has no field {unknown[0]!r}; there are {', '.join(known)}.")
        made = ConcurrencyLimitConfig.model_validate(fields)
    except (TypeError, AttributeError, ValidationError) as error:
        why = (
            f": {error.errors()[0]['loc'][0]}: {error.errors()[0]['msg']}" if isinstance(error, ValidationError) else ""
        )
        raise InvalidInput(
            f"concurrency_limit cannot be {limit!r}{why}. Give a number, or ConcurrencyLimitConfig(limit=1, "
            "collision_strategy='ENQUEUE' or 'CANCEL_NEW', grace_period_seconds=60 to 86400)."
        ) from None
    return {
        "concurrency_limit": made.limit,
        "concurrency_options": ConcurrencyOptions(
            collision_strategy=made.collision_strategy, grace_period_seconds=made.grace_period_seconds
        ),
    }


def rest(paused: bool | None, is_schedule_active: bool | None) -> bool | None:
    """Whether the schedules rest, from the two words for it.

    Args:
        paused: as given.
        is_schedule_active: as given: the opposite.
    """
    if is_schedule_active is None:
        return paused
    if paused is not None and paused is is_schedule_active:
        raise InvalidInput(
            f"paused={paused} and is_schedule_active={is_schedule_active} say opposite things. Leave "
            "is_schedule_active out: paused says it."
        )
    return not is_schedule_active


def _fits_a_path(name: Any, what: str) -> None:
    if isinstance(name, str) and not re.search(NAME_PATTERN, name):
        raise InvalidInput(f"The {what} {name!r} {NO_NAME}.")


_TIMES = ("interval", "cron", "rrule", "schedule", "schedules", "anchor_date", "timezone")
_SAID = ("version", "description")


def fields(
    name: str, flow_name: str, schema: JsonObject, own: Mapping[str, str | None], options: Mapping[str, Any]
) -> JsonObject:
    """The fields of a deployment from the options that people give.

    Args:
        name: the deployment's name, as given.
        flow_name: the flow's name.
        schema: its parameters.
        own: what stands for a version and a description that are not given.
        options: the arguments of `RunnerDeployment.from_flow`; those that are None count as not given.

    Raises:
        InvalidInput: one of them does not fit.
    """
    given = {key: value for key, value in options.items() if value is not None}
    times = schedules_from(**{key: given.pop(key) for key in _TIMES if key in given})
    limit = limits(given.pop("concurrency_limit", None))
    paused = rest(given.pop("paused", None), given.pop("is_schedule_active", None))
    _fits_a_path(given.get("work_pool_name"), "work pool")
    _fits_a_path(given.get("work_queue_name"), "work queue")
    values = checked(schema, given.pop("parameters", {}), flow_name)
    triggers.require(given.get("triggers", ()), schema, flow_name)
    known = {key: own[key] for key in _SAID if own[key] is not None and key not in given}
    return {
        **given,
        **known,
        **limit,
        "name": named(name),
        "flow_name": flow_name,
        "schedules": times,
        "paused": paused,
        "parameters": values,
    }
