"""How a flow run comes to be: begun here, begun as part of another run, or claimed and only to be entered."""

from __future__ import annotations

import itertools
import os
import random
import socket
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Protocol
from uuid import UUID

from millrace import settings
from millrace.client.locate import connect
from millrace.engine.context import FlowRunContext, current_tags
from millrace.engine.effects import Step
from millrace.engine.parameters import Signature
from millrace.engine.recorder import recorder
from millrace.engine.secrecy import masked
from millrace.engine.task_events import TaskClock, TaskFacts, event_of
from millrace.errors import NotFound
from millrace.schema.fields import new_id, now, run_name
from millrace.schema.flows import FlowCreate
from millrace.schema.runs import BeginRun, FlowRun, FlowRunCreate, FlowRunPolicy, FlowRunUpdate, Lease, TaskRunCreate
from millrace.schema.states import (
    AcceptDetails,
    OrchestrationResult,
    SetStateStatus,
    State,
    StateCreate,
    StateType,
)

if TYPE_CHECKING:
    from millrace.client.synchronous import Client

_NOBODY = UUID(int=0)


class Beginnable(Protocol):
    """The part of a flow that beginning a run needs."""

    name: str
    signature: Signature

    @property
    def version(self) -> str | None:
        """Its version."""

    @property
    def policy(self) -> FlowRunPolicy:
        """Its retries."""

    def run_name(self, parameters: dict[str, Any]) -> str | None:
        """The name of a run, if the flow says one."""

    def serialize_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Parameters for the wire."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the caller wants of the run.

    Args:
        name: its name; None: one is made up.
    """

    name: str | None


_numbers = itertools.count()


def made_up_name() -> str:
    """A name nobody chose; with `settings.seed`, the same ones in the same order."""
    seed = settings.current().seed
    return run_name(None if seed is None else seed + next(_numbers))


@lru_cache(maxsize=1)
def holder() -> str:
    """Who holds the leases of this process, for people."""
    return f"{socket.gethostname()}/{os.getpid()}"


if hasattr(os, "register_at_fork"):
    # a forked child is someone else, and must not repeat its parent's names
    os.register_at_fork(after_in_child=lambda: (holder.cache_clear(), random.seed()))  # type: ignore[func-returns-value]


@dataclass
class Beginning:
    """Creates the run at the first proposal, or enters the one that exists.

    Args:
        wish: what the caller wants.
        client: the connection; None: this process's own.
        flow_run: the run that exists, if it was claimed.
        lease: its lease.
        ends_process: the loss of the lease ends this process.
        inputs: the task runs whose results are among the arguments, by parameter.
        refused: the run is only to be recorded: its arguments do not fit.
    """

    wish: Wish
    client: Client | None = None
    flow_run: FlowRun | None = None
    lease: Lease | None = None
    ends_process: bool = False
    parent: FlowRunContext | None = field(default_factory=FlowRunContext.get)
    inputs: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    refused: bool = False
    task: TaskFacts | None = None
    clock: TaskClock = field(default_factory=TaskClock)

    _plain_servers: ClassVar[set[str]] = set()
    """Servers that cannot begin a run in one request: any but ours."""

    @property
    def claimed(self) -> bool:
        """Whether a worker runs it."""
        return self.flow_run is not None

    def enter(
        self, flow: Beginnable, parameters: dict[str, Any], state: StateCreate
    ) -> tuple[OrchestrationResult, FlowRun, Lease | None]:
        """The judge's answer to the first proposal, the run, and its lease."""
        if self.flow_run is not None:
            return self._enter_claimed(flow, self.flow_run, state)
        self.client = self.client or connect()
        create = FlowRunCreate(
            flow_id=_NOBODY,
            name=masked(self.wish.name or made_up_name()),
            flow_version=flow.version,
            parameters=flow.serialize_parameters(parameters),
            empirical_policy=flow.policy,
            tags=current_tags(),
        )
        if self.parent is not None:
            create.parent_task_run_id = self._stand_in(flow, self.parent)
        place = self.client.endpoint.place
        if place not in self._plain_servers and not self.refused:
            try:
                return self._begin(flow, create)
            except NotFound:
                self._plain_servers.add(place)
        return self._create(flow, create, state)

    def _begin(self, flow: Beginnable, create: FlowRunCreate) -> tuple[OrchestrationResult, FlowRun, Lease | None]:
        assert self.client is not None
        begun = self.client.begin_flow_run(
            BeginRun(
                flow_name=flow.name,
                flow_run=create,
                holder=holder(),
                lease_seconds=settings.current().lease_seconds,
            )
        )
        self._started(begun.flow_run)
        return _accepted(begun.flow_run.state), begun.flow_run, begun.lease

    def _create(
        self, flow: Beginnable, create: FlowRunCreate, state: StateCreate
    ) -> tuple[OrchestrationResult, FlowRun, Lease | None]:
        assert self.client is not None
        create.flow_id = self.client.create_flow(FlowCreate(name=flow.name)).id
        create.state = StateCreate(type=StateType.PENDING)
        run = self.client.create_flow_run(create)
        self._started(run)
        return self.client.set_flow_run_state(run.id, state), run, None

    def _enter_claimed(
        self, flow: Beginnable, run: FlowRun, state: StateCreate
    ) -> tuple[OrchestrationResult, FlowRun, Lease | None]:
        assert self.client is not None
        client = self.client.with_lease(self.lease) if self.lease else self.client
        change = FlowRunUpdate()
        if flow.policy.retries and run.empirical_policy.retries is None:
            change.empirical_policy = run.empirical_policy = flow.policy
        if change.model_fields_set:
            client.update_flow_run(run.id, change)
        answer = client.set_flow_run_state(run.id, state)
        if answer.state is not None and answer.state.type is StateType.RUNNING:
            run.run_count += 1
        return answer, run, self.lease

    # -- a run within a run shows in its parent as a task run

    def _stand_in(self, flow: Beginnable, parent: FlowRunContext) -> UUID:
        number = parent.number(f"flow:{flow.name}")
        facts = TaskFacts(
            new_id(), f"{flow.name}-{number}", flow.name, f"{parent.running}-{number}", now(), tags=current_tags()
        )
        facts.flow_run = (parent.flow_run.id, parent.flow_run.name)
        facts.flow = (parent.flow_run.flow_id, parent.flow.name)
        facts.flow_run_running = parent.running
        facts.inputs = self.inputs
        stored = parent.client.create_task_run(
            TaskRunCreate(
                id=facts.id,
                name=facts.name,
                flow_run_id=parent.flow_run.id,
                task_key=facts.task_key,
                dynamic_key=facts.dynamic_key,
                tags=facts.tags,
                state=StateCreate(type=StateType.PENDING),
            )
        )
        facts.id = stored.id
        self.task = facts
        return facts.id

    def _started(self, run: FlowRun) -> None:
        self._tell(StateType.RUNNING, "Running", None, run.id)

    def ended(self, state: State | None, error: BaseException | None) -> None:
        """Tells the parent how it ended."""
        if self.clock.last is None or self.clock.end is not None:
            return
        if state is not None and state.is_final():
            self._tell(state.type, state.name or state.type.capitalize(), state.message, None)
        elif error is not None:
            self._tell(StateType.CRASHED, "Crashed", f"{type(error).__name__}: {error}", None)

    def _tell(self, kind: StateType, name: str, message: str | None, child: UUID | None) -> None:
        if self.task is None or self.parent is None:
            return
        before = self.clock
        child = child or (before.last.child_flow_run_id if before.last else None)
        self.clock = before.advance(Step(kind, name, message, child_flow_run_id=child), 1)
        recorder().record(self.parent.sender, event_of, self.task, before, self.clock)


def _accepted(state: State | None) -> OrchestrationResult:
    return OrchestrationResult(state=state, status=SetStateStatus.ACCEPT, details=AcceptDetails())
