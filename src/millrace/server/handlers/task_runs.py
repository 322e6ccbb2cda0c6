"""Task runs; most come as events."""

from __future__ import annotations

from uuid import UUID

from millrace.schema.queries import TaskRunQuery
from millrace.schema.runs import TaskRun, TaskRunCreate
from millrace.server.context import Call
from millrace.store import task_runs


def create_task_run(call: Call, body: TaskRunCreate) -> TaskRun:
    """Create a task run; clients do so for a flow called inside a flow."""
    return call.write(task_runs.create, body)


def read_task_runs(call: Call, body: TaskRunQuery) -> list[TaskRun]:
    """Task runs that match."""
    return call.read(task_runs.query, body)


def count_task_runs(call: Call, body: TaskRunQuery) -> int:
    """How many match."""
    return call.read(task_runs.count, body)


def read_task_run(call: Call, id: UUID) -> TaskRun:
    """One task run."""
    return call.read(task_runs.read, id)
