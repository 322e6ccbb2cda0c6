"""Tasks: the steps of a flow, each with a run of its own that is retried, timed and shown by itself."""

from __future__ import annotations

import hashlib
import inspect
import random
from collections.abc import Callable, Iterable, Mapping
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, Self, TypeVar, cast, overload

from millrace import settings
from millrace.engine import states
from millrace.engine.context import TaskRunContext
from millrace.engine.futures import FutureList, TaskFuture, resolve, result_of_upstream, unmapped
from millrace.engine.parameters import RESERVED, Signature, filled
from millrace.engine.protocol import TaskPlan
from millrace.engine.task_runs import TaskCall, arun_task, run_task, submit_task
from millrace.errors import ParameterError
from millrace.schema.fields import seconds

P = ParamSpec("P")
R = TypeVar("R")
Delay = float | int | list[float] | list[int] | Callable[[int], list[float]] | None
_UNSET: Any = object()
_OPTIONS = (
    "name",
    "description",
    "tags",
    "version",
    "cache_policy",
    "cache_key_fn",
    "cache_expiration",
    "task_run_name",
    "retries",
    "retry_delay_seconds",
    "retry_jitter_factor",
    "retry_condition_fn",
    "persist_result",
    "result_storage",
    "result_serializer",
    "result_storage_key",
    "cache_result_in_memory",
    "timeout_seconds",
    "log_prints",
    "refresh_cache",
    "on_completion",
    "on_failure",
)


