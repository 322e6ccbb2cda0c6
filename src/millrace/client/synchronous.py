# Generated from asynchronous.py by scripts/generate_client.py: change that file, then run the script.
"""The client of the API: one method for each line of `schema/operations.py`.

A body is given as its model or as the model's fields; answers are typed. The test `test_client_generated` compares
names, parameters and types with the table, which is why `_call` may answer Any here.
"""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from millrace.client.plain_concurrency import Limits
from millrace.client.plain_keepsakes import Keepsakes
from millrace.client.plain_reactions import Reactions
from millrace.client.plain_workplaces import Workplaces
from millrace.errors import InvalidInput

if TYPE_CHECKING:
    from millrace.schema.backfills import Backfill, BackfillCreate
    from millrace.schema.deployments import (
        BatchDone,
        Deployment,
        DeploymentBatch,
        DeploymentCreate,
        DeploymentSchedule,
        DeploymentScheduleCreate,
        DeploymentScheduleUpdate,
        DeploymentUpdate,
        SkippedFire,
    )
    from millrace.schema.events import Event, EventPage, EventQuery
    from millrace.schema.fields import JsonObject
    from millrace.schema.flows import Flow, FlowCreate
    from millrace.schema.graphs import RunGraph
    from millrace.schema.inputs import FlowRunInput, FlowRunInputCreate, FlowRunInputQuery, RunResume
    from millrace.schema.logs import Log, LogCreate, LogQuery
    from millrace.schema.operations import Counters, ServerInfo, ServerStorage
    from millrace.schema.pools import DeploymentScheduledRunsQuery
    from millrace.schema.queries import DeploymentQuery, FlowQuery, FlowRunQuery, TaskRunQuery
    from millrace.schema.runs import (
        BeginRun,
        BegunRun,
        DeploymentFlowRunCreate,
        ExtendedLeases,
        ExtendLeases,
        FlowRun,
        FlowRunCreate,
        FlowRunUpdate,
        ReleaseLease,
        TaskRun,
        TaskRunCreate,
    )
    from millrace.schema.states import OrchestrationResult, SetState, State, StateCreate


