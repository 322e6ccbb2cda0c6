"""Artifacts."""

from __future__ import annotations

from uuid import UUID

from millrace.schema.artifacts import (
    Artifact,
    ArtifactCollection,
    ArtifactCount,
    ArtifactCreate,
    ArtifactQuery,
    ArtifactUpdate,
)
from millrace.server.context import Call
from millrace.store import artifacts


def create_artifact(call: Call, body: ArtifactCreate) -> Artifact:
    """Store an artifact."""
    return call.write(artifacts.create, body)


def read_artifacts(call: Call, body: ArtifactQuery) -> list[Artifact]:
    """Artifacts that match."""
    return call.read(artifacts.query, body)


def read_latest_artifacts(call: Call, body: ArtifactQuery) -> list[ArtifactCollection]:
    """The newest of each key that matches."""
    return call.read(artifacts.latest, body)


def update_artifact(call: Call, id: UUID, body: ArtifactUpdate) -> None:
    """Change what was sent."""
    call.write(artifacts.update, id, body)


def count_artifacts(call: Call, body: ArtifactCount) -> int:
    """How many artifacts match."""
    return call.read(artifacts.count, body)


def count_latest_artifacts(call: Call, body: ArtifactCount) -> int:
    """How many keys have a newest artifact that matches."""
    return call.read(artifacts.count_latest, body)


def read_latest_artifact(call: Call, key: str) -> Artifact:
    """The newest of a key."""
    return call.read(artifacts.newest, key)


def read_artifact(call: Call, id: UUID) -> Artifact:
    """One artifact."""
    return call.read(artifacts.read, id)


def delete_artifact(call: Call, id: UUID) -> None:
    """Forget an artifact."""
    call.write(artifacts.delete, id)
