"""How a task run ended, in few objects: thousands of them lie in the futures of one flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from millrace.engine.effects import Step
from millrace.engine.results import ResultStore
from millrace.engine.states import RunState
from millrace.engine.task_events import state_of
from millrace.schema.states import StateType


@dataclass(slots=True)
class Ending:
    """The end of a task run.

    Args:
        step: the last state, as it was recorded.
        value: what the function returned.
        error: what it raised.
        task_run_id: the run's id.
        flow_run_id: its flow run's.
        store: where its result is kept, if it is.
        in_memory: the value counts, and not what is kept.
    """

    step: Step
    value: Any = None
    error: BaseException | None = None
    task_run_id: UUID | None = None
    flow_run_id: UUID | None = None
    store: ResultStore | None = None
    in_memory: bool = True
    _state: RunState | None = None

    @property
    def state(self) -> RunState:
        """The final state; made when somebody asks for it, which most never do."""
        if self._state is None:
            state = state_of(self.step, self.task_run_id, self.flow_run_id, RunState)
            state._value, state._error, state._has_value = self.value, self.error, self.completed
            if self.store is not None and self.step.data is not None:
                state.stored_in(self.store, keep_value=self.in_memory)
            self._state = state
        return self._state

    @property
    def completed(self) -> bool:
        """Whether it went well."""
        return self.step.type is StateType.COMPLETED

    def result(self, raise_on_failure: bool = True) -> Any:
        """What it returned, or the exception of a run that did not complete.

        Args:
            raise_on_failure: raise the exception; otherwise give it.
        """
        __tracebackhide__ = True
        if self.completed and self.in_memory:
            return self.value
        return self.state.result(raise_on_failure=raise_on_failure)
