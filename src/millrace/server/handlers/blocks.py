"""Blocks: types, schemas, documents."""

from __future__ import annotations

from uuid import UUID

from millrace.schema.blocks import (
    BlockDocument,
    BlockDocumentCount,
    BlockDocumentCreate,
    BlockDocumentQuery,
    BlockDocumentUpdate,
    BlockSchema,
    BlockSchemaCreate,
    BlockSchemaQuery,
    BlockType,
    BlockTypeCreate,
    BlockTypeQuery,
    BlockTypeUpdate,
)
from millrace.server.answers import Answer, created_or_known
from millrace.server.context import Call
from millrace.store import block_documents, blocks


def create_block_type(call: Call, body: BlockTypeCreate) -> BlockType:
    """Store a type."""
    return call.write(blocks.create_type, body)


def read_block_types(call: Call, body: BlockTypeQuery) -> list[BlockType]:
    """Types that match."""
    return call.read(blocks.query_types, body)


def read_block_type_by_slug(call: Call, slug: str) -> BlockType:
    """The type of a slug."""
    return call.read(blocks.type_by_slug, slug)


def read_block_documents_of_type(call: Call, slug: str, *, include_secrets: bool | None = None) -> list[BlockDocument]:
    """The documents of a type."""
    return call.read(block_documents.of_type, call.context.vault, slug, include_secrets=include_secrets)


def read_block_document_by_name(
    call: Call, slug: str, block_document_name: str, *, include_secrets: bool | None = None
) -> BlockDocument:
    """The document of a type and name."""
    vault = call.context.vault
    return call.read(block_documents.by_name, vault, slug, block_document_name, include_secrets=include_secrets)


def read_block_type(call: Call, id: UUID) -> BlockType:
    """One type."""
    return call.read(blocks.read_type, id)


def update_block_type(call: Call, id: UUID, body: BlockTypeUpdate) -> None:
    """Change what was sent."""
    call.write(blocks.update_type, id, body)


def delete_block_type(call: Call, id: UUID) -> None:
    """Forget a type, its schemas and documents."""
    call.write(blocks.delete_type, id)


def create_block_schema(call: Call, body: BlockSchemaCreate) -> Answer:
    """Store a schema, or answer the known one."""
    return created_or_known(call.write(blocks.create_schema, body))


def read_block_schemas(call: Call, body: BlockSchemaQuery) -> list[BlockSchema]:
    """Schemas that match."""
    return call.read(blocks.query_schemas, body)


def read_block_schema_by_checksum(call: Call, checksum: str, *, version: str | None = None) -> BlockSchema:
    """The newest schema of a checksum."""
    return call.read(blocks.schema_by_checksum, checksum, version)


def read_block_schema(call: Call, id: UUID) -> BlockSchema:
    """One schema."""
    return call.read(blocks.read_schema, id)


def delete_block_schema(call: Call, id: UUID) -> None:
    """Forget a schema and its documents."""
    call.write(blocks.delete_schema, id)


def create_block_document(call: Call, body: BlockDocumentCreate) -> BlockDocument:
    """Store a document."""
    return call.write(block_documents.create, call.context.vault, body)


def read_block_documents(call: Call, body: BlockDocumentQuery) -> list[BlockDocument]:
    """Documents that match."""
    return call.read(block_documents.query, call.context.vault, body)


def count_block_documents(call: Call, body: BlockDocumentCount) -> int:
    """How many documents match."""
    return call.read(block_documents.count, body)


def read_block_document(call: Call, id: UUID, *, include_secrets: bool | None = None) -> BlockDocument:
    """One document."""
    return call.read(block_documents.read, call.context.vault, id, include_secrets=include_secrets)


def update_block_document(call: Call, id: UUID, body: BlockDocumentUpdate) -> None:
    """Change what was sent."""
    call.write(block_documents.update, call.context.vault, id, body)


def delete_block_document(call: Call, id: UUID) -> None:
    """Forget a document."""
    call.write(block_documents.delete, call.context.vault, id)
