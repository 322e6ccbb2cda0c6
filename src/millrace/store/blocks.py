"""The types of blocks, and the schemas of their fields."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, select

from millrace.errors import AlreadyExists, NotAllowed, NotFound
from millrace.schema.blocks import (
    BlockSchema,
    BlockSchemaCreate,
    BlockSchemaFilter,
    BlockSchemaQuery,
    BlockType,
    BlockTypeCreate,
    BlockTypeFilter,
    BlockTypeQuery,
    BlockTypeUpdate,
)
from millrace.schema.fields import JsonObject, new_id
from millrace.store.conditions import Condition, all_of, combined, ids, tags, text
from millrace.store.database import Transaction
from millrace.store.rows import model, page, values
from millrace.store.value_tables import block_schemas, block_types

_type, _schema = block_types.c, block_schemas.c
_RESERVED = "prefect"


def create_type(tx: Transaction, body: BlockTypeCreate) -> BlockType:
    """Stores a block type.

    Raises:
        NotAllowed: its name begins with Prefect, which its makers keep for themselves.
        AlreadyExists: there is one of this name or slug.
    """
    if body.name.lower().startswith(_RESERVED):
        raise NotAllowed(f"The block type {body.name!r} begins with {_RESERVED!r}, which is reserved. Choose another.")
    taken = select(_type.id).where((_type.name == body.name) | (_type.slug == body.slug))
    if tx.connection.scalar(taken) is not None:
        raise AlreadyExists(f"There is a block type named {body.name!r}, or with the slug {body.slug!r}.")
    made = BlockType(**dict(body), id=new_id(), created=tx.now, updated=tx.now)
    tx.connection.execute(block_types.insert().values(values(made, block_types)))
    return made


def _one_type(tx: Transaction, condition: ColumnElement[bool], said: str) -> BlockType:
    row = tx.connection.execute(select(block_types).where(condition)).first()
    if row is None:
        raise NotFound(f"No block type {said}.")
    return model(BlockType, row)


def read_type(tx: Transaction, id: UUID) -> BlockType:
    """One block type.

    Raises:
        NotFound: there is none with this id.
    """
    return _one_type(tx, _type.id == id, f"has the id {id}")


def type_by_slug(tx: Transaction, slug: str) -> BlockType:
    """The block type of a slug.

    Raises:
        NotFound: there is none.
    """
    return _one_type(tx, _type.slug == slug, f"has the slug {slug!r}")


def types_matching(filter: BlockTypeFilter | None) -> Condition | None:
    """The filter over block types as SQL."""
    if filter is None:
        return None
    return combined([text(_type.name, filter.name), text(_type.slug, filter.slug)])


def schemas_matching(filter: BlockSchemaFilter | None) -> Condition | None:
    """The filter over block schemas as SQL."""
    return all_of(
        filter,
        lambda f: ids(_schema.id, f.id),
        lambda f: ids(_schema.block_type_id, f.block_type_id),
        lambda f: tags(_schema.capabilities, f.block_capabilities),
        lambda f: text(_schema.version, f.version),
    )


def query_types(tx: Transaction, query: BlockTypeQuery) -> list[BlockType]:
    """The block types that match, by name."""
    schemas = schemas_matching(query.block_schemas)
    having = None if schemas is None else _type.id.in_(select(_schema.block_type_id).where(schemas))
    condition = combined([types_matching(query.block_types), having])
    statement = select(block_types).where(condition).order_by(_type.name)
    return [model(BlockType, row) for row in tx.connection.execute(page(statement, query))]


def update_type(tx: Transaction, id: UUID, body: BlockTypeUpdate) -> None:
    """Changes what was sent.

    Raises:
        NotFound: there is none with this id.
    """
    read_type(tx, id)
    changes = values(body, block_types, only=body.model_fields_set)
    tx.connection.execute(block_types.update().where(_type.id == id).values(**changes, updated=tx.now))


def delete_type(tx: Transaction, id: UUID) -> None:
    """Forgets a type with its schemas and documents.

    Raises:
        NotFound: there is none with this id.
    """
    read_type(tx, id)
    tx.connection.execute(block_types.delete().where(_type.id == id))


# -- schemas


def _without(key: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without(key, entry) for name, entry in value.items() if name != key}
    return value


def _references(value: Any) -> set[str]:
    """The names of definitions that a JSON schema refers to."""
    if isinstance(value, dict):
        own = {value["$ref"].removeprefix("#/definitions/")} if isinstance(value.get("$ref"), str) else set()
        return own.union(*(_references(entry) for name, entry in value.items() if name != "definitions"))
    if isinstance(value, list):
        return set().union(*map(_references, value))
    return set()


def checksum(fields: JsonObject) -> str:
    """What a schema is known by: the same for the same fields, whatever is secret of them.

    As the original counts it, so that its clients find their schemas: over the JSON with sorted keys, with the
    definitions that are used and no block themselves.

    Args:
        fields: of the schema.

    Example:
        >>> checksum({"title": "A"}) == checksum({"title": "A", "secret_fields": ["value"]})
        True
    """
    counted = dict(_without("secret_fields", fields))
    definitions = counted.get("definitions")
    if isinstance(definitions, dict) and definitions:
        kept: JsonObject = {}
        wanted = _references(counted)
        while wanted:
            name = wanted.pop()
            found = definitions.get(name)
            if name in kept or not isinstance(found, dict) or not found or found.get("block_type_slug") is not None:
                continue
            kept[name] = found
            wanted |= _references(found)
        counted["definitions"] = kept
        if not kept:
            del counted["definitions"]
    text = json.dumps([[counted], {}], sort_keys=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _schema_row(row: Row[Any], tx: Transaction) -> BlockSchema:
    return model(BlockSchema, row, block_type=read_type(tx, row.block_type_id))


def create_schema(tx: Transaction, body: BlockSchemaCreate) -> tuple[BlockSchema, bool]:
    """Stores a schema, unless there is one of the same fields and version; and whether it is new.

    Raises:
        NotFound: there is no such block type.
    """
    read_type(tx, body.block_type_id)
    sum_ = checksum(body.fields)
    condition = (_schema.checksum == sum_) & (_schema.version == body.version)
    known = tx.connection.execute(select(block_schemas).where(condition)).first()
    if known is not None:
        return _schema_row(known, tx), False
    made = BlockSchema(**dict(body), checksum=sum_, id=new_id(), created=tx.now, updated=tx.now)
    tx.connection.execute(block_schemas.insert().values(values(made, block_schemas)))
    return read_schema(tx, made.id), True


def read_schema(tx: Transaction, id: UUID) -> BlockSchema:
    """One block schema.

    Raises:
        NotFound: there is none with this id.
    """
    row = tx.connection.execute(select(block_schemas).where(_schema.id == id)).first()
    if row is None:
        raise NotFound(f"No block schema has the id {id}.")
    return _schema_row(row, tx)


def schema_by_checksum(tx: Transaction, sum_: str, version: str | None) -> BlockSchema:
    """The newest schema of a checksum, and of a version if one is named.

    Raises:
        NotFound: there is none.
    """
    statement = select(block_schemas).where(_schema.checksum == sum_)
    if version is not None:
        statement = statement.where(_schema.version == version)
    row = tx.connection.execute(statement.order_by(_schema.created.desc(), _schema.id.desc())).first()
    if row is None:
        raise NotFound(
            f"No block schema has the checksum {sum_!r}" + (f" and the version {version!r}." * bool(version))
        )
    return _schema_row(row, tx)


def query_schemas(tx: Transaction, query: BlockSchemaQuery) -> list[BlockSchema]:
    """The block schemas that match, newest first."""
    condition = combined([schemas_matching(query.block_schemas)])
    statement = select(block_schemas).where(condition).order_by(_schema.created.desc(), _schema.id.desc())
    return [_schema_row(row, tx) for row in tx.connection.execute(page(statement, query)).all()]


def delete_schema(tx: Transaction, id: UUID) -> None:
    """Forgets a schema with its documents.

    Raises:
        NotFound: there is none with this id.
    """
    read_schema(tx, id)
    tx.connection.execute(block_schemas.delete().where(_schema.id == id))
