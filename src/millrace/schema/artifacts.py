"""What runs leave behind for people: tables, texts, links, executed notebooks."""

from __future__ import annotations

from enum import StrEnum
from typing import Any
from uuid import UUID

from pydantic import Field

from millrace.schema.deployments import DeploymentFilter
from millrace.schema.fields import Model
from millrace.schema.flows import Filter, FlowFilter, IdCondition, Page, Stored, TextCondition
from millrace.schema.runs import FlowRunFilter, TaskRunFilter


class ArtifactCreate(Model):
    """An artifact to store."""

    key: str | None = None
    type: str | None = Field(None, description="table, markdown, link, image, progress; ours: notebook, html (a file).")
    description: str | None = None
    data: Any = None
    metadata_: dict[str, str] | None = None
    flow_run_id: UUID | None = None
    task_run_id: UUID | None = None


class Artifact(ArtifactCreate, Stored):
    """A stored artifact."""


class ArtifactCollection(ArtifactCreate, Stored):
    """The newest artifact of one key."""

    key: str
    latest_id: UUID


class ArtifactUpdate(Model):
    """What of an artifact may change."""

    data: Any = None
    description: str | None = None
    metadata_: dict[str, str] | None = None


class ArtifactSort(StrEnum):
    """Orders of artifacts."""

    CREATED_DESC = "CREATED_DESC"
    UPDATED_DESC = "UPDATED_DESC"
    ID_DESC = "ID_DESC"
    KEY_DESC = "KEY_DESC"
    KEY_ASC = "KEY_ASC"


class ArtifactFilter(Filter):
    """Over artifacts."""

    id: IdCondition | None = None
    latest_id: IdCondition | None = None
    key: TextCondition | None = None
    flow_run_id: IdCondition | None = None
    task_run_id: IdCondition | None = None
    type: TextCondition | None = None


class ArtifactCount(Model):
    """The body of artifacts/count and artifacts/latest/count."""

    artifacts: ArtifactFilter | None = None
    flow_runs: FlowRunFilter | None = None
    task_runs: TaskRunFilter | None = None
    flows: FlowFilter | None = None
    deployments: DeploymentFilter | None = None


class ArtifactQuery(ArtifactCount, Page):
    """The body of artifacts/filter and artifacts/latest/filter."""

    sort: ArtifactSort | None = ArtifactSort.ID_DESC
