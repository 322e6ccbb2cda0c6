"""Block documents: what a block holds, encrypted."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Row, func, select

from millrace.errors import AlreadyExists, InvalidInput, NotFound
from millrace.schema.blocks import (
    BlockDocument,
    BlockDocumentCount,
    BlockDocumentCreate,
    BlockDocumentFilter,
    BlockDocumentQuery,
    BlockDocumentSort,
    BlockDocumentUpdate,
    BlockSchema,
)
from millrace.schema.fields import JsonObject, new_id
from millrace.store import blocks
from millrace.store.conditions import Condition, all_of, combined, ids, switch, text
from millrace.store.database import Transaction
from millrace.store.masks import masked, restored
from millrace.store.rows import LIMIT, model, page, suggested
from millrace.store.value_tables import block_documents, block_schemas, block_types
from millrace.store.vault import Vault

_c = block_documents.c
_ORDERS: dict[BlockDocumentSort, list[Any]] = {
    BlockDocumentSort.NAME_DESC: [_c.name.desc()],
    BlockDocumentSort.NAME_ASC: [_c.name.asc()],
    BlockDocumentSort.BLOCK_TYPE_AND_NAME_ASC: [_c.block_type_name.asc(), _c.name.asc()],
}


def create(tx: Transaction, vault: Vault, body: BlockDocumentCreate) -> BlockDocument:
    """Stores a document; the answer has its secrets masked.

    Raises:
        NotFound: there is no such type or schema.
        AlreadyExists: the type has a document of this name.
        InvalidInput: the schema is of another type, or the document refers to another one.
    """
    schema = _fitting(tx, body.block_type_id, body.block_schema_id)
    name = body.name or f"anonymous-{uuid4()}"
    taken = select(_c.id).where(_c.block_type_id == body.block_type_id, _c.name == name)
    if tx.connection.scalar(taken) is not None:
        raise AlreadyExists(f"There is a block {_kind(schema)}/{name}.")
    row = {
        "id": new_id(),
        "created": tx.now,
        "updated": tx.now,
        "name": name,
        "block_schema_id": body.block_schema_id,
        "block_type_id": body.block_type_id,
        "block_type_name": schema.block_type.name if schema.block_type else "",
        "is_anonymous": body.is_anonymous,
        **_sealed(tx, vault, body.data, schema.fields),
    }
    tx.connection.execute(block_documents.insert().values(row))
    return read(tx, vault, row["id"])


def _kind(schema: BlockSchema) -> str:
    return schema.block_type.slug if schema.block_type else ""


def _fitting(tx: Transaction, type_id: UUID, schema_id: UUID) -> BlockSchema:
    blocks.read_type(tx, type_id)
    schema = blocks.read_schema(tx, schema_id)
    if schema.block_type_id != type_id:
        raise InvalidInput(f"The block schema {schema_id} is of another type than {type_id}.")
    return schema


def _sealed(tx: Transaction, vault: Vault, data: JsonObject, fields: JsonObject) -> JsonObject:
    for key, value in data.items():
        if isinstance(value, dict) and "$ref" in value:
            raise InvalidInput(
                f"The field {key!r} refers to another block, which this version does not have. Put its values in place."
            )
    return {"data": vault.encrypt(tx, data), "shown": masked(data, fields)}


def _whole(tx: Transaction, vault: Vault, row: Row[Any], include_secrets: bool) -> BlockDocument:
    schema = blocks.read_schema(tx, row.block_schema_id)
    data = vault.decrypt(row.data) if include_secrets else row.shown
    return model(BlockDocument, row, data=data, block_schema=schema, block_type=schema.block_type)


def _one(tx: Transaction, condition: ColumnElement[bool], said: str) -> Row[Any]:
    row = tx.connection.execute(select(block_documents).where(condition)).first()
    if row is None:
        raise NotFound(f"No block {said}.")
    return row


def read(tx: Transaction, vault: Vault, id: UUID, *, include_secrets: bool | None = None) -> BlockDocument:
    """One document, its secrets masked unless they are asked for.

    Raises:
        NotFound: there is none with this id.
        Conflict: secrets are asked for, and the key is lost or another.
    """
    return _whole(tx, vault, _one(tx, _c.id == id, f"has the id {id}"), bool(include_secrets))


def by_name(
    tx: Transaction, vault: Vault, slug: str, name: str, *, include_secrets: bool | None = None
) -> BlockDocument:
    """The document of a type and name, its secrets masked unless they are asked for.

    Raises:
        NotFound: there is no such type, or no such document.
        Conflict: secrets are asked for, and the key is lost or another.
    """
    kind = blocks.type_by_slug(tx, slug)
    own = _c.block_type_id == kind.id
    row = tx.connection.execute(select(block_documents).where(own, _c.name == name)).first()
    if row is None:
        raise NotFound(f"No block {slug}/{name} is stored.{suggested(tx, _c.name, name, own)}")
    return _whole(tx, vault, row, bool(include_secrets))


def _matching(query: BlockDocumentCount) -> Condition:
    asked = query.block_documents or BlockDocumentFilter()
    own = all_of(
        asked,
        lambda f: ids(_c.id, f.id),
        lambda f: switch(_c.is_anonymous, f.is_anonymous),
        lambda f: ids(_c.block_type_id, f.block_type_id),
        lambda f: text(_c.name, f.name),
    )
    types, schemas = blocks.types_matching(query.block_types), blocks.schemas_matching(query.block_schemas)
    of_type = None if types is None else _c.block_type_id.in_(select(block_types.c.id).where(types))
    of_schema = None if schemas is None else _c.block_schema_id.in_(select(block_schemas.c.id).where(schemas))
    return combined([own, of_type, of_schema])


def query(tx: Transaction, vault: Vault, query: BlockDocumentQuery) -> list[BlockDocument]:
    """The documents that match."""
    order = _ORDERS[query.sort or BlockDocumentSort.NAME_ASC]
    statement = page(select(block_documents).where(_matching(query)).order_by(*order, _c.id), query)
    return [_whole(tx, vault, row, query.include_secrets) for row in tx.connection.execute(statement).all()]


def of_type(tx: Transaction, vault: Vault, slug: str, *, include_secrets: bool | None = None) -> list[BlockDocument]:
    """The documents of a type that have names, by name.

    Raises:
        NotFound: there is no such type.
    """
    kind = blocks.type_by_slug(tx, slug)
    own = select(block_documents).where(_c.block_type_id == kind.id, _c.is_anonymous.is_(False))
    rows = tx.connection.execute(own.order_by(_c.name).limit(LIMIT)).all()
    return [_whole(tx, vault, row, bool(include_secrets)) for row in rows]


def count(tx: Transaction, query: BlockDocumentCount) -> int:
    """How many documents match."""
    return tx.connection.scalar(select(func.count()).select_from(block_documents).where(_matching(query))) or 0


def update(tx: Transaction, vault: Vault, id: UUID, body: BlockDocumentUpdate) -> None:
    """Changes a document's data: fields that are sent replace those of their name, or all of them.

    A secret that comes back masked stays as it is.

    Raises:
        NotFound: there is none with this id.
        InvalidInput: the new schema is of another type.
        Conflict: the key is lost or another, and not all of the data is replaced.
    """
    row = _one(tx, _c.id == id, f"has the id {id}")
    schema = _fitting(tx, row.block_type_id, body.block_schema_id or row.block_schema_id)
    changes: JsonObject = {"block_schema_id": schema.id}
    if "data" in body.model_fields_set or not body.merge_existing_data:
        known = vault.decrypt(row.data)
        sent = restored(body.data, known, schema.fields)
        changes |= _sealed(tx, vault, {**known, **sent} if body.merge_existing_data else sent, schema.fields)
    elif schema.id != row.block_schema_id:
        changes |= _sealed(tx, vault, vault.decrypt(row.data), schema.fields)
    tx.connection.execute(block_documents.update().where(_c.id == id).values(**changes, updated=tx.now))


def delete(tx: Transaction, vault: Vault, id: UUID) -> None:
    """Forgets a document; this needs no key, and with the last one the key may change.

    Raises:
        NotFound: there is none with this id.
    """
    _one(tx, _c.id == id, f"has the id {id}")
    tx.connection.execute(block_documents.delete().where(_c.id == id))
    if tx.connection.scalar(select(_c.id).limit(1)) is None:
        vault.forget_key(tx)
