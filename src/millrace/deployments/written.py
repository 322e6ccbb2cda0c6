"""Specification files as they are written: of deployments in Python, of stored ones, and of flows in files."""

from __future__ import annotations

import ast
import inspect
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from millrace import declarations, plugins
from millrace.deployments.deployment import RunnerDeployment
from millrace.deployments.fillings import escaped
from millrace.deployments.source import Source
from millrace.errors import InvalidInput, MillraceError
from millrace.notebooks import parameters as checks
from millrace.schema.deployments import CATCH_UP_LABEL, Deployment, DeploymentScheduleCreate
from millrace.schema.schedules import IntervalSchedule
from millrace.storage.local import SET_DIRECTORY

Fields = dict[str, Any]
_FOLDED = frozenset("\x85\u2028\u2029\ufeff")

_HEAD = """\
# The deployments of this directory, for Millrace (and for Prefect, which reads the same fields).
#
#   millrace deploy --all          makes all of them, or makes them again
#   millrace deploy -n NAME
#
# Values may hold {{ $NAME }} for the environment and {{ prefect.variables.x }} for a variable.
"""
_MORE = """\
    # schedules:
    #   - cron: "0 3 * * *"
    #     timezone: Europe/Oslo
    # tags: [nightly]
    # concurrency_limit: 1
"""


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    """A text; where it holds line breaks of Unicode, which YAML would fold, these are escaped."""
    style = '"' if _FOLDED.intersection(value) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style)


_Dumper.add_representer(str, _text)


def dumped(value: Any) -> str:
    """A value as YAML.

    Args:
        value: a JSON value.
    """
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return text


def flowing(value: Any) -> str:
    """A value as YAML of one line.

    Args:
        value: a JSON value.

    Example:
        >>> flowing(["a", {"b": 1}])
        '[a, {b: 1}]'
    """
    text: str = yaml.dump(
        [value], Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10**6, default_flow_style=True
    )
    return text.strip()[1:-1]


def to_yaml(deployments: Iterable[RunnerDeployment], directory: Path | None = None) -> str:
    """A specification file of deployments; read again in the same place, it gives the same deployments.

    Args:
        deployments: the deployments.
        directory: where the file will be; the current directory when not given.
    """
    place = (directory or Path.cwd()).absolute()
    return dumped({"deployments": [entry_of(one, place) for one in deployments]})


def entry_of(deployment: RunnerDeployment, directory: Path) -> Fields:
    """A deployment as a specification file has it.

    Args:
        deployment: the deployment.
        directory: where the file will be.
    """
    code = deployment.code
    variables = dict(deployment.job_variables)
    if code.files and code.origin is None and code.working_dir is not None:
        variables.setdefault(
            "working_dir", str(code.working_dir)
        )  # it was exported from cells: elsewhere than it works
    own = deployment.own
    limit: Any = deployment.concurrency_limit
    if deployment.concurrency_options is not None:
        limit = {"limit": limit, **deployment.concurrency_options.model_dump(mode="json", exclude_none=True)}
    said = {
        "description": deployment.description if deployment.description != own.get("description") else None,
        "version": deployment.version if deployment.version != own.get("version") else None,
        "tags": deployment.tags,
        "parameters": deployment.parameters,
        "schedules": [_as_said(one) for one in deployment.schedules],
        "paused": deployment.paused,
        "concurrency_limit": limit,
        "enforce_parameter_schema": None if deployment.enforce_parameter_schema else False,
        "triggers": [_plain(one) for one in deployment.triggers],
        "work_pool": _pool(deployment.work_pool_name, deployment.work_queue_name, variables),
        "catch_up": deployment.catch_up,
        "labels": deployment.labels,
    }
    kept = {key: one for key, one in said.items() if one not in (None, [], {})}
    return {"name": escaped(deployment.name), **_place(code, directory), **escaped(kept)}


def _plain(trigger: Any) -> Any:
    return trigger.model_dump(mode="json", exclude_unset=True) if isinstance(trigger, BaseModel) else trigger


def _pool(name: str | None, queue: str | None, variables: Fields) -> Fields:
    found = {"name": name, "work_queue_name": queue, "job_variables": variables}
    return {key: one for key, one in found.items() if one}


def _place(code: Source, directory: Path) -> Fields:
    """The entrypoint, and the pull steps where the code is not beside the file."""
    where, entrypoint = code.origin or (code.path, code.entrypoint)
    if code.pull_steps or where is None:
        return {"entrypoint": entrypoint, "pull": [dict(step) for step in code.pull_steps]}
    if where == directory:
        return {"entrypoint": entrypoint}
    return {"entrypoint": entrypoint, "pull": [{SET_DIRECTORY: {"directory": str(where)}}]}


def _as_said(given: DeploymentScheduleCreate) -> Fields:
    """A schedule that was declared; `active: true` in words is a wish, and stands there."""
    said = {"active": given.active} if "active" in given.model_fields_set else {}
    return schedule_of(given) | said


def schedule_of(given: DeploymentScheduleCreate) -> Fields:
    """A schedule as a specification file has it: its kind, and what differs from the defaults.

    Args:
        given: the schedule.
    """
    schedule = given.schedule
    fields = schedule.model_dump(mode="json", exclude_defaults=True)
    if isinstance(schedule, IntervalSchedule):
        usual = IntervalSchedule(interval=schedule.interval, timezone=schedule.timezone)
        if schedule.anchor_date == usual.anchor_date:
            fields.pop("anchor_date", None)
    wanted = {"active", "max_scheduled_runs", "parameters", "slug", "replaces"}
    return fields | given.model_dump(mode="json", include=wanted, exclude_defaults=True)


