"""Deployments of specification files, made: their flows found, their steps performed, and given to the server."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from millrace import declarations, plugins, settings
from millrace.deployments import found, given, pool_variables, specfile, triggers
from millrace.deployments.batch import Ids, deploy, pool_of
from millrace.deployments.deployment import RunnerDeployment
from millrace.deployments.entry import Steps
from millrace.deployments.fillings import with_outputs
from millrace.deployments.source import Source
from millrace.deployments.specfile import Specified
from millrace.errors import InvalidInput, MillraceError, MissingDeployment, ScheduleError, UnspecifiedDeployment
from millrace.schema.fields import NO_NAME
from millrace.schema.job_variables import merge
from millrace.schema.pools import WorkPool
from millrace.storage import steps as storage_steps
from millrace.storage.local import SET_DIRECTORY
from millrace.suggestions import did_you_mean

_FILLED = ("version", "description", "tags", "parameters", "job_variables")
Outputs = dict[str, Any]


def made(one: Specified, **instead: Any) -> RunnerDeployment:
    """The deployment that an entry describes; its flow is loaded, nothing is stored.

    Args:
        one: the entry.
        instead: options of `RunnerDeployment.from_flow` that stand in place of what it says; schedules and job
            variables come beside those it says.

    Raises:
        SpecError: the flow cannot be loaded, or a value does not fit it; the message names file and line.
    """
    entry, pool = one.entry, one.entry.work_pool
    options = {
        "schedules": one.times,
        "paused": entry.paused,
        "parameters": entry.parameters,
        "triggers": entry.triggers,
        "description": entry.description,
        "tags": entry.tags,
        "version": entry.version,
        "enforce_parameter_schema": entry.enforce_parameter_schema,
        "concurrency_limit": entry.concurrency_limit,
        "work_pool_name": pool.name,
        "work_queue_name": pool.work_queue_name,
        "job_variables": pool.job_variables,
        "catch_up": entry.catch_up,
        "labels": entry.labels,
        **instead,
    }
    options["schedules"] = [*one.times, *instead.get("schedules", [])]
    if instead.get("job_variables"):  # alone they stay as they are written, also with dots in their names
        options["job_variables"] = merge(pool.job_variables, instead["job_variables"])
    else:
        options["job_variables"] = pool.job_variables
    entrypoint = entrypoint_of(one)
    try:
        there = _found(one, entrypoint)
    except (MillraceError, OSError) as error:
        field = "entrypoint" if entry.entrypoint else "flow_location"
        raise one.error(f"{field}: {error}", field) from error
    flow_name = str(there.flow.name)
    if entry.flow_name and entry.entrypoint and entry.flow_name != flow_name:
        raise one.error(
            f"flow_name is {entry.flow_name!r}, and {entrypoint} is the flow {flow_name!r}. Leave flow_name out.",
            "flow_name",
        )
    for number, trigger in enumerate(options["triggers"]):
        try:
            triggers.require([trigger], given.schema_of(there.flow), flow_name, number + 1)
        except InvalidInput as error:
            raise one.error(f"triggers.{number}: {error}", "triggers", number) from None
    try:
        return RunnerDeployment.configured(there.flow, entry.name or flow_name, there.code, **options)
    except InvalidInput as error:
        name = next((key for key in entry.parameters if repr(key) in str(error)), None)
        place = ("parameters", name) if name else ("schedules",) if isinstance(error, ScheduleError) else ()
        for field in ("name", "work_queue_name"):
            if f" {getattr(pool, field)!r} {NO_NAME}" in str(error):
                place = ("work_pool", field)
        raise one.error(str(error), *place) from error


def of_text(text: str, name: str | None, directory: Path) -> RunnerDeployment:
    """The deployment that a text in the form of a specification file describes.

    Args:
        text: the text.
        name: which, where it describes several.
        directory: what entrypoints are relative to.
    """
    described = specfile.read_text(text, "<text>", directory, os.environ, storage_steps.variable)
    return made(chosen(described, [name] if name else None)[0])


def entrypoint_of(one: Specified) -> str:
    """Where the flow of an entry is; of the old form it is looked up in the file, which is not run.

    Args:
        one: the entry.

    Raises:
        SpecError: the file holds no such flow, or several.
    """
    entry = one.entry
    if entry.entrypoint:
        return entry.entrypoint
    location = str(entry.flow_location)
    if location.endswith(".ipynb"):
        return f"{location}:{entry.flow_name}" if entry.flow_name else location
    if "://" in location:
        raise one.error(
            f"flow_location {location!r} is a URL. Say with pull: how the code gets here, and with entrypoint where it "
            "is in there.",
            "flow_location",
        )
    try:
        held = {str(flow.options(["name"])["name"]): flow for flow in declarations.flows_of(one.directory / location)}
    except MillraceError as error:
        raise one.error(f"flow_location: {error}", "flow_location") from error
    listed = ", ".join(map(repr, held)) or "none"
    wanted = entry.flow_name
    chosen = [flow for name, flow in held.items() if wanted in (None, name, flow.variable)]
    if len(chosen) == 1:
        return f"{location}:{chosen[0].variable}"
    if wanted:
        raise one.error(f"{location} has no flow {wanted!r}. Its flows: {listed}.", "flow_name")
    raise one.error(f"{location} holds {len(held)} flows: {listed}. Say which with flow_name.", "flow_location")


def _found(one: Specified, entrypoint: str) -> found.Found:
    pull = one.entry.pull
    if pull is None:
        return found.in_directory(one.directory, entrypoint)
    place = _set_directory(pull)
    if place is not None and place.is_dir():
        return found.in_directory(place, entrypoint)
    local = (one.directory / entrypoint.partition(":")[0]).is_file() or not entrypoint.partition(":")[0].endswith(".py")
    if local or not pull:
        there = found.in_directory(one.directory, entrypoint)
        place = None if pull else one.directory
        code = dataclasses.replace(
            there.code, path=None, working_dir=place, files=(), pull_steps=tuple(pull), origin=None
        )
        return found.Found(there.flow, code)
    with tempfile.TemporaryDirectory(prefix="millrace-source-") as temporary:
        directory = storage_steps.perform(pull, Path(temporary))
        with storage_steps.told_by(storage_steps.origin_of(pull), directory):
            return found.pulled(directory, entrypoint, pull)


def _set_directory(pull: Steps) -> Path | None:
    """The directory that steps lead to which do nothing else."""
    if len(pull) != 1:
        return None
    ((name, inputs),) = pull[0].items()
    if name.rpartition(".")[2] != "set_working_directory" or set(inputs or {}) != {"directory"}:
        return None
    place = Path(str(inputs["directory"])).expanduser()
    return place if place.is_absolute() else None


# -- choosing


def chosen(specified: Sequence[Specified], patterns: Sequence[str] | None, everything: bool = False) -> list[Specified]:
    """The entries that somebody means.

    Args:
        specified: the entries of a file.
        patterns: names, or `flow/name`; `*` and `?` stand for any letters.
        everything: all of them.

    Raises:
        MissingDeployment: a pattern means none of them.
        UnspecifiedDeployment: nothing says which of several.
    """
    file = specified[0].file
    if everything:
        return list(specified)
    names = ", ".join(repr(one.entry.name or entrypoint_of(one)) for one in specified)
    if not patterns:
        if len(specified) > 1:
            raise UnspecifiedDeployment(
                f"{file} holds {len(specified)} deployments: {names}. Say which with --name, or --all."
            )
        return list(specified)
    kept: dict[int, Specified] = {}
    for pattern in patterns:
        fits = {number: one for number, one in enumerate(specified) if _fits(one, pattern)}
        if not fits:
            hint = did_you_mean(pattern, [one.entry.name or entrypoint_of(one) for one in specified])
            raise MissingDeployment(f"{file} holds no deployment {pattern!r}.{hint} There are: {names}.")
        kept |= fits
    return [kept[number] for number in sorted(kept)]


def _fits(one: Specified, pattern: str) -> bool:
    flow, slash, name = pattern.rpartition("/")
    function = entrypoint_of(one).rpartition(":")[2].rpartition(".")[2]
    if not fnmatchcase(one.entry.name or function.replace("_", "-"), name):
        return False
    known = (function, function.replace("_", "-"), _flow_name(one))
    return not slash or any(fnmatchcase(each, flow) for each in known)


def _flow_name(one: Specified) -> str:
    if one.entry.flow_name:
        return one.entry.flow_name
    try:
        return str(declarations.find(entrypoint_of(one), one.directory).options(["name"])["name"])
    except (MillraceError, OSError):
        return ""  # the code lies elsewhere; its function's name was compared


# -- giving them to the server


def deploy_specified(
    specified: Sequence[Specified],
    *,
    work_pool_name: str | None = None,
    instead: Mapping[str, Any] | None = None,
    print_next_steps: bool = True,
) -> Ids:
    """Make deployments of a file: first all is checked, then steps are performed, then the deployments are stored.

    Args:
        specified: the entries.
        work_pool_name: the pool, for those that name none.
        instead: options of `RunnerDeployment.from_flow` that stand in place of what the entries say.
        print_next_steps: say what to do next.

    Returns:
        The ids of those that were made.

    Raises:
        SpecError: an entry cannot be made; nothing was.
        PullFailed: a step failed; nothing was made.
    """
    ready = [(one, made(one, **(instead or {}))) for one in specified]
    _require_pools(ready, work_pool_name)
    done: dict[str, Outputs] = {}
    finished = [_after_steps(one, deployment, done) for one, deployment in ready]
    return deploy(
        *finished, work_pool_name=work_pool_name, build=False, push=False, print_next_steps_message=print_next_steps
    )


def _require_pools(ready: Sequence[tuple[Specified, RunnerDeployment]], otherwise: str | None) -> None:
    """Refuse pools that are not there, and job variables that do not fit them, before a step is performed."""
    client = plugins.load("millrace.client.locate:connect")()
    pools: dict[str, WorkPool] = {}
    for one, deployment in ready:
        name = otherwise or deployment.work_pool_name or settings.current().work_pool
        try:
            pool = pools[name] = pools.get(name) or pool_of(client, name)
        except InvalidInput as error:
            if name != one.entry.work_pool.name:  # it stands in a command or a setting, and not here
                raise
            raise one.error(f"work_pool.name: {error}", "work_pool", "name") from None
        for variable, problem in pool_variables.wrong(deployment.job_variables, pool).items():
            if variable in one.entry.work_pool.job_variables:
                raise one.error(f"work_pool.job_variables: {problem}", "work_pool", "job_variables", variable)


def _performed(one: Specified) -> Outputs:
    """What the build and push steps of an entry give; an error says where the step stands."""
    outputs: Outputs = {}
    directory = one.directory
    for section, steps in (("build", one.entry.build), ("push", one.entry.push)):
        for number, step in enumerate(steps or []):
            try:
                directory, outputs = storage_steps.performed([step], one.directory, start=directory, before=outputs)
            except MillraceError as error:
                error.args = (f"{one.place_of(section, number)}: {section}: {error}",)
                raise
    return outputs


def _after_steps(one: Specified, deployment: RunnerDeployment, done: dict[str, Outputs]) -> RunnerDeployment:
    """The deployment with what its build and push steps gave. Steps that several have in common are performed once."""
    steps = [*(one.entry.build or []), *(one.entry.push or [])]
    if not steps:
        return deployment
    key = json.dumps([str(one.directory), steps], sort_keys=True, default=str)
    if key not in done:
        done[key] = _performed(one)
    outputs = done[key]
    try:
        for name in _FILLED:
            setattr(deployment, name, with_outputs(getattr(deployment, name), outputs))
    except ValueError as error:
        raise one.error(f"What the steps gave does not fit: {error}") from None
    code = deployment.code
    inside = _inside(code, deployment.job_variables.get("image"), outputs)
    there = _set_directory(list(code.pull_steps))
    # Where Prefect's own image step puts the code, which the file of a Prefect user says: here it is elsewhere.
    of_prefect = there == Path("/opt/prefect", one.directory.name) and inside.pull_steps != code.pull_steps
    if code.pull_steps and not (of_prefect and inside.pull_steps):
        code = dataclasses.replace(code, pull_steps=tuple(with_outputs(list(code.pull_steps), outputs)))
    elif of_prefect or one.entry.pull is None:
        code = inside
    return deployment.placed(code)


def _inside(code: Source, image: Any, outputs: Outputs) -> Source:
    """The code as a run in an image finds it that a step built from the directory of the file; else as it was."""
    given = (outputs, *outputs.values())
    built = [each for each in given if isinstance(each, dict) and "image_directory" in each and each["image"] == image]
    if not built:
        return code
    inside = built[0]["image_directory"]
    entrypoint = code.origin[1] if code.origin else code.entrypoint
    steps = ({SET_DIRECTORY: {"directory": inside}},) if inside else ()
    return dataclasses.replace(
        code, path=None, entrypoint=entrypoint, working_dir=None, files=(), pull_steps=steps, origin=None
    )
