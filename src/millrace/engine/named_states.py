"""A state by its name, for those who make, compare or propose states."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, TypeGuard

from millrace.engine.states import Cancelled as Cancelled
from millrace.engine.states import Completed as Completed
from millrace.engine.states import Failed as Failed
from millrace.engine.states import RunState, error_of
from millrace.errors import InvalidInput
from millrace.schema.fields import now
from millrace.schema.states import State, StateDetails, StateType


def _made(kind: StateType, name: str, given: dict[str, Any], **details: Any) -> RunState:
    """A state of the given fields; a detail that is given twice is an error."""
    known = StateDetails.model_validate(given.pop("state_details", None) or {})
    twice = [one for one, value in details.items() if value is not None and one in known.model_fields_set]
    if twice:
        raise InvalidInput(f"{name}: {twice[0]} is given twice, also in state_details. Give it once.")
    chosen = {one: value for one, value in details.items() if value is not None}
    made = known.model_copy(update=chosen)
    unknown = sorted(set(given) - {"name", "message", "data", "timestamp", "id"})
    if unknown:
        raise TypeError(f"{name}() takes no {unknown[0]!r}; it takes name, message, data, state_details, timestamp, id")
    return RunState(type=kind, **{"name": name, **given}, state_details=made)


def Scheduled(*, scheduled_time: datetime | None = None, name: str = "Scheduled", **fields: Any) -> RunState:
    """A run that waits for a time.

    Args:
        scheduled_time: when; None: now.
        name: a finer name.
        fields: message, data, state_details, timestamp, id.

    Example:
        >>> Scheduled().is_scheduled()
        True
    """
    details = fields.get("state_details")
    said = StateDetails.model_validate(details).scheduled_time if details else None
    return _made(StateType.SCHEDULED, name, fields, scheduled_time=scheduled_time if scheduled_time or said else now())


def Late(*, scheduled_time: datetime | None = None, **fields: Any) -> RunState:
    """A run that nobody took when it was due.

    Args:
        scheduled_time: when it was due.
        fields: message, data, state_details, timestamp, id.
    """
    return Scheduled(scheduled_time=scheduled_time, name="Late", **fields)


def AwaitingRetry(*, scheduled_time: datetime | None = None, **fields: Any) -> RunState:
    """A run that failed and will be tried again.

    Args:
        scheduled_time: when.
        fields: message, data, state_details, timestamp, id.
    """
    return Scheduled(scheduled_time=scheduled_time, name="AwaitingRetry", **fields)


def AwaitingConcurrencySlot(*, scheduled_time: datetime | None = None, **fields: Any) -> RunState:
    """A run that waits until others of its deployment have ended.

    Args:
        scheduled_time: when it asks again.
        fields: message, data, state_details, timestamp, id.
    """
    return Scheduled(scheduled_time=scheduled_time, name="AwaitingConcurrencySlot", **fields)


def Pending(*, name: str = "Pending", **fields: Any) -> RunState:
    """A run that is about to run.

    Args:
        name: a finer name.
        fields: message, data, state_details, timestamp, id.
    """
    return _made(StateType.PENDING, name, fields)


def Submitting(**fields: Any) -> RunState:
    """A run that is being handed to its infrastructure.

    Args:
        fields: message, data, state_details, timestamp, id.
    """
    return Pending(name="Submitting", **fields)


def InfrastructurePending(**fields: Any) -> RunState:
    """A run whose infrastructure is being made.

    Args:
        fields: message, data, state_details, timestamp, id.
    """
    return Pending(name="InfrastructurePending", **fields)


def Running(*, name: str = "Running", **fields: Any) -> RunState:
    """A run that runs.

    Args:
        name: a finer name.
        fields: message, data, state_details, timestamp, id.
    """
    return _made(StateType.RUNNING, name, fields)


def Retrying(**fields: Any) -> RunState:
    """A run that runs, and not for the first time.

    Args:
        fields: message, data, state_details, timestamp, id.
    """
    return Running(name="Retrying", **fields)


def Paused(
    *,
    timeout_seconds: float | None = None,
    pause_expiration_time: datetime | None = None,
    reschedule: bool = False,
    pause_key: str | None = None,
    name: str = "Paused",
    **fields: Any,
) -> RunState:
    """A run that waits until somebody resumes it.

    Args:
        timeout_seconds: after so long it fails; None: it waits for ever.
        pause_expiration_time: the same as a moment; one of the two.
        reschedule: its process ends, and a worker runs it from its start when it is resumed.
        pause_key: tells this pause from the run's others.
        name: a finer name.
        fields: message, data, state_details, timestamp, id.

    Raises:
        InvalidInput: both time limits are given.
    """
    if timeout_seconds is not None and pause_expiration_time is not None:
        raise InvalidInput("Give timeout_seconds or pause_expiration_time, not both.")
    limit = pause_expiration_time
    if timeout_seconds is not None:
        limit = now() + timedelta(seconds=timeout_seconds)
    return _made(
        StateType.PAUSED,
        name,
        fields,
        pause_timeout=limit,
        pause_reschedule=reschedule or None,
        pause_key=pause_key,
    )


def Suspended(
    *,
    timeout_seconds: float | None = None,
    pause_expiration_time: datetime | None = None,
    pause_key: str | None = None,
    **fields: Any,
) -> RunState:
    """A paused run without a process.

    Args:
        timeout_seconds: after so long it fails; None: it waits for ever.
        pause_expiration_time: the same as a moment; one of the two.
        pause_key: tells this pause from the run's others.
        fields: message, data, state_details, timestamp, id.
    """
    return Paused(
        timeout_seconds=timeout_seconds,
        pause_expiration_time=pause_expiration_time,
        reschedule=True,
        pause_key=pause_key,
        name="Suspended",
        **fields,
    )


def Cancelling(*, name: str = "Cancelling", **fields: Any) -> RunState:
    """A run that was cancelled and of which something is left.

    Args:
        name: a finer name.
        fields: message, data, state_details, timestamp, id.
    """
    return _made(StateType.CANCELLING, name, fields)


def Crashed(*, name: str = "Crashed", **fields: Any) -> RunState:
    """A run whose process died.

    Args:
        name: a finer name.
        fields: message, data, state_details, timestamp, id.
    """
    return _made(StateType.CRASHED, name, fields)


def TimedOut(*, message: str | None = None) -> RunState:
    """A run that took longer than its time-out: a kind of Failed.

    Args:
        message: what people read.
    """
    return Failed(message=message, name="TimedOut")


def Cached(*, data: Any = None, message: str | None = None) -> RunState:
    """A task run whose result was there already: a kind of Completed.

    Args:
        data: the result.
        message: what people read.
    """
    return Completed(data=data, message=message, name="Cached")


# -- what a state stands for


def is_state_iterable(obj: Any) -> TypeGuard[Iterable[State]]:
    """Whether something is a list, set or tuple of states, and not empty.

    Args:
        obj: anything.
    """
    return isinstance(obj, list | set | tuple) and bool(obj) and all(isinstance(one, State) for one in obj)


def get_state_exception(state: State) -> BaseException:
    """The exception of a run that did not complete.

    Args:
        state: Failed, Crashed or Cancelled; of a run of this process, its own exception.

    Raises:
        InvalidInput: another state has none.
    """
    if not (state.is_failed() or state.is_crashed() or state.is_cancelled()):
        raise InvalidInput(f"A state {state.name} has no exception: only Failed, Crashed and Cancelled have one.")
    own = state._error if isinstance(state, RunState) else None
    return own or error_of(state)


async def aget_state_exception(state: State) -> BaseException:
    """`get_state_exception` for `async` code.

    Args:
        state: Failed, Crashed or Cancelled.
    """
    return get_state_exception(state)


def raise_state_exception(state: State) -> None:
    """Raises the exception of a run that did not complete; of any other state nothing.

    Args:
        state: the state.

    Example:
        >>> raise_state_exception(Completed())
    """
    if state.is_failed() or state.is_crashed() or state.is_cancelled():
        raise get_state_exception(state)


async def araise_state_exception(state: State) -> None:
    """`raise_state_exception` for `async` code.

    Args:
        state: the state.
    """
    raise_state_exception(state)


class StateGroup:
    """Several states, counted.

    Args:
        states: the states.

    Example:
        >>> StateGroup([Completed(), Failed()]).counts_message()
        "total=2, 'COMPLETED'=1, 'FAILED'=1"
    """

    def __init__(self, states: Iterable[State]) -> None:
        self.states = list(states)
        self.type_counts: Counter[StateType] = Counter(state.type for state in self.states)
        self.total_count = len(self.states)
        self.cancelled_count = self.type_counts[StateType.CANCELLED]
        self.paused_count = self.type_counts[StateType.PAUSED]
        self.final_count = sum(state.is_final() for state in self.states)
        self.not_final_count = self.total_count - self.final_count

    @property
    def fail_count(self) -> int:
        """How many failed or crashed."""
        return self.type_counts[StateType.FAILED] + self.type_counts[StateType.CRASHED]

    def all_completed(self) -> bool:
        """Whether all completed."""
        return self.type_counts[StateType.COMPLETED] == self.total_count

    def any_cancelled(self) -> bool:
        """Whether one was cancelled."""
        return self.cancelled_count > 0

    def any_failed(self) -> bool:
        """Whether one failed or crashed."""
        return self.fail_count > 0

    def any_paused(self) -> bool:
        """Whether one is paused."""
        return self.paused_count > 0

    def all_final(self) -> bool:
        """Whether all have ended."""
        return self.final_count == self.total_count

    def counts_message(self) -> str:
        """The counts in words."""
        parts = [f"total={self.total_count}"]
        if self.not_final_count:
            parts.append(f"not_final={self.not_final_count}")
        parts += [f"{kind.value!r}={count}" for kind, count in self.type_counts.items()]
        return ", ".join(parts)

    def __repr__(self) -> str:
        return f"StateGroup<{self.counts_message()}>"
