# Generated from keepsakes.py by scripts/generate_client.py: change that file, then run the script.
"""The part of the client that is about what flows keep and share: artifacts, variables, blocks."""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from millrace.client.blocking import Connection

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


class Keepsakes(Connection):
    """Calls about artifacts, variables and blocks."""

    def create_artifact(self, body: ArtifactCreate | None = None, **fields: Any) -> Artifact:
        """Store an artifact."""
        return self._call("create_artifact", body=body, fields=fields)

    def read_artifacts(self, body: ArtifactQuery | None = None, **fields: Any) -> list[Artifact]:
        """Artifacts that match."""
        return self._call("read_artifacts", body=body, fields=fields)

    def read_latest_artifacts(self, body: ArtifactQuery | None = None, **fields: Any) -> list[ArtifactCollection]:
        """The newest artifact of each key that matches."""
        return self._call("read_latest_artifacts", body=body, fields=fields)

    def update_artifact(self, id: UUID, body: ArtifactUpdate | None = None, **fields: Any) -> None:
        """Change the fields that are given."""
        self._call("update_artifact", id, body=body, fields=fields)

    def count_artifacts(self, body: ArtifactCount | None = None, **fields: Any) -> int:
        """How many artifacts match."""
        return self._call("count_artifacts", body=body, fields=fields)

    def count_latest_artifacts(self, body: ArtifactCount | None = None, **fields: Any) -> int:
        """How many keys have a newest artifact that matches."""
        return self._call("count_latest_artifacts", body=body, fields=fields)

    def read_latest_artifact(self, key: str) -> Artifact:
        """The newest artifact of a key."""
        return self._call("read_latest_artifact", key)

    def read_artifact(self, id: UUID) -> Artifact:
        """One artifact."""
        return self._call("read_artifact", id)

    def delete_artifact(self, id: UUID) -> None:
        """The one before becomes the newest of its key."""
        self._call("delete_artifact", id)

    def keep_page(self, id: UUID, body: RunPage | None = None, **fields: Any) -> None:
        """Keep the page of a notebook that another machine executed; a later one replaces it."""
        self._call("keep_page", id, body=body, fields=fields)

    def read_page(self, id: UUID) -> RunPage:
        """The page that is kept of a run."""
        return self._call("read_page", id)

    def create_variable(self, body: VariableCreate | None = None, **fields: Any) -> Variable:
        """Store a variable."""
        return self._call("create_variable", body=body, fields=fields)

    def read_variables(self, body: VariableQuery | None = None, **fields: Any) -> list[Variable]:
        """Variables that match."""
        return self._call("read_variables", body=body, fields=fields)

    def count_variables(self, body: VariableCount | None = None, **fields: Any) -> int:
        """How many variables match."""
        return self._call("count_variables", body=body, fields=fields)

    def read_variable_by_name(self, name: str) -> Variable:
        """The variable of this name."""
        return self._call("read_variable_by_name", name)

    def update_variable_by_name(self, name: str, body: VariableUpdate | None = None, **fields: Any) -> None:
        """Change the fields that are given."""
        self._call("update_variable_by_name", name, body=body, fields=fields)

    def delete_variable_by_name(self, name: str) -> None:
        """Forget the variable of this name."""
        self._call("delete_variable_by_name", name)

    def read_variable(self, id: UUID) -> Variable:
        """One variable."""
        return self._call("read_variable", id)

    def update_variable(self, id: UUID, body: VariableUpdate | None = None, **fields: Any) -> None:
        """Change the fields that are given."""
        self._call("update_variable", id, body=body, fields=fields)

    def delete_variable(self, id: UUID) -> None:
        """Forget a variable."""
        self._call("delete_variable", id)

    def create_block_type(self, body: BlockTypeCreate | None = None, **fields: Any) -> BlockType:
        """Store a block type."""
        return self._call("create_block_type", body=body, fields=fields)

    def read_block_types(self, body: BlockTypeQuery | None = None, **fields: Any) -> list[BlockType]:
        """Block types that match."""
        return self._call("read_block_types", body=body, fields=fields)

    def read_block_type_by_slug(self, slug: str) -> BlockType:
        """The block type of this slug."""
        return self._call("read_block_type_by_slug", slug)

    def read_block_documents_of_type(self, slug: str, include_secrets: bool | None = None) -> list[BlockDocument]:
        """The documents of a block type."""
        return self._call("read_block_documents_of_type", slug, query={"include_secrets": include_secrets})

    def read_block_document_by_name(
        self, slug: str, block_document_name: str, include_secrets: bool | None = None
    ) -> BlockDocument:
        """The document of a block type and name."""
        return self._call(
            "read_block_document_by_name", slug, block_document_name, query={"include_secrets": include_secrets}
        )

    def read_block_type(self, id: UUID) -> BlockType:
        """One block type."""
        return self._call("read_block_type", id)

    def update_block_type(self, id: UUID, body: BlockTypeUpdate | None = None, **fields: Any) -> None:
        """Change the fields that are given."""
        self._call("update_block_type", id, body=body, fields=fields)

    def delete_block_type(self, id: UUID) -> None:
        """With its schemas and documents."""
        self._call("delete_block_type", id)

    def create_block_schema(self, body: BlockSchemaCreate | None = None, **fields: Any) -> BlockSchema:
        """Store a schema, or answer the one of the same fields and version (200)."""
        return self._call("create_block_schema", body=body, fields=fields)

    def read_block_schemas(self, body: BlockSchemaQuery | None = None, **fields: Any) -> list[BlockSchema]:
        """Block schemas that match."""
        return self._call("read_block_schemas", body=body, fields=fields)

    def read_block_schema_by_checksum(self, checksum: str, version: str | None = None) -> BlockSchema:
        """The newest schema of this checksum."""
        return self._call("read_block_schema_by_checksum", checksum, query={"version": version})

    def read_block_schema(self, id: UUID) -> BlockSchema:
        """One block schema."""
        return self._call("read_block_schema", id)

    def delete_block_schema(self, id: UUID) -> None:
        """With its documents."""
        self._call("delete_block_schema", id)

    def create_block_document(self, body: BlockDocumentCreate | None = None, **fields: Any) -> BlockDocument:
        """Store a document; its secrets are encrypted, and masked in the answer."""
        return self._call("create_block_document", body=body, fields=fields)

    def read_block_documents(self, body: BlockDocumentQuery | None = None, **fields: Any) -> list[BlockDocument]:
        """Block documents that match."""
        return self._call("read_block_documents", body=body, fields=fields)

    def count_block_documents(self, body: BlockDocumentCount | None = None, **fields: Any) -> int:
        """How many block documents match."""
        return self._call("count_block_documents", body=body, fields=fields)

    def read_block_document(self, id: UUID, include_secrets: bool | None = None) -> BlockDocument:
        """One block document."""
        return self._call("read_block_document", id, query={"include_secrets": include_secrets})

    def update_block_document(self, id: UUID, body: BlockDocumentUpdate | None = None, **fields: Any) -> None:
        """Change the fields that are given."""
        self._call("update_block_document", id, body=body, fields=fields)

    def delete_block_document(self, id: UUID) -> None:
        """Forget a block document."""
        self._call("delete_block_document", id)