class Client(Workplaces, Keepsakes, Reactions, Limits):
    """A client for plain calls; see `Connection` for its arguments.

    Safe for threads; after a fork it begins with fresh connections.

    Raises:
        MillraceError: each method raises what the server refuses as the class it names (NotFound, Conflict, LeaseLost,
            InvalidInput …), and ServerUnavailable when nothing answers.

    Example:
        >>> with Client(locate()) as client:  # doctest: +SKIP
        ...     client.read_flow_runs(limit=5)
    """

    def health(self) -> bool:
        """True when the server answers."""
        return self._call("health")

    def ready(self) -> bool:
        """True when the database answers."""
        return self._call("ready")

    def server_version(self) -> str:
        """The version of the API's implementation."""
        return self._call("server_version")

    def server_storage(self) -> ServerStorage:
        """The default result storage."""
        return self._call("server_storage")

    def server_info(self) -> ServerInfo:
        """That this is Millrace, and what it offers."""
        return self._call("server_info")

    def counters(self) -> Counters:
        """How busy the server is."""
        return self._call("counters")

    def create_flow(self, body: FlowCreate | None = None, **fields: Any) -> Flow:
        """Register a flow; 200 if it was known."""
        return self._call("create_flow", body=body, fields=fields)

    def read_flows(self, body: FlowQuery | None = None, **fields: Any) -> list[Flow]:
        """Flows that match."""
        return self._call("read_flows", body=body, fields=fields)

    def read_flow_by_name(self, name: str) -> Flow:
        """The flow of this name."""
        return self._call("read_flow_by_name", name)

    def read_flow(self, id: UUID) -> Flow:
        """One flow."""
        return self._call("read_flow", id)

    def delete_flow(self, id: UUID) -> None:
        """With its runs and deployments."""
        self._call("delete_flow", id)

    def create_flow_run(self, body: FlowRunCreate | None = None, **fields: Any) -> FlowRun:
        """Create a run of a flow."""
        return self._call("create_flow_run", body=body, fields=fields)

    def read_flow_runs(self, body: FlowRunQuery | None = None, **fields: Any) -> list[FlowRun]:
        """Flow runs that match."""
        return self._call("read_flow_runs", body=body, fields=fields)

    def count_flow_runs(self, body: FlowRunQuery | None = None, **fields: Any) -> int:
        """How many flow runs match."""
        return self._call("count_flow_runs", body=body, fields=fields)

    def read_flow_run(self, id: UUID) -> FlowRun:
        """One flow run."""
        return self._call("read_flow_run", id)

    def update_flow_run(self, id: UUID, body: FlowRunUpdate | None = None, **fields: Any) -> None:
        """Change the fields that are given."""
        self._call("update_flow_run", id, body=body, fields=fields)

    def delete_flow_run(self, id: UUID) -> None:
        """Forget a run, its states, logs and task runs."""
        self._call("delete_flow_run", id)

    def label_flow_run(self, id: UUID, body: JsonObject) -> None:
        """Add labels."""
        self._call("label_flow_run", id, body=body)

    def set_flow_run_state(
        self, id: UUID, body: SetState | StateCreate | None = None, **fields: Any
    ) -> OrchestrationResult:
        """Propose a state; the judge answers ACCEPT, REJECT (with the state to take), ABORT or WAIT."""
        return self._call("set_flow_run_state", id, body=body, fields=fields)

    def resume_flow_run(self, id: UUID, body: RunResume | None = None, **fields: Any) -> OrchestrationResult:
        """Let a paused run go on, with the input it waits for; the answer says whether it does."""
        return self._call("resume_flow_run", id, body=body, fields=fields)

    def create_flow_run_input(self, id: UUID, body: FlowRunInputCreate | None = None, **fields: Any) -> None:
        """Hand something to a run."""
        self._call("create_flow_run_input", id, body=body, fields=fields)

    def filter_flow_run_inputs(
        self, id: UUID, body: FlowRunInputQuery | None = None, **fields: Any
    ) -> list[FlowRunInput]:
        """The inputs of a run whose key begins so, the oldest first."""
        return self._call("filter_flow_run_inputs", id, body=body, fields=fields)

    def read_flow_run_input(self, id: UUID, key: str) -> str:
        """The value of one input: JSON, as text."""
        return self._call("read_flow_run_input", id, key)

    def delete_flow_run_input(self, id: UUID, key: str) -> None:
        """Forget an input."""
        self._call("delete_flow_run_input", id, key)

    def read_flow_run_states(self, flow_run_id: UUID) -> list[State]:
        """All states a run had, oldest first."""
        return self._call("read_flow_run_states", query={"flow_run_id": flow_run_id})

    def read_flow_run_graph(self, id: UUID, since: datetime | None = None) -> RunGraph:
        """The tasks and nested runs of a run, and what led to what."""
        return self._call("read_flow_run_graph", id, query={"since": since})

    def begin_flow_run(self, body: BeginRun | None = None, **fields: Any) -> BegunRun:
        """Create and lease."""
        return self._call("begin_flow_run", body=body, fields=fields)

    def extend_leases(self, body: ExtendLeases | None = None, **fields: Any) -> ExtendedLeases:
        """Say that attempts live."""
        return self._call("extend_leases", body=body, fields=fields)

    def release_lease(self, body: ReleaseLease | None = None, **fields: Any) -> None:
        """Give a claim back unused."""
        self._call("release_lease", body=body, fields=fields)

    def create_task_run(self, body: TaskRunCreate | None = None, **fields: Any) -> TaskRun:
        """Create a task run."""
        return self._call("create_task_run", body=body, fields=fields)

    def read_task_runs(self, body: TaskRunQuery | None = None, **fields: Any) -> list[TaskRun]:
        """Task runs that match."""
        return self._call("read_task_runs", body=body, fields=fields)

    def count_task_runs(self, body: TaskRunQuery | None = None, **fields: Any) -> int:
        """How many task runs match."""
        return self._call("count_task_runs", body=body, fields=fields)

    def read_task_run(self, id: UUID) -> TaskRun:
        """One task run."""
        return self._call("read_task_run", id)

    def create_events(self, body: Sequence[Event]) -> None:
        """Store events; task runs come so."""
        self._call("create_events", body=body)

    def read_events(self, body: EventQuery | None = None, **fields: Any) -> EventPage:
        """Events that match."""
        return self._call("read_events", body=body, fields=fields)

    def create_logs(self, body: Sequence[LogCreate]) -> None:
        """."""
        plain = self.pool.plain_logs  # as this request is sent: another thread may find out meanwhile
        try:
            self._call("create_logs", body=body)
        except InvalidInput:  # a server that is not Millrace's refuses lines that carry an id
            if plain:
                raise
            self.pool.plain_logs = True
            try:
                self._call("create_logs", body=body)
            except InvalidInput:
                self.pool.plain_logs = False
                raise

    def read_logs(self, body: LogQuery | None = None, **fields: Any) -> list[Log]:
        """Log lines that match."""
        return self._call("read_logs", body=body, fields=fields)

    def create_deployment(self, body: DeploymentCreate | None = None, **fields: Any) -> Deployment:
        """Create, or replace the one of this flow and name (200)."""
        return self._call("create_deployment", body=body, fields=fields)

    def create_deployments(self, body: DeploymentBatch | None = None, **fields: Any) -> BatchDone:
        """Create or replace several deployments."""
        return self._call("create_deployments", body=body, fields=fields)

    def read_deployments(self, body: DeploymentQuery | None = None, **fields: Any) -> list[Deployment]:
        """Deployments that match."""
        return self._call("read_deployments", body=body, fields=fields)

    def count_deployments(self, body: DeploymentQuery | None = None, **fields: Any) -> int:
        """How many deployments match."""
        return self._call("count_deployments", body=body, fields=fields)

    def scheduled_runs_of_deployments(
        self, body: DeploymentScheduledRunsQuery | None = None, **fields: Any
    ) -> list[FlowRun]:
        """Due runs of these deployments."""
        return self._call("scheduled_runs_of_deployments", body=body, fields=fields)

    def read_deployment_by_name(self, flow_name: str, deployment_name: str) -> Deployment:
        """The deployment of this flow and name."""
        return self._call("read_deployment_by_name", flow_name, deployment_name)

    def read_deployment(self, id: UUID) -> Deployment:
        """One deployment."""
        return self._call("read_deployment", id)

    def update_deployment(self, id: UUID, body: DeploymentUpdate | None = None, **fields: Any) -> None:
        """Change the fields that are given."""
        self._call("update_deployment", id, body=body, fields=fields)

    def delete_deployment(self, id: UUID) -> None:
        """Forget a deployment and its schedules."""
        self._call("delete_deployment", id)

    def pause_deployment(self, id: UUID) -> None:
        """All its schedules rest."""
        self._call("pause_deployment", id)

    def resume_deployment(self, id: UUID) -> None:
        """All its schedules run again."""
        self._call("resume_deployment", id)

    def create_flow_run_from_deployment(
        self, id: UUID, body: DeploymentFlowRunCreate | None = None, **fields: Any
    ) -> FlowRun:
        """A run of the deployment; with a known idempotency key the known run (200)."""
        return self._call("create_flow_run_from_deployment", id, body=body, fields=fields)

    def create_deployment_schedules(
        self, id: UUID, body: Sequence[DeploymentScheduleCreate]
    ) -> list[DeploymentSchedule]:
        """Add schedules."""
        return self._call("create_deployment_schedules", id, body=body)

    def read_deployment_schedules(self, id: UUID) -> list[DeploymentSchedule]:
        """The schedules of a deployment."""
        return self._call("read_deployment_schedules", id)

    def update_deployment_schedule(
        self, id: UUID, schedule_id: UUID, body: DeploymentScheduleUpdate | None = None, **fields: Any
    ) -> None:
        """Change the fields that are given."""
        self._call("update_deployment_schedule", id, schedule_id, body=body, fields=fields)

    def delete_deployment_schedule(self, id: UUID, schedule_id: UUID) -> None:
        """Remove a schedule."""
        self._call("delete_deployment_schedule", id, schedule_id)

    def read_skipped_fires(self, id: UUID) -> list[SkippedFire]:
        """Fires that were missed and not run, newest first."""
        return self._call("read_skipped_fires", id)

    def backfill_deployment(self, id: UUID, body: BackfillCreate | None = None, **fields: Any) -> Backfill:
        """Make a run of every fire in a past time that has none."""
        return self._call("backfill_deployment", id, body=body, fields=fields)

    def read_collection(self, view: str) -> JsonObject:
        """What is known of kinds of infrastructure and their pools' templates."""
        return self._call("read_collection", view)
