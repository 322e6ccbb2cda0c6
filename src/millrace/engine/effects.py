"""What a run can ask of the world. The engine's generators yield these and nothing else; a driver performs them."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from millrace.schema.fields import new_id, now
from millrace.schema.states import State, StateCreate, StateType

if TYPE_CHECKING:
    from millrace.engine.states import RunState


@dataclass(frozen=True, slots=True)
class Propose:
    """Ask the judge for a state. Answer: `OrchestrationResult`."""

    state: StateCreate


@dataclass(frozen=True, slots=True)
class Call:
    """Run the user's function. Answer: its value; what it raises is thrown into the conversation."""


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait, interruptibly, for a number of seconds or until a moment. No answer."""

    seconds: float = 0.0
    until: datetime | None = None

    def remaining(self, moment: datetime) -> float:
        """The seconds still to wait at a moment."""
        return self.seconds if self.until is None else (self.until - moment).total_seconds()


@dataclass(frozen=True, slots=True)
class Keep:
    """Store a result. Answer: the reference that goes into `State.data`, or None."""

    value: Any


@dataclass(frozen=True, slots=True)
class Announce:
    """A state of a flow run holds: log it and call the hooks; a final one with its value or exception. No answer."""

    state: State
    ending: RunState | None = None


@dataclass(slots=True)
class Step:
    """A state of a task run, light enough to be made three times a task."""

    type: StateType
    name: str
    message: str | None = None
    scheduled_time: datetime | None = None
    child_flow_run_id: UUID | None = None
    data: dict[str, Any] | None = None
    id: UUID = field(default_factory=new_id, compare=False)
    timestamp: datetime = field(default_factory=now, compare=False)


@dataclass(frozen=True, slots=True)
class Record:
    """Tell the server of a state of a task run, some time soon. No answer."""

    step: Step
    run_count: int
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """Look for a result that is kept already. Answer: a `Hit`, or None."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A result that makes a call needless, and the reference to where it is kept."""

    value: Any
    reference: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Weigh:
    """Ask the author's condition whether a failure is worth another try. Answer: whether it is."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class Tell:
    """A state of a task run holds: call the hooks. No answer."""

    step: Step
    error: BaseException | None = None
    value: Any = None


Effect = Propose | Call | Sleep | Keep | Announce | Record | Look | Weigh | Tell
Conversation = Generator[Effect, Any, Any]
