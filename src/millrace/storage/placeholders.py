"""Secrets, variables and earlier outputs in the inputs of pull steps.

    {{ prefect.blocks.secret.NAME }}    a secret          {{ prefect.variables.NAME }}   a variable
    {{ $NAME }}                         the environment   {{ id.directory }}             what a step before gave

A step on the wire holds the placeholder; the value is only known where the step runs. Nothing is evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from millrace.errors import InvalidInput

_PLACEHOLDER = re.compile(r"\{\{\s*(\$?[A-Za-z_][\w.$-]*)\s*\}\}")
SECRETS = ("prefect.blocks.secret.", "millrace.secrets.")
VARIABLES = ("prefect.variables.", "millrace.variables.")


def plain(value: Any) -> str:
    """The text of a secret, or of a text.

    Args:
        value: a text, a pydantic `SecretStr`, or an object whose `get()` gives it.
    """
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    get = getattr(value, "get", None)
    return str(get()) if callable(get) else str(value)


def as_placeholder(value: Any, what: str) -> str:
    """How a secret stands in a pull step.

    Args:
        value: a secret that was loaded or saved under a name, or a placeholder.
        what: what it is, for the message.

    Raises:
        InvalidInput: it is a plain text, or a secret without a name.
    """
    if isinstance(value, str) and _PLACEHOLDER.fullmatch(value.strip()):
        return value
    name = getattr(value, "name", None)
    if isinstance(name, str) and name:
        return f"{{{{ {SECRETS[0]}{name} }}}}"
    raise InvalidInput(
        f"{what[:1].upper()}{what[1:]} would be stored with the deployment for all to read. Keep it as a secret first: "
        "Secret(value=…).save('my-token'), and give Secret.load('my-token')."
    )


@dataclass(frozen=True)
class Values:
    """What placeholders stand for.

    Args:
        outputs: of the steps before, by id and by name.
        environment: environment variables.
        secret: gives a secret by its name.
        variable: gives a variable by its name.
        strict: other placeholders than secrets and variables are errors; otherwise they stay as they are.
    """

    outputs: Mapping[str, Any]
    environment: Mapping[str, str]
    secret: Callable[[str], Any]
    variable: Callable[[str], Any]
    strict: bool = True

    def filled(self, value: Any) -> Any:
        """A value with its placeholders filled. A text that is one placeholder becomes the value itself.

        Args:
            value: any JSON value.

        Raises:
            InvalidInput: a placeholder stands for nothing.
        """
        if isinstance(value, dict):
            return {key: self.filled(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self.filled(one) for one in value]
        if not isinstance(value, str):
            return value
        if whole := _PLACEHOLDER.fullmatch(value.strip()):
            return self._named(whole)
        return _PLACEHOLDER.sub(lambda match: str(self._named(match)), value)

    def _named(self, placeholder: re.Match[str]) -> Any:
        name = placeholder[1]
        for prefixes, read in ((SECRETS, self.secret), (VARIABLES, self.variable)):
            prefix = next((one for one in prefixes if name.startswith(one)), None)
            if prefix is not None:
                return read(name.removeprefix(prefix))
        if not self.strict:
            return placeholder[0]
        if not name.startswith("$"):
            return self._output(name)
        if name[1:] not in self.environment:
            raise InvalidInput(f"A step asks for the environment variable {name[1:]!r}, which is not set here.")
        return self.environment[name[1:]]

    def _output(self, name: str) -> Any:
        found: Any = self.outputs
        for part in name.split("."):
            if not isinstance(found, Mapping) or part not in found:
                raise InvalidInput(f"A step asks for {{{{ {name} }}}}, which no step before it gives.")
            found = found[part]
        return found
