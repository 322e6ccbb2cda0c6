"""States by their names, and what they stand for.

Example:
    >>> Suspended(pause_key="approval").is_paused()
    True
"""

from __future__ import annotations

from millrace.engine.named_states import (
    AwaitingConcurrencySlot,
    AwaitingRetry,
    Cached,
    Cancelled,
    Cancelling,
    Completed,
    Crashed,
    Failed,
    InfrastructurePending,
    Late,
    Paused,
    Pending,
    Retrying,
    Running,
    Scheduled,
    StateGroup,
    Submitting,
    Suspended,
    TimedOut,
    aget_state_exception,
    araise_state_exception,
    get_state_exception,
    is_state_iterable,
    raise_state_exception,
)
from millrace.schema.states import State, StateDetails, StateType

__all__ = [
    "AwaitingConcurrencySlot",
    "AwaitingRetry",
    "Cached",
    "Cancelled",
    "Cancelling",
    "Completed",
    "Crashed",
    "Failed",
    "InfrastructurePending",
    "Late",
    "Paused",
    "Pending",
    "Retrying",
    "Running",
    "Scheduled",
    "State",
    "StateDetails",
    "StateGroup",
    "StateType",
    "Submitting",
    "Suspended",
    "TimedOut",
    "aget_state_exception",
    "araise_state_exception",
    "get_state_exception",
    "is_state_iterable",
    "raise_state_exception",
]
