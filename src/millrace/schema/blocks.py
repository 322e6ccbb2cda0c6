"""Blocks: documents of settings and secrets, each of a type, its fields described by a schema.

Millrace makes one kind of them itself, `secret`. The others are kept for clients that bring their own types.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Self
from uuid import UUID

from pydantic import Field, model_validator

from millrace.schema.fields import JsonObject, Model, Name
from millrace.schema.flows import BoolCondition, Filter, IdCondition, Page, Stored, TagsCondition, TextCondition

SECRET = "secret"
"""The slug of the type that holds one secret value, in the field `value`."""

MASK = "********"
"""What stands for a secret value."""

UNVERSIONED = "non-versioned"


class BlockTypeUpdate(Model):
    """What of a block type may change."""

    logo_url: str | None = None
    documentation_url: str | None = None
    description: str | None = None
    code_example: str | None = None


class BlockTypeCreate(BlockTypeUpdate):
    """A block type to store."""

    name: Name
    slug: str


class BlockType(BlockTypeCreate, Stored):
    """A stored block type."""

    is_protected: bool = False


class BlockSchemaCreate(Model):
    """The fields of one version of a block type, as a JSON schema.

    `fields["secret_fields"]` names what is secret: `value`, `child.password`, or `all_below.*`.
    """

    fields: JsonObject = Field(default_factory=dict)
    block_type_id: UUID
    capabilities: list[str] = Field(default_factory=list)
    version: str = UNVERSIONED


class BlockSchema(Stored):
    """A stored block schema."""

    checksum: str
    fields: JsonObject = Field(default_factory=dict)
    block_type_id: UUID | None
    block_type: BlockType | None = None
    capabilities: list[str] = Field(default_factory=list)
    version: str = UNVERSIONED


class BlockDocumentCreate(Model):
    """A block document to store."""

    name: Name | None = None
    data: JsonObject = Field(default_factory=dict)
    block_schema_id: UUID
    block_type_id: UUID
    is_anonymous: bool = False

    @model_validator(mode="after")
    def _named(self) -> Self:
        if not self.is_anonymous and not self.name:
            raise ValueError("a block document needs a name, unless it is anonymous")
        return self


class BlockDocument(Stored):
    """A stored block document; its secrets are masked unless they were asked for."""

    name: Name | None = None
    data: JsonObject = Field(default_factory=dict)
    block_schema_id: UUID
    block_schema: BlockSchema | None = None
    block_type_id: UUID
    block_type_name: str | None = None
    block_type: BlockType | None = None
    block_document_references: dict[str, dict[str, Any]] = Field(default_factory=dict)
    is_anonymous: bool = False


class BlockDocumentUpdate(Model):
    """What of a block document may change."""

    block_schema_id: UUID | None = None
    data: JsonObject = Field(default_factory=dict)
    merge_existing_data: bool = True


class BlockTypeFilter(Model):
    """Over block types."""

    name: TextCondition | None = None
    slug: TextCondition | None = None


class BlockSchemaFilter(Filter):
    """Over block schemas."""

    id: IdCondition | None = None
    block_type_id: IdCondition | None = None
    block_capabilities: TagsCondition | None = None
    version: TextCondition | None = None


class BlockDocumentFilter(Filter):
    """Over block documents; anonymous ones only when they are asked for."""

    id: IdCondition | None = None
    is_anonymous: BoolCondition | None = Field(default_factory=lambda: BoolCondition(eq_=False))
    block_type_id: IdCondition | None = None
    name: TextCondition | None = None


class BlockDocumentSort(StrEnum):
    """Orders of block documents."""

    NAME_DESC = "NAME_DESC"
    NAME_ASC = "NAME_ASC"
    BLOCK_TYPE_AND_NAME_ASC = "BLOCK_TYPE_AND_NAME_ASC"


class BlockTypeQuery(Page):
    """The body of block_types/filter."""

    block_types: BlockTypeFilter | None = None
    block_schemas: BlockSchemaFilter | None = None


class BlockSchemaQuery(Page):
    """The body of block_schemas/filter."""

    block_schemas: BlockSchemaFilter | None = None


class BlockDocumentCount(Model):
    """The body of block_documents/count."""

    block_documents: BlockDocumentFilter | None = None
    block_types: BlockTypeFilter | None = None
    block_schemas: BlockSchemaFilter | None = None


class BlockDocumentQuery(BlockDocumentCount, Page):
    """The body of block_documents/filter."""

    include_secrets: bool = Field(False, description="Give secret values too, not their mask.")
    sort: BlockDocumentSort | None = BlockDocumentSort.NAME_ASC
