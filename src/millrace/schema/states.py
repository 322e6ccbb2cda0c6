"""The state of a run: what it is, when it became so, and why."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

from pydantic import Field, model_validator

from millrace.schema.fields import DateTime, Model, new_id, now


class StateType(StrEnum):
    """The nine kinds of state; what people see is the name, which may be finer (Late is a kind of SCHEDULED)."""

    SCHEDULED = "SCHEDULED"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    CRASHED = "CRASHED"
    PAUSED = "PAUSED"
    CANCELLING = "CANCELLING"


TERMINAL = frozenset({StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED, StateType.CRASHED})

NAMES: dict[str, StateType] = {
    "Scheduled": StateType.SCHEDULED,
    "Late": StateType.SCHEDULED,
    "AwaitingRetry": StateType.SCHEDULED,
    "AwaitingConcurrencySlot": StateType.SCHEDULED,
    "Resuming": StateType.SCHEDULED,
    "Pending": StateType.PENDING,
    "Submitting": StateType.PENDING,
    "InfrastructurePending": StateType.PENDING,
    "Running": StateType.RUNNING,
    "Retrying": StateType.RUNNING,
    "Paused": StateType.PAUSED,
    "Suspended": StateType.PAUSED,
    "Cancelling": StateType.CANCELLING,
    "Cancelled": StateType.CANCELLED,
    "Completed": StateType.COMPLETED,
    "Cached": StateType.COMPLETED,
    "RolledBack": StateType.COMPLETED,
    "Failed": StateType.FAILED,
    "TimedOut": StateType.FAILED,
    "Crashed": StateType.CRASHED,
}
"""Every state name and its type."""


class StateDetails(Model):
    """Facts that belong to one state."""

    flow_run_id: UUID | None = None
    task_run_id: UUID | None = None
    child_flow_run_id: UUID | None = None
    scheduled_time: DateTime | None = None
    cache_key: str | None = None
    cache_expiration: DateTime | None = None
    deferred: bool | None = False
    untrackable_result: bool = False
    pause_timeout: DateTime | None = None
    pause_reschedule: bool = False
    pause_key: str | None = None
    run_input_keyset: dict[str, str] | None = None
    refresh_cache: bool | None = None
    retriable: bool | None = None
    transition_id: UUID | None = None
    task_parameters_id: UUID | None = None
    traceparent: str | None = None
    deployment_concurrency_lease_id: UUID | None = None


class StateCreate(Model):
    """A state as a client proposes it."""

    type: StateType
    name: str | None = None
    message: str | None = None
    data: Any = Field(None, description="A reference to the stored result, or null. Never a pickle.")
    state_details: StateDetails = Field(default_factory=StateDetails)

    @model_validator(mode="after")
    def _default_name(self) -> StateCreate:
        if not self.name:
            self.name = self.type.value.capitalize()
        if self.type is StateType.SCHEDULED and self.state_details.scheduled_time is None:
            self.state_details = self.state_details.model_copy(update={"scheduled_time": now()})
        return self

    def is_scheduled(self) -> bool:
        """Whether it waits for a time."""
        return self.type is StateType.SCHEDULED

    def is_pending(self) -> bool:
        """Whether it is about to run."""
        return self.type is StateType.PENDING

    def is_running(self) -> bool:
        """Whether it runs."""
        return self.type is StateType.RUNNING

    def is_completed(self) -> bool:
        """Whether it ended well."""
        return self.type is StateType.COMPLETED

    def is_failed(self) -> bool:
        """Whether it ended with an exception."""
        return self.type is StateType.FAILED

    def is_crashed(self) -> bool:
        """Whether its process died."""
        return self.type is StateType.CRASHED

    def is_cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self.type is StateType.CANCELLED

    def is_cancelling(self) -> bool:
        """Whether it is being cancelled: somebody still has to say that nothing of it is left."""
        return self.type is StateType.CANCELLING

    def is_paused(self) -> bool:
        """Whether it waits for somebody to resume it: Paused or Suspended."""
        return self.type is StateType.PAUSED

    def is_suspended(self) -> bool:
        """Whether it is paused without a process: a worker runs it from its start when it is resumed."""
        return self.type is StateType.PAUSED and self.state_details.pause_reschedule

    def is_final(self) -> bool:
        """Whether nothing follows."""
        return self.type in TERMINAL


class State(StateCreate):
    """A state as it is stored."""

    id: UUID = Field(default_factory=new_id)
    timestamp: DateTime = Field(default_factory=now)

    def __str__(self) -> str:
        return f"{self.name}({self.message!r})" if self.message else f"{self.name}()"

    def __repr__(self) -> str:
        # A cell that ends with a state shows this; all its fields are in `dict(state)`.
        said = [f"message={self.message!r}"] if self.message else []
        return f"{self.name}({', '.join([*said, f'type={self.type.value}'])})"

    def result(self, raise_on_failure: bool = True, *, allow_pickle: bool = False) -> Any:
        """What the run returned, read from where it is stored.

        Args:
            raise_on_failure: raise what the run ended with if it did not complete; otherwise give the exception.
            allow_pickle: read a stored pickle, which executes what it says.

        Raises:
            RunError: the run did not complete.
            MissingResult: it kept no result, or what it kept is gone.
            UnreadableResult: it is damaged, or a pickle that nobody allowed.
        """
        if not _readers:
            raise RuntimeError("results are read by the client: import millrace.client first")
        return _readers[-1](self, raise_on_failure, allow_pickle=allow_pickle)


_readers: list[Callable[..., Any]] = []


def results_read_by(reader: Callable[..., Any]) -> None:
    """Says who reads stored results; a model knows no storage. The client does, when it is imported.

    Args:
        reader: takes a state, `raise_on_failure` and `allow_pickle`.
    """
    _readers.append(reader)


class SetStateStatus(StrEnum):
    """How the judge answers a proposal."""

    ACCEPT = "ACCEPT"
    REJECT = "REJECT"
    ABORT = "ABORT"
    WAIT = "WAIT"


class AcceptDetails(Model):
    """The proposed state holds."""

    type: Literal["accept_details"] = "accept_details"


class RejectDetails(Model):
    """Another state holds instead; the answer carries it."""

    type: Literal["reject_details"] = "reject_details"
    reason: str | None = None


class AbortDetails(Model):
    """Nothing changed and the proposer should stop."""

    type: Literal["abort_details"] = "abort_details"
    reason: str | None = None


class WaitDetails(Model):
    """Nothing changed; propose again after the delay."""

    type: Literal["wait_details"] = "wait_details"
    delay_seconds: int
    reason: str | None = None


class SetState(Model):
    """The body of set_state."""

    state: StateCreate
    force: bool = False


class OrchestrationResult(Model):
    """The judge's answer to a proposed state."""

    state: State | None
    status: SetStateStatus
    details: AcceptDetails | RejectDetails | AbortDetails | WaitDetails = Field(discriminator="type")


def named(name: str, message: str | None = None, *, data: Any = None, **details: Any) -> State:
    """A state by its name.

    Args:
        name: one of `NAMES`.
        message: what people read.
        data: a reference to the result.
        details: fields of `StateDetails`.

    Example:
        >>> named("Late").type
        <StateType.SCHEDULED: 'SCHEDULED'>
    """
    return State(type=NAMES[name], name=name, message=message, data=data, state_details=StateDetails(**details))


def scheduled(at: datetime, name: str = "Scheduled", message: str | None = None) -> State:
    """A state that waits for a moment (Scheduled, Late, AwaitingRetry)."""
    return named(name, message, scheduled_time=at)
