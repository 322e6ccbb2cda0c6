"""Variables: small named JSON values that flows share."""

from __future__ import annotations

import json
import re
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, Field, SerializerFunctionWrapHandler, model_serializer

from millrace.schema.fields import Model
from millrace.schema.flows import Filter, IdCondition, Page, Stored, TagsCondition, TextCondition

LONGEST_NAME = 255
LONGEST_VALUE = 5000
"""Bytes of JSON; what is larger is data, and belongs into a file or an artifact."""

_NAME = re.compile(r"[a-z0-9_-]*")


def variable_name(name: str) -> str:
    """The name, if it can be one.

    Args:
        name: of a variable.

    Raises:
        ValueError: it has other characters than lowercase letters, digits, dashes and underscores, or is too long.

    Example:
        >>> variable_name("batch_size")
        'batch_size'
    """
    if not _NAME.fullmatch(name):
        shown = name if len(name) <= 80 else f"{name[:77]}…"
        raise ValueError(f"the variable name {shown!r} may have only lowercase letters, digits, dashes and underscores")
    if len(name) > LONGEST_NAME:
        raise ValueError(f"the variable name has {len(name)} characters; at most {LONGEST_NAME} are allowed")
    return name


def variable_value(value: Any) -> Any:
    """The value, if it is JSON and small enough.

    Args:
        value: of a variable.

    Raises:
        ValueError: it is no JSON value, or its JSON is longer than 5,000 bytes.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise ValueError(
            f"the value of a variable must be JSON (texts, numbers, true, false, null, lists, objects), "
            f"and a {type(value).__name__} like this is not"
        ) from None
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > LONGEST_VALUE:
        raise ValueError(f"the value has {size:,} bytes as JSON; a variable takes at most {LONGEST_VALUE:,}")
    return value


VariableName = Annotated[str, AfterValidator(variable_name)]
VariableValue = Annotated[Any, AfterValidator(variable_value)]


class VariableCreate(Model):
    """A variable to store."""

    name: VariableName
    value: VariableValue
    tags: list[str] | None = Field(default_factory=list)

    @model_serializer(mode="wrap")
    def _value_always(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {**write(self), "value": self.value}  # null is a value here, and requests leave nulls out


class Variable(Stored):
    """A stored variable."""

    name: str
    value: Any
    tags: list[str] = Field(default_factory=list)


class VariableUpdate(Model):
    """What of a variable may change."""

    name: VariableName | None = None
    value: VariableValue = None
    tags: list[str] | None = None


class VariableSort(StrEnum):
    """Orders of variables."""

    CREATED_DESC = "CREATED_DESC"
    UPDATED_DESC = "UPDATED_DESC"
    NAME_DESC = "NAME_DESC"
    NAME_ASC = "NAME_ASC"


class VariableFilter(Filter):
    """Over variables."""

    id: IdCondition | None = None
    name: TextCondition | None = None
    tags: TagsCondition | None = None


class VariableCount(Model):
    """The body of variables/count."""

    variables: VariableFilter | None = None


class VariableQuery(VariableCount, Page):
    """The body of variables/filter."""

    sort: VariableSort | None = VariableSort.NAME_ASC
