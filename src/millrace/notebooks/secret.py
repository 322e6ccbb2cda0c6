"""Secrets of a notebook run: references, resolved in the process that runs the notebook and nowhere earlier."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from millrace.errors import ParameterError

SHORTEST = 4


@dataclass(frozen=True)
class Secret:
    """One resolved secret.

    Args:
        name: the parameter it fills.
        reference: where the value comes from, such as `env:DB_PASSWORD`; safe to show.
        value: the value; in no repr.
    """

    name: str
    reference: str
    value: str = field(repr=False)


def environment_name(reference: object) -> str | None:
    """The environment variable that a reference names, or None.

    Args:
        reference: `env:NAME`.
    """
    scheme, _, name = str(reference).partition(":")
    return name if scheme == "env" and name else None


def resolve(name: str, reference: object, environment: Mapping[str, str] | None = None) -> Secret:
    """Read the value behind a reference.

    Args:
        name: the parameter.
        reference: `env:NAME`.
        environment: where to look; this process's environment when None.

    Raises:
        ParameterError: the reference has another form, names nothing, or its value is too short.

    Example:
        >>> resolve("password", "env:PW", {"PW": "hunter22"})
        Secret(name='password', reference='env:PW')
    """
    variable = environment_name(reference)
    if variable is None:
        # The text is not shown: somebody may have typed the secret itself here.
        raise ParameterError(f"The secret '{name}' must be given by reference, as {name}=env:NAME.")
    value = (os.environ if environment is None else environment).get(variable)
    if value is None:
        raise ParameterError(f"The secret '{name}' refers to the environment variable {variable}, which is not set.")
    return Secret(name, f"env:{variable}", checked(name, value))


def checked(name: str, value: str) -> str:
    """The value, if it can be told apart from ordinary text.

    Args:
        name: the parameter.
        value: its value.

    Raises:
        ParameterError: it has fewer than four characters.
    """
    if len(value.strip()) < SHORTEST:
        raise ParameterError(
            f"The secret '{name}' has fewer than {SHORTEST} characters: it could not be kept out of the outputs. "
            "Give a longer one, or an ordinary parameter."
        )
    return value
