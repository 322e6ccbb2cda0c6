"""The lines of the wire's table about what flows keep and share: artifacts, variables, blocks (secrets among them)."""

from __future__ import annotations

from millrace.schema import artifacts, blocks, variables
from millrace.schema.operation import Operation as Op

NAMED = {"name": str}
SLUG = {"slug": str}

VALUES: tuple[Op, ...] = (
    # -- artifacts
    Op("create_artifact", "POST", "/artifacts/", artifacts.Artifact, artifacts.ArtifactCreate, 201),
    Op(
        "read_artifacts",
        "POST",
        "/artifacts/filter",
        list[artifacts.Artifact],
        artifacts.ArtifactQuery,
        body_optional=True,
    ),
    Op(
        "read_latest_artifacts",
        "POST",
        "/artifacts/latest/filter",
        list[artifacts.ArtifactCollection],
        artifacts.ArtifactQuery,
        body_optional=True,
    ),
    Op("count_artifacts", "POST", "/artifacts/count", int, artifacts.ArtifactCount, body_optional=True),
    Op("count_latest_artifacts", "POST", "/artifacts/latest/count", int, artifacts.ArtifactCount, body_optional=True),
    Op("read_latest_artifact", "GET", "/artifacts/{key}/latest", artifacts.Artifact, paths={"key": str}),
    Op("read_artifact", "GET", "/artifacts/{id}", artifacts.Artifact),
    Op("update_artifact", "PATCH", "/artifacts/{id}", body=artifacts.ArtifactUpdate, status=204),
    Op("delete_artifact", "DELETE", "/artifacts/{id}", status=204, doc="the one before becomes the newest of its key"),
    # -- variables
    Op("create_variable", "POST", "/variables/", variables.Variable, variables.VariableCreate, 201),
    Op(
        "read_variables",
        "POST",
        "/variables/filter",
        list[variables.Variable],
        variables.VariableQuery,
        body_optional=True,
    ),
    Op("count_variables", "POST", "/variables/count", int, variables.VariableCount, body_optional=True),
    Op("read_variable_by_name", "GET", "/variables/name/{name}", variables.Variable, paths=NAMED),
    Op(
        "update_variable_by_name",
        "PATCH",
        "/variables/name/{name}",
        body=variables.VariableUpdate,
        status=204,
        paths=NAMED,
    ),
    Op("delete_variable_by_name", "DELETE", "/variables/name/{name}", status=204, paths=NAMED),
    Op("read_variable", "GET", "/variables/{id}", variables.Variable),
    Op("update_variable", "PATCH", "/variables/{id}", body=variables.VariableUpdate, status=204),
    Op("delete_variable", "DELETE", "/variables/{id}", status=204),
    # -- blocks: types, the schemas of their fields, documents
    Op("create_block_type", "POST", "/block_types/", blocks.BlockType, blocks.BlockTypeCreate, 201),
    Op(
        "read_block_types",
        "POST",
        "/block_types/filter",
        list[blocks.BlockType],
        blocks.BlockTypeQuery,
        body_optional=True,
    ),
    Op("read_block_type_by_slug", "GET", "/block_types/slug/{slug}", blocks.BlockType, paths=SLUG),
    Op(
        "read_block_documents_of_type",
        "GET",
        "/block_types/slug/{slug}/block_documents",
        list[blocks.BlockDocument],
        query={"include_secrets": bool | None},
        paths=SLUG,
    ),
    Op(
        "read_block_document_by_name",
        "GET",
        "/block_types/slug/{slug}/block_documents/name/{block_document_name}",
        blocks.BlockDocument,
        query={"include_secrets": bool | None},
        paths={**SLUG, "block_document_name": str},
    ),
    Op("read_block_type", "GET", "/block_types/{id}", blocks.BlockType),
    Op("update_block_type", "PATCH", "/block_types/{id}", body=blocks.BlockTypeUpdate, status=204),
    Op("delete_block_type", "DELETE", "/block_types/{id}", status=204, doc="with its schemas and documents"),
    Op(
        "create_block_schema",
        "POST",
        "/block_schemas/",
        blocks.BlockSchema,
        blocks.BlockSchemaCreate,
        201,
        doc="store a schema, or answer the one of the same fields and version (200)",
    ),
    Op(
        "read_block_schemas",
        "POST",
        "/block_schemas/filter",
        list[blocks.BlockSchema],
        blocks.BlockSchemaQuery,
        body_optional=True,
    ),
    Op(
        "read_block_schema_by_checksum",
        "GET",
        "/block_schemas/checksum/{checksum}",
        blocks.BlockSchema,
        query={"version": str | None},
        paths={"checksum": str},
    ),
    Op("read_block_schema", "GET", "/block_schemas/{id}", blocks.BlockSchema),
    Op("delete_block_schema", "DELETE", "/block_schemas/{id}", status=204, doc="with its documents"),
    Op(
        "create_block_document",
        "POST",
        "/block_documents/",
        blocks.BlockDocument,
        blocks.BlockDocumentCreate,
        201,
        doc="store a document; its secrets are encrypted, and masked in the answer",
    ),
    Op(
        "read_block_documents",
        "POST",
        "/block_documents/filter",
        list[blocks.BlockDocument],
        blocks.BlockDocumentQuery,
        body_optional=True,
    ),
    Op("count_block_documents", "POST", "/block_documents/count", int, blocks.BlockDocumentCount, body_optional=True),
    Op(
        "read_block_document",
        "GET",
        "/block_documents/{id}",
        blocks.BlockDocument,
        query={"include_secrets": bool | None},
    ),
    Op("update_block_document", "PATCH", "/block_documents/{id}", body=blocks.BlockDocumentUpdate, status=204),
    Op("delete_block_document", "DELETE", "/block_documents/{id}", status=204),
)
