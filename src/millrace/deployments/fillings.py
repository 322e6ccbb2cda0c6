"""Placeholders in specification files.

    {{ $NAME }}                  the environment where the file is deployed
    {{ prefect.variables.x }}    a variable; {{ millrace.variables.x }} too
    {{ id.output }}              what a build or push step gives
    {{ event.payload.x }}        in triggers: what happened, filled in when it does; likewise flow_run, labels and so on
    {{ "{{" }}                   two braces that are meant as such

A secret is never put in: in parameters it becomes the reference `secret:NAME`, in job variables its placeholder stays,
and the worker fills it. Nothing is evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from millrace.deployments.documents import Document, Path
from millrace.errors import MillraceError
from millrace.schema.templates import ROOTS
from millrace.storage.placeholders import SECRETS, VARIABLES

_TOKEN = re.compile(r"\{\{\s*(?:(\"\{\{\")|(\$?[A-Za-z_][\w.$-]*))\s*\}\}")
_SECRECY = re.compile("secret|token|passw|credential|key", re.IGNORECASE)
_BRACES = '{{ "{{" }}'
_TRIGGERS = "triggers"


def escaped(value: Any) -> Any:
    """A value as a specification file has it: braces that are no placeholder stay braces.

    Args:
        value: any JSON value.
    """
    if isinstance(value, dict):
        return {key: escaped(one) for key, one in value.items()}
    if isinstance(value, list):
        return [escaped(one) for one in value]
    return value.replace("{{", _BRACES) if isinstance(value, str) else value


def with_outputs(value: Any, outputs: Mapping[str, Any]) -> Any:
    """A value with the placeholders of steps filled; others stay.

    Args:
        value: any JSON value.
        outputs: what the steps gave, by their ids and by their names.
    """
    if isinstance(value, dict):
        return {key: with_outputs(one, outputs) for key, one in value.items()}
    if isinstance(value, list):
        return [with_outputs(one, outputs) for one in value]
    if not isinstance(value, str):
        return value
    if (whole := _TOKEN.fullmatch(value.strip())) and whole[2] and (known := _output(whole[2], outputs)) is not None:
        return known[0]
    return _TOKEN.sub(lambda token: str((_output(token[2] or "", outputs) or [token[0]])[0]), value)


def of_environment(value: Any, environment: Mapping[str, str]) -> Any:
    """Pull steps with the environment of whoever deploys. What is not set there is looked for where the run is, and so
    is what is called a token, a key or the like: it would be stored for all to read.

    Args:
        value: any JSON value.
        environment: environment variables.
    """
    if isinstance(value, dict):
        return {
            key: one if _SECRECY.search(str(key)) else of_environment(one, environment) for key, one in value.items()
        }
    if isinstance(value, list):
        return [of_environment(one, environment) for one in value]
    return with_outputs(value, {f"${name}": text for name, text in environment.items()})


def _output(name: str, outputs: Mapping[str, Any]) -> list[Any] | None:
    found: Any = outputs
    for part in name.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return None
        found = found[part]
    return [found]


@dataclass(frozen=True)
class Filling:
    """What placeholders of a document stand for.

    Args:
        document: the document, for messages.
        environment: environment variables.
        variable: gives a variable by its name.
        steps: the ids of build and push steps; their outputs are filled in later.
    """

    document: Document
    environment: Mapping[str, str]
    variable: Callable[[str], Any]
    steps: Collection[str] = ()

    def filled(self, value: Any, path: Path) -> Any:
        """A value with its placeholders filled. A text that is one placeholder becomes the value itself.

        Args:
            value: any JSON value.
            path: where it stands.

        Raises:
            SpecError: a placeholder stands for nothing.
        """
        if isinstance(value, dict):
            return {key: self.filled(one, (*path, str(key))) for key, one in value.items()}
        if isinstance(value, list):
            return [self.filled(one, (*path, number)) for number, one in enumerate(value)]
        if not isinstance(value, str):
            return value
        if (whole := _TOKEN.fullmatch(value.strip())) and whole[2]:
            return self._named(whole, path, alone=True)
        return _TOKEN.sub(lambda token: str(self._named(token, path)), value)

    def _named(self, token: re.Match[str], path: Path, alone: bool = False) -> Any:
        if token[1]:
            return "{{"
        name = token[2]
        if prefix := next((one for one in VARIABLES if name.startswith(one)), None):
            return self._variable(name.removeprefix(prefix), path)
        if prefix := next((one for one in SECRETS if name.startswith(one)), None):
            return self._secret(token, name.removeprefix(prefix), path, alone)
        if name.startswith("$"):
            if name[1:] not in self.environment:
                raise self.document.error(
                    f"{_field(path)}: the environment variable {name[1:]} is not set. Set it where you deploy.", path
                )
            return self.environment[name[1:]]
        first = name.split(".")[0]
        if first in self.steps or (_TRIGGERS in path and first in ROOTS):
            return token[0]
        known = ", ".join(sorted(self.steps))
        hint = f"Steps with an id: {known}." if known else "No build or push step has an id."
        raise self.document.error(
            f"{_field(path)}: {token[0]} stands for nothing: it is no {{{{ $VARIABLE }}}}, no variable and no output "
            f"of a step. {hint} Write {_BRACES} for braces that are meant as such.",
            path,
        )

    def _variable(self, name: str, path: Path) -> Any:
        try:
            return self.variable(name)
        except MillraceError as error:
            raise self.document.error(f"{_field(path)}: the variable {name!r} cannot be had: {error}", path) from error

    def _secret(self, token: re.Match[str], name: str, path: Path, alone: bool) -> str:
        if "job_variables" in path:
            return token[0]
        if "parameters" in path and alone:
            return f"secret:{name}"
        raise self.document.error(
            f"{_field(path)}: the secret {name!r} would be stored here for all to read. Secrets stand in "
            "parameters, as a whole value, in job variables and in pull steps.",
            path,
        )


def _field(path: Path) -> str:
    return ".".join(str(part) for part in path if not isinstance(part, int)).removeprefix("deployments.") or "The file"
