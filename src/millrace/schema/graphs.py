"""The graph of a run: its tasks and nested runs, and which came out of which."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from millrace.schema.fields import DateTime, Model
from millrace.schema.states import StateType


class GraphEdge(Model):
    """The other end of a line."""

    id: UUID


class GraphArtifact(Model):
    """An artifact as the graph shows it."""

    id: UUID
    created: DateTime
    key: str | None = None
    type: str | None = None
    is_latest: bool = False
    data: Any = Field(None, description="Only of progress artifacts.")


class GraphState(Model):
    """A state as the graph shows it."""

    id: UUID
    timestamp: DateTime
    type: StateType
    name: str


class GraphNode(Model):
    """A task run, or a nested flow run in the place of the task run that stands for it."""

    kind: Literal["flow-run", "task-run"]
    id: UUID
    label: str
    state_type: StateType
    start_time: DateTime
    end_time: DateTime | None = None
    parents: list[GraphEdge] = Field(default_factory=list)
    children: list[GraphEdge] = Field(default_factory=list)
    encapsulating: list[GraphEdge] = Field(default_factory=list)
    artifacts: list[GraphArtifact] = Field(default_factory=list)


class RunGraph(Model):
    """The graph of a run; `nodes` are in the order in which they started."""

    start_time: DateTime | None = None
    end_time: DateTime | None = None
    root_node_ids: list[UUID] = Field(default_factory=list)
    nodes: list[tuple[UUID, GraphNode]] = Field(default_factory=list)
    artifacts: list[GraphArtifact] = Field(default_factory=list)
    states: list[GraphState] = Field(default_factory=list)
