"""Artifacts, and the newest of each key."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import select

from millrace.errors import NotFound
from millrace.schema.artifacts import (
    Artifact,
    ArtifactCollection,
    ArtifactCreate,
    ArtifactQuery,
    ArtifactSort,
    ArtifactUpdate,
)
from millrace.schema.fields import new_id
from millrace.store import filters
from millrace.store.columns import insert
from millrace.store.database import Transaction
from millrace.store.rows import model, page, values
from millrace.store.tables import artifact_collections, artifacts

_c = artifacts.c
_ORDERS: dict[ArtifactSort, Any] = {
    ArtifactSort.CREATED_DESC: _c.created.desc(),
    ArtifactSort.UPDATED_DESC: _c.updated.desc(),
    ArtifactSort.ID_DESC: _c.id.desc(),
    ArtifactSort.KEY_DESC: _c.key.desc(),
    ArtifactSort.KEY_ASC: _c.key.asc(),
}


def create(tx: Transaction, body: ArtifactCreate) -> Artifact:
    """Stores an artifact; from now on it is the newest of its key."""
    artifact = Artifact(**dict(body), id=new_id(), created=tx.now, updated=tx.now)
    tx.connection.execute(artifacts.insert().values(values(artifact, artifacts)))
    if artifact.key is not None:
        statement = insert(tx.connection, artifact_collections)
        newest = statement.values(id=new_id(), key=artifact.key, latest_id=artifact.id)
        changed = {"latest_id": newest.excluded.latest_id}
        key = [artifact_collections.c.key]
        tx.connection.execute(newest.on_conflict_do_update(index_elements=key, set_=changed))
    return artifact


def read(tx: Transaction, id: UUID) -> Artifact:
    """One artifact.

    Raises:
        NotFound: there is none with this id.
    """
    row = tx.connection.execute(select(artifacts).where(_c.id == id)).first()
    if row is None:
        raise NotFound(f"No artifact has the id {id}.")
    return model(Artifact, row)


def query(tx: Transaction, query: ArtifactQuery) -> list[Artifact]:
    """The artifacts that match."""
    order = _ORDERS[query.sort or ArtifactSort.ID_DESC]
    statement = select(artifacts).where(filters.artifacts_of(query)).order_by(order, _c.id.desc())
    return [model(Artifact, row) for row in tx.connection.execute(page(statement, query))]


def latest(tx: Transaction, query: ArtifactQuery) -> list[ArtifactCollection]:
    """The newest artifact of each key, of those that match."""
    newest = artifact_collections.c
    joined = artifact_collections.join(artifacts, newest.latest_id == _c.id)
    others = [column for column in artifacts.columns if column.name != "id"]
    statement = select(newest.id, newest.latest_id, *others).select_from(joined)
    order = _ORDERS[query.sort or ArtifactSort.ID_DESC]
    matching = statement.where(filters.artifacts_of(query, latest=newest.latest_id)).order_by(order, _c.id.desc())
    return [model(ArtifactCollection, row) for row in tx.connection.execute(page(matching, query))]


def update(tx: Transaction, id: UUID, body: ArtifactUpdate) -> None:
    """Changes what was sent.

    Raises:
        NotFound: there is none with this id.
    """
    read(tx, id)
    changes = values(body, artifacts, only=body.model_fields_set)
    tx.connection.execute(artifacts.update().where(_c.id == id).values(**changes, updated=tx.now))
