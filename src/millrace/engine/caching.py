"""Cache policies: from what a task run is, the key under which its result is found again.

`DEFAULT` is `INPUTS + TASK_SOURCE + RUN_ID`: the same task with the same arguments, within one flow run (its retries
included). Nothing is found again that was not kept: see `persist_result`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

from millrace.engine.context import TaskRunContext
from millrace.engine.hashing import Unhashable, stable_hash
from millrace.errors import InvalidInput

Isolation = Literal["READ_COMMITTED", "SERIALIZABLE"]
KeyFunction = Callable[[TaskRunContext, dict[str, Any]], str | None]


@dataclass(frozen=True)
class CachePolicy:
    """How the key of a result is made. Policies add up with `+`; `- "name"` leaves an argument out.

    Write your own by overriding `compute_key`.

    Args:
        key_storage: where results found by the key are kept; None: where the task's results are.
        isolation_level: "SERIALIZABLE": of the runs with one key on this machine one computes, the others wait for it.

    Example:
        >>> INPUTS + TASK_SOURCE - "verbose"
        Compound(INPUTS - 'verbose' + TASK_SOURCE)
    """

    key_storage: str | Path | None = None
    isolation_level: Isolation | None = None

    def __post_init__(self) -> None:
        if self.isolation_level not in (None, "READ_COMMITTED", "SERIALIZABLE"):
            raise InvalidInput(
                f"isolation_level must be 'READ_COMMITTED' or 'SERIALIZABLE'; got {self.isolation_level!r}"
            )

    @classmethod
    def from_cache_key_fn(cls, cache_key_fn: KeyFunction) -> CacheKeyFnPolicy:
        """The policy that asks a function for the key.

        Args:
            cache_key_fn: called with the task run's context and the arguments by name; None means no key.
        """
        return CacheKeyFnPolicy(cache_key_fn=cache_key_fn)

    def configure(
        self, key_storage: str | Path | None = None, isolation_level: Isolation | None = None, lock_manager: None = None
    ) -> Self:
        """The same policy with another place or isolation; what is not given stays.

        Args:
            key_storage: where results found by the key are kept: a directory or a URL.
            isolation_level: "READ_COMMITTED" or "SERIALIZABLE".
            lock_manager: nothing but None: the locks of "SERIALIZABLE" are files of this machine.
        """
        if lock_manager is not None:
            raise InvalidInput(
                "lock_manager is not supported: isolation_level='SERIALIZABLE' uses files of this machine"
            )
        return replace(
            self,
            key_storage=self.key_storage if key_storage is None else key_storage,
            isolation_level=isolation_level or self.isolation_level,
        )

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        """The key, or None for no caching.

        Args:
            task_ctx: the task run.
            inputs: its arguments by name, futures resolved.
            flow_parameters: the parameters of the flow run; empty outside of one.
            kwargs: for what may come.
        """
        raise NotImplementedError

    def __add__(self, other: CachePolicy) -> CachePolicy:
        if not isinstance(other, CachePolicy):
            return NotImplemented
        if isinstance(other, NoCache):
            return self
        return CompoundCachePolicy(
            policies=(self, other),
            key_storage=_one_of("storage locations", self.key_storage, other.key_storage),
            isolation_level=_one_of("isolation levels", self.isolation_level, other.isolation_level),
        )

    def __sub__(self, other: str) -> CachePolicy:
        _check_name(other)
        return self

    def __repr__(self) -> str:
        return _NAMES.get(type(self), type(self).__name__)


@dataclass(frozen=True, repr=False)
class CacheKeyFnPolicy(CachePolicy):
    """The key a function gives."""

    cache_key_fn: KeyFunction | None = None

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        """What the function says."""
        return self.cache_key_fn(task_ctx, inputs) if self.cache_key_fn is not None else None


@dataclass(frozen=True, repr=False)
class CompoundCachePolicy(CachePolicy):
    """Several policies: the keys of all that have one count."""

    policies: tuple[CachePolicy, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        flat = [
            one
            for each in self.policies
            for one in (each.policies if isinstance(each, CompoundCachePolicy) else [each])
        ]
        left_out = {name for one in flat if isinstance(one, Inputs) for name in one.exclude}
        kept = [one for one in flat if not isinstance(one, Inputs)]
        if len(kept) < len(flat):
            kept.insert(0, Inputs(exclude=tuple(sorted(left_out))))
        object.__setattr__(self, "policies", tuple(kept))

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        """A hash of the keys."""
        keys = [one.compute_key(task_ctx, inputs, flow_parameters, **kwargs) for one in self.policies]
        found = sorted(key for key in keys if key is not None)
        return stable_hash(*found) if found else None

    def __sub__(self, other: str) -> CachePolicy:
        _check_name(other)
        return replace(self, policies=tuple(one - other for one in self.policies))

    def __repr__(self) -> str:
        return f"Compound({' + '.join(map(repr, self.policies))})"


@dataclass(frozen=True, repr=False)
class NoCache(CachePolicy):
    """No key: every call computes."""

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        """None."""
        return None

    def __add__(self, other: CachePolicy) -> CachePolicy:
        return other


@dataclass(frozen=True, repr=False)
class TaskSource(CachePolicy):
    """The code of the task: its text (in a notebook that of its cell) and what Python made of it.

    Functions it calls do not count.
    """

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        """A hash of the code."""
        fn = task_ctx.task.fn
        return stable_hash(source_of(task_ctx.task), getattr(getattr(fn, "__func__", fn), "__code__", None))


@dataclass(frozen=True, repr=False)
class FlowParameters(CachePolicy):
    """The parameters of the flow run."""

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        """A hash of them; None without any."""
        return _hashed(flow_parameters, "flow parameter") if flow_parameters else None


@dataclass(frozen=True, repr=False)
class RunId(CachePolicy):
    """The flow run; outside of a flow the task run, which is to say no caching."""

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        """The id."""
        run = task_ctx.task_run
        return str(run.flow_run_id or run.id)


@dataclass(frozen=True, repr=False)
class Inputs(CachePolicy):
    """The arguments of the task, by what they hold; see `millrace.engine.hashing`.

    Args:
        exclude: arguments that do not count.
    """

    exclude: tuple[str, ...] | list[str] = field(default=())

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        """A hash of the arguments; None if the task takes none.

        Raises:
            Unhashable: naming the argument.
        """
        if not inputs:
            return None
        return _hashed({name: value for name, value in inputs.items() if name not in self.exclude}, "argument")

    def __sub__(self, other: str) -> CachePolicy:
        _check_name(other)
        return replace(self, exclude=(*self.exclude, other))

    def __repr__(self) -> str:
        return " - ".join(["INPUTS", *map(repr, self.exclude)])


def _hashed(values: dict[str, Any], what: str) -> str:
    found: dict[str, str] = {}
    for name, value in values.items():
        try:
            found[name] = stable_hash(value)
        except Unhashable as error:
            raise Unhashable(
                f"the {what} {name!r} cannot be part of a cache key: {error}. Leave it out with "
                f'cache_policy=INPUTS - "{name}", give a cache_key_fn, or say cache_policy=NO_CACHE'
            ) from None
    return stable_hash(found)


def source_of(task: Any) -> str | None:
    """The text of a task's function as it was when it was first asked for; None if there is none.

    Args:
        task: the task; it remembers the text, so that it travels with it to processes that do not see the file.
    """
    if task.source_code is None:
        try:
            task.source_code = inspect.getsource(inspect.unwrap(task.fn))
        except (OSError, TypeError):
            task.source_code = ""
    return task.source_code or None


def _one_of(what: str, first: Any, second: Any) -> Any:
    if first is not None and second is not None and first != second:
        raise InvalidInput(f"policies with different {what} do not add up: {first!r} and {second!r}")
    return second if first is None else first


def _check_name(name: Any) -> None:
    if not isinstance(name, str):
        raise TypeError(f"what is taken from a cache policy is the name of an argument; got {type(name).__name__}")


def task_input_hash(context: TaskRunContext, arguments: dict[str, Any]) -> str | None:
    """A `cache_key_fn`: the task and its arguments; None if they cannot be hashed.

    Args:
        context: the task run's.
        arguments: by name.
    """
    try:
        return stable_hash(context.task.task_key, arguments)
    except Unhashable:
        return None


INPUTS = Inputs()
TASK_SOURCE = TaskSource()
FLOW_PARAMETERS = FlowParameters()
RUN_ID = RunId()
NONE = NO_CACHE = NoCache()
DEFAULT = INPUTS + TASK_SOURCE + RUN_ID

_NAMES = {TaskSource: "TASK_SOURCE", FlowParameters: "FLOW_PARAMETERS", RunId: "RUN_ID", NoCache: "NO_CACHE"}
