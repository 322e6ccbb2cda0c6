"""Flows: functions whose calls become runs that are recorded, retried, scheduled and watched."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from functools import cached_property, update_wrapper
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Self, TypeVar, cast, overload

from millrace import entrypoints, plugins, settings
from millrace.engine import arun_flow, run_claimed, run_flow
from millrace.engine.declared import (
    check_characters,
    check_name,
    checked_hooks,
    forward,
    function_name,
    made_runner,
    source_hash,
)
from millrace.engine.deployable import Deployable
from millrace.engine.futures import TaskFuture
from millrace.engine.parameters import RESERVED, Signature, filled, jsonable
from millrace.engine.results import keeps
from millrace.engine.runners import TaskRunner
from millrace.schema.runs import FlowRun, FlowRunPolicy, Lease
from millrace.schema.states import State

if TYPE_CHECKING:
    from millrace.client.synchronous import Client

P = ParamSpec("P")
R = TypeVar("R")
Hook = Callable[..., Any]
_HOOKS = ("on_completion", "on_failure", "on_cancellation", "on_crashed", "on_running")


class Flow(Deployable, Generic[P, R]):
    """A flow; most people use the decorator `@flow`.

    Calling a `def` flow runs it and gives its value; an `async def` flow is awaited.

    Args:
        fn: the function.
        name: its name; by default the function's, with dashes. None of / % & > <.
        version: by default a hash of the source.
        flow_run_name: the name of a run: a text in which `{parameter}` is replaced, or a function that gives one.
        retries: how often a run that raised is run again.
        retry_delay_seconds: the seconds before that.
        task_runner: where submitted tasks run; by default in threads.
        description: by default the docstring.
        timeout_seconds: a run that takes longer fails as TimedOut. See `millrace.engine.interrupts` for what can be
            interrupted.
        validate_parameters: check and coerce arguments by the annotations.
        persist_result: keep the result for other processes; by default on workers, where it can be stored. If it is
            asked for and cannot be done, the run fails.
        result_storage: where: a directory or an fsspec URL such as `s3://bucket/prefix`; also for the tasks and flows
            within. By default as the calling run does, else MILLRACE_RESULTS_STORAGE.
        result_serializer: how: json, pickle, compressed/json, compressed/pickle or a `Serializer`; likewise. Giving
            either sets `persist_result`.
        cache_result_in_memory: False: the value is not held after the run but read back from its storage.
        log_prints: log what the function prints.
        on_completion, on_failure, on_cancellation, on_crashed, on_running: functions called with flow, flow run and
            state when a run gets there. What they raise is logged and changes nothing.

    Example:
        >>> @flow
        ... def hello(name: str = "world"):
        ...     return f"hello {name}"
        >>> hello("mill")  # doctest: +SKIP
        'hello mill'
    """

    def __init__(
        self,
        fn: Callable[P, R],
        name: str | None = None,
        version: str | None = None,
        flow_run_name: Callable[..., str] | str | None = None,
        retries: int | None = None,
        retry_delay_seconds: float | None = None,
        task_runner: type[TaskRunner] | TaskRunner | None = None,
        description: str | None = None,
        timeout_seconds: float | None = None,
        validate_parameters: bool = True,
        persist_result: bool | None = None,
        result_storage: Any = None,
        result_serializer: Any = None,
        cache_result_in_memory: bool = True,
        log_prints: bool | None = None,
        on_completion: list[Hook] | None = None,
        on_failure: list[Hook] | None = None,
        on_cancellation: list[Hook] | None = None,
        on_crashed: list[Hook] | None = None,
        on_running: list[Hook] | None = None,
    ) -> None:
        check_name(name)
        if not callable(fn):
            raise TypeError(f"@flow decorates a function; got {type(fn).__name__}")
        if flow_run_name is not None and not isinstance(flow_run_name, str) and not callable(flow_run_name):
            raise TypeError(f"flow_run_name must be a text or a function; got {type(flow_run_name).__name__}")
        given = dict(locals())
        for hook in _HOOKS:
            setattr(self, f"{hook}_hooks", checked_hooks(hook, given[hook]))
        self.fn = fn
        self.name = name or function_name(fn)
        check_characters(self.name)
        self._version = version
        self.flow_run_name = flow_run_name
        self.task_runner = made_runner(task_runner)
        self.description = description or inspect.getdoc(fn)
        self.timeout_seconds = float(timeout_seconds) if timeout_seconds else None
        self.should_validate_parameters = validate_parameters
        self.persist_result = keeps(persist_result, result_storage, result_serializer, cache_result_in_memory)
        self.result_storage = result_storage
        self.result_serializer = result_serializer
        self.cache_result_in_memory = cache_result_in_memory
        self.log_prints = log_prints
        self._set_retries(retries, retry_delay_seconds)
        update_wrapper(self, fn)
        self._inspect()

    on_completion_hooks: list[Hook]
    on_failure_hooks: list[Hook]
    on_cancellation_hooks: list[Hook]
    on_crashed_hooks: list[Hook]
    on_running_hooks: list[Hook]

    def _set_retries(self, retries: int | None, delay: float | None) -> None:
        current = settings.current()
        self.retries = current.flow_default_retries if retries is None else retries
        self.retry_delay_seconds = current.flow_default_retry_delay_seconds if delay is None else delay
        if self.retries < 0 or self.retry_delay_seconds < 0:
            raise ValueError(f"retries and retry_delay_seconds must not be negative; got {retries} and {delay}")

    def _inspect(self) -> None:
        """What the function says of itself, checked now so that a mistake shows where the flow is defined."""
        self.isasync = inspect.iscoroutinefunction(self.fn)
        self.isgenerator = inspect.isgeneratorfunction(self.fn) or inspect.isasyncgenfunction(self.fn)
        if self.isgenerator:
            raise TypeError(
                f"the flow {self.name!r} is a generator function, which Millrace cannot run yet: return a list"
            )
        self.signature = Signature(self.fn, f"flow {self.name!r}")
        for reserved in RESERVED:
            if reserved in self.signature.parameters:
                raise ValueError(f"the flow {self.name!r} has a parameter {reserved!r}, which the call itself uses")
        if self.should_validate_parameters and not forward(self.fn):
            self.signature.model  # noqa: B018 - an annotation that cannot be checked is an error here
        module = getattr(self.fn, "__module__", None) or "__main__"
        if module in ("__main__", "__millrace_loader__"):
            module = getattr(getattr(self.fn, "__code__", None), "co_filename", module)
        self._entrypoint = f"{module}:{getattr(self.fn, '__name__', self.name)}"
        self._storage: Any = None

    def __repr__(self) -> str:
        function = getattr(self.fn, "__name__", "?")
        return f"<Flow {self.name!r}: {function}({', '.join(self.signature.parameters)})>"

    @cached_property
    def version(self) -> str | None:
        """The version given, or a hash of the file, or of the cell, that defines the flow."""
        return self._version or source_hash(self.fn)

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """The parameters as a JSON schema."""
        return self.signature.schema

    @property
    def ismethod(self) -> bool:
        """Whether it is bound to an instance."""
        return inspect.ismethod(self.fn)

    def __get__(self, instance: Any, owner: Any = None) -> Self:
        """The flow bound to an instance, when it is defined in a class."""
        if instance is None:
            return self
        return cast(Self, self._copy(cast(Any, self.fn).__get__(instance, owner)))

    def with_options(
        self,
        *,
        name: str | None = None,
        version: str | None = None,
        retries: int | None = None,
        retry_delay_seconds: float | None = None,
        description: str | None = None,
        flow_run_name: Callable[..., str] | str | None = None,
        task_runner: type[TaskRunner] | TaskRunner | None = None,
        timeout_seconds: float | None = None,
        validate_parameters: bool | None = None,
        cache_result_in_memory: bool | None = None,
        on_completion: list[Hook] | None = None,
        on_failure: list[Hook] | None = None,
        on_cancellation: list[Hook] | None = None,
        on_crashed: list[Hook] | None = None,
        on_running: list[Hook] | None = None,
        **explicit: Any,
    ) -> Flow[P, R]:
        """The same flow with other options. What is not given stays.

        Args:
            explicit: `persist_result`, `result_storage`, `result_serializer`, `log_prints`; None is a value of these.

        Example:
            >>> hello.with_options(retries=3)("mill")  # doctest: +SKIP
            'hello mill'
        """
        given = dict(locals())
        allowed = {"persist_result", "result_storage", "result_serializer", "log_prints"}
        if unknown := set(explicit) - allowed:
            raise TypeError(f"a flow has no option {', '.join(sorted(unknown))}")
        changes = {key: value for key, value in given.items() if key not in ("self", "explicit") and value is not None}
        return self._copy(self.fn, **changes, **explicit)

    def _copy(self, fn: Callable[..., Any], **changes: Any) -> Flow[P, R]:
        kept: dict[str, Any] = {
            "name": self.name,
            "version": self._version,
            "validate_parameters": self.should_validate_parameters,
            **{hook: getattr(self, f"{hook}_hooks") for hook in _HOOKS},
        }
        for option in [
            "flow_run_name",
            "retries",
            "retry_delay_seconds",
            "task_runner",
            "description",
            "timeout_seconds",
            "persist_result",
            "result_storage",
            "result_serializer",
            "cache_result_in_memory",
            "log_prints",
        ]:
            kept[option] = getattr(self, option)
        made: Flow[P, R] = type(self)(fn, **{**kept, **changes})
        made._storage, made._entrypoint = self._storage, self._entrypoint
        return made

    # -- parameters

    def validate_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Parameters coerced to the annotated types; those not given are left out.

        Args:
            parameters: by name.

        Raises:
            ParameterError: one line for each that is unknown, missing or of the wrong type.
        """
        return self.signature.validated(parameters)

    def serialize_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Parameters as JSON; what has no form in JSON is shown as `<Type>`.

        Args:
            parameters: by name.
        """
        return {
            name: f"<{type(value).__name__}>" if isinstance(value, (TaskFuture, State)) else jsonable(value)
            for name, value in parameters.items()
        }

    # -- what the engine asks

    @property
    def policy(self) -> FlowRunPolicy:
        """Its retries, for the engine. Where Prefect reads the delay the wire has whole seconds, rounded up."""
        return FlowRunPolicy(
            retries=self.retries,
            retry_delay=math.ceil(self.retry_delay_seconds),
            retry_delay_seconds=self.retry_delay_seconds,
        )

    def run_name(self, parameters: dict[str, Any]) -> str | None:
        """The name of a run, for the engine; None if the flow says none."""
        if self.flow_run_name is None:
            return None
        if isinstance(self.flow_run_name, str):
            return filled(self.flow_run_name, parameters)
        wants = inspect.signature(self.flow_run_name).parameters
        name = self.flow_run_name(parameters=parameters) if "parameters" in wants else self.flow_run_name()
        if not isinstance(name, str):
            raise TypeError(f"flow_run_name of the flow {self.name!r} gave {name!r}; it must give a text")
        return name

    def logs_prints(self, inherited: bool | None) -> bool:
        """Whether `print` is logged, for the engine."""
        if self.log_prints is not None:
            return self.log_prints
        return settings.current().log_prints if inherited is None else inherited

    def run_claimed(self, flow_run: FlowRun, lease: Lease | None, client: Client) -> State:
        """Runs a run that exists; what a worker's child calls. Gives the final state.

        Args:
            flow_run: the run.
            lease: the right to run it.
            client: the connection to the server.
        """
        return run_claimed(self, flow_run, lease, client)

    # -- what people call

    def __call__(
        self, *args: Any, return_state: bool = False, wait_for: Iterable[Any] | None = None, **kwargs: Any
    ) -> Any:
        """Runs the flow and gives its value; an `async def` flow is awaited.

        Args:
            args: as the function takes them.
            return_state: give the final state instead of the value, and do not raise.
            wait_for: futures to wait for first, when called inside another flow.
            kwargs: as the function takes them.

        Raises:
            ParameterError: the arguments do not fit; no run is made.
            ServerUnavailable: no server answers and none could be started.
        """
        parameters = self.signature.bind(args, kwargs)
        run = arun_flow if self.isasync else run_flow
        return run(self, parameters, return_state=return_state, wait_for=wait_for)

    def on_completion(self, fn: Hook) -> Hook:
        """Decorator: calls a function with flow, flow run and state when a run has completed."""
        self.on_completion_hooks.append(fn)
        return fn

    def on_failure(self, fn: Hook) -> Hook:
        """Decorator: the same when a run has failed."""
        self.on_failure_hooks.append(fn)
        return fn

    def on_cancellation(self, fn: Hook) -> Hook:
        """Decorator: the same when a run was cancelled."""
        self.on_cancellation_hooks.append(fn)
        return fn

    def on_crashed(self, fn: Hook) -> Hook:
        """Decorator: the same when a run has crashed."""
        self.on_crashed_hooks.append(fn)
        return fn

    def on_running(self, fn: Hook) -> Hook:
        """Decorator: the same when a run begins, once for each try."""
        self.on_running_hooks.append(fn)
        return fn

    @classmethod
    def from_source(cls, source: Any, entrypoint: str) -> Flow[..., Any]:
        """A flow whose code lies elsewhere: in another directory, a git repository or an object store.

        Args:
            source: the directory, the URL, or a storage such as `GitRepository(…)`; see `millrace.storage`.
            entrypoint: `path/to/file.py:function` below it.

        Raises:
            InvalidInput: there is no such directory, or nothing reads such a URL.
            PullFailed: the code could not be fetched.

        Example:
            >>> etl = flow.from_source("https://example.org/team/flows.git", "etl.py:etl")  # doctest: +SKIP
        """
        storage = plugins.load("millrace.storage.kinds:storage_of")(source)
        directory = plugins.load("millrace.storage.kinds:pulled_for_now")(storage)
        made: Flow[..., Any] = cast(Any, entrypoints.load(entrypoints.parse(entrypoint), directory))
        made._storage, made._entrypoint = storage, entrypoint
        return made


@overload
def flow(fn: Callable[P, R], /) -> Flow[P, R]: ...
@overload
def flow(fn: None = None, /, **options: Any) -> Callable[[Callable[P, R]], Flow[P, R]]: ...


def flow(fn: Any = None, /, **options: Any) -> Any:
    """Makes a function a flow. With or without arguments; they are those of `Flow`.

    Example:
        >>> @flow(retries=2, log_prints=True)
        ... def etl(day: str): ...
    """
    unknown = set(options) - set(inspect.signature(Flow.__init__).parameters)
    if unknown:
        raise TypeError(f"@flow has no option {', '.join(sorted(unknown))}")
    if isinstance(fn, (staticmethod, classmethod)):
        raise TypeError(f"write @{type(fn).__name__} above @flow, not below it")
    return Flow(fn, **options) if fn is not None else lambda function: flow(function, **options)


cast(Any, flow).from_source = Flow.from_source
