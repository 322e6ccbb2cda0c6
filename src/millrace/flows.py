"""Flows: functions whose calls become runs that are recorded, retried, scheduled and watched."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property
from types import MethodType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Self, TypeVar, Unpack, cast, overload

from millrace import plugins, settings
from millrace.engine import arun_flow, run_claimed, run_flow
from millrace.engine.async_generators import AsyncFlowGenerator
from millrace.engine.declared import (
    FlowOptions,
    NotSet,
    awaited,
    check_characters,
    check_values,
    forward,
    function_name,
    generates,
    made_runner,
    module_or_file,
    source_hash,
    unwrapped,
    wrap,
)
from millrace.engine.deployable import Deployable
from millrace.engine.futures import TaskFuture
from millrace.engine.generators import FlowGenerator
from millrace.engine.hooks import HOOKS, FlowHooked, Hook
from millrace.engine.parameters import RESERVED, Signature, doc_of
from millrace.engine.results import keeps
from millrace.engine.run_names import run_name
from millrace.engine.runners import TaskRunner
from millrace.engine.sent_values import jsonable
from millrace.engine.task_options import check_options, check_truth
from millrace.engine.tracing import Visualized, current
from millrace.engine.whereabouts import reduced, twin
from millrace.errors import InvalidInput
from millrace.schema.runs import FlowRun, FlowRunPolicy, Lease
from millrace.schema.states import State

if TYPE_CHECKING:
    from millrace.client.synchronous import Client

P = ParamSpec("P")
R = TypeVar("R")
_KEPT = (
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
)


class Flow(Deployable, FlowHooked, Visualized, Generic[P, R]):
    """A flow; most people use the decorator `@flow`.

    Calling a `def` flow runs it and gives its value; an `async def` flow is awaited. A flow whose function is a
    generator gives a generator: items come as the run makes them, see `millrace.engine.generators`. In a class, write
    `@flow` above or below `@classmethod` and `@staticmethod`; the instance or class is no parameter of the run.
    `flow.fn` is the function itself: calling that makes no run.

    Args:
        fn: the function.
        name: its name; by default the function's, with dashes. None of / % & > <.
        version: by default a hash of the source.
        flow_run_name: the name of a run: a text in which `{parameter}` and `{parameter:format}` are replaced, or a
            function that gives one. It may take `parameters`, and may ask `millrace.runtime` about the run.
        retries: how often a run that raised is run again.
        retry_delay_seconds: the seconds before that.
        task_runner: where submitted tasks run; by default in threads.
        description: by default the docstring.
        timeout_seconds: a run that takes longer fails as TimedOut. `async def` code is stopped at its next `await`;
            `def` code on the main thread at once, also in `time.sleep` or on a socket; `def` code on another thread
            when it next executes a line of Python. A call into C that does not come back is stopped by nothing but the
            end of its process. See the table in `millrace.engine.interrupts`. 0 is no limit.
        validate_parameters: check and coerce arguments by the annotations.
        persist_result: keep the result for other processes; by default on workers, where it can be stored. If it is
            asked for and cannot be done, the run fails.
        result_storage: where: a directory or an fsspec URL such as `s3://bucket/prefix`; also for the tasks and flows
            within. By default as the calling run does, else MILLRACE_RESULTS_STORAGE.
        result_serializer: how: json, pickle, compressed/json, compressed/pickle or a `Serializer`; likewise. Giving
            either sets `persist_result`.
        cache_result_in_memory: False: the value is not held after the run but read back from its storage.
        log_prints: log what the function prints; by default as the flow it is called in.
        on_completion, on_failure, on_cancellation, on_crashed, on_running: lists of functions called with flow, flow
            run and state when a run gets there; `async def` ones are awaited. What they raise is logged.

    Raises:
        TypeError: an option of the wrong type; the message says what to write.
        ValueError: a character a name cannot have, a negative number, a parameter called like an argument of the call.

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
        on_completion: Iterable[Hook] | None = None,
        on_failure: Iterable[Hook] | None = None,
        on_cancellation: Iterable[Hook] | None = None,
        on_crashed: Iterable[Hook] | None = None,
        on_running: Iterable[Hook] | None = None,
    ) -> None:
        check_values(locals())
        self._set_hooks(locals())
        self.fn, self._decorated = unwrapped(fn)
        self.name = name or function_name(self.fn)
        check_characters(self.name)
        self._version = version
        self.flow_run_name = flow_run_name
        self.task_runner = made_runner(task_runner)
        self.description = description or doc_of(self.fn)
        self.timeout_seconds = float(timeout_seconds) if timeout_seconds else None
        self.should_validate_parameters = validate_parameters is not False
        self.cache_result_in_memory = cache_result_in_memory is not False
        self.persist_result = keeps(persist_result, result_storage, result_serializer, self.cache_result_in_memory)
        self.result_storage = result_storage
        self.result_serializer = result_serializer
        self.log_prints = log_prints
        self._set_retries(retries, retry_delay_seconds)
        self._inspect()
        wrap(self, self.fn)

    def _set_retries(self, retries: int | None, delay: float | None) -> None:
        current = settings.current()
        self.retries = current.flow_default_retries if retries is None else retries
        self.retry_delay_seconds = current.flow_default_retry_delay_seconds if delay is None else delay

    def _inspect(self) -> None:
        """What the function says of itself, checked now so that a mistake shows where the flow is defined."""
        self.isasync = awaited(self.fn)
        self.isgenerator = generates(self.fn)
        self.signature = Signature(self.fn, f"flow {self.name!r}", self.isclassmethod)
        for reserved in RESERVED:
            if reserved in self.signature.parameters:
                raise ValueError(f"the flow {self.name!r} has a parameter {reserved!r}, which the call itself uses")
        if self.should_validate_parameters and not forward(self.fn):
            self.signature.model  # noqa: B018 - an annotation that cannot be checked is an error here
        self.signature.secret_defaults  # noqa: B018 - a secret written into the code is an error here
        self._entrypoint = f"{module_or_file(self.fn)}:{getattr(self.fn, '__name__', self.name)}"
        self._storage: Any = None

    def __reduce_ex__(self, protocol: Any) -> Any:
        return reduced(self, protocol)

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
        """Whether it is bound to an instance or a class."""
        return inspect.ismethod(self.fn)

    @property
    def isclassmethod(self) -> bool:
        """Whether it was written above `@classmethod`."""
        return self._decorated == "classmethod"

    @property
    def isstaticmethod(self) -> bool:
        """Whether it was written above `@staticmethod`."""
        return self._decorated == "staticmethod"

    def __get__(self, instance: Any, owner: Any = None) -> Self:
        """The flow bound to an instance, or as a classmethod to the class, when it is defined in a class."""
        to = owner if self.isclassmethod else instance
        if to is None or self.isstaticmethod or self.ismethod:
            return self
        bound = twin(self)
        # The instance is in this copy and in nothing that two of them share.
        bound.fn = cast(Any, bound).__wrapped__ = cast(Any, MethodType(self.fn, to))
        bound.signature = self._bound_signature
        vars(bound).pop("parameters", None)
        return bound

    @cached_property
    def _bound_signature(self) -> Signature:
        return Signature(self.fn, self.signature.name, bound=True)

    def with_options(self, **options: Unpack[FlowOptions]) -> Flow[P, R]:
        """The same flow with other options: any of the constructor's, by name. What is not given stays.

        Args:
            options: what to change, None included: it means what it means to the constructor.

        Example:
            >>> hello.with_options(retries=3)("mill")  # doctest: +SKIP
            'hello mill'
        """
        check_options(options, FlowOptions.__annotations__, "a flow")
        kept: dict[str, Any] = {
            "name": self.name,
            "version": self._version,
            "validate_parameters": self.should_validate_parameters,
            **{option: getattr(self, option) for option in _KEPT},
            **{hook: getattr(self, f"{hook}_hooks") for hook in HOOKS.values()},
        }
        made: Flow[P, R] = type(self)(self.fn, **{**kept, **options})
        made._decorated, made.signature = self._decorated, replace(self.signature, name=made.signature.name)
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
        return run_name(self.flow_run_name, f"flow_run_name of the flow {self.name!r}", parameters)

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

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def __call__(
        self, /, *args: Any, return_state: bool = ..., wait_for: Iterable[Any] | None = ..., **kw: Any
    ) -> Any: ...
    def __call__(  # type: ignore[misc] # the function's own parameters cannot have these two names
        self, /, *args: Any, return_state: bool = False, wait_for: Iterable[Any] | None = None, **kwargs: Any
    ) -> Any:
        """Runs the flow and gives its value; an `async def` flow is awaited, the items of a generator are taken.

        Args:
            args: as the function takes them.
            return_state: give the final state instead of the value, and do not raise.
            wait_for: futures to wait for first, when called inside another flow.
            kwargs: as the function takes them.

        Raises:
            ParameterError: the arguments do not fit; no run is made. With `return_state`, values of the wrong type give
                the state of a Failed run instead.
            UpstreamFailed: what it needs did not complete; no run is made. With `return_state` the state is NotReady.
            InvalidInput: `return_state` of a generator.
            ServerUnavailable: no server answers and none could be started.
        """
        __tracebackhide__ = True
        check_truth(return_state, "return_state")
        parameters = self.signature.bind(args, kwargs, typed=self.should_validate_parameters)
        if (trace := current()) is not None:
            return (trace.acall if self.isasync else trace.call)(self, "flow", parameters, wait_for)
        if self.isgenerator:
            if return_state:
                raise InvalidInput(f"the flow {self.name!r} gives items; there is no return_state of a generator")
            return (AsyncFlowGenerator if self.isasync else FlowGenerator)(self, parameters, wait_for)
        run = arun_flow if self.isasync else run_flow
        return run(self, parameters, return_state=return_state, wait_for=wait_for)


