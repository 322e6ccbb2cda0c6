"""How busy the server is."""

from __future__ import annotations

from sqlalchemy import func, select

from millrace.schema.operations import Counters
from millrace.store import workers
from millrace.store.automation_tables import automation_actions, automation_windows
from millrace.store.database import Transaction
from millrace.store.tables import deployment_schedules, deployments, flow_runs

_w, _a = automation_windows.c, automation_actions.c


def read(tx: Transaction) -> Counters:
    """Runs by state, deployments, schedules, workers, and when something is due."""
    runs = flow_runs.c
    live = ("RUNNING", "PENDING", "SCHEDULED", "CANCELLING")
    statement = select(runs.state_type, func.count()).where(runs.state_type.in_(live)).group_by(runs.state_type)
    by_type = {kind: count for kind, count in tx.connection.execute(statement)}
    late = tx.connection.scalar(select(func.count()).select_from(flow_runs).where(runs.state_name == "Late"))
    plans = deployment_schedules.c
    active = select(func.count()).select_from(deployment_schedules).where(plans.next_fire.is_not(None))
    due = [
        tx.connection.scalar(select(func.min(runs.next_scheduled_start_time))),
        tx.connection.scalar(select(func.min(plans.next_fire))),
    ]
    waiting = [(_w.wake, automation_windows), (_a.due, automation_actions)]
    return Counters(
        running=by_type.get("RUNNING", 0) + by_type.get("CANCELLING", 0),
        pending=by_type.get("PENDING", 0),
        scheduled=by_type.get("SCHEDULED", 0),
        late=late or 0,
        deployments=tx.connection.scalar(select(func.count()).select_from(deployments)) or 0,
        active_schedules=tx.connection.scalar(active) or 0,
        next_due=min((moment for moment in due if moment is not None), default=None),
        workers_online=workers.online(tx),
        waiting_automations=sum(
            tx.connection.scalar(select(func.count(column)).select_from(table)) or 0 for column, table in waiting
        ),
    )
