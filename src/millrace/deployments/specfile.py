"""Specification files, `millrace.yaml` and `prefect.yaml`: what they may say, and reading them without doing anything.

A file holds deployments in a list, or one in each of its documents, which `---` separates; both forms may be mixed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from millrace.deployments import documents as yaml_documents
from millrace.deployments import triggers
from millrace.deployments.documents import Document
from millrace.deployments.entry import Entry, PoolSection, Steps
from millrace.deployments.fillings import Filling, of_environment
from millrace.deployments.timing import schedules_from
from millrace.errors import InvalidInput, MissingFile, ScheduleError, SpecError
from millrace.schema.deployments import DeploymentScheduleCreate
from millrace.storage import steps as storage_steps
from millrace.suggestions import did_you_mean

NAMES = ("millrace.yaml", "prefect.yaml")
STEPS = ("build", "push", "pull")
_TOP = ("name", "description", "deployments", "definitions", "prefect-version", "millrace-version", *STEPS)
_OLD = {
    "flow_runner": "Where runs happen is said by `work_pool: {name: …}`.",
    "flow_storage": "Where the code is, is said by `pull:` and its steps.",
}


@dataclass(frozen=True)
class Specified:
    """A deployment of a file, and where it stands there.

    Args:
        entry: what it says.
        document: its document.
        at: where it stands in it.
        directory: of the file: entrypoints are relative to it.
        times: its schedules.
    """

    entry: Entry
    document: Document
    at: tuple[str | int, ...]
    directory: Path
    times: list[DeploymentScheduleCreate]

    @property
    def file(self) -> str:
        """The file, as the user named it."""
        return self.document.file

    @property
    def line(self) -> int:
        """The line it begins in."""
        return self.document.line(self.at)

    def place_of(self, section: str, number: int) -> str:
        """File and line of a step; a section that the deployment has not is that of the document.

        Args:
            section: `build`, `push` or `pull`.
            number: of the step in there.
        """
        at = (*self.at, section) if (*self.at, section) in self.document.lines else (section,)
        return f"{self.file}:{self.document.line((*at, number))}"

    def error(self, message: str, *field: str | int) -> SpecError:
        """An error that names file and line.

        Args:
            message: what is wrong and the remedy.
            field: where in the deployment.
        """
        return self.document.error(message, (*self.at, *field))


def find(directory: Path | None = None) -> Path | None:
    """The specification file of a directory, if it has one; `millrace.yaml` comes before `prefect.yaml`.

    Args:
        directory: where to look; the current directory when not given.
    """
    places = ((directory or Path.cwd()) / name for name in NAMES)
    return next((place for place in places if place.is_file()), None)


def read(
    path: Path | str,
    *,
    environment: Mapping[str, str] | None = None,
    variable: Callable[[str], Any] = storage_steps.variable,
) -> list[Specified]:
    """The deployments of a specification file, checked. No code of them is run.

    Args:
        path: the file.
        environment: what `{{ $NAME }}` stands for; this process's environment when not given.
        variable: what `{{ prefect.variables.x }}` stands for; asked of the server when not given.

    Raises:
        MissingFile: it is not there.
        SpecError: the message names file, line and field.

    Example:
        >>> [one.entry.name for one in read("millrace.yaml")]  # doctest: +SKIP
        ['nightly']
    """
    file = Path(path).expanduser()
    try:
        text = file.read_text("utf-8")
    except FileNotFoundError:
        raise MissingFile(f"There is no specification file {path}. Write one with `millrace init`.") from None
    except OSError as error:
        raise SpecError(f"It cannot be read: {error.strerror}.", str(path)) from None
    except UnicodeDecodeError as error:
        raise SpecError(
            f"It cannot be read: it is no UTF-8 ({error.reason} at byte {error.start}).", str(path)
        ) from None
    environment = os.environ if environment is None else environment
    return read_text(text, str(path), file.absolute().parent, environment, variable)


def read_text(
    text: str, file: str, directory: Path, environment: Mapping[str, str], variable: Callable[[str], Any]
) -> list[Specified]:
    """The deployments of a text in the form of a specification file.

    Args:
        text: the text.
        file: a name for it, for messages.
        directory: entrypoints are relative to it.
        environment: what `{{ $NAME }}` stands for.
        variable: what `{{ prefect.variables.x }}` stands for.

    Raises:
        SpecError: the message names file, line and field.
    """
    found = []
    for document in yaml_documents.documents(text, file):
        if not isinstance(document.value, dict):
            raise document.error(f"A specification is a mapping of fields, not {document.value!r}.")
        for at in _entries(document):
            found.append(_specified(document, at, directory, environment, variable))
    if not found:
        raise SpecError("It holds no deployments. Write one with `millrace init`.", file, 1)
    _unique(found)
    return found


def _entries(document: Document) -> list[tuple[str | int, ...]]:
    """Where the deployments of a document stand."""
    value = document.value
    if "deployments" not in value and {"entrypoint", "flow_location"} & set(value):
        return [()]
    for key in value:
        if key not in _TOP and not str(key).startswith(("x-", ".")) and key not in document.shared:
            raise document.error(_unknown(str(key), _TOP, "a specification file"), (str(key),))
    for name in STEPS:
        _steps(document, (name,), value.get(name))
    listed = value.get("deployments")
    if not isinstance(listed, list | None):
        raise document.error(f"deployments is a list, each with a dash; here it is {listed!r}.", ("deployments",))
    return [("deployments", number) for number in range(len(listed or []))]


def _steps(document: Document, path: tuple[str | int, ...], value: Any) -> Steps | None:
    """A section of steps; one that is written as a mapping is a list of one."""
    if not value:
        return None if value is None else []
    listed = [value] if isinstance(value, dict) else value
    field = str(path[-1])
    if not isinstance(listed, list):
        raise document.error(f"{field} is a list of steps, each with a dash; here it is {value!r}.", path)
    for number, step in enumerate(listed):
        here = (*path, number)
        if not isinstance(step, dict) or len(step) != 1 or not isinstance(next(iter(step.values())), dict | None):
            raise document.error(
                f"{field}: a step is the name of a function with its inputs below it, as in "
                f"`- prefect.deployments.steps.run_shell_script: {{script: ls}}`; here it is {step!r}.",
                here,
            )
        ((name, inputs),) = step.items()
        try:
            storage_steps.require_known(str(name))
        except InvalidInput as error:
            raise document.error(f"{field}: {error}", here) from None
        if (wrong := storage_steps.misfit(str(name), inputs)) is not None:
            raise document.error(f"{field}: {wrong[0]}", (*here, str(name), *([wrong[1]] if wrong[1] else [])))
    return list(listed)


def _specified(
    document: Document,
    at: tuple[str | int, ...],
    directory: Path,
    environment: Mapping[str, str],
    variable: Callable[[str], Any],
) -> Specified:
    whole, value = document.value, document.value
    for part in at:
        value = value[part]
    if not isinstance(value, dict):
        raise document.error(f"A deployment is a mapping of fields, not {value!r}.", at)
    for old, remedy in _OLD.items():
        if value.get(old) is not None:
            raise document.error(f"{old} is of an older version. {remedy}", (*at, old))
    steps = {name: _steps(document, (*at, name), value.get(name, whole.get(name) if at else None)) for name in STEPS}
    ids = _outputs_of((steps["build"] or []) + (steps["push"] or []))
    steps["pull"] = of_environment(steps["pull"], environment)
    filling = Filling(document, environment, variable, ids)
    said = {key: one for key, one in value.items() if key not in STEPS}
    filled = {key: filling.filled(one, (*at, str(key))) for key, one in said.items()}
    try:
        entry = Entry.model_validate({**filled, **steps})
    except ValidationError as error:
        raise _problem(document, at, error) from None
    _complete(document, at, entry)
    return Specified(entry, document, at, directory, _times(document, at, entry))


def _outputs_of(steps: Steps) -> set[str]:
    """What the outputs of steps can be called by: their ids, and the names that the step itself gives."""
    ids = {str(inputs["id"]) for step in steps for inputs in step.values() if inputs and inputs.get("id")}
    return ids | ({"image", "image_name", "tag", "image_id", "stdout", "stderr", "directory"} if steps else set())


def _complete(document: Document, at: tuple[str | int, ...], entry: Entry) -> None:
    if not entry.entrypoint and not entry.flow_location:
        raise document.error("The deployment has no entrypoint. Write `entrypoint: file.py:function`.", at)
    if entry.entrypoint and entry.flow_location:
        raise document.error(
            "entrypoint and flow_location both say where the flow is. Keep entrypoint.", (*at, "flow_location")
        )
    pool = entry.work_pool
    if not pool.name and pool.work_queue_name:
        raise document.error(
            f"The queue {pool.work_queue_name!r} is of no pool. Write work_pool: {{name: …}} beside it.",
            (*at, "work_pool", "work_queue_name"),
        )
    for number, trigger in enumerate(entry.triggers):
        try:
            triggers.automation(trigger, UUID(int=0), str(number + 1))
        except InvalidInput as error:
            raise document.error(f"triggers.{number}: {error}", (*at, "triggers", number)) from None


def _times(document: Document, at: tuple[str | int, ...], entry: Entry) -> list[DeploymentScheduleCreate]:
    if entry.schedule is not None and entry.schedules is not None:
        raise document.error("schedule and schedules are both given. Keep schedules, a list.", (*at, "schedule"))
    given: list[tuple[tuple[str | int, ...], Any]] = [(("schedule",), entry.schedule)] if entry.schedule else []
    listed: Iterable[Any] = entry.schedules or []
    given += [(("schedules", number), one) for number, one in enumerate(listed) if one]
    found = []
    for path, one in given:
        where = ".".join(str(part) for part in path)
        try:
            if not isinstance(one, dict):
                raise ScheduleError(f"{one!r} is no schedule. Write `cron: '@daily'`, `interval: 600` or `rrule: …`.")
            found += schedules_from(schedules=[_naive_anchor(one)])
        except InvalidInput as error:
            raise document.error(f"{where}: {error}", (*at, *path)) from None
    return found


def _naive_anchor(given: dict[str, Any]) -> dict[str, Any]:
    """Options that are None count as not given; an anchor may stand beside any kind, as the original allows."""
    said = {key: one for key, one in given.items() if one is not None}
    if "interval" not in said and "schedule" not in said:
        said.pop("anchor_date", None)
    if isinstance(anchor := said.get("anchor_date"), str):
        try:
            said["anchor_date"] = datetime.fromisoformat(anchor)
        except ValueError:
            raise ScheduleError(f"anchor_date {anchor!r} is no moment; write 2026-11-21T18:00:00+00:00.") from None
    return said


def _problem(document: Document, at: tuple[str | int, ...], error: ValidationError) -> SpecError:
    """What the models said, as one error at the first place, with the others below it."""
    told: dict[tuple[str | int, ...], str] = {}
    for one in error.errors(include_url=False):
        path = tuple(part for part in one["loc"] if not str(part).startswith("function-"))
        while (*at, *path) not in document.lines and path:
            path = path[:-1]
        field = ".".join(str(part) for part in path)
        if one["type"] == "extra_forbidden":
            model = PoolSection if path[:1] == ("work_pool",) else Entry
            told.setdefault(path, _unknown(str(path[-1]), list(model.model_fields), "a deployment"))
        elif one["type"] == "value_error":
            told.setdefault(path, f"{field}: {one['ctx']['error']}")
        else:
            told.setdefault(path, f"{field} cannot be {one['input']!r}: {one['msg']}.")
    ordered = sorted(told.items(), key=lambda pair: document.line((*at, *pair[0])))
    others = "".join(f"\n{document.file}:{document.line((*at, *path))}: {text}" for path, text in ordered[1:])
    return document.error(ordered[0][1] + others, (*at, *ordered[0][0]))


def _unknown(name: str, known: Iterable[str], what: str) -> str:
    names = [one for one in known if one not in ("sla", "version_type")]
    hint = did_you_mean(name, names, 1)
    return f"{what[:1].upper()}{what[1:]} has no field {name!r}.{hint} There are: {', '.join(names)}."


def _unique(found: list[Specified]) -> None:
    seen: dict[tuple[str | None, str | None], Specified] = {}
    for one in found:
        key = (one.entry.entrypoint or f"{one.entry.flow_location}:{one.entry.flow_name}", one.entry.name)
        if key in seen:
            raise one.error(
                f"The deployment {one.entry.name!r} of {key[0]} stands here and in line {seen[key].line}. "
                "Give one of them another name.",
                "name",
            )
        seen[key] = one