# -- of stored deployments


def stored_entry(deployment: Deployment, flow_name: str, directory: Path, triggers: Sequence[Fields] = ()) -> Fields:
    """A stored deployment as a specification file has it.

    Args:
        deployment: the deployment.
        flow_name: the name of its flow, for messages.
        directory: where the file will be.
        triggers: its triggers.

    Raises:
        InvalidInput: it has no entrypoint.
    """
    if not deployment.entrypoint:
        raise InvalidInput(f"The deployment {flow_name}/{deployment.name} has no entrypoint, so nothing can load it.")
    here = {SET_DIRECTORY: {"directory": str(directory)}}
    pull = [step for step in deployment.pull_steps or [] if step != here]
    limit: Any = deployment.concurrency_limit
    if deployment.concurrency_options is not None and limit is not None:
        limit = {"limit": limit, **deployment.concurrency_options.model_dump(mode="json", exclude_none=True)}
    variables = {
        key: one for key, one in deployment.job_variables.items() if (key, one) != ("working_dir", str(directory))
    }
    said = {
        "description": deployment.description,
        "tags": deployment.tags,
        "parameters": deployment.parameters,
        "schedules": [schedule_of(one) for one in deployment.schedules],
        "paused": deployment.paused or None,
        "concurrency_limit": limit,
        "enforce_parameter_schema": None if deployment.enforce_parameter_schema else False,
        "triggers": list(triggers),
        "work_pool": _pool(deployment.work_pool_name, deployment.work_queue_name, variables),
        "catch_up": deployment.labels.get(CATCH_UP_LABEL),
    }
    kept = {key: one for key, one in said.items() if one not in (None, [], {})}
    placed = {"entrypoint": deployment.entrypoint, **({"pull": pull} if pull else {})}
    return {"name": escaped(deployment.name), **placed, **escaped(kept)}


# -- of flows that are not deployed yet


def first_draft(targets: Sequence[Path], directory: Path, pool: str) -> str:
    """A commented specification file for the flows of scripts and notebooks, which are read and not run.

    Args:
        targets: scripts and notebooks.
        directory: where the file will be.
        pool: the pool that it names.

    Raises:
        InvalidInput: none of them holds a flow, or one lies elsewhere.
    """
    found = [entry for target in targets for entry in _drafts(target, directory)]
    if not found:
        names = ", ".join(str(one) for one in targets) or str(directory)
        raise InvalidInput(f"There is no flow in {names}. Decorate a function with @flow, or name a notebook.")
    parts = [_HEAD.replace("deploy -n NAME", f"deploy -n {shlex.quote(found[0][0]['name'])}"), "\ndeployments:\n"]
    for fields, remarks in found:
        block = dumped([{**fields, "work_pool": {"name": pool}}])
        lines = [f"  {line}" for line in block.splitlines()]
        parts.append("\n".join(lines) + "\n" + "".join(f"    # {line}\n" for line in remarks) + _MORE + "\n")
    return "".join(parts).rstrip("\n") + "\n"


def _drafts(target: Path, directory: Path) -> list[tuple[Fields, list[str]]]:
    file = target.expanduser().absolute()
    if not file.is_relative_to(directory):
        raise InvalidInput(f"{file} is not below {directory}. Write the file beside it: millrace init --file …")
    place = file.relative_to(directory).as_posix()
    if file.suffix == ".ipynb":
        return _of_notebook(file, place)
    found = []
    for flow in declarations.flows_of(file):
        name = str(flow.options(["name"])["name"])
        fields = {"name": name, "entrypoint": f"{place}:{flow.variable}"}
        found.append((fields, _remarks(flow.signature().parameters.values())))
    return found


def _of_notebook(book: Path, place: str) -> list[tuple[Fields, list[str]]]:
    content, flows = checks.read_book(book), _flows_of_cells(book, place)
    if flows and checks.parameters_source(content) is None:  # it holds flows and is none itself
        return flows
    schema = checks.schema_of(content)
    properties = schema.get("properties", {})
    lines = [f"{name}: {flowing(one['default'])}" for name, one in properties.items() if "default" in one]
    whole = ({"name": book.stem, "entrypoint": place}, ["parameters:", *(f"  {one}" for one in lines)] if lines else [])
    return [whole, *flows]


def _flows_of_cells(book: Path, place: str) -> list[tuple[Fields, list[str]]]:
    statements = plugins.load("millrace.deployments.carried:statements")(book)
    found = []
    for one in statements:
        if not isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        try:
            flow = declarations.find(f"{book}:{one.name}")
        except MillraceError:
            continue
        if flow.is_flow:
            fields = {"name": str(flow.options(["name"])["name"]), "entrypoint": f"{place}:{one.name}"}
            found.append((fields, _remarks(flow.signature().parameters.values())))
    return found


def _remarks(parameters: Iterable[inspect.Parameter]) -> list[str]:
    """The parameters of a flow with their defaults, to be uncommented."""
    lines = []
    for one in parameters:
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
            continue
        kind = "" if one.annotation is one.empty else f"  # {inspect.formatannotation(one.annotation)}"
        if one.default is one.empty:
            lines.append(f"  {one.name}:{kind}, needed")
        else:
            lines.append(f"  {one.name}: {_shown(one.default)}{kind}")
    return ["parameters:", *lines] if lines else []


def _shown(default: Any) -> str:
    try:
        return flowing(default)
    except yaml.YAMLError:
        return str(default)
