"""What a declaration of a task is checked for, so that a mistake shows where the task is defined."""

from __future__ import annotations

import hashlib
import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from types import CodeType
from typing import Any, TypedDict

from millrace import settings
from millrace.engine.caching import DEFAULT, NO_CACHE, CacheKeyFnPolicy, CachePolicy
from millrace.engine.declared import check_finite
from millrace.engine.results import keeps
from millrace.schema.fields import seconds

MOST_DELAYS = 50
Delay = float | int | list[float] | list[int] | Callable[[int], list[float]] | None

_ELSEWHERE = {
    "on_commit": "transactions, which Millrace does not have: do it at the end of the task's function",
    "on_rollback": "transactions, which Millrace does not have: use on_failure",
    "asset_deps": "assets, which Millrace does not have: use tags, or create_link_artifact()",
}
"""Options of Prefect that are no options here, and what to do instead."""


class TaskOptions(TypedDict, total=False):
    """What `@task` takes; `Task` says what each means."""

    name: str | None
    description: str | None
    tags: Iterable[str] | None
    version: str | None
    cache_policy: CachePolicy | None
    cache_key_fn: Callable[..., str | None] | None
    cache_expiration: timedelta | float | None
    task_run_name: str | Callable[..., str] | None
    retries: int | None
    retry_delay_seconds: Delay
    retry_jitter_factor: float | None
    persist_result: bool | None
    result_storage: Any
    result_serializer: Any
    result_storage_key: str | None
    cache_result_in_memory: bool
    timeout_seconds: float | None
    log_prints: bool | None
    refresh_cache: bool | None
    on_completion: Iterable[Callable[..., Any]] | None
    on_failure: Iterable[Callable[..., Any]] | None
    on_running: Iterable[Callable[..., Any]] | None
    retry_condition_fn: Callable[..., Any] | None
    viz_return_value: Any


def check_options(given: Iterable[str], known: Iterable[str], where: str) -> None:
    """Refuses options that a flow or task does not have."""
    names = list(known)
    unknown = sorted(set(given) - set(names))
    for name in unknown:
        if name in _ELSEWHERE:
            raise TypeError(f"{where} has no option {name}: it belongs to {_ELSEWHERE[name]}")
    if unknown:
        raise TypeError(f"{where} has no option {', '.join(unknown)}; it has {', '.join(names)}")


def check_text(value: Any, option: str) -> None:
    if value is not None and not isinstance(value, str):
        hint = " Did you mean to call it?" if callable(value) else ""
        raise TypeError(f"the {option} of a task must be a text; got {type(value).__name__}.{hint}")


def check_truth(value: Any, option: str) -> None:
    if value is not None and not isinstance(value, bool):
        raise TypeError(f"{option} must be True or False; got {value!r}")


def check_callable(value: Any, option: str, text: bool = False) -> None:
    if value is None or callable(value) or (text and isinstance(value, str)):
        return
    raise TypeError(f"{option} must be a {'text or a ' if text else ''}function; got {type(value).__name__}")


def number(value: Any, option: str, *, whole: bool = False) -> Any:
    """A number that is not negative, or None."""
    if value is None:
        return None
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise TypeError(f"{option} must be a {'whole ' if whole else ''}number; got {value!r} ({type(value).__name__})")
    check_finite(value, option)
    return value


def retry_delays(given: Any, retries: int) -> float | list[float]:
    """The delays before the retries: one, or one for each.

    Args:
        given: as the task was declared with.
        retries: how many there are; a function is asked with it.
    """
    if given is None:
        return float(settings.current().task_default_retry_delay_seconds)
    if callable(given):
        given = given(retries)
    if isinstance(given, timedelta):
        given = seconds(given)
    if isinstance(given, (list, tuple)):
        if len(given) > MOST_DELAYS:
            raise ValueError(f"at most {MOST_DELAYS} retry delays can be given; got {len(given)}")
        return [float(number(one, "each of retry_delay_seconds")) for one in given]
    if isinstance(given, bool) or not isinstance(given, (int, float)):
        raise TypeError(
            "retry_delay_seconds must be a number, a list of numbers or a function that gives one; "
            f"got {type(given).__name__}"
        )
    return float(number(given, "retry_delay_seconds"))


