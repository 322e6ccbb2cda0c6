"""Where the submitted tasks of a run execute."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from typing import Protocol, Self, runtime_checkable

from millrace.engine.context import run_thread
from millrace.engine.futures import Gathering, TaskFuture

THREADS = 1000


@runtime_checkable
class TaskRunner(Protocol):
    """A way to execute tasks."""

    name: str

    def submit(self, call: Callable[[], object], after: list[TaskFuture[object]], *, isasync: bool = False) -> None:
        """Calls a function once the futures have ended, in a copy of the caller's context variables.

        With `isasync` the call runs an event loop of its own and needs a thread that has none.
        """

    def open(self) -> Self:
        """The runner to use for one run of a flow."""

    def close(self, timeout: float | None = None) -> None:
        """Waits for what was submitted, so many seconds at most."""


class ThreadPoolTaskRunner:
    """Runs tasks in threads; the default.

    A task that waits for others takes no thread while it waits. Lines logged and printed in threads belong to the run.

    Args:
        max_workers: how many tasks run at the same time; None: as many as are ready, up to 1000.
    """

    name = "thread"

    def __init__(self, max_workers: int | None = None) -> None:
        if max_workers is not None and max_workers < 1:
            raise ValueError(f"max_workers must be at least 1; got {max_workers}")
        self.max_workers = max_workers
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None
        self._lock = threading.Condition()
        self._open = 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}(max_workers={self.max_workers})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.max_workers == self.max_workers

    def __hash__(self) -> int:
        return hash((type(self), self.max_workers))

    def open(self) -> Self:
        """A runner of the same kind, for one run of a flow."""
        return type(self)(self.max_workers)

    def submit(self, call: Callable[[], object], after: list[TaskFuture[object]], *, isasync: bool = False) -> None:
        """Calls a function in a thread once the futures have ended."""
        context = copy_context()
        with self._lock:
            self._open += 1
            if self._pool is None:
                self._pool = concurrent.futures.ThreadPoolExecutor(self.max_workers or THREADS, "millrace-task")
        pool = self._pool

        def work() -> None:
            try:
                context.run(call)
            finally:
                with self._lock:
                    self._open -= 1
                    if not self._open:
                        self._lock.notify_all()

        if after:
            Gathering(after, lambda: pool.submit(work))
        else:
            pool.submit(work)

    def close(self, timeout: float | None = None) -> None:
        """Waits until every submitted call has ended."""
        if self._pool is None:
            return
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            while self._open and (deadline is None or time.monotonic() < deadline):
                self._lock.wait(0.2)
        self._pool.shutdown(wait=False)


class InlineTaskRunner:
    """Runs a task in the place where it is submitted: one after the other, easy to debug."""

    name = "inline"

    def __repr__(self) -> str:
        return "InlineTaskRunner()"

    def open(self) -> Self:
        """Itself: it holds nothing."""
        return self

    def submit(self, call: Callable[[], object], after: list[TaskFuture[object]], *, isasync: bool = False) -> None:
        """Calls a function now; what it waits for has ended, for it was submitted before."""
        context = copy_context()
        if isasync:
            run_thread(context.run, call).join()
        else:
            context.run(call)

    def close(self, timeout: float | None = None) -> None:
        """Nothing is open."""
