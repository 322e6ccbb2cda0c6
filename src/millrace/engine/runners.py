"""Where the submitted tasks of a run execute.

The conversation of a task run (its states, retries, caching, hooks) always takes place in the process of the flow run.
What a runner decides is how many go on at the same time, and where the user's function is called: on the thread of the
conversation, or elsewhere.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any, Self, TypeVar

from millrace.engine.context import run_thread
from millrace.engine.crews import Crew, Places
from millrace.engine.futures import FutureList, Gathering, TaskFuture

if TYPE_CHECKING:
    from millrace.engine.errands import Carrier

THREADS = 1000
R = TypeVar("R")

_chosen: ContextVar[TaskRunner | None] = ContextVar("millrace_task_runner", default=None)


def chosen_runner() -> TaskRunner | None:
    """The runner whose own `submit` or `map` is being called."""
    return _chosen.get()


def forget_choice() -> None:
    """Inside a task that was given to a runner: what the task submits goes where its flow says."""
    _chosen.set(None)


class TaskRunner(abc.ABC):
    """A way to execute tasks.

    Given to a flow, each run of the flow opens a runner of the same kind and closes it at its end. As a context manager
    it stays open: flows that run inside the block share its workers, and tasks can be submitted to it without a flow.

    Example:
        >>> with ThreadPoolTaskRunner(max_workers=2) as runner:  # doctest: +SKIP
        ...     runner.submit(add, {"a": 1, "b": 2}).result()
        3
    """

    _started = False

    @property
    def name(self) -> str:
        """The kind: `threadpool`, `processpool`, `dask`."""
        return type(self).__name__.lower().replace("taskrunner", "")

    # -- what people call

    def submit(
        self, task: Any, parameters: dict[str, Any], wait_for: Iterable[Any] | None = None, dependencies: Any = None
    ) -> TaskFuture[Any]:
        """Submits a task to this runner.

        Args:
            task: the task.
            parameters: its arguments, by name.
            wait_for: futures to wait for first.
            dependencies: accepted because Prefect has it; futures among the arguments are found without it.

        Raises:
            RuntimeError: the runner is not open.
        """
        if not self._started:
            raise RuntimeError("Task runner is not started: write `with runner:` around it")
        return self._given(task.submit, task, parameters, wait_for)  # type: ignore[no-any-return]

    def map(self, task: Any, parameters: dict[str, Any], wait_for: Iterable[Any] | None = None) -> FutureList[Any]:
        """Submits a task once for each element of the lists among the parameters.

        Args:
            task: the task.
            parameters: lists of one length, and single values.
            wait_for: futures each call waits for first.

        Raises:
            RuntimeError: the runner is not open.
        """
        if not self._started:
            raise RuntimeError("The task runner must be started before submitting work: write `with runner:` around it")
        return self._given(task.map, task, parameters, wait_for)  # type: ignore[no-any-return]

    def _given(self, method: Callable[..., Any], task: Any, parameters: dict[str, Any], wait_for: Any) -> Any:
        args, kwargs = task.signature.arguments(parameters)
        token = _chosen.set(self)
        try:
            return method(*args, wait_for=wait_for, **kwargs)
        finally:
            _chosen.reset(token)

    def __enter__(self) -> Self:
        if self._started:
            raise RuntimeError("This task runner is already started")
        self._start()
        self._started = True
        return self

    def __exit__(self, *_: object) -> None:
        self._started = False
        self.close()
        self._stop()

    def _arguments(self) -> tuple[Any, ...]:
        """What its class is called with, to have another one of it."""
        return ()

    def __reduce__(self) -> Any:
        return type(self), self._arguments()

    def duplicate(self) -> Self:
        """A runner with the same options that is not open."""
        return type(self)(*self._arguments())

    # -- what the engine calls

    @property
    def carrier(self) -> Carrier | None:
        """Calls functions elsewhere; None if they are called on the thread of their conversation."""
        return None

    def open(self) -> Self:
        """The runner to use for one run of a flow; closed by `close`."""
        return self.duplicate()

    @abc.abstractmethod
    def execute(self, call: Callable[[], object], after: list[TaskFuture[object]], *, isasync: bool = False) -> None:
        """Calls a function once the futures have ended, in a copy of the caller's context variables.

        Args:
            call: the conversation of a task run.
            after: what it waits for; it takes no thread while it waits.
            isasync: the call runs an event loop of its own and needs a thread that has none.
        """

    @abc.abstractmethod
    def close(self, timeout: float | None = None) -> None:
        """Waits for what was submitted, so many seconds at most."""

    def _start(self) -> None:  # noqa: B027
        """Gets what stays open for several runs."""

    def _stop(self) -> None:  # noqa: B027
        """Gives it back."""


class CrewTaskRunner(TaskRunner):
    """A runner whose conversations go on in threads.

    Args:
        limit: how many at the same time.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._crew = Crew(Places(limit))

    def execute(self, call: Callable[[], object], after: list[TaskFuture[object]], *, isasync: bool = False) -> None:
        """Calls a function in a thread once the futures have ended and there is a place for it."""
        start = self._crew.enlist()
        if after:
            Gathering(after, lambda: start(call))
        else:
            start(call)

    def open(self) -> Self:
        """A runner of the same kind for one run of a flow; it shares the places of one that stays open."""
        made = self.duplicate()
        if self._started:
            made._crew = Crew(self._crew.places)
        return made

    def close(self, timeout: float | None = None) -> None:
        """Waits until every submitted call has ended."""
        self._crew.close(timeout)


