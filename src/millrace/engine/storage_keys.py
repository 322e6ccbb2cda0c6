"""The names under which tasks keep their results: a text with places for arguments and for what is known of the run."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

from millrace import plugins
from millrace.errors import InvalidInput

_PLACE = re.compile(r"\{(\w+)((?:\.[A-Za-z]\w*|\[[^\[\]{}]+\])*)(?::([^{}]*))?\}")
_STEP = re.compile(r"\.(\w+)|\[([^\]]+)\]")
_RUNTIME = ("task_run", "flow_run", "deployment")


def check_key(template: str, parameters: Mapping[str, Any], task: str) -> None:
    """Refuses a `result_storage_key` that names what no run of the task will have.

    Args:
        template: the text.
        parameters: those of the task's function.
        task: its name, for messages.

    Raises:
        InvalidInput: it names a parameter that the function does not have, or nothing that is known of a run.
    """
    whole = f"result_storage_key {template!r} of the task {task!r}"
    rest = _PLACE.sub("", template)
    if "{" in rest or "}" in rest:
        raise InvalidInput(f"{whole} has a brace that belongs to no place: write {{parameters[name]}} and the like")
    for match in _PLACE.finditer(template):
        root, steps = match[1], list(_steps(match[2]))
        if root == "parameters":
            if steps and steps[0] not in parameters:
                raise InvalidInput(f"{whole} names {match[0]}: the function has {_listed(parameters)}")
        elif root not in _RUNTIME:
            known = ", ".join(f"{{{name}}}" for name in ("parameters", *_RUNTIME))
            raise InvalidInput(
                f"{whole} names {match[0]}; it may name {known} and what is in them, such as {{parameters[name]}}"
            )
        elif steps and steps[0] not in dir(_of_runtime(root)):
            raise InvalidInput(f"{whole} names {match[0]}; {root} has {', '.join(dir(_of_runtime(root)))}")


def _listed(names: Collection[str]) -> str:
    return f"the parameters {', '.join(names)}" if names else "no parameters"


def _of_runtime(name: str) -> Any:
    return plugins.load(f"millrace.runtime.{name}")


def filled_key(template: str, parameters: Mapping[str, Any]) -> str:
    """A `result_storage_key` with its places filled, for the task run that this code belongs to.

    Args:
        template: the text.
        parameters: of the task run.

    Raises:
        InvalidInput: what it names is not there.

    Example:
        >>> filled_key("sales/{parameters[day]}.json", {"day": "Monday"})
        'sales/Monday.json'
    """

    def fill(match: re.Match[str]) -> str:
        found: Any = parameters if match[1] == "parameters" else _of_runtime(match[1])
        try:
            for step in _steps(match[2]):
                found = _step(found, step)
            text = format(found, match[3]) if match[3] else str(found)
        except (KeyError, IndexError, AttributeError, ValueError, TypeError) as error:
            raise InvalidInput(
                f"result_storage_key {template!r} names {match[0]}, which this run does not have "
                f"({type(error).__name__}: {error})"
            ) from None
        if found is None and match[1] != "parameters":
            raise InvalidInput(
                f"result_storage_key {template!r} names {match[0]}, which this run does not have: "
                f"it belongs to no {match[1].replace('_', ' ')}"
            )
        return text

    return _PLACE.sub(fill, template)


def _steps(path: str) -> Iterator[str]:
    for step in _STEP.finditer(path):
        yield step[1] or step[2]


def _step(found: Any, name: str) -> Any:
    if isinstance(found, Mapping):
        return found[name]
    if isinstance(found, Sequence) and not isinstance(found, str):
        return found[int(name)]
    if isinstance(found, ModuleType) and name not in dir(found):
        raise AttributeError(f"it has no {name}")
    return getattr(found, name)
