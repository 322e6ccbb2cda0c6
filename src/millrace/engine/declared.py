"""What a declaration of a flow is checked for, so that a mistake shows where the flow is defined."""

from __future__ import annotations

import hashlib
import inspect
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from functools import update_wrapper
from pathlib import Path
from typing import Any, TypedDict, cast

from millrace.engine.runners import TaskRunner, ThreadPoolTaskRunner
from millrace.errors import InvalidInput
from millrace.schema.fields import LONGEST_NAME

Hook = Callable[..., Any]
_BANNED = "/%&><"
NotSet: Any = type("NotSet", (), {"__repr__": lambda self: "NotSet", "__bool__": lambda self: False})()
"""What `with_options` has where None would say something: leave it as it is."""


class FlowOptions(TypedDict, total=False):
    """What `@flow` takes; `Flow` says what each means."""

    name: str | None
    version: str | None
    flow_run_name: Callable[..., str] | str | None
    retries: int | None
    retry_delay_seconds: float | None
    task_runner: type[TaskRunner] | TaskRunner | None
    description: str | None
    timeout_seconds: float | None
    validate_parameters: bool
    persist_result: bool | None
    result_storage: Any
    result_serializer: Any
    cache_result_in_memory: bool
    log_prints: bool | None
    on_completion: Iterable[Hook] | None
    on_failure: Iterable[Hook] | None
    on_cancellation: Iterable[Hook] | None
    on_crashed: Iterable[Hook] | None
    on_running: Iterable[Hook] | None


_TEXTS = ("description", "version")
_TRUTHS = ("validate_parameters", "persist_result", "cache_result_in_memory", "log_prints")


def check_values(given: Mapping[str, Any]) -> None:
    """Refuses options of a flow that are of another type than they should be.

    Args:
        given: all of them, by name.

    Raises:
        TypeError: the message names the option, the value and what to write.
        ValueError: a number is negative.
    """
    _check_name(given["name"])
    _check_run_name(given["flow_run_name"])
    for option in _TEXTS:
        if given[option] is not None and not isinstance(given[option], str):
            raise TypeError(f"the {option} of a flow must be a text; got {_said(given[option])}")
    for option in _TRUTHS:
        if given[option] is not None and not isinstance(given[option], bool):
            raise TypeError(f"{option} must be True or False; got {_said(given[option])}")
    if isinstance(given["retries"], float):
        raise TypeError(f"retries must be a whole number; got {given['retries']!r}")
    for option in ("retries", "retry_delay_seconds", "timeout_seconds"):
        _check_number(given[option], option)


def _said(value: Any) -> str:
    return f"{value!r:.80} ({type(value).__name__})"


def _check_name(name: Any) -> None:
    if name is None or isinstance(name, str):
        return
    hint = " Did you mean to call it, as in @flow(name=make_name())?" if callable(name) else ""
    raise TypeError(f"the name of a flow must be a text; got {type(name).__name__}.{hint}")


_UNSEEN = ("Cc", "Cs", "Zl", "Zp")  # control characters, halves of characters, ends of lines and paragraphs


def check_characters(name: str) -> None:
    if not name.strip():
        raise ValueError(f"the name {name!r} is empty: it must have a character that can be seen")
    if len(name) > LONGEST_NAME:
        raise ValueError(f"the name {name[:20]!r}… has {len(name):,} characters; a name has at most {LONGEST_NAME:,}")
    if unseen := next((character for character in name if unicodedata.category(character) in _UNSEEN), None):
        raise ValueError(f"the name {name!r} contains {unseen!r}; a name is one line of text")
    bad = sorted({character for character in name if character in _BANNED})
    if bad:
        raise ValueError(f"the name {name!r} contains {' '.join(bad)}; a name holds none of {' '.join(_BANNED)}")


def _check_run_name(given: Any) -> None:
    if given is not None and not isinstance(given, str) and not callable(given):
        raise TypeError(f"flow_run_name must be a text or a function; got {type(given).__name__}")


def _check_number(value: Any, option: str) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{option} must be a number; got {_said(value)}")
    check_finite(value, option)


LONGEST = 10**9
"""Seconds: some thirty years, which timers and calendars still know."""


