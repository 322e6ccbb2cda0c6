"""What `submit` gives: the promise of a task's result."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

from millrace.engine.context import FlowRunContext, TaskRunContext
from millrace.engine.interrupts import SLICE
from millrace.engine.states import RunState
from millrace.errors import RunFailed
from millrace.schema.states import State, StateType

T = TypeVar("T")


class TaskFuture(Generic[T]):
    """The future of a submitted task run.

    In `async` code it can be awaited; `result()` and `wait()` block.

    Args:
        task_run_id: the run's id.
        name: the run's name.
    """

    def __init__(self, task_run_id: UUID, name: str) -> None:
        self.task_run_id = task_run_id
        self.name = name
        self._inner: concurrent.futures.Future[RunState] = concurrent.futures.Future()

    def __repr__(self) -> str:
        return f"<TaskFuture {self.name!r} {self.state.name if self.done() else 'not done'}>"

    @property
    def state(self) -> State:
        """The final state, or Pending before."""
        return self._inner.result() if self._inner.done() else State(type=StateType.PENDING)

    def done(self) -> bool:
        """Whether it has ended."""
        return self._inner.done()

    def wait(self, timeout: float | None = None) -> None:
        """Waits until the task run has ended, however it did.

        Args:
            timeout: seconds to wait at most.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        run = FlowRunContext.get()
        while not self._inner.done():
            left = SLICE if deadline is None else min(SLICE, deadline - time.monotonic())
            if left <= 0:
                return
            with suppress(TimeoutError):
                self._inner.exception(left)
            if run is not None:
                run.stoppable.check()
                if TaskRunContext.get() is None:
                    run.stoppable.check_suspension()

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> T:
        """What the task returned.

        Args:
            timeout: seconds to wait at most.
            raise_on_failure: raise the task's own exception if it failed; otherwise give the exception.

        Raises:
            TimeoutError: it has not ended in that time.
        """
        self.wait(timeout)
        if not self._inner.done():
            raise TimeoutError(f"task run {self.name!r} did not end within {timeout:g} s")
        value: T = self._inner.result().result(raise_on_failure=raise_on_failure)
        return value

    def add_done_callback(self, fn: Callable[[TaskFuture[T]], object]) -> None:
        """Calls a function with this future once it has ended; at once if it has."""
        self._inner.add_done_callback(lambda _: fn(self))

    def __await__(self) -> Generator[Any, None, T]:
        state = yield from asyncio.wrap_future(self._inner).__await__()
        value: T = state.result()
        return value

    def _set(self, state: RunState) -> None:
        if not self._inner.done():
            self._inner.set_result(state)


class FutureList(list[TaskFuture[T]]):
    """What `map` gives: a list of futures."""

    def wait(self, timeout: float | None = None) -> None:
        """Waits until all have ended."""
        wait(self, timeout)

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> list[T]:
        """What the tasks returned, in order.

        Args:
            timeout: seconds to wait at most, for all together.
            raise_on_failure: raise the first failure.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        return [
            future.result(None if deadline is None else max(deadline - time.monotonic(), 0), raise_on_failure)
            for future in self
        ]


class DoneAndNotDone(NamedTuple):
    """The answer of `wait`."""

    done: set[TaskFuture[Any]]
    not_done: set[TaskFuture[Any]]


def wait(futures: Iterable[TaskFuture[Any]], timeout: float | None = None) -> DoneAndNotDone:
    """Waits until all futures have ended, or the time is over.

    Args:
        futures: of `submit` or `map`.
        timeout: seconds to wait at most.
    """
    known = list(futures)
    deadline = None if timeout is None else time.monotonic() + timeout
    for future in known:
        future.wait(None if deadline is None else max(deadline - time.monotonic(), 0))
    done = {future for future in known if future.done()}
    return DoneAndNotDone(done, set(known) - done)


def as_completed(futures: Iterable[TaskFuture[Any]], timeout: float | None = None) -> Iterator[TaskFuture[Any]]:
    """The futures in the order in which they end.

    Args:
        futures: of `submit` or `map`.
        timeout: seconds to wait at most, for all together.

    Raises:
        TimeoutError: some have not ended in that time.
    """
    by_inner = {future._inner: future for future in futures}
    for inner in concurrent.futures.as_completed(by_inner, timeout):
        yield by_inner[inner]


@dataclass(frozen=True, slots=True)
class unmapped(Generic[T]):
    """Gives the same value to every call of `map`.

    Example:
        >>> add.map([1, 2, 3], unmapped(10)).result()
        [11, 12, 13]
    """

    value: T


class UpstreamFailed(RunFailed):
    """A task was not run because a task it needs did not complete."""


def find(value: Any) -> list[TaskFuture[Any]]:
    """The futures in a value: itself, or nested in lists, tuples, sets and dicts.

    Args:
        value: anything; other objects are not searched.
    """
    found: list[TaskFuture[Any]] = []
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, TaskFuture):
            found.append(item)
        elif isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, (list, tuple, set, frozenset)):
            stack.extend(item)
    return found


def resolve(value: Any, pick: Callable[[Any], Any]) -> Any:
    """A value with its futures and states replaced; what holds none is given back as it is, not copied.

    Args:
        value: anything; lists, tuples, sets and dicts are searched.
        pick: gives the replacement of a future or state.
    """
    if isinstance(value, (TaskFuture, State)):
        return pick(value)
    kind = type(value)
    if kind in (list, set, tuple, frozenset) or isinstance(value, FutureList):
        items = [resolve(item, pick) for item in value]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        return items if isinstance(value, list) else kind(items)
    if kind is dict:
        pairs = {key: resolve(item, pick) for key, item in value.items()}
        return value if all(pairs[key] is value[key] for key in value) else pairs
    return value


def result_of_upstream(source: Any) -> Any:
    """What a future or state stands for as an argument.

    Raises:
        UpstreamFailed: it did not complete.
    """
    state = _ended(source)
    if state.type is not StateType.COMPLETED:
        name = source.name if isinstance(source, TaskFuture) else "a run"
        raise UpstreamFailed(f"upstream {name!r} did not complete: {state.name}")
    return state.result() if isinstance(state, RunState) else state


def _ended(source: Any) -> State:
    if isinstance(source, TaskFuture):
        source.wait()
        return source.state
    state: State = source
    return state


def settle(value: Any) -> Any:
    """What a flow returned, with its futures waited for: values, or a Failed state if one of them failed.

    Args:
        value: the returned value. A single state or future decides by itself; in a collection all have to complete.
    """
    if isinstance(value, State):
        return value
    if isinstance(value, TaskFuture):
        return _ended(value)
    bad: list[State] = []
    count = 0

    def pick(source: Any) -> Any:
        nonlocal count
        count += 1
        state = _ended(source)
        if state.type is StateType.COMPLETED:
            return state.result() if isinstance(state, RunState) else state
        bad.append(state)
        return state

    settled = resolve(value, pick)
    if not bad:
        return settled
    first = bad[0]
    state = RunState(
        type=StateType.FAILED, name="Failed", message=f"{len(bad)} of {count} returned runs did not complete."
    )
    state._error = first._error if isinstance(first, RunState) else None
    return state


class Gathering:
    """Calls a function once all of some futures have ended, on the thread of the last one.

    Args:
        futures: to wait for.
        then: what to call.
    """

    def __init__(self, futures: list[TaskFuture[Any]], then: Callable[[], object]) -> None:
        self._left = len(futures)
        self._then = then
        self._lock = threading.Lock()
        for future in futures:
            future.add_done_callback(self._one)

    def _one(self, _: TaskFuture[Any]) -> None:
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self._then()
