"""The lines of the wire's table that a run itself uses: a process that runs a flow loads these, and not the others."""

from __future__ import annotations

from millrace.schema import events, flows, logs, runs, states
from millrace.schema.operation import Operation as Op

RUNS: tuple[Op, ...] = (
    Op("health", "GET", "/health", bool, doc="true when the server answers"),
    Op("ready", "GET", "/ready", bool, doc="true when the database answers"),
    Op("create_flow", "POST", "/flows/", flows.Flow, flows.FlowCreate, 201, doc="register a flow; 200 if it was known"),
    Op("create_flow_run", "POST", "/flow_runs/", runs.FlowRun, runs.FlowRunCreate, 201),
    Op("read_flow_run", "GET", "/flow_runs/{id}", runs.FlowRun),
    Op("update_flow_run", "PATCH", "/flow_runs/{id}", body=runs.FlowRunUpdate, status=204),
    Op(
        "set_flow_run_state",
        "POST",
        "/flow_runs/{id}/set_state",
        states.OrchestrationResult,
        states.SetState,
        201,
        doc="propose a state; the judge answers ACCEPT, REJECT (with the state to take), ABORT or WAIT",
    ),
    Op(
        "begin_flow_run", "POST", "/millrace/flow_runs/begin", runs.BegunRun, runs.BeginRun, 201, doc="create and lease"
    ),
    Op("extend_leases", "POST", "/millrace/leases/extend", runs.ExtendedLeases, runs.ExtendLeases),
    Op("release_lease", "POST", "/millrace/leases/release", body=runs.ReleaseLease, status=204),
    Op("create_task_run", "POST", "/task_runs/", runs.TaskRun, runs.TaskRunCreate, 201),
    Op("read_task_run", "GET", "/task_runs/{id}", runs.TaskRun),
    Op("create_events", "POST", "/events", body=list[events.Event], status=204, doc="store events; task runs come so"),
    Op("create_logs", "POST", "/logs/", body=list[logs.LogCreate], status=201),
)
