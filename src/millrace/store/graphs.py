"""The graph of a run, made of its task runs and of the runs nested in it."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, select

from millrace.errors import InvalidInput
from millrace.schema.graphs import GraphArtifact, GraphEdge, GraphNode, GraphState, RunGraph
from millrace.store import flow_runs as runs
from millrace.store.database import Transaction
from millrace.store.tables import artifact_collections, artifacts, flow_runs, flows, task_runs

MOST_NODES = 10_000
MOST_ARTIFACTS = 10_000
_AROUND = "__parents__"

Links = dict[UUID, list[UUID]]


def read(tx: Transaction, id: UUID, since: datetime | None = None) -> RunGraph:
    """The graph of a run.

    Args:
        tx: the transaction.
        id: the run.
        since: leave out what ended before.

    Raises:
        NotFound: there is no such run.
        InvalidInput: it has too many parts to be drawn.
    """
    run = runs.read(tx, id)
    rows = _parts(tx, id)
    if len(rows) > MOST_NODES:
        raise InvalidInput(f"The run {run.name!r} has more than {MOST_NODES:,} parts: its graph is not drawn.")
    shown = _artifacts(tx, id)
    nodes = [node for node in _nodes(rows, shown) if since is None or node.end_time is None or node.end_time >= since]
    nodes.sort(key=lambda node: (node.start_time, node.end_time or tx.now))
    return RunGraph(
        start_time=run.start_time or run.expected_start_time,
        end_time=run.end_time,
        root_node_ids=[node.id for node in nodes if not node.parents],
        nodes=[(node.id, node) for node in nodes],
        artifacts=shown.get(None, []),
        states=[
            GraphState(id=state.id, timestamp=state.timestamp, type=state.type, name=str(state.name))
            for state in runs.states(tx, id)
        ],
    )


def _parts(tx: Transaction, id: UUID) -> list[Row[Any]]:
    task, nested = task_runs.c, flow_runs.c
    joined = task_runs.outerjoin(flow_runs, nested.parent_task_run_id == task.id)
    columns = (
        task.id.label("task_id"),
        task.task_inputs,
        nested.id.label("nested_id"),
        func.coalesce(nested.id, task.id).label("id"),
        func.coalesce(flows.c.name + " / " + nested.name, task.name).label("label"),
        func.coalesce(nested.state_type, task.state_type).label("state_type"),
        nested.start_time.label("nested_start"),
        nested.expected_start_time.label("nested_expected"),
        nested.end_time.label("nested_end"),
        task.start_time,
        task.expected_start_time,
        task.end_time,
    )
    statement = select(*columns).select_from(joined.outerjoin(flows, flows.c.id == nested.flow_id))
    wanted = statement.where(task.flow_run_id == id, func.coalesce(nested.state_type, task.state_type).is_not(None))
    return list(tx.connection.execute(wanted.limit(MOST_NODES + 1)))


def _start(row: Row[Any]) -> datetime | None:
    moments = (row.nested_start, row.nested_expected, row.start_time, row.expected_start_time)
    return next((moment for moment in moments if moment is not None), None)


def _end(row: Row[Any]) -> datetime | None:
    end: datetime | None = row.nested_end or row.end_time
    if end is None and row.state_type == "COMPLETED":
        end = row.expected_start_time
    return end


def _nodes(rows: list[Row[Any]], shown: dict[UUID | None, list[GraphArtifact]]) -> list[GraphNode]:
    seen = {row.task_id: row.id for row in rows if _start(row) is not None}
    parents: Links = {}
    children: Links = {}
    around: Links = {}
    for row in rows:
        for argument, sources in (row.task_inputs or {}).items():
            for source in filter(None, (_source(entry) for entry in sources)):
                origin = seen.get(source)
                if origin is None:
                    continue
                if argument == _AROUND:
                    around.setdefault(row.id, []).append(origin)
                else:
                    parents.setdefault(row.id, []).append(origin)
                    children.setdefault(origin, []).append(row.id)
    return [
        GraphNode(
            kind="task-run" if row.nested_id is None else "flow-run",
            id=row.id,
            label=row.label,
            state_type=row.state_type,
            start_time=start,
            end_time=_end(row),
            parents=_edges(parents, row.id),
            children=_edges(children, row.id),
            encapsulating=_edges(around, row.id),
            artifacts=shown.get(row.task_id, []),
        )
        for row in rows
        if (start := _start(row)) is not None
    ]


def _source(entry: dict[str, Any]) -> UUID | None:
    return UUID(str(entry["id"])) if entry.get("id") else None


def _edges(links: Links, id: UUID) -> list[GraphEdge]:
    return [GraphEdge(id=other) for other in dict.fromkeys(links.get(id, []))]


def _artifacts(tx: Transaction, id: UUID) -> dict[UUID | None, list[GraphArtifact]]:
    c, newest = artifacts.c, artifact_collections.c
    joined = artifacts.outerjoin(artifact_collections, newest.latest_id == c.id)
    statement = select(artifacts, newest.id.label("collection")).select_from(joined)
    wanted = statement.where(c.flow_run_id == id, (c.type != "result") | c.type.is_(None))
    found: dict[UUID | None, list[GraphArtifact]] = {}
    for row in tx.connection.execute(wanted.order_by(c.created).limit(MOST_ARTIFACTS)):
        artifact = GraphArtifact(
            id=row.id,
            created=row.created,
            key=row.key,
            type=row.type,
            is_latest=row.key is None or row.collection is not None,
            data=row.data if row.type == "progress" else None,
        )
        found.setdefault(row.task_run_id, []).append(artifact)
    return found
