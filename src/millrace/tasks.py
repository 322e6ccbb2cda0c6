"""Tasks: the steps of a flow, each with a run of its own that is retried, timed, cached and shown by itself."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any, Generic, NoReturn, ParamSpec, Self, TypeVar, Unpack, cast, overload

from millrace import settings
from millrace.engine.alarms import time_limit_message
from millrace.engine.caching import NO_CACHE, CachePolicy, source_of
from millrace.engine.caching import task_input_hash as task_input_hash
from millrace.engine.declared import NotSet, awaited, generates, wrap
from millrace.engine.futures import FutureList, TaskFuture
from millrace.engine.hooks import HOOKS, Hook, Hooked
from millrace.engine.mapping import calls_of
from millrace.engine.parameters import RESERVED, Signature
from millrace.engine.protocol import TaskPlan
from millrace.engine.run_names import filled
from millrace.engine.storage_keys import check_key
from millrace.engine.submission import arun_task, run_task, submit_task
from millrace.engine.task_calls import TaskCall
from millrace.engine.task_generators import task_items
from millrace.engine.task_options import (
    Delay,
    TaskOptions,
    cache_policy_of,
    check_callable,
    check_options,
    check_text,
    check_truth,
    code_hash,
    expiration_of,
    number,
    persists,
    retry_delays,
    task_tags,
    unwrapped,
)
from millrace.engine.task_options import exponential_backoff as exponential_backoff
from millrace.engine.whereabouts import reduced, twin
from millrace.errors import InvalidInput, NotSupported

P = ParamSpec("P")
R = TypeVar("R")


class Task(Hooked, Generic[P, R]):
    """A task; most people use the decorator `@task`.

    Args:
        fn: the function.
        name: its name; by default the function's.
        description: by default the docstring.
        tags: tags of each of its runs; a tag with a concurrency limit takes a slot while the task runs.
        version: any text.
        cache_policy: when an earlier result is used again: `INPUTS`, `TASK_SOURCE`, `FLOW_PARAMETERS`, `RUN_ID`, sums
            of them, or `NO_CACHE`. By default `DEFAULT`, which counts where results are kept.
        cache_key_fn: the same by a function of the task run's context and the arguments that gives a key or None.
        cache_expiration: how long a result is used again.
        task_run_name: the name of a run: a text in which `{parameter}` is replaced, or a function, which may
            take `parameters`.
        retries: how often a run that raised is tried again.
        retry_delay_seconds: the seconds before each try: one number, a list with one for each (the last one counts for
            the rest), or a function that gets the number of retries and gives such a list.
        retry_jitter_factor: each delay becomes longer by up to this share of it, at random.
        persist_result: keep the result for other runs and processes. By default so if the task says anything about
            caching or storage, else as the flow does.
        result_storage: where: a directory or an fsspec URL; by default where the flow's are.
        result_serializer: how: json, pickle, compressed/json, compressed/pickle; by default as the flow's.
        result_storage_key: the name under which the result is kept, with `{parameters[x]}`, `{flow_run.name}` and
            `{task_run.name}` replaced. A result that is there already is used again.
        cache_result_in_memory: False: a kept result is read from its storage whenever it is asked for.
        timeout_seconds: a try that takes longer fails as TimedOut. See `millrace.engine.interrupts` for what can be
            interrupted.
        log_prints: log what the function prints. By default as the flow does.
        refresh_cache: compute anew and replace what is kept. By default as the setting `task_refresh_cache` says.
        on_completion, on_failure, on_running: functions called with task, task run and state when a run gets there.
            What they raise is logged and changes nothing.
        retry_condition_fn: called with task, task run and the failed state; no retry unless it answers true.
        viz_return_value: what the task gives while its flow is drawn by `visualize()`.

    Example:
        >>> @task(retries=2, retry_delay_seconds=[1, 10])
        ... def fetch(url: str) -> bytes: ...
    """

    def __init__(
        self,
        fn: Callable[P, R],
        name: str | None = None,
        description: str | None = None,
        tags: Iterable[str] | None = None,
        version: str | None = None,
        cache_policy: CachePolicy | None = NotSet,
        cache_key_fn: Callable[..., str | None] | None = None,
        cache_expiration: timedelta | float | None = None,
        task_run_name: str | Callable[..., str] | None = None,
        retries: int | None = None,
        retry_delay_seconds: Delay = None,
        retry_jitter_factor: float | None = None,
        persist_result: bool | None = None,
        result_storage: str | Path | Any = None,
        result_serializer: Any = None,
        result_storage_key: str | None = None,
        cache_result_in_memory: bool = True,
        timeout_seconds: float | None = None,
        log_prints: bool | None = None,
        refresh_cache: bool | None = None,
        on_completion: Iterable[Hook] | None = None,
        on_failure: Iterable[Hook] | None = None,
        on_running: Iterable[Hook] | None = None,
        retry_condition_fn: Callable[..., Any] | None = None,
        viz_return_value: Any = None,
    ) -> None:
        given = dict(locals())
        self.options = {option: given[option] for option in _OPTIONS}
        for option in ("name", "description", "version", "result_storage_key"):
            check_text(given[option], option)
        for option in ("log_prints", "refresh_cache", "cache_result_in_memory"):
            check_truth(given[option], option)
        check_callable(task_run_name, "task_run_name", text=True)
        check_callable(retry_condition_fn, "retry_condition_fn")
        self._set_hooks(given)
        fn, self._kind = cast("tuple[Callable[P, R], str]", unwrapped(fn))
        self.fn = fn
        self.name = name or str(getattr(fn, "__name__", type(fn).__name__))
        self.description = description or inspect.getdoc(fn)
        self.tags = task_tags(tags)
        self.version = version
        self.task_run_name = task_run_name
        limit = number(timeout_seconds, "timeout_seconds")
        self.timeout_seconds = float(limit) if limit else None
        self.log_prints = log_prints
        self.viz_return_value = viz_return_value
        self.retry_condition_fn = retry_condition_fn
        self.source_code: str | None = None
        self._set_retries()
        self._set_results()
        self._inspect()
        wrap(self, fn)

    def _set_retries(self) -> None:
        given = self.options
        retries = number(given["retries"], "retries", whole=True)
        self.retries: int = settings.current().task_default_retries if retries is None else retries
        self.retry_delay_seconds = retry_delays(given["retry_delay_seconds"], self.retries)
        self.retry_jitter_factor: float | None = number(given["retry_jitter_factor"], "retry_jitter_factor")
        self.policy: dict[str, Any] = {}
        if self.retries:
            self.policy = {"retries": self.retries, "retry_delay": self.retry_delay_seconds}
            if self.retry_jitter_factor is not None:
                self.policy["retry_jitter_factor"] = self.retry_jitter_factor

    def _set_results(self) -> None:
        given = self.options
        self.cache_policy = cache_policy_of(given, NotSet)
        self.cache_key_fn = given["cache_key_fn"]
        self.cache_expiration = expiration_of(given["cache_expiration"])
        self.refresh_cache: bool | None = given["refresh_cache"]
        self.persist_result = persists(given, self.cache_policy, NotSet)
        places = (given["result_storage"], given["result_serializer"], given["result_storage_key"])
        self.persists_for_itself = given["persist_result"] is True or any(place is not None for place in places)
        self.result_storage, self.result_serializer, self.result_storage_key = places
        self.cache_result_in_memory: bool = given["cache_result_in_memory"] is not False

    def _inspect(self) -> None:
        fn = self.fn
        self.isasync, self.isgenerator = awaited(fn), generates(fn)
        self.signature = Signature(fn, f"task {self.name!r}")
        for reserved in RESERVED:
            if reserved in self.signature.parameters:
                raise ValueError(f"the task {self.name!r} has a parameter {reserved!r}, which the call itself uses")
        self.signature.secret_defaults  # noqa: B018 - a secret written into the code is an error here
        if self.result_storage_key is not None:
            check_key(self.result_storage_key, self.signature.parameters, self.name)
        self.task_key = f"{getattr(fn, '__qualname__', self.name).split('.')[-1]}-{code_hash(fn)}"

    def __reduce_ex__(self, protocol: Any) -> Any:
        return reduced(self, protocol)

    def __repr__(self) -> str:
        return f"<Task {self.name!r}: {getattr(self.fn, '__name__', '?')}({', '.join(self.signature.parameters)})>"

    def __getstate__(self) -> dict[str, Any]:
        source_of(self)  # goes along, because the other process may not see the file
        return self.__dict__

    def __get__(self, instance: Any, owner: Any = None) -> Self:
        """The task bound to an instance or class, when it is defined in a class."""
        to = owner if self._kind == "classmethod" else instance
        if to is None or self._kind == "staticmethod":
            return self
        bound = twin(self)
        bound.fn = cast(Any, self.fn).__get__(to, owner)
        bound.signature = Signature(bound.fn, self.signature.name)
        return bound

    @property
    def ismethod(self) -> bool:
        """Whether it is bound to an instance or class."""
        return inspect.ismethod(self.fn)

    @property
    def isclassmethod(self) -> bool:
        """Whether it decorates a `@classmethod`."""
        return self._kind == "classmethod"

    @property
    def isstaticmethod(self) -> bool:
        """Whether it decorates a `@staticmethod`."""
        return self._kind == "staticmethod"

    def with_options(self, **options: Unpack[TaskOptions]) -> Task[P, R]:
        """The same task with other options: any of the constructor's, by name. What is not given stays.

        Args:
            options: what to change, None included: it means what it means to the constructor.

        Example:
            >>> fetch.with_options(retries=5, tags=["slow"])(url)  # doctest: +SKIP
        """
        check_options(options, _OPTIONS, "a task")
        kept: dict[str, Any] = {**self.options, "name": self.name}
        kept.update({HOOKS[kind]: list(self.hooks(kind)) for kind in self.kinds})
        if options.get("cache_key_fn") is not None:
            kept["cache_policy"] = NotSet
        if options.get("cache_policy", NotSet) is not NotSet:
            kept["cache_key_fn"] = None
        made: Task[P, R] = type(self)(self.fn, **{**kept, **options})
        made._kind = self._kind
        return made

    # -- what the engine asks

    def plan(self, submitted: bool, persists: bool) -> TaskPlan:
        """What the conversation of a run has to know, for the engine."""
        cached = persists and (self.cache_policy != NO_CACHE or self.result_storage_key is not None)
        return TaskPlan(
            self.retries,
            self._delay,
            self.retry_condition_fn is not None,
            submitted,
            cached and not settings.current().task_disable_caching,
            persists,
            self.hooked,
            time_limit_message(f"task {self.name!r}", self.timeout_seconds),
        )

    def _delay(self, attempt: int) -> float:
        chosen = self.retry_delay_seconds
        found = (chosen[min(attempt, len(chosen)) - 1] if chosen else 0.0) if isinstance(chosen, list) else chosen
        return found * (1 + random.random() * (self.retry_jitter_factor or 0.0))

    def run_name(self, parameters: dict[str, Any]) -> str | None:
        """The name of one run, for the engine; None if the task says none."""
        if self.task_run_name is None:
            return None
        if isinstance(self.task_run_name, str):
            return filled(self.task_run_name, parameters)
        wants = inspect.signature(self.task_run_name).parameters
        name = self.task_run_name(parameters=parameters) if "parameters" in wants else self.task_run_name()
        if not isinstance(name, str):
            raise TypeError(f"task_run_name of the task {self.name!r} gave {name!r}; it must give a text")
        return name

    def logs_prints(self, inherited: bool | None) -> bool:
        """Whether `print` is logged, for the engine."""
        if self.log_prints is not None:
            return self.log_prints
        return settings.current().log_prints if inherited is None else inherited

    # -- what people call

    def __call__(
        self, /, *args: Any, return_state: bool = False, wait_for: Iterable[Any] | None = None, **kwargs: Any
    ) -> Any:
        """Runs the task now and gives its value; an `async def` task is awaited, the items of a generator are taken.

        Args:
            args: as the function takes them; futures stand for their results.
            return_state: give the final state instead of the value, and do not raise.
            wait_for: futures to wait for first.
            kwargs: as the function takes them.

        Raises:
            ParameterError: the arguments do not fit the function.
            InvalidInput: `return_state` of a generator.
        """
        __tracebackhide__ = True
        check_truth(return_state, "return_state")
        call = TaskCall(self, self.signature.bind(args, kwargs), wait_for)
        if self.isgenerator:
            if return_state:
                raise InvalidInput(f"the task {self.name!r} gives items; its state is that of {self.name}.submit(...)")
            return task_items(call)
        return arun_task(call, return_state=return_state) if self.isasync else run_task(call, return_state=return_state)

    def submit(
        self, /, *args: Any, return_state: bool = False, wait_for: Iterable[Any] | None = None, **kwargs: Any
    ) -> Any:
        """Hands the task to the flow's task runner, or to threads of this process, and gives a future at once.

        Args:
            args: as the function takes them; futures stand for their results, also in lists, tuples, sets, dicts,
                dataclasses and pydantic models.
            return_state: wait, and give the final state.
            wait_for: futures to wait for first.
            kwargs: as the function takes them.

        Example:
            >>> total = add.submit(first.submit(), 1).result()  # doctest: +SKIP
        """
        check_truth(return_state, "return_state")
        future: TaskFuture[R] = submit_task(TaskCall(self, self.signature.bind(args, kwargs), wait_for))
        if return_state:
            future.wait()
            return future.state
        return future

    def map(
        self, /, *args: Any, return_state: bool = False, wait_for: Iterable[Any] | None = None, **kwargs: Any
    ) -> Any:
        """Submits the task once for each element of the iterables among the arguments.

        Texts, bytes, dicts and whatever stands in `unmapped(...)` go to each call as they are. A future of a list is
        waited for, and its elements are mapped over.

        Args:
            args: iterables of one length, and single values.
            return_state: wait, and give the final states.
            wait_for: futures each call waits for first.
            kwargs: the same, by name.

        Raises:
            ParameterError: nothing to map over, or different lengths.
        """
        check_truth(return_state, "return_state")
        given = self.signature.bind(args, kwargs)
        futures: FutureList[R] = FutureList(map(submit_task, calls_of(self, given, wait_for)))
        if return_state:
            futures.wait()
            return [future.state for future in futures]
        return futures

    def delay(self, *args: Any, **kwargs: Any) -> NoReturn:
        """What Prefect does with workers of tasks is not done here.

        Raises:
            NotSupported: always; says what to do instead.
        """
        raise NotSupported(
            f"the task {self.name!r} cannot be handed to a worker of tasks. Call {self.name}.submit(): it runs in a "
            "thread of this process, in a flow or out of it. To run it elsewhere, call it in a flow and deploy the flow"
        )

    apply_async = serve = delay


_OPTIONS = tuple(name for name in inspect.signature(Task.__init__).parameters if name not in ("self", "fn"))


@overload
def task(fn: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(fn: None = None, /, **options: Unpack[TaskOptions]) -> Callable[[Callable[P, R]], Task[P, R]]: ...


def task(fn: Any = None, /, **options: Any) -> Any:
    """Makes a function a task. With or without arguments; they are those of `Task`.

    Example:
        >>> @task(retries=2, retry_delay_seconds=[1, 10])
        ... def fetch(url: str) -> bytes: ...
    """
    check_options(options, _OPTIONS, "@task")
    return Task(fn, **options) if fn is not None else lambda function: Task(function, **options)


# Signatures to look up: both take what `Task` takes, by name.
_KEYWORDS = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in inspect.signature(Task).parameters.values()]
_FN = inspect.Parameter("fn", inspect.Parameter.POSITIONAL_ONLY, default=None)
_SELF = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
cast(Any, task).__signature__ = inspect.Signature([_FN, *_KEYWORDS[1:]])
cast(Any, Task.with_options).__signature__ = inspect.Signature(
    [_SELF, *(one.replace(default=NotSet) for one in _KEYWORDS[1:])]
)