@overload
def flow(fn: Callable[P, R], /) -> Flow[P, R]: ...
@overload
def flow(fn: None = None, /, **options: Unpack[FlowOptions]) -> Callable[[Callable[P, R]], Flow[P, R]]: ...


def flow(fn: Any = None, /, **options: Any) -> Any:
    """Makes a function a flow. With or without arguments; they are those of `Flow`.

    Example:
        >>> @flow(retries=2, log_prints=True)
        ... def etl(day: str): ...
    """
    check_options(options, FlowOptions.__annotations__, "@flow")
    return Flow(fn, **options) if fn is not None else lambda function: Flow(function, **options)


# Signatures to look up: both take what `Flow` takes, by name.
_KEYWORDS = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in inspect.signature(Flow).parameters.values()]
_FN = inspect.Parameter("fn", inspect.Parameter.POSITIONAL_ONLY, default=None)
_SELF = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
cast(Any, flow).__signature__ = inspect.Signature([_FN, *_KEYWORDS[1:]])
cast(Any, Flow.with_options).__signature__ = inspect.Signature(
    [_SELF, *(one.replace(default=NotSet) for one in _KEYWORDS[1:])]
)
cast(Any, flow).from_source = Flow.from_source


def __getattr__(name: str) -> Any:  # loading makes flows, so it stands above this module
    if name.startswith(("load_", "aload_", "safe_load_", "is_entrypoint_", "select_flow")):
        return getattr(plugins.load("millrace.loading"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
