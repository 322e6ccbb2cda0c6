"""The part of the client that is about what flows keep and share: artifacts, variables, blocks.

Written by hand; `plain_keepsakes.py` is made from it by `scripts/generate_client.py`.
"""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from millrace.client.connection import AsyncConnection

if TYPE_CHECKING:
    from millrace.schema.artifacts import (
        Artifact,
        ArtifactCollection,
        ArtifactCount,
        ArtifactCreate,
        ArtifactQuery,
        ArtifactUpdate,
    )
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
    from millrace.schema.pages import RunPage
    from millrace.schema.variables import Variable, VariableCount, VariableCreate, VariableQuery, VariableUpdate


class AsyncKeepsakes(AsyncConnection):
    """Calls about artifacts, variables and blocks."""

    async def create_artifact(self, body: ArtifactCreate | None = None, **fields: Any) -> Artifact:
        """Store an artifact."""
        return await self._call("create_artifact", body=body, fields=fields)

    async def read_artifacts(self, body: ArtifactQuery | None = None, **fields: Any) -> list[Artifact]:
        """Artifacts that match."""
        return await self._call("read_artifacts", body=body, fields=fields)

    async def read_latest_artifacts(self, body: ArtifactQuery | None = None, **fields: Any) -> list[ArtifactCollection]:
        """The newest artifact of each key that matches."""
        return await self._call("read_latest_artifacts", body=body, fields=fields)

    async def update_artifact(self, id: UUID, body: ArtifactUpdate | None = None, **fields: Any) -> None:
        """Change the fields that are given."""
        await self._call("update_artifact", id, body=body, fields=fields)

    async def count_artifacts(self, body: ArtifactCount | None = None, **fields: Any) -> int:
        """How many artifacts match."""
        return await self._call("count_artifacts", body=body, fields=fields)

    async def count_latest_artifacts(self, body: ArtifactCount | None = None, **fields: Any) -> int:
        """How many keys have a newest artifact that matches."""
        return await self._call("count_latest_artifacts", body=body, fields=fields)

    async def read_latest_artifact(self, key: str) -> Artifact:
        """The newest artifact of a key."""
        return await self._call("read_latest_artifact", key)

    async def read_artifact(self, id: UUID) -> Artifact:
        """One artifact."""
        return await self._call("read_artifact", id)

    async def delete_artifact(self, id: UUID) -> None:
        """The one before becomes the newest of its key."""
        await self._call("delete_artifact", id)

    async def keep_page(self, id: UUID, body: RunPage | None = None, **fields: Any) -> None:
        """Keep the page of a notebook that another machine executed; a later one replaces it."""
        await self._call("keep_page", id, body=body, fields=fields)

    async def read_page(self, id: UUID) -> RunPage:
        """The page that is kept of a run."""
        return await self._call("read_page", id)

    async def create_variable(self, body: VariableCreate | None = None, **fields: Any) -> Variable:
        """Store a variable."""
        return await self._call("create_variable", body=body, fields=fields)

    async def read_variables(self, body: VariableQuery | None = None, **fields: Any) -> list[Variable]:
        """Variables that match."""
        return await self._call("read_variables", body=body, fields=fields)

    async def count_variables(self, body: VariableCount | None = None, **fields: Any) -> int:
        """How many variables match."""
        return await self._call("count_variables", body=body, fields=fields)

    async def read_variable_by_name(self, name: str) -> Variable:
        """The variable of this name."""
        return await self._call("read_variable_by_name", name)

    async def update_variable_by_name(self, name: str, body: VariableUpdate | None = None, **fields: Any) -> None:
        """Change the fields that are given."""
        await self._call("update_variable_by_name", name, body=body, fields=fields)

    async def delete_variable_by_name(self, name: str) -> None:
        """Forget the variable of this name."""
        await self._call("delete_variable_by_name", name)

    async def read_variable(self, id: UUID) -> Variable:
        """One variable."""
        return await self._call("read_variable", id)

    async def update_variable(self, id: UUID, body: VariableUpdate | None = None, **fields: Any) -> None:
        """Change the fields that are given."""
        await self._call("update_variable", id, body=body, fields=fields)

    async def delete_variable(self, id: UUID) -> None:
        """Forget a variable."""
        await self._call("delete_variable", id)

    async def create_block_type(self, body: BlockTypeCreate | None = None, **fields: Any) -> BlockType:
        """Store a block type."""
        return await self._call("create_block_type", body=body, fields=fields)

    async def read_block_types(self, body: BlockTypeQuery | None = None, **fields: Any) -> list[BlockType]:
        """Block types that match."""
        return await self._call("read_block_types", body=body, fields=fields)

    async def read_block_type_by_slug(self, slug: str) -> BlockType:
        """The block type of this slug."""
        return await self._call("read_block_type_by_slug", slug)

    async def read_block_documents_of_type(self, slug: str, include_secrets: bool | None = None) -> list[BlockDocument]:
        """The documents of a block type."""
        return await self._call("read_block_documents_of_type", slug, query={"include_secrets": include_secrets})

    async def read_block_document_by_name(
        self, slug: str, block_document_name: str, include_secrets: bool | None = None
    ) -> BlockDocument:
        """The document of a block type and name."""
        return await self._call(
            "read_block_document_by_name", slug, block_document_name, query={"include_secrets": include_secrets}
        )

    async def read_block_type(self, id: UUID) -> BlockType:
        """One block type."""
        return await self._call("read_block_type", id)

    async def update_block_type(self, id: UUID, body: BlockTypeUpdate | None = None, **fields: Any) -> None:
        """Change the fields that are given."""
        await self._call("update_block_type", id, body=body, fields=fields)

    async def delete_block_type(self, id: UUID) -> None:
        """With its schemas and documents."""
        await self._call("delete_block_type", id)

    async def create_block_schema(self, body: BlockSchemaCreate | None = None, **fields: Any) -> BlockSchema:
        """Store a schema, or answer the one of the same fields and version (200)."""
        return await self._call("create_block_schema", body=body, fields=fields)

    async def read_block_schemas(self, body: BlockSchemaQuery | None = None, **fields: Any) -> list[BlockSchema]:
        """Block schemas that match."""
        return await self._call("read_block_schemas", body=body, fields=fields)

    async def read_block_schema_by_checksum(self, checksum: str, version: str | None = None) -> BlockSchema:
        """The newest schema of this checksum."""
        return await self._call("read_block_schema_by_checksum", checksum, query={"version": version})

    async def read_block_schema(self, id: UUID) -> BlockSchema:
        """One block schema."""
        return await self._call("read_block_schema", id)

    async def delete_block_schema(self, id: UUID) -> None:
        """With its documents."""
        await self._call("delete_block_schema", id)

    async def create_block_document(self, body: BlockDocumentCreate | None = None, **fields: Any) -> BlockDocument:
        """Store a document; its secrets are encrypted, and masked in the answer."""
        return await self._call("create_block_document", body=body, fields=fields)

    async def read_block_documents(self, body: BlockDocumentQuery | None = None, **fields: Any) -> list[BlockDocument]:
        """Block documents that match."""
        return await self._call("read_block_documents", body=body, fields=fields)

    async def count_block_documents(self, body: BlockDocumentCount | None = None, **fields: Any) -> int:
        """How many block documents match."""
        return await self._call("count_block_documents", body=body, fields=fields)

    async def read_block_document(self, id: UUID, include_secrets: bool | None = None) -> BlockDocument:
        """One block document."""
        return await self._call("read_block_document", id, query={"include_secrets": include_secrets})

    async def update_block_document(self, id: UUID, body: BlockDocumentUpdate | None = None, **fields: Any) -> None:
        """Change the fields that are given."""
        await self._call("update_block_document", id, body=body, fields=fields)

    async def delete_block_document(self, id: UUID) -> None:
        """Forget a block document."""
        await self._call("delete_block_document", id)
