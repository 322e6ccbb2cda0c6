"""Variables, and blocks with their encrypted documents."""

from __future__ import annotations

from sqlalchemy import Connection

_ID = {"sqlite": "CHAR(32)", "postgresql": "UUID"}

STATEMENTS = (
    """
    CREATE TABLE variables (
        id {id} NOT NULL,
        created BIGINT NOT NULL,
        updated BIGINT NOT NULL,
        name TEXT NOT NULL,
        value TEXT,
        tags TEXT NOT NULL,
        PRIMARY KEY (id),
        UNIQUE (name)
    )
    """,
    """
    CREATE TABLE block_types (
        id {id} NOT NULL,
        created BIGINT NOT NULL,
        updated BIGINT NOT NULL,
        name TEXT NOT NULL,
        slug TEXT NOT NULL,
        logo_url TEXT,
        documentation_url TEXT,
        description TEXT,
        code_example TEXT,
        is_protected BOOLEAN NOT NULL,
        PRIMARY KEY (id),
        UNIQUE (name),
        UNIQUE (slug)
    )
    """,
    """
    CREATE TABLE block_schemas (
        id {id} NOT NULL,
        created BIGINT NOT NULL,
        updated BIGINT NOT NULL,
        checksum TEXT NOT NULL,
        fields TEXT NOT NULL,
        block_type_id {id} NOT NULL,
        capabilities TEXT NOT NULL,
        version TEXT NOT NULL,
        PRIMARY KEY (id),
        UNIQUE (checksum, version),
        FOREIGN KEY(block_type_id) REFERENCES block_types (id) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX ix_block_schemas_block_type_id ON block_schemas (block_type_id)",
    """
    CREATE TABLE block_documents (
        id {id} NOT NULL,
        created BIGINT NOT NULL,
        updated BIGINT NOT NULL,
        name TEXT NOT NULL,
        data TEXT NOT NULL,
        shown TEXT NOT NULL,
        block_schema_id {id} NOT NULL,
        block_type_id {id} NOT NULL,
        block_type_name TEXT NOT NULL,
        is_anonymous BOOLEAN NOT NULL,
        PRIMARY KEY (id),
        UNIQUE (block_type_id, name),
        FOREIGN KEY(block_schema_id) REFERENCES block_schemas (id) ON DELETE CASCADE,
        FOREIGN KEY(block_type_id) REFERENCES block_types (id) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX ix_block_documents_name ON block_documents (name)",
    "CREATE INDEX ix_block_documents_block_schema_id ON block_documents (block_schema_id)",
)


def up(connection: Connection) -> None:
    """Makes the tables and their indexes."""
    kind = _ID[connection.dialect.name]
    for statement in STATEMENTS:
        connection.exec_driver_sql(statement.replace("{id}", kind))
