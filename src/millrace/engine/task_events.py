"""States of task runs as events: the shape in which the wire carries them and the server stores task runs from."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from millrace.engine.effects import Step
from millrace.engine.secrecy import masked
from millrace.schema.events import RESOURCE_ID, RESOURCE_ROLE, Event, Resource
from millrace.schema.fields import unchecked
from millrace.schema.runs import TaskRun
from millrace.schema.states import TERMINAL, State, StateDetails, StateType

MAX_MESSAGE = 100_000
S = TypeVar("S", bound=State)


@dataclass(slots=True)
class TaskFacts:
    """What does not change about a task run.

    Args:
        id: the task run's.
        name: the task run's.
        task_key: which task it is.
        dynamic_key: which of its calls within the flow run.
        expected: when it was called or submitted.
        tags: its tags.
        policy: retries and delay.
        inputs: for each parameter the task runs its value comes from.
        flow_run: id and name of the flow run, if any.
        flow: id and name of the flow, if any.
        flow_run_running: which time the flow run runs.
        version: the task's.
    """

    id: UUID
    name: str
    task_key: str
    dynamic_key: str
    expected: datetime
    tags: list[str] = field(default_factory=list)
    policy: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    flow_run: tuple[UUID, str] | None = None
    flow: tuple[UUID, str] | None = None
    flow_run_running: int = 0
    version: str | None = None

    @property
    def flow_run_id(self) -> UUID | None:
        """The flow run's id, if there is one."""
        return self.flow_run[0] if self.flow_run else None

    def state(self, step: Step) -> State:
        """One of its states as the wire has it."""
        return state_of(step, self.id, self.flow_run_id)


@dataclass(slots=True)
class TaskClock:
    """What changes with each state: how often and how long it ran.

    `run_count` counts the tries, `total` the seconds in them.
    """

    run_count: int = 0
    start: datetime | None = None
    end: datetime | None = None
    total: float = 0.0
    last: Step | None = None

    def advance(self, step: Step, run_count: int) -> TaskClock:
        """The clock after one more state; the old one stays as it was."""
        last, total = self.last, self.total
        if last is not None and last.type is StateType.RUNNING:
            total += (step.timestamp - last.timestamp).total_seconds()
        start = step.timestamp if self.start is None and step.type is StateType.RUNNING else self.start
        return TaskClock(run_count, start, step.timestamp if step.type in TERMINAL else None, total, step)


NEVER = TaskClock()
"""The clock of a task run that has no state yet; a clock is never changed, so one is enough."""


def event_of(facts: TaskFacts, before: TaskClock, after: TaskClock) -> Event:
    """The event that tells of one state.

    Args:
        facts: the task run.
        before: its clock at the state before, which may be none.
        after: its clock at the state to tell.
    """
    step, initial = after.last, before.last
    assert step is not None
    message = masked(step.message or "")[:MAX_MESSAGE]
    return Event(
        id=step.id,
        occurred=step.timestamp,
        event=f"prefect.task-run.{step.name}",
        resource={
            RESOURCE_ID: f"prefect.task-run.{facts.id}",
            "prefect.resource.name": facts.name,
            "prefect.run-count": str(after.run_count),
            "prefect.state-message": message,
            "prefect.state-name": step.name,
            "prefect.state-timestamp": step.timestamp.isoformat(),
            "prefect.state-type": step.type.value,
            "prefect.orchestration": "client",
        },
        related=_related(facts),
        payload={
            "intended": {"from": initial.type.value if initial else None, "to": step.type.value},
            "initial_state": _state(initial) if initial else None,
            "validated_state": {**_state(step), "data": step.data},
            "task_run": _task_run(facts, after),
        },
        follows=initial.id if initial else None,
    )


def _state(step: Step) -> dict[str, Any]:
    details: dict[str, Any] = {}
    if step.scheduled_time is not None:
        details["scheduled_time"] = step.scheduled_time.isoformat()
    if step.child_flow_run_id is not None:
        details["child_flow_run_id"] = str(step.child_flow_run_id)
    message = masked(step.message)[:MAX_MESSAGE] if step.message else None
    return {"type": step.type.value, "name": step.name, "message": message, "state_details": details}


def _task_run(facts: TaskFacts, clock: TaskClock) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": facts.name,
        "task_key": facts.task_key,
        "dynamic_key": facts.dynamic_key,
        "empirical_policy": facts.policy,
        "tags": facts.tags,
        "task_inputs": facts.inputs,
        "run_count": clock.run_count,
        "flow_run_run_count": facts.flow_run_running,
        "expected_start_time": facts.expected.isoformat(),
        "total_run_time": clock.total,
    }
    if facts.version is not None:
        found["task_version"] = facts.version
    if clock.start is not None:
        found["start_time"] = clock.start.isoformat()
    if clock.end is not None:
        found["end_time"] = clock.end.isoformat()
    return found


def state_of(
    step: Step,
    task_run_id: UUID | None,
    flow_run_id: UUID | None,
    kind: type[S] = State,  # type: ignore[assignment]
) -> S:
    """A state of a task run as the wire has it, made without checks: this is the path of many tasks."""
    details = unchecked(
        StateDetails,
        task_run_id=task_run_id,
        flow_run_id=flow_run_id,
        scheduled_time=step.scheduled_time,
    )
    return unchecked(
        kind,
        type=step.type,
        name=step.name,
        message=step.message,
        data=step.data,
        state_details=details,
        id=step.id,
        timestamp=step.timestamp,
    )


def task_run_of(facts: TaskFacts, clock: TaskClock) -> TaskRun:
    """A task run as the server will have it.

    Args:
        facts: the task run.
        clock: its clock at the state it is in.
    """
    state = facts.state(clock.last) if clock.last is not None else None
    fields = {key: value for key, value in _task_run(facts, clock).items() if value is not None}
    return TaskRun(
        id=facts.id,
        flow_run_id=facts.flow_run_id,
        state=state,
        state_id=state.id if state else None,
        state_type=state.type if state else None,
        state_name=state.name if state else None,
        created=facts.expected,
        updated=state.timestamp if state else facts.expected,
        **fields,
    )


def _related(facts: TaskFacts) -> list[Resource]:
    found: list[Resource] = []
    for role, thing in (("flow-run", facts.flow_run), ("flow", facts.flow)):
        if thing is not None:
            found.append(
                {RESOURCE_ID: f"prefect.{role}.{thing[0]}", RESOURCE_ROLE: role, "prefect.resource.name": thing[1]}
            )
    found.extend({RESOURCE_ID: f"prefect.tag.{tag}", RESOURCE_ROLE: "tag"} for tag in sorted(facts.tags))
    return found
