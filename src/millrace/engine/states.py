"""States as a run hands them to people: with the value or the exception in them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from pydantic import PrivateAttr

from millrace.engine import results
from millrace.engine.alarms import Alarm
from millrace.engine.interrupts import Stopped, Terminated
from millrace.engine.tracebacks import own, text_of
from millrace.errors import RunCancelled, RunCrashed, RunError, RunFailed, RunTimedOut, RunUnfinished
from millrace.schema.states import State, StateDetails, StateType


class RunState(State):
    """The state of a run made in this process.

    Example:
        >>> Completed(data=3).result()
        3
    """

    _value: Any = PrivateAttr(default=None)
    _has_value: bool = PrivateAttr(default=False)
    _error: BaseException | None = PrivateAttr(default=None)
    _store: results.ResultStore | None = PrivateAttr(default=None)

    def result(self, raise_on_failure: bool = True, *, allow_pickle: bool = False) -> Any:
        """What the run returned; read from its storage if it is not in memory.

        Args:
            raise_on_failure: raise the run's own exception if it did not complete; otherwise give the exception.
            allow_pickle: read a stored pickle, which executes what it says.

        Raises:
            RunError: the run did not complete and its exception is not at hand here.
            MissingResult: it kept no result, or what it kept is gone.
        """
        __tracebackhide__ = True
        if self.type is StateType.COMPLETED and self._has_value:
            return self._value
        return result_of(self, raise_on_failure, store=self._store, allow_pickle=allow_pickle, error=self._error)

    def stored_in(self, store: results.ResultStore, *, keep_value: bool) -> RunState:
        """This state, with the store that its reference leads to.

        Args:
            store: of the run.
            keep_value: keep a stored value in memory too.
        """
        self._store = store
        if not keep_value and self.data is not None:
            self._value, self._has_value = None, False
        return self


@dataclass(slots=True)
class Outcome:
    """How one call of the user's function ended."""

    type: StateType
    name: str
    message: str | None = None
    value: Any = None
    error: BaseException | None = None


def result_of(
    state: State,
    raise_on_failure: bool = True,
    *,
    store: results.ResultStore | None = None,
    allow_pickle: bool = False,
    error: BaseException | None = None,
) -> Any:
    """What a state stands for: the stored result, or the exception of a run that did not complete.

    Args:
        state: any state.
        raise_on_failure: raise the exception; otherwise give it.
        store: where the run keeps results, where that is known.
        allow_pickle: read a stored pickle, which executes what it says.
        error: the exception, where it is at hand.
    """
    __tracebackhide__ = True
    if state.type is StateType.COMPLETED:
        return results.read(state, store=store, allow_pickle=allow_pickle)
    error = error or error_of(state)
    if raise_on_failure or isinstance(error, RunUnfinished):
        raise own(error)
    return error


def error_of(state: State) -> RunError:
    """The exception that says what a state says, for runs whose own exception is elsewhere.

    Args:
        state: a state other than Completed.
    """
    if not state.is_final():
        said = f"{state.name} ({state.message})" if state.message else state.name
        return RunUnfinished(f"the run is {said}: it has no result yet")
    text = state.message or f"the run is {state.name}"
    if state.name == "TimedOut":
        return RunTimedOut(text)
    kinds: dict[StateType, type[RunError]] = {
        StateType.CRASHED: RunCrashed,
        StateType.CANCELLED: RunCancelled,
    }
    return kinds.get(state.type, RunFailed)(text)


def run_state(
    state: State, value: Any = None, error: BaseException | None = None, *, has_value: bool = True
) -> RunState:
    """A stored state with what only this process knows.

    Args:
        state: the state as the judge answered it.
        value: what the function returned.
        error: what it raised.
        has_value: whether `value` is it, rather than unknown here.
    """
    found = RunState.model_construct(_fields_set=None, **dict(state))
    found._value, found._error = value, error
    found._has_value = has_value and state.type is StateType.COMPLETED
    return found


def _made(kind: StateType, name: str, message: str | None, data: Any, error: BaseException | None = None) -> RunState:
    state = RunState(type=kind, name=name, message=message, state_details=StateDetails())
    state._value, state._error, state._has_value = data, error, kind is StateType.COMPLETED
    return state


def Completed(*, data: Any = None, message: str | None = None, name: str = "Completed") -> RunState:
    """The state of a run that went well; return it from a flow or task to say how.

    Args:
        data: the result.
        message: what people read.
        name: a finer name.
    """
    return _made(StateType.COMPLETED, name, message, data)


def Failed(*, data: Any = None, message: str | None = None, name: str = "Failed") -> RunState:
    """The state of a run that did not; return it from a flow or task to fail without raising.

    Args:
        data: an exception, if there is one.
        message: what people read.
        name: a finer name.
    """
    error = data if isinstance(data, BaseException) else None
    return _made(StateType.FAILED, name, message or (text_of(error) if error else None), None, error)


def Cancelled(*, message: str | None = None, name: str = "Cancelled") -> RunState:
    """The state of a run that was stopped; return it from a flow or task to end it so.

    Args:
        message: what people read.
        name: a finer name.
    """
    return _made(StateType.CANCELLED, name, message, None)


_SHOWN = 300


def shortened(state: State) -> str:
    """A state in a line of the log: what is longer was logged where it was raised, and is in the state."""
    if not state.message:
        return str(state.name)
    message = state.message if len(state.message) <= _SHOWN else f"{state.message[:_SHOWN]}…"
    return f"{state.name}({message!r})"


def of_value(value: Any) -> Outcome:
    """What a returned value means: a state is taken for what it says, anything else is success.

    Args:
        value: what the function returned, its futures already resolved.
    """
    if not isinstance(value, State) or not value.is_final():
        return Outcome(StateType.COMPLETED, "Completed", value=value)
    name = value.name or value.type.capitalize()
    if value.type is StateType.COMPLETED:
        inner = value.result() if isinstance(value, RunState) else results.read(value)
        return Outcome(value.type, name, value.message, value=inner)
    error = (value._error if isinstance(value, RunState) else None) or error_of(value)
    return Outcome(value.type, name, value.message, error=error)


def of_interruption(error: BaseException) -> Outcome:
    """What a stop from outside means: a person's interrupt or cancellation cancels, anything else is a crash.

    Args:
        error: a `BaseException` that is no failure of the user's code.
    """
    if isinstance(error, KeyboardInterrupt):
        return Outcome(StateType.CANCELLED, "Cancelled", "Interrupted from the keyboard or the kernel.", error=error)
    if isinstance(error, asyncio.CancelledError):
        return Outcome(StateType.CANCELLED, "Cancelled", "The asyncio task was cancelled.", error=error)
    if isinstance(error, RunCancelled):
        return Outcome(StateType.CANCELLED, "Cancelled", str(error) or "Cancelled.", error=error)
    if isinstance(error, Stopped):
        return Outcome(StateType.CANCELLED, "Cancelled", "The enclosing run was stopped.", error=error)
    if isinstance(error, Terminated) and (meaning := error.meaning()) is not error:
        return Outcome(StateType.CANCELLED, "Cancelled", str(meaning), error=error)  # which goes on to end the process
    if isinstance(error, Alarm):
        return Outcome(StateType.CANCELLED, "Cancelled", "The enclosing run reached its time limit.", error=error)
    if isinstance(error, SystemExit):
        return Outcome(StateType.CRASHED, "Crashed", f"The run's code called sys.exit({error.code!r}).", error=error)
    return Outcome(StateType.CRASHED, "Crashed", f"Stopped by {text_of(error)}", error=error)