def task_tags(given: Any) -> frozenset[str]:
    if isinstance(given, str) or not (given is None or isinstance(given, Iterable)):
        shown = f"the text {given!r}: write tags=[{given!r}]" if isinstance(given, str) else type(given).__name__
        raise TypeError(f"the tags of a task are a list of texts; got {shown}")
    tags = list(given or ())
    for tag in tags:
        if not isinstance(tag, str):
            raise TypeError(f"the tags of a task are texts; got {tag!r} ({type(tag).__name__})")
    return frozenset(tags)


def expiration_of(given: Any) -> timedelta | None:
    if given is None or isinstance(given, timedelta):
        if given is not None and given <= timedelta(0):
            raise ValueError(f"cache_expiration must be longer than nothing; got {given}")
        return given
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        return expiration_of(timedelta(seconds=given))
    raise TypeError(f"cache_expiration must be a timedelta or seconds; got {type(given).__name__}")


def cache_policy_of(options: Mapping[str, Any], unset: Any) -> CachePolicy:
    """The cache policy that follows from the options of a task; `NO_CACHE` for none.

    Args:
        options: all of them.
        unset: what stands for a `cache_policy` that was not given.
    """
    policy, key_fn = options["cache_policy"], options["cache_key_fn"]
    given = policy is not unset and policy is not None
    if given and not isinstance(policy, CachePolicy):
        raise TypeError(f"cache_policy must be a cache policy such as INPUTS; got {type(policy).__name__}")
    check_callable(key_fn, "cache_key_fn")
    if key_fn is not None:
        if given:
            raise ValueError("cache_policy and cache_key_fn both say when a result is used again: give one of them")
        policy, given = CacheKeyFnPolicy(cache_key_fn=key_fn), True
    if options["persist_result"] is False:
        if given and policy != NO_CACHE:
            warnings.warn("the cache policy is ignored, because persist_result=False keeps no result", stacklevel=4)
        return NO_CACHE
    if policy is None:
        return NO_CACHE
    if not given:
        return NO_CACHE if options["result_storage_key"] is not None else DEFAULT
    return policy  # type: ignore[no-any-return]


def persists(options: Mapping[str, Any], policy: CachePolicy, unset: Any) -> bool | None:
    """Whether the results of a task are kept; None: as the flow says."""
    said = options["persist_result"]
    if said is not None and not isinstance(said, bool):
        raise TypeError(f"persist_result must be True, False or None; got {said!r}")
    kept = keeps(said, options["result_storage"], options["result_serializer"], options["cache_result_in_memory"])
    if said is not None:
        return said
    asked = options["cache_policy"] is not unset or options["cache_key_fn"] is not None
    if asked and policy != NO_CACHE:
        return True
    return True if kept is None and options["result_storage_key"] is not None else kept


def unwrapped(fn: Any) -> tuple[Callable[..., Any], str]:
    """The function below a `@classmethod` or `@staticmethod`, and which of them it was."""
    kind = type(fn).__name__ if isinstance(fn, (classmethod, staticmethod)) else ""
    found = fn.__func__ if kind else fn
    if not callable(found):
        raise TypeError(f"@task decorates a function; got {type(found).__name__}")
    return found, kind


def function_of(fn: Callable[..., Any]) -> Any:
    """The plain function in a callable: of a method, or the `__call__` of an object."""
    found: Any = inspect.unwrap(fn)
    found = getattr(found, "__func__", found)
    return found if hasattr(found, "__code__") else getattr(type(found), "__call__", found)  # noqa: B004


def code_hash(fn: Callable[..., Any]) -> str:
    """A short hash of what a function does: its code, its constants and the names it uses."""
    code = getattr(function_of(fn), "__code__", None)
    return _of_code(code).hexdigest()[:8] if isinstance(code, CodeType) else "unknown"


def _of_code(code: CodeType) -> Any:
    found = hashlib.sha256(code.co_code)
    for each in code.co_consts:
        if isinstance(each, CodeType):
            found.update(_of_code(each).digest())
        else:  # the order of a set's text differs between processes
            shown = sorted(map(repr, each)) if isinstance(each, frozenset) else each
            found.update(f"{type(each).__name__}:{shown!r};".encode())
    found.update("\0".join((*code.co_names, *code.co_varnames)).encode())
    return found


def exponential_backoff(backoff_factor: float) -> Callable[[int], list[float]]:
    """For `retry_delay_seconds`: each delay is twice the one before.

    Args:
        backoff_factor: the first delay, in seconds.

    Example:
        >>> exponential_backoff(3)(4)
        [3, 6, 12, 24]
    """
    number(backoff_factor, "backoff_factor")
    return lambda retries: [backoff_factor * 2**n for n in range(min(retries, MOST_DELAYS))]
