"""Flows as the server knows them: a name with tags. Also the filters and operators that all queries use."""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

from pydantic import Field

from millrace.schema.fields import DateTime, Labels, Model, Name, Tags, new_id, now


class Stored(Model):
    """What every stored thing has."""

    id: UUID = Field(default_factory=new_id)
    created: DateTime | None = Field(default_factory=now)
    updated: DateTime | None = Field(default_factory=now)


class FlowCreate(Model):
    """A flow to register; registering a known name answers the known flow."""

    name: Name
    tags: Tags = Field(default_factory=list)
    labels: Labels = Field(default_factory=dict)


class Flow(FlowCreate, Stored):
    """A registered flow."""


class Operator(StrEnum):
    """How the conditions of one filter combine."""

    AND = "and_"
    OR = "or_"


class Filter(Model):
    """A filter over one kind of thing: each field is a condition, null means no condition."""

    operator: Operator = Operator.AND


class IdCondition(Model):
    """On an id."""

    any_: list[UUID] | None = None
    not_any_: list[UUID] | None = None
    is_null_: bool | None = None
    operator: Operator = Operator.AND


class TextCondition(Model):
    """On a text: `like_` is a part of it, whatever the case."""

    any_: list[str] | None = None
    not_any_: list[str] | None = None
    like_: str | None = None
    is_null_: bool | None = None
    exists_: bool | None = None
    startswith_: list[str] | None = None
    operator: Operator = Operator.AND


class TagsCondition(Model):
    """On tags: all of these, any of these, or none at all (`is_null_`)."""

    all_: list[str] | None = None
    any_: list[str] | None = None
    is_null_: bool | None = None
    operator: Operator = Operator.AND


class TimeCondition(Model):
    """On a moment; both ends belong to it."""

    before_: DateTime | None = None
    after_: DateTime | None = None
    is_null_: bool | None = None


class BoolCondition(Model):
    """On a switch."""

    eq_: bool | None = None
    exists_: bool | None = None


class NumberCondition(Model):
    """On a number."""

    ge_: int | None = None
    le_: int | None = None
    is_null_: bool | None = None


class FlowFilterDeployment(Model):
    """Whether a flow has deployments."""

    is_null_: bool | None = None
    operator: Operator = Operator.AND


class FlowFilter(Filter):
    """Over flows."""

    id: IdCondition | None = None
    deployment: FlowFilterDeployment | None = None
    name: TextCondition | None = None
    tags: TagsCondition | None = None


class FlowSort(StrEnum):
    """Orders of flows."""

    CREATED_DESC = "CREATED_DESC"
    UPDATED_DESC = "UPDATED_DESC"
    NAME_ASC = "NAME_ASC"
    NAME_DESC = "NAME_DESC"


class Page(Model):
    """Which part of the matches to answer."""

    offset: int | None = Field(0, ge=0)
    limit: int | None = Field(None, ge=0, le=200, description="At most this many; null: 200.")
