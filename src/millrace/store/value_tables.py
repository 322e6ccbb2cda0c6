"""The tables of what flows keep and share: variables, blocks, and pages of runs."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, LargeBinary, Table, UniqueConstraint, Uuid

from millrace.store.columns import Json, Moment, Searched, Words
from millrace.store.tables import metadata


def _stored() -> list[Column[Any]]:
    moments = [Column(name, Moment, nullable=False) for name in ("created", "updated")]
    return [Column("id", Uuid, primary_key=True), *moments]


def _to(column: str) -> ForeignKey:
    return ForeignKey(column, ondelete="CASCADE")


variables = Table(
    "variables",
    metadata,
    *_stored(),
    Column("name", Words, nullable=False, unique=True),
    Column("value", Json),
    Column("tags", Searched, nullable=False),
)

block_types = Table(
    "block_types",
    metadata,
    *_stored(),
    Column("name", Words, nullable=False, unique=True),
    Column("slug", Words, nullable=False, unique=True),
    Column("logo_url", Words),
    Column("documentation_url", Words),
    Column("description", Words),
    Column("code_example", Words),
    Column("is_protected", Boolean, nullable=False),
)

block_schemas = Table(
    "block_schemas",
    metadata,
    *_stored(),
    Column("checksum", Words, nullable=False),
    Column("fields", Json, nullable=False),
    Column("block_type_id", Uuid, _to("block_types.id"), nullable=False, index=True),
    Column("capabilities", Searched, nullable=False),
    Column("version", Words, nullable=False),
    UniqueConstraint("checksum", "version"),
)

# `data` is what a document holds, encrypted as a whole; `shown` is the same with its secrets masked, so that a look
# at it needs no key.
block_documents = Table(
    "block_documents",
    metadata,
    *_stored(),
    Column("name", Words, nullable=False),
    Column("data", Words, nullable=False),
    Column("shown", Json, nullable=False),
    Column("block_schema_id", Uuid, _to("block_schemas.id"), nullable=False, index=True),
    Column("block_type_id", Uuid, _to("block_types.id"), nullable=False),
    Column("block_type_name", Words, nullable=False),
    Column("is_anonymous", Boolean, nullable=False),
    UniqueConstraint("block_type_id", "name"),
    Index("ix_block_documents_name", "name"),
)

# `packed` is the page, compressed by zlib; NULL where it is too large to be kept.
run_pages = Table(
    "run_pages",
    metadata,
    Column("flow_run_id", Uuid, _to("flow_runs.id"), primary_key=True),
    Column("place", Words, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("packed", LargeBinary),
)
