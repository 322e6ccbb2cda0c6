"""What a server knows of runs."""

from __future__ import annotations

from millrace.client.synchronous import Client
from millrace.engine.recorder import recorder
from millrace.schema.runs import FlowRun, TaskRun


def runs_of(client: Client, name: str) -> list[FlowRun]:
    """The runs of a flow, the newest first."""
    return client.read_flow_runs(flows={"name": {"any_": [name]}}, sort="EXPECTED_START_TIME_DESC")


def last_run(client: Client, name: str) -> FlowRun:
    """The newest of them."""
    return runs_of(client, name)[0]


def task_runs(client: Client, run: FlowRun) -> dict[str, TaskRun]:
    """The task runs of a run by name."""
    assert recorder().flush()
    found = client.read_task_runs(task_runs={"flow_run_id": {"any_": [run.id]}}, limit=200)
    return {one.name: one for one in found}


def names(client: Client, run: FlowRun) -> list[str | None]:
    """The states a run has had."""
    return [state.name for state in client.read_flow_run_states(run.id)]


def log_lines(client: Client, run: FlowRun) -> list[str]:
    """What a run has logged."""
    recorder().flush(logs=True)
    return [line.message for line in client.read_logs(logs={"flow_run_id": {"any_": [run.id]}}, limit=200)]
