"""What a declaration of a flow is checked for, so that a mistake shows where the flow is defined."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from millrace.engine.runners import TaskRunner, ThreadPoolTaskRunner

Hook = Callable[..., Any]
_BANNED = "/%&><"


def check_name(name: Any) -> None:
    if name is None or isinstance(name, str):
        return
    hint = " Did you mean to call it, as in @flow(name=make_name())?" if callable(name) else ""
    raise TypeError(f"the name of a flow must be a text; got {type(name).__name__}.{hint}")


def check_characters(name: str) -> None:
    bad = sorted({character for character in name if character in _BANNED})
    if bad:
        raise ValueError(f"the name {name!r} contains {' '.join(bad)}; a name holds none of {' '.join(_BANNED)}")


def function_name(fn: Callable[..., Any]) -> str:
    name = str(getattr(fn, "__name__", type(fn).__name__))
    return name.replace("_", "-").replace("<lambda>", "unknown-lambda")


def checked_hooks(category: str, hooks: Any) -> list[Hook]:
    if hooks is None:
        return []
    remedy = f"write @flow({category}=[first_hook, second_hook])"
    try:
        found = list(hooks)
    except TypeError:
        raise TypeError(f"{category} must be a list of functions; got {type(hooks).__name__}: {remedy}") from None
    for hook in found:
        if not callable(hook):
            raise TypeError(f"{category} must hold functions; got {type(hook).__name__}: {remedy}")
    return found


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
