"""The client of the API: one method for each line of `schema/operations.py`.

Written by hand; `synchronous.py` is made from it by `scripts/generate_client.py`.

A body is given as its model or as the model's fields; answers are typed. The test `test_client_generated` compares
names, parameters and types with the table, which is why `_call` may answer Any here.
"""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from millrace.client.concurrency import AsyncLimits
from millrace.client.keepsakes import AsyncKeepsakes
from millrace.client.reactions import AsyncReactions
from millrace.client.workplaces import AsyncWorkplaces
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


class AsyncClient(AsyncWorkplaces, AsyncKeepsakes, AsyncReactions, AsyncLimits):
    """A client for `await`; see `AsyncConnection` for its arguments.

    Safe for many tasks of one event loop; used in another loop or after a fork it begins with fresh connections.

    Raises:
        MillraceError: each method raises what the server refuses as the class it names (NotFound, Conflict, LeaseLost,
            InvalidInput …), and ServerUnavailable when nothing answers.

    Example:
        >>> async with AsyncClient(locate()) as client:  # doctest: +SKIP
        ...     await client.read_flow_runs(limit=5)
    """

    async def health(self) -> bool:
        """True when the server answers."""
        return await self._call("health")

    async def ready(self) -> bool:
        """True when the database answers."""
        return await self._call("ready")

    async def server_version(self) -> str:
        """The version of the API's implementation."""
        return await self._call("server_version")

    async def server_storage(self) -> ServerStorage:
        """The default result storage."""
        return await self._call("server_storage")

    async def server_info(self) -> ServerInfo:
        """That this is Millrace, and what it offers."""
        return await self._call("server_info")

    async def counters(self) -> Counters:
        """How busy the server is."""
        return await self._call("counters")

    async def create_flow(self, body: FlowCreate | None = None, **fields: Any) -> Flow:
        """Register a flow; 200 if it was known."""
        return await self._call("create_flow", body=body, fields=fields)

    async def read_flows(self, body: FlowQuery | None = None, **fields: Any) -> list[Flow]:
        """Flows that match."""
        return await self._call("read_flows", body=body, fields=fields)

    async def read_flow_by_name(self, name: str) -> Flow:
        """The flow of this name."""
        return await self._call("read_flow_by_name", name)

    async def read_flow(self, id: UUID) -> Flow:
        """One flow."""
        return await self._call("read_flow", id)

    async def delete_flow(self, id: UUID) -> None:
        """With its runs and deployments."""
        await self._call("delete_flow", id)

    async def create_flow_run(self, body: FlowRunCreate | None = None, **fields: Any) -> FlowRun:
        """Create a run of a flow."""
        return await self._call("create_flow_run", body=body, fields=fields)

    async def read_flow_runs(self, body: FlowRunQuery | None = None, **fields: Any) -> list[FlowRun]:
        """Flow runs that match."""
        return await self._call("read_flow_runs", body=body, fields=fields)

    async def count_flow_runs(self, body: FlowRunQuery | None = None, **fields: Any) -> int:
        """How many flow runs match."""
        return await self._call("count_flow_runs", body=body, fields=fields)

    async def read_flow_run(self, id: UUID) -> FlowRun:
        """One flow run."""
        return await self._call("read_flow_run", id)

    async def update_flow_run(self, id: UUID, body: FlowRunUpdate | None = None, **fields: Any) -> None:
        """Change the fields that are given."""
        await self._call("update_flow_run", id, body=body, fields=fields)

    async def delete_flow_run(self, id: UUID) -> None:
        """Forget a run, its states, logs and task runs."""
        await self._call("delete_flow_run", id)

    async def label_flow_run(self, id: UUID, body: JsonObject) -> None:
        """Add labels."""
        await self._call("label_flow_run", id, body=body)

    async def set_flow_run_state(
        self, id: UUID, body: SetState | StateCreate | None = None, **fields: Any
    ) -> OrchestrationResult:
        """Propose a state; the judge answers ACCEPT, REJECT (with the state to take), ABORT or WAIT."""
        return await self._call("set_flow_run_state", id, body=body, fields=fields)

    async def resume_flow_run(self, id: UUID, body: RunResume | None = None, **fields: Any) -> OrchestrationResult:
        """Let a paused run go on, with the input it waits for; the answer says whether it does."""
        return await self._call("resume_flow_run", id, body=body, fields=fields)

    async def create_flow_run_input(self, id: UUID, body: FlowRunInputCreate | None = None, **fields: Any) -> None:
        """Hand something to a run."""
        await self._call("create_flow_run_input", id, body=body, fields=fields)

    async def filter_flow_run_inputs(
        self, id: UUID, body: FlowRunInputQuery | None = None, **fields: Any
    ) -> list[FlowRunInput]:
        """The inputs of a run whose key begins so, the oldest first."""
        return await self._call("filter_flow_run_inputs", id, body=body, fields=fields)

    async def read_flow_run_input(self, id: UUID, key: str) -> str:
        """The value of one input: JSON, as text."""
        return await self._call("read_flow_run_input", id, key)

    async def delete_flow_run_input(self, id: UUID, key: str) -> None:
        """Forget an input."""
        await self._call("delete_flow_run_input", id, key)

    async def read_flow_run_states(self, flow_run_id: UUID) -> list[State]:
        """All states a run had, oldest first."""
        return await self._call("read_flow_run_states", query={"flow_run_id": flow_run_id})

    async def read_flow_run_graph(self, id: UUID, since: datetime | None = None) -> RunGraph:
        """The tasks and nested runs of a run, and what led to what."""
        return await self._call("read_flow_run_graph", id, query={"since": since})

    async def begin_flow_run(self, body: BeginRun | None = None, **fields: Any) -> BegunRun:
        """Create and lease."""
        return await self._call("begin_flow_run", body=body, fields=fields)

    async def extend_leases(self, body: ExtendLeases | None = None, **fields: Any) -> ExtendedLeases:
        """Say that attempts live."""
        return await self._call("extend_leases", body=body, fields=fields)

    async def release_lease(self, body: ReleaseLease | None = None, **fields: Any) -> None:
        """Give a claim back unused."""
        await self._call("release_lease", body=body, fields=fields)

    async def create_task_run(self, body: TaskRunCreate | None = None, **fields: Any) -> TaskRun:
        """Create a task run."""
        return await self._call("create_task_run", body=body, fields=fields)

    async def read_task_runs(self, body: TaskRunQuery | None = None, **fields: Any) -> list[TaskRun]:
        """Task runs that match."""
        return await self._call("read_task_runs", body=body, fields=fields)

    async def count_task_runs(self, body: TaskRunQuery | None = None, **fields: Any) -> int:
        """How many task runs match."""
        return await self._call("count_task_runs", body=body, fields=fields)

    async def read_task_run(self, id: UUID) -> TaskRun:
        """One task run."""
        return await self._call("read_task_run", id)

    async def create_events(self, body: Sequence[Event]) -> None:
        """Store events; task runs come so."""
        await self._call("create_events", body=body)

    async def read_events(self, body: EventQuery | None = None, **fields: Any) -> EventPage:
        """Events that match."""
        return await self._call("read_events", body=body, fields=fields)

    async def create_logs(self, body: Sequence[LogCreate]) -> None:
        """."""
        plain = self.pool.plain_logs  # as this request is sent: another thread may find out meanwhile
        try:
            await self._call("create_logs", body=body)
        except InvalidInput:  # a server that is not Millrace's refuses lines that carry an id
            if plain:
                raise
            self.pool.plain_logs = True
            try:
                await self._call("create_logs", body=body)
            except InvalidInput:
                self.pool.plain_logs = False
                raise

    async def read_logs(self, body: LogQuery | None = None, **fields: Any) -> list[Log]:
        """Log lines that match."""
        return await self._call("read_logs", body=body, fields=fields)

    async def create_deployment(self, body: DeploymentCreate | None = None, **fields: Any) -> Deployment:
        """Create, or replace the one of this flow and name (200)."""
        return await self._call("create_deployment", body=body, fields=fields)

    async def create_deployments(self, body: DeploymentBatch | None = None, **fields: Any) -> BatchDone:
        """Create or replace several deployments."""
        return await self._call("create_deployments", body=body, fields=fields)

    async def read_deployments(self, body: DeploymentQuery | None = None, **fields: Any) -> list[Deployment]:
        """Deployments that match."""
        return await self._call("read_deployments", body=body, fields=fields)

    async def count_deployments(self, body: DeploymentQuery | None = None, **fields: Any) -> int:
        """How many deployments match."""
        return await self._call("count_deployments", body=body, fields=fields)

    async def scheduled_runs_of_deployments(
        self, body: DeploymentScheduledRunsQuery | None = None, **fields: Any
    ) -> list[FlowRun]:
        """Due runs of these deployments."""
        return await self._call("scheduled_runs_of_deployments", body=body, fields=fields)

    async def read_deployment_by_name(self, flow_name: str, deployment_name: str) -> Deployment:
        """The deployment of this flow and name."""
        return await self._call("read_deployment_by_name", flow_name, deployment_name)

    async def read_deployment(self, id: UUID) -> Deployment:
        """One deployment."""
        return await self._call("read_deployment", id)

    async def update_deployment(self, id: UUID, body: DeploymentUpdate | None = None, **fields: Any) -> None:
        """Change the fields that are given."""
        await self._call("update_deployment", id, body=body, fields=fields)

    async def delete_deployment(self, id: UUID) -> None:
        """Forget a deployment and its schedules."""
        await self._call("delete_deployment", id)

    async def pause_deployment(self, id: UUID) -> None:
        """All its schedules rest."""
        await self._call("pause_deployment", id)

    async def resume_deployment(self, id: UUID) -> None:
        """All its schedules run again."""
        await self._call("resume_deployment", id)

    async def create_flow_run_from_deployment(
        self, id: UUID, body: DeploymentFlowRunCreate | None = None, **fields: Any
    ) -> FlowRun:
        """A run of the deployment; with a known idempotency key the known run (200)."""
        return await self._call("create_flow_run_from_deployment", id, body=body, fields=fields)

    async def create_deployment_schedules(
        self, id: UUID, body: Sequence[DeploymentScheduleCreate]
    ) -> list[DeploymentSchedule]:
        """Add schedules."""
        return await self._call("create_deployment_schedules", id, body=body)

    async def read_deployment_schedules(self, id: UUID) -> list[DeploymentSchedule]:
        """The schedules of a deployment."""
        return await self._call("read_deployment_schedules", id)

    async def update_deployment_schedule(
        self, id: UUID, schedule_id: UUID, body: DeploymentScheduleUpdate | None = None, **fields: Any
    ) -> None:
        """Change the fields that are given."""
        await self._call("update_deployment_schedule", id, schedule_id, body=body, fields=fields)

    async def delete_deployment_schedule(self, id: UUID, schedule_id: UUID) -> None:
        """Remove a schedule."""
        await self._call("delete_deployment_schedule", id, schedule_id)

    async def read_skipped_fires(self, id: UUID) -> list[SkippedFire]:
        """Fires that were missed and not run, newest first."""
        return await self._call("read_skipped_fires", id)

    async def backfill_deployment(self, id: UUID, body: BackfillCreate | None = None, **fields: Any) -> Backfill:
        """Make a run of every fire in a past time that has none."""
        return await self._call("backfill_deployment", id, body=body, fields=fields)

    async def read_collection(self, view: str) -> JsonObject:
        """What is known of kinds of infrastructure and their pools' templates."""
        return await self._call("read_collection", view)
