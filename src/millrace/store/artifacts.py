"""Artifacts, and the newest of each key."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import func, select

from millrace.errors import NotFound
from millrace.schema.artifacts import (
    Artifact,
    ArtifactCollection,
    ArtifactCount,
    ArtifactCreate,
    ArtifactQuery,
    ArtifactSort,
    ArtifactUpdate,
)
from millrace.schema.events import RESOURCE_ID, RESOURCE_ROLE, Event
from millrace.schema.fields import new_id
from millrace.store import events, filters
from millrace.store.columns import insert
from millrace.store.database import Transaction
from millrace.store.rows import model, page, suggested, values
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
    _tell(tx, "created", artifact)
    return artifact


def _tell(tx: Transaction, what: str, artifact: Artifact) -> None:
    """Whoever follows the run hears of its artifacts; a progress moves at once, the rest is worth a look."""
    if artifact.flow_run_id is None:
        return
    moved = {"data": artifact.data} if artifact.type == "progress" and isinstance(artifact.data, int | float) else {}
    told = Event(
        occurred=tx.now,
        event=f"millrace.artifact.{what}",
        resource={RESOURCE_ID: f"millrace.artifact.{artifact.id}", "prefect.resource.name": artifact.key or ""},
        related=[{RESOURCE_ID: f"prefect.flow-run.{artifact.flow_run_id}", RESOURCE_ROLE: "flow-run"}],
        payload={"key": artifact.key, "type": artifact.type, **moved},
    )
    events.append(tx, [told])


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
    _tell(tx, "updated", read(tx, id))


def newest(tx: Transaction, key: str) -> Artifact:
    """The newest artifact of a key.

    Raises:
        NotFound: there is none.
    """
    id = tx.connection.scalar(select(artifact_collections.c.latest_id).where(artifact_collections.c.key == key))
    if id is None:
        raise NotFound(f"No artifact has the key {key!r}.{suggested(tx, artifact_collections.c.key, key)}")
    return read(tx, id)


def count(tx: Transaction, query: ArtifactCount) -> int:
    """How many artifacts match."""
    return tx.connection.scalar(select(func.count()).select_from(artifacts).where(filters.artifacts_of(query))) or 0


def count_latest(tx: Transaction, query: ArtifactCount) -> int:
    """How many keys there are whose newest artifact matches."""
    newest = artifact_collections.c
    joined = artifact_collections.join(artifacts, newest.latest_id == _c.id)
    matching = filters.artifacts_of(query, latest=newest.latest_id)
    return tx.connection.scalar(select(func.count()).select_from(joined).where(matching)) or 0


def delete(tx: Transaction, id: UUID) -> None:
    """Forgets an artifact; the one before becomes the newest of its key.

    Raises:
        NotFound: there is none with this id.
    """
    artifact = read(tx, id)
    tx.connection.execute(artifacts.delete().where(_c.id == id))
    if artifact.key is None:
        return
    before = select(_c.id).where(_c.key == artifact.key).order_by(_c.created.desc(), _c.id.desc()).limit(1)
    left = tx.connection.scalar(before)
    newest = artifact_collections.c.latest_id == id
    if left is None:
        tx.connection.execute(artifact_collections.delete().where(newest))
    else:
        tx.connection.execute(artifact_collections.update().where(newest).values(latest_id=left))