def checked_workers(max_workers: int | None) -> int | None:
    """A number of workers, or None.

    Args:
        max_workers: as the user gave it.

    Raises:
        TypeError: no whole number.
        ValueError: less than one.
    """
    if isinstance(max_workers, bool) or not isinstance(max_workers, int | None):
        raise TypeError(
            f"max_workers must be a whole number or None; got {max_workers!r:.80} ({type(max_workers).__name__})"
        )
    if max_workers is not None and max_workers < 1:
        raise ValueError(f"max_workers must be at least 1; got {max_workers}")
    return max_workers


class ThreadPoolTaskRunner(CrewTaskRunner):
    """Runs tasks in threads; the default.

    A task that waits for others takes no thread while it waits, and one that waits for a task it submitted, or for its
    own retry, gives its place to another. Lines logged and printed in threads belong to the run.

    Args:
        max_workers: how many tasks run at the same time; None: as many as are ready, up to 1000.

    Raises:
        ValueError: `max_workers` is less than 1.

    Example:
        >>> @flow(task_runner=ThreadPoolTaskRunner(max_workers=3))  # doctest: +SKIP
        ... def fetch_all(urls: list[str]):
        ...     return fetch.map(urls)
    """

    def __init__(self, max_workers: int | None = None) -> None:
        self.max_workers = checked_workers(max_workers)
        super().__init__(max_workers or THREADS)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(max_workers={self.max_workers})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.max_workers == self.max_workers

    def __hash__(self) -> int:
        return hash((type(self), self.max_workers))

    def _arguments(self) -> tuple[Any, ...]:
        return (self.max_workers,)


class InlineTaskRunner(TaskRunner):
    """Runs a task in the place where it is submitted: one after the other, easy to debug.

    Example:
        >>> debugged = etl.with_options(task_runner=InlineTaskRunner)  # doctest: +SKIP
    """

    def __repr__(self) -> str:
        return "InlineTaskRunner()"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __hash__(self) -> int:
        return hash(type(self))

    def execute(self, call: Callable[[], object], after: list[TaskFuture[object]], *, isasync: bool = False) -> None:
        """Calls a function now; what it waits for has ended, for it was submitted before."""
        context = copy_context()
        if isasync:
            run_thread(context.run, call).join()
        else:
            context.run(call)

    def close(self, timeout: float | None = None) -> None:
        """Nothing is open."""
