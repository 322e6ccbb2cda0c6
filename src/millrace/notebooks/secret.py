"""Secrets of a notebook run: references, resolved in the process that runs the notebook and nowhere earlier."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from millrace.engine import secrecy, secrets
from millrace.errors import ParameterError

SHORTEST = 4


@dataclass(frozen=True)
class Secret:
    """One resolved secret.

    Args:
        name: the parameter it fills.
        reference: where the value comes from, such as `env:DB_PASSWORD` or `secret:db-password`; safe to show.
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
        reference: `env:NAME` for an environment variable, `secret:NAME` for a `Secret` that was saved.
        environment: where to look for variables; this process's environment when None.

    Raises:
        ParameterError: the reference has another form, names no variable, or its value is no text or too short.
        MissingSecret: no secret has this name.

    Example:
        >>> resolve("password", "env:PW", {"PW": "hunter22"})
        Secret(name='password', reference='env:PW')
    """
    scheme, _, own = str(getattr(reference, "reference", reference)).partition(":")
    if scheme == "secret" and own:
        return Secret(name, f"secret:{own}", _kept(name, own))
    variable = environment_name(reference)
    if variable is None:
        # The text is not shown: somebody may have typed the secret itself here.
        raise ParameterError(f"The secret '{name}' must be given by reference, as env:NAME or secret:NAME.")
    value = (os.environ if environment is None else environment).get(variable)
    if value is None:
        raise ParameterError(f"The secret '{name}' refers to the environment variable {variable}, which is not set.")
    found = Secret(name, f"env:{variable}", checked(name, value))
    secrecy.keep_out(found.value)
    return found


def _kept(name: str, own: str) -> str:
    value = secrets.Secret.load(own).get()
    if not isinstance(value, str):
        raise ParameterError(
            f"The secret '{name}' is filled from the secret {own!r}, which is a {type(value).__name__}: give one that "
            "is a text, or load it in the notebook."
        )
    return checked(name, value)


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
