"""Task runs that were under way when the process of their run went: they end with it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import Row, bindparam, select

from millrace.schema.events import RESOURCE_ID, RESOURCE_ROLE, Event
from millrace.schema.fields import new_id
from millrace.schema.runs import TaskRun
from millrace.schema.states import TERMINAL, StateType
from millrace.store import events
from millrace.store.database import Transaction
from millrace.store.history import Run
from millrace.store.rows import model
from millrace.store.tables import task_runs

_TELLS = (
    "name task_key dynamic_key empirical_policy tags task_inputs run_count flow_run_run_count expected_start_time "
    "total_run_time task_version start_time end_time"
)
_A_MOMENT = timedelta(microseconds=1)
_OPEN = (
    select(task_runs)
    .where(
        task_runs.c.flow_run_id == bindparam("run"),
        task_runs.c.state_type.not_in([one.value for one in TERMINAL]),
        task_runs.c.state_name != "NotReady",  # that it never ran is the end of it
    )
    .order_by(task_runs.c.id)
)


def end(tx: Transaction, run: Run, kind: StateType, message: str) -> None:
    """The tasks of a run that have not ended do so now.

    Args:
        tx: the transaction.
        run: the run, whose process is gone.
        kind: what they end in.
        message: why.
    """
    rows = tx.connection.execute(_OPEN, {"run": run["id"]}).all()
    alone = [row for row in rows if not (row.state or {}).get("state_details", {}).get("child_flow_run_id")]
    if alone:
        events.append(tx, [_event(tx, run, row, kind, message) for row in alone])


def _event(tx: Transaction, run: Run, row: Row[Any], kind: StateType, message: str) -> Event:
    task = model(TaskRun, row)
    if row.state_type == StateType.RUNNING.value:
        task.total_run_time += max(0.0, (tx.now - row.state_timestamp).total_seconds())
    task.end_time = tx.now
    return Event(
        id=new_id(),
        # it was last heard of then: word of its real end that is still on its way is newer
        occurred=row.state_timestamp + _A_MOMENT,
        event=f"prefect.task-run.{kind.capitalize()}",
        resource={
            RESOURCE_ID: f"prefect.task-run.{row.id}",
            "prefect.resource.name": task.name,
            "prefect.state-message": message,
            "prefect.state-name": kind.capitalize(),
            "prefect.state-type": kind.value,
            "prefect.orchestration": "server",
        },
        related=[
            {
                RESOURCE_ID: f"prefect.flow-run.{run['id']}",
                RESOURCE_ROLE: "flow-run",
                "prefect.resource.name": run["name"],
            }
        ],
        payload={
            "intended": {"from": row.state_type, "to": kind.value},
            "validated_state": {"type": kind.value, "name": kind.capitalize(), "message": message},
            "task_run": task.model_dump(mode="json", include=set(_TELLS.split())),
        },
        follows=row.state_id,
    )
