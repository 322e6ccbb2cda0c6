"""What `submit` gives: the promise of a task's result."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

from millrace.engine import tracing
from millrace.engine.context import FlowRunContext, TaskRunContext
from millrace.engine.crews import place_given_back
from millrace.engine.endings import Ending
from millrace.engine.interrupts import SLICE
from millrace.schema.states import State, StateType

T = TypeVar("T")
_lock = threading.Lock()
"""One for all futures, held for a moment: a condition in each would be half of what submitting a task costs."""
_problems = logging.getLogger("millrace.engine")


def _deadline(timeout: float | None) -> float | None:
    if timeout is None:
        return None
    if timeout < 0:
        raise ValueError(f"timeout must not be negative; got {timeout}")
    return time.monotonic() + timeout


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(deadline - time.monotonic(), 0)


class TaskFuture(Generic[T]):
    """The future of a submitted task run.

    In `async` code it can be awaited; `result()` and `wait()` block.

    Args:
        task_run_id: the run's id.
        name: the run's name; one made of its arguments once those are known.
    """

    def __init__(self, task_run_id: UUID, name: str) -> None:
        self.task_run_id = task_run_id
        self.name = name
        self._ended: Ending | None = None
        self._callbacks: tuple[Callable[[], object], ...] = ()
        self._peek: Callable[[], State] | None = None

    def __repr__(self) -> str:
        return f"<TaskFuture {self.name!r} {self.state.name if self.done() else 'not done'}>"

    @property
    def state(self) -> State:
        """The state it is in now: Pending, Running, AwaitingRetry, or the final one."""
        peek = self._peek
        if self._ended is not None:
            return self._ended.state
        return State(type=StateType.PENDING) if peek is None else peek()

    def done(self) -> bool:
        """Whether it has ended."""
        return self._ended is not None

    def wait(self, timeout: float | None = None) -> None:
        """Waits until the task run has ended, however it did.

        Args:
            timeout: seconds to wait at most.

        Raises:
            RuntimeError: the task waits for itself.
        """
        deadline = _deadline(timeout)
        if self._ended is not None:
            return
        run, task = FlowRunContext.get(), TaskRunContext.get()
        if task is not None and task.id == self.task_run_id:
            raise RuntimeError(f"the task run {self.name!r} waits for its own future, which would never end")
        ended = threading.Event()
        self._call_at_end(ended.set)
        try:
            with place_given_back():
                while not self.done():
                    left = SLICE if deadline is None else min(SLICE, deadline - time.monotonic())
                    if left <= 0:
                        return
                    ended.wait(left)
                    if run is not None:
                        run.stoppable.check()
                        if TaskRunContext.get() is None:
                            run.stoppable.check_suspension()
        finally:
            with _lock:
                self._callbacks = tuple(call for call in self._callbacks if call != ended.set)

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> T:
        """What the task returned.

        Args:
            timeout: seconds to wait at most.
            raise_on_failure: raise the task's own exception if it failed; otherwise give the exception.

        Raises:
            TimeoutError: it has not ended in that time.
        """
        __tracebackhide__ = True
        self.wait(timeout)
        if self._ended is None:
            raise TimeoutError(f"task run {self.name!r} did not end within {timeout:g} s")
        value: T = self._ended.result(raise_on_failure=raise_on_failure)
        return value

    def add_done_callback(self, fn: Callable[[TaskFuture[T]], object]) -> None:
        """Calls a function with this future once it has ended; at once if it has."""
        self._call_at_end(lambda: fn(self))

    def __await__(self) -> Generator[Any, None, T]:
        awaited: concurrent.futures.Future[None] = concurrent.futures.Future()
        awaited.set_running_or_notify_cancel()  # who awaits may be cancelled; the task goes on
        self._call_at_end(lambda: awaited.set_result(None))
        with place_given_back():
            yield from asyncio.wrap_future(awaited).__await__()
        return self.result()

    def _call_at_end(self, call: Callable[[], object]) -> None:
        with _lock:
            if self._ended is None:
                self._callbacks = (*self._callbacks, call)
                return
        _called(call)

    def _set(self, ending: Ending) -> None:
        with _lock:
            if self._ended is None:
                self._ended = ending
            calls, self._callbacks = self._callbacks, ()
        self._peek = None
        for call in calls:
            _called(call)


def _called(call: Callable[[], object]) -> None:
    try:
        call()
    except Exception:  # whoever wanted to be told does not keep the others from it
        _problems.exception("what was to be called at the end of a task run raised")


class FutureList(list[TaskFuture[T]]):
    """What `map` gives: a list of futures."""

    def wait(self, timeout: float | None = None) -> None:
        """Waits until all have ended.

        Args:
            timeout: seconds to wait at most, for all together.
        """
        wait(self, timeout)

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> list[T]:
        """What the tasks returned, in order.

        Args:
            timeout: seconds to wait at most, for all together.
            raise_on_failure: raise the first failure as soon as it happens; otherwise the exceptions stand in the list.

        Raises:
            TimeoutError: some have not ended in that time.
        """
        if raise_on_failure:
            for future in as_completed(self, timeout):
                if tracing.current() is None:
                    future.result()
        else:
            left = wait(self, timeout).not_done
            if left:
                raise TimeoutError(f"{len(left)} of {len(self)} task runs did not end within {timeout:g} s")
        if tracing.current() is not None:
            return list[Any](self)  # what stands for the results
        return [future.result(raise_on_failure=raise_on_failure) for future in self]


class DoneAndNotDone(NamedTuple):
    """The answer of `wait`."""

    done: set[TaskFuture[Any]]
    not_done: set[TaskFuture[Any]]


def wait(futures: Iterable[TaskFuture[Any]], timeout: float | None = None) -> DoneAndNotDone:
    """Waits until all futures have ended, or the time is over.

    Args:
        futures: of `submit` or `map`.
        timeout: seconds to wait at most.

    Example:
        >>> done, not_done = wait(add.map(range(10), 1), timeout=5)  # doctest: +SKIP
    """
    deadline = _deadline(timeout)
    if tracing.current() is not None:
        return DoneAndNotDone({future for future in futures if isinstance(future, tracing.StandIn)}, set())
    known = _checked(futures, "wait")
    for future in known:
        future.wait(_left(deadline))
    done = {future for future in known if future.done()}
    return DoneAndNotDone(done, set(known) - done)


def as_completed(futures: Iterable[TaskFuture[T]], timeout: float | None = None) -> Iterator[TaskFuture[T]]:
    """The futures in the order in which they end, each once.

    Args:
        futures: of `submit` or `map`.
        timeout: seconds to wait at most, for all together.

    Raises:
        TimeoutError: some have not ended in that time.

    Example:
        >>> for future in as_completed(fetch.map(urls)):  # doctest: +SKIP
        ...     print(future.result())
    """
    deadline = _deadline(timeout)
    if tracing.current() is not None:
        yield from futures
        return
    known = list(dict.fromkeys(_checked(futures, "as_completed")))
    run = FlowRunContext.get()
    ended: SimpleQueue[TaskFuture[T]] = SimpleQueue()
    for one in known:
        one.add_done_callback(ended.put)
    for number in range(len(known)):
        future: TaskFuture[T] | None
        try:
            future = ended.get_nowait()
        except Empty:
            with place_given_back():
                future = _next(ended, deadline, run)
        if future is None:
            raise TimeoutError(f"{len(known) - number} of {len(known)} task runs did not end within {timeout:g} s")
        yield future


def _next(
    ended: SimpleQueue[TaskFuture[T]], deadline: float | None, run: FlowRunContext | None
) -> TaskFuture[T] | None:
    """The next that ends; None if the time is over before."""
    while True:
        left = _left(deadline)
        try:
            return ended.get(timeout=SLICE if left is None else min(SLICE, left))
        except Empty:
            if left is not None and left <= 0:
                return None
            if run is not None:
                run.stoppable.check()


def _checked(futures: Iterable[TaskFuture[T]], by: str) -> list[TaskFuture[T]]:
    known = list(futures)
    for one in known:
        if not isinstance(one, TaskFuture):
            raise TypeError(f"{by}() takes futures, which submit() and map() give; got {one!r} ({type(one).__name__})")
    return known


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