class Task(Generic[P, R]):
    """A task; most people use the decorator `@task`.

    Args:
        fn: the function.
        name: its name; by default the function's.
        description: by default the docstring.
        tags: tags of each of its runs.
        version: any text.
        task_run_name: the name of a run: a text in which `{parameter}` is replaced, or a function, which may
            take `parameters`.
        retries: how often a run that raised is tried again.
        retry_delay_seconds: the seconds before each try: one number, a list with one for each, or a function that gets
            the number of retries and gives such a list.
        retry_jitter_factor: each delay becomes longer by up to this share of it, at random.
        retry_condition_fn: called with task, task run and the failed state; no retry unless it answers true.
        timeout_seconds: a try that takes longer fails as TimedOut. See `millrace.engine.interrupts` for what can be
            interrupted.
        log_prints: log what the function prints. By default as the flow does.
        cache_policy, cache_key_fn, cache_expiration, refresh_cache, persist_result, result_storage, result_serializer,
            result_storage_key, cache_result_in_memory, on_completion, on_failure: kept for a coming version.
    """

    def __init__(
        self,
        fn: Callable[P, R],
        name: str | None = None,
        description: str | None = None,
        tags: Iterable[str] | None = None,
        version: str | None = None,
        cache_policy: Any = _UNSET,
        cache_key_fn: Callable[..., str | None] | None = None,
        cache_expiration: Any = None,
        task_run_name: str | Callable[..., str] | None = None,
        retries: int | None = None,
        retry_delay_seconds: Delay = None,
        retry_jitter_factor: float | None = None,
        persist_result: bool | None = None,
        result_storage: Any = None,
        result_serializer: Any = None,
        result_storage_key: str | None = None,
        cache_result_in_memory: bool = True,
        timeout_seconds: float | None = None,
        log_prints: bool | None = None,
        refresh_cache: bool | None = None,
        on_completion: list[Callable[..., Any]] | None = None,
        on_failure: list[Callable[..., Any]] | None = None,
        retry_condition_fn: Callable[..., bool] | None = None,
    ) -> None:
        if not callable(fn):
            raise TypeError(f"@task decorates a function; got {type(fn).__name__}")
        if isinstance(fn, (staticmethod, classmethod)):
            raise TypeError(f"write @{type(fn).__name__} above @task, not below it")
        given = dict(locals())
        self.options = {option: given[option] for option in _OPTIONS}
        update_wrapper(self, fn)
        self.fn = fn
        self.name = name or str(getattr(fn, "__name__", type(fn).__name__))
        self.description = description or inspect.getdoc(fn)
        self.isasync = inspect.iscoroutinefunction(fn)
        if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
            raise TypeError(f"the task {self.name!r} is a generator, which Millrace cannot run yet: return a list")
        self.signature = Signature(fn, f"task {self.name!r}")
        for reserved in RESERVED:
            if reserved in self.signature.parameters:
                raise ValueError(f"the task {self.name!r} has a parameter {reserved!r}, which the call itself uses")
        self.tags = frozenset([tags] if isinstance(tags, str) else tags or ())
        self.version = version
        self.task_run_name = task_run_name
        self.timeout_seconds = float(timeout_seconds) if timeout_seconds else None
        self.log_prints = log_prints
        self._set_retries(retries, retry_delay_seconds, retry_jitter_factor)
        self.retry_condition_fn = retry_condition_fn
        self.task_key = f"{getattr(fn, '__qualname__', self.name)}-{_code_hash(fn)}"

    def _set_retries(self, retries: int | None, delay: Delay, jitter: float | None) -> None:
        current = settings.current()
        self.retries = current.task_default_retries if retries is None else retries
        if self.retries < 0:
            raise ValueError(f"retries must not be negative; got {retries}")
        if jitter is not None and jitter < 0:
            raise ValueError(f"retry_jitter_factor must not be negative; got {jitter}")
        self.retry_jitter_factor = jitter
        chosen: Any = current.task_default_retry_delay_seconds if delay is None else delay
        if callable(chosen):
            chosen = list(chosen(self.retries))
        if isinstance(chosen, list) and len(chosen) > 50:
            raise ValueError("at most 50 retry delays can be given")
        self.retry_delay_seconds: float | list[float] = (
            [float(one) for one in chosen] if isinstance(chosen, list) else float(seconds(chosen) or 0)
        )
        self.policy: dict[str, Any] = {}
        if self.retries:
            self.policy = {"retries": self.retries, "retry_delay": self.retry_delay_seconds}

    def __repr__(self) -> str:
        return f"<Task {self.name!r}: {getattr(self.fn, '__name__', '?')}({', '.join(self.signature.parameters)})>"

    def __get__(self, instance: Any, owner: Any = None) -> Self:
        """The task bound to an instance, when it is defined in a class."""
        if instance is None:
            return self
        bound = cast(Any, self.fn).__get__(instance, owner)
        return type(self)(bound, **{**self.options, "name": self.name})

    def with_options(self, **options: Any) -> Task[P, R]:
        """The same task with other options: any of the constructor's, by name.

        Args:
            options: what to change.
        """
        unknown = set(options) - set(_OPTIONS)
        if unknown:
            raise TypeError(f"a task has no option {', '.join(sorted(unknown))}; it has {', '.join(_OPTIONS)}")
        return Task(self.fn, **{**self.options, "name": self.name, **options})

    # -- what the engine asks

    def plan(self, submitted: bool) -> TaskPlan:
        """Its retries, for the engine."""
        return TaskPlan(self.retries, self._delay, self._worth_a_retry, submitted)

    def _delay(self, attempt: int) -> float:
        chosen = self.retry_delay_seconds
        found = (chosen[min(attempt, len(chosen)) - 1] if chosen else 0.0) if isinstance(chosen, list) else chosen
        return found * (1 + random.random() * (self.retry_jitter_factor or 0.0))

    def _worth_a_retry(self, error: BaseException) -> bool:
        if self.retry_condition_fn is None:
            return True
        return bool(self.retry_condition_fn(self, TaskRunContext.get(), states.Failed(data=error)))

    def run_name(self, number: int, parameters: dict[str, Any]) -> str:
        """The name of one run, for the engine."""
        if callable(self.task_run_name):
            wants = inspect.signature(self.task_run_name).parameters
            return str(self.task_run_name(parameters=parameters) if "parameters" in wants else self.task_run_name())
        if self.task_run_name is not None:
            return filled(self.task_run_name, parameters)
        return f"{self.name}-{number}"

    def logs_prints(self, inherited: bool) -> bool:
        """Whether `print` is logged, for the engine."""
        return inherited if self.log_prints is None else self.log_prints

    # -- what people call

    def __call__(
        self, *args: Any, return_state: bool = False, wait_for: Iterable[Any] | None = None, **kwargs: Any
    ) -> Any:
        """Runs the task now and gives its value; an `async def` task is awaited.

        Args:
            args: as the function takes them; futures stand for their results.
            return_state: give the final state instead of the value, and do not raise.
            wait_for: futures to wait for first.
            kwargs: as the function takes them.

        Raises:
            ParameterError: the arguments do not fit the function.
        """
        call = TaskCall(self, self.signature.bind(args, kwargs), wait_for)
        return arun_task(call, return_state=return_state) if self.isasync else run_task(call, return_state=return_state)

    def submit(
        self, *args: Any, return_state: bool = False, wait_for: Iterable[Any] | None = None, **kwargs: Any
    ) -> Any:
        """Hands the task to the flow's task runner and gives a future at once.

        Args:
            args: as the function takes them; futures stand for their results, also in lists, tuples, sets and dicts.
            return_state: wait, and give the final state.
            wait_for: futures to wait for first.
            kwargs: as the function takes them.

        Example:
            >>> total = add.submit(first.submit(), 1).result()
        """
        future: TaskFuture[R] = submit_task(TaskCall(self, self.signature.bind(args, kwargs), wait_for))
        if return_state:
            future.wait()
            return future.state
        return future

    def map(self, *args: Any, return_state: bool = False, wait_for: Iterable[Any] | None = None, **kwargs: Any) -> Any:
        """Submits the task once for each element of the iterables among the arguments.

        Texts, bytes, dicts and whatever stands in `unmapped(...)` go to each call as they are.

        Args:
            args: iterables of one length, and single values.
            return_state: wait, and give the final states.
            wait_for: futures each call waits for first.
            kwargs: the same, by name.

        Raises:
            ParameterError: nothing to map over, or different lengths.
        """
        given = self.signature.bind(args, kwargs)
        many: dict[str, list[Any]] = {}
        one: dict[str, Any] = {}
        for name, value in given.items():
            value = resolve(value, result_of_upstream) if isinstance(value, TaskFuture) else value
            if isinstance(value, unmapped):
                one[name] = value.value
            elif isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
                one[name] = value
            else:
                many[name] = list(value)
        lengths = {name: len(values) for name, values in many.items()}
        if not many:
            raise ParameterError(f"{self.signature.name}: map() got no list to map over; call submit() for one run")
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{name} has {length}" for name, length in lengths.items())
            raise ParameterError(f"{self.signature.name}: map() needs lists of one length; {told}")
        futures: FutureList[R] = FutureList(
            submit_task(TaskCall(self, {**one, **{name: many[name][row] for name in many}}, wait_for))
            for row in range(next(iter(lengths.values())))
        )
        if return_state:
            futures.wait()
            return [future.state for future in futures]
        return futures


def _code_hash(fn: Callable[..., Any]) -> str:
    code = getattr(fn, "__code__", None)
    return hashlib.sha256(code.co_code).hexdigest()[:8] if code is not None else "unknown"


@overload
def task(fn: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(**options: Any) -> Callable[[Callable[P, R]], Task[P, R]]: ...


def task(fn: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Makes a function a task. With or without arguments; they are those of `Task`.

    Example:
        >>> @task(retries=2, retry_delay_seconds=[1, 10])
        ... def fetch(url: str) -> bytes: ...
    """
    if fn is not None:
        return Task(fn, **options)
    unknown = set(options) - set(_OPTIONS)
    if unknown:
        raise TypeError(f"@task has no option {', '.join(sorted(unknown))}; it has {', '.join(_OPTIONS)}")
    return lambda function: Task(function, **options)