def check_finite(value: float, option: str) -> None:
    """Refuses a number that no timer and no counter takes.

    Args:
        value: a number.
        option: what it is given for.

    Raises:
        ValueError: it is negative, NaN or more than a thousand million.
    """
    if not value >= 0:
        raise ValueError(f"{option} must not be {'NaN' if value != value else 'negative'}; got {value}")
    if value > LONGEST:
        raise ValueError(f"{option} must be at most {LONGEST:,}; got {value:g}.")


def awaited(fn: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine or an async generator."""
    found = (fn, getattr(fn, "__call__", None))  # noqa: B004 - an object may have an async __call__
    return any(inspect.iscoroutinefunction(one) or inspect.isasyncgenfunction(one) for one in found)


def generates(fn: Callable[..., Any]) -> bool:
    """Whether calling it gives a generator of either colour."""
    found = (fn, getattr(fn, "__call__", None))  # noqa: B004
    return any(inspect.isgeneratorfunction(one) or inspect.isasyncgenfunction(one) for one in found)


def wrap(made: Any, fn: Callable[..., Any]) -> None:
    """Gives a flow or task the name, text and attributes of its function; of its own attributes it keeps all."""
    update_wrapper(made, fn, updated=())
    for name, value in getattr(fn, "__dict__", {}).items():
        if not hasattr(made, name):
            setattr(made, name, value)


def refuse_coroutine(value: Any, what: str) -> None:
    """A `def` function that gives a coroutine has not done its work, and nothing here can.

    Args:
        value: what the function returned.
        what: whose function it is.

    Raises:
        InvalidInput: it is a coroutine.
    """
    if inspect.iscoroutine(value):
        value.close()
        raise InvalidInput(
            f"the function of the {what} is a `def` and returned a coroutine, which nothing here can await: write "
            "`async def`, and `await` what it calls"
        )


def listed(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A generator function as one that gives the list of the items, of the same colour; any other as it is."""
    if not generates(fn):
        return fn

    def items(*args: Any, **kwargs: Any) -> list[Any]:
        return list(fn(*args, **kwargs))

    async def aitems(*args: Any, **kwargs: Any) -> list[Any]:
        return [item async for item in fn(*args, **kwargs)]

    return aitems if awaited(fn) else items


def unwrapped(fn: Any) -> tuple[Callable[..., Any], str]:
    """The function below a `@classmethod` or `@staticmethod`, and which of them it was."""
    kind = type(fn).__name__ if isinstance(fn, (classmethod, staticmethod)) else ""
    found = fn.__func__ if kind else fn
    if not callable(found):
        raise TypeError(f"@flow decorates a function; got {type(found).__name__}")
    return found, kind


def module_or_file(fn: Callable[..., Any]) -> str:
    """Where an entrypoint finds the function: its module, or the file of a script."""
    module = getattr(fn, "__module__", None) or "__main__"
    if module in ("__main__", "__millrace_loader__"):
        return str(getattr(getattr(fn, "__code__", None), "co_filename", module))
    return module


def function_name(fn: Callable[..., Any]) -> str:
    name = str(getattr(fn, "__name__", type(fn).__name__))
    return name.replace("_", "-").replace("<lambda>", "unknown-lambda")


def made_runner(runner: type[TaskRunner] | TaskRunner | None) -> TaskRunner:
    made: Any = runner() if isinstance(runner, type) else runner
    if made is None:
        return ThreadPoolTaskRunner()
    if not hasattr(made, "submit") or not hasattr(made, "open"):
        raise TypeError(f"task_runner must be a task runner such as ThreadPoolTaskRunner(); got {type(made).__name__}")
    return cast(TaskRunner, made)


def forward(fn: Callable[..., Any]) -> bool:
    """Whether annotations are texts that may name what is defined further down."""
    return any(isinstance(value, str) for value in getattr(fn, "__annotations__", {}).values())


def source_hash(fn: Callable[..., Any]) -> str | None:
    try:
        file = inspect.getsourcefile(fn)
        source = Path(file).read_bytes() if file and Path(file).is_file() else inspect.getsource(fn).encode()
    except (OSError, TypeError):
        return None
    return hashlib.sha256(source).hexdigest()[:32]
