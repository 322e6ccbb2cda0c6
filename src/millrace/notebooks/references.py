"""Parameters that are secret: what stands for one is a reference, `env:NAME` or `secret:NAME`, never the value.

Only the names are read here. `millrace.notebooks.secret` and `millrace.Secret` find the values, where a run runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from millrace.errors import ParameterError
from millrace.schema import secret_places

PATTERN = secret_places.ANYWHERE
refuse_values = secret_places.refuse_values
_OF_SECRETS = (PATTERN, secret_places.PATTERN)


def pattern_of(schema: Mapping[str, Any]) -> str | None:
    """What a value of a secret parameter must look like; None: the parameter is not secret.

    Args:
        schema: of one parameter.

    Example:
        >>> pattern_of({"type": "string", "pattern": "^secret:.+"})
        '^secret:.+'
    """
    found = [one.get("pattern") for one in (schema, *(schema.get("anyOf") or ()))]
    return next((one for one in found if one in _OF_SECRETS), None)


def checked(name: str, schema: Mapping[str, Any], value: object) -> Any:
    """The reference that is given for a secret parameter.

    Args:
        name: of the parameter.
        schema: of the parameter.
        value: a reference, a saved `Secret`, or None where that is allowed.

    Raises:
        ParameterError: it is the secret itself, which would be stored with the run. It is not shown.
    """
    pattern = pattern_of(schema) or PATTERN
    value = getattr(value, "reference", value)
    if value is None and any(one.get("type") == "null" for one in schema.get("anyOf") or ()):
        return None
    if isinstance(value, str) and re.match(pattern, value):
        return value
    forms = "env:NAME or secret:NAME" if "env" in pattern else "secret:NAME"
    raise ParameterError(
        f"The secret {name!r} must be given by reference, as {forms}: a value would be stored with the run. "
        "`millrace secret set NAME` or Secret(value).save('NAME') keeps one."
    )
