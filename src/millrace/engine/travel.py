"""What travels to other processes and back: calls, values, exceptions. The one place of the engine that pickles.

Only between a run and the workers it started or connected to; nothing of it is stored or sent over the API. A function
that no import finds in the other process (a cell's, a script's, one inside another) travels by value, with what it
uses.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import cloudpickle

from millrace.engine.alarms import TimeLimitReached
from millrace.engine.tracebacks import of_user, place, sent
from millrace.engine.whereabouts import SCRIPTS, importable, name_of, named
from millrace.errors import CannotTravel, RunFailed


def unpack(blob: bytes) -> Any:
    """The value that `pack` made bytes of."""
    return cloudpickle.loads(blob)


def pack(value: Any) -> bytes:
    """A value as bytes.

    Args:
        value: anything that can be pickled, by value where it has to be.
    """
    found: bytes = cloudpickle.dumps(value)
    return found


# -- functions


class Function:
    """A task's function on its way: its name where an import finds it, itself where none does.

    Args:
        fn: the function.
    """

    def __init__(self, fn: Callable[..., Any]) -> None:
        name = name_of(fn)
        self.name = None if name and name[0] in cloudpickle.list_registry_pickle_by_value() else name
        self.fn = None if self.name else fn
        module = sys.modules.get(getattr(fn, "__module__", "") or "")
        if self.fn is not None and module is not None and not importable(module.__name__):
            _by_value(module)

    def get(self) -> Callable[..., Any]:
        """The function, on the other side."""
        if self.name is None:
            assert self.fn is not None
            return self.fn
        found = named(*self.name)
        called: Callable[..., Any] = getattr(found, "fn", found)
        return called


def _by_value(module: Any) -> None:
    # what the function uses of its own file is not found by an import either
    if module.__name__ not in SCRIPTS and module.__name__ not in cloudpickle.list_registry_pickle_by_value():
        cloudpickle.register_pickle_by_value(module)


# -- errors that say what cannot travel


def cannot_travel(task: str, fn: Function, parameters: Mapping[str, Any], error: Exception) -> CannotTravel:
    """The error that names the parameter, or what the function uses, that cannot be sent.

    Args:
        task: the task's name.
        fn: its function.
        parameters: its arguments.
        error: what pickling raised.
    """
    for name, value in parameters.items():
        reason = _reason(value)
        if reason:
            return CannotTravel(
                f"task {task!r}: the argument {name!r} ({type(value).__name__}) cannot be sent to another process: "
                f"{reason}. Make it inside the task, or submit the task to a ThreadPoolTaskRunner."
            )
    for name, value in _used(fn.fn).items():
        reason = _reason(value)
        if reason:
            return CannotTravel(
                f"task {task!r}: its function uses {name!r} ({type(value).__name__}), which cannot be sent to another "
                f"process: {reason}. Make it inside the task, or define the task in a module that can be imported."
            )
    return CannotTravel(f"task {task!r} cannot be sent to another process: {_text(error)}.")


def _reason(value: Any) -> str | None:
    try:
        pack(value)
    except Exception as error:
        return _text(error)
    return None


def _used(fn: Callable[..., Any] | None) -> dict[str, Any]:
    code = getattr(fn, "__code__", None)
    if fn is None or code is None:
        return {}
    known = getattr(fn, "__globals__", {})
    found = {name: known[name] for name in code.co_names if name in known}
    for name, cell in zip(code.co_freevars, getattr(fn, "__closure__", None) or (), strict=False):
        try:
            found[name] = cell.cell_contents
        except ValueError:
            continue
    return found


def _text(error: BaseException) -> str:
    text = str(error).strip().rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


# -- what comes back


def pack_value(task: str, value: Any) -> bytes:
    """A task's result as bytes.

    Args:
        task: its name, for the message.
        value: the result.

    Raises:
        CannotTravel: the result cannot be sent.
    """
    try:
        return pack(value)
    except Exception as error:
        raise CannotTravel(
            f"task {task!r}: its result ({type(value).__name__}) cannot be sent back from the process it ran in: "
            f"{_text(error)}. Return plain data, or submit the task to a ThreadPoolTaskRunner."
        ) from None


def pack_error(error: BaseException) -> bytes:
    """An exception as bytes, with its causes and where it was raised; a description of what cannot be sent itself.

    Args:
        error: what the task raised.
    """
    chain = [error]
    while (cause := chain[-1].__cause__) is not None and cause not in chain:
        chain.append(cause)
    told = ("", "") if isinstance(error, (TimeLimitReached, CannotTravel)) else (_traceback(error), place(error))
    return pack((*told, [_packed(one) for one in chain]))


def _packed(error: BaseException) -> bytes:
    for form in (_Itself(error), _Rebuilt(error)):
        try:
            blob = pack(form)
            if type(unpack(blob)) is type(error):
                return blob
        except Exception:  # an argument that cannot be pickled, or a class that cannot be called with its `args`
            continue
    return pack(RunFailed(f"{_text(error)} (the exception itself cannot be sent between processes)"))


def unpack_error(blob: bytes) -> BaseException:
    """The exception that `pack_error` made bytes of.

    Args:
        blob: the bytes.
    """
    note, where, forms = unpack(blob)
    chain: list[BaseException] = [unpack(form) for form in forms]
    for one, cause in pairwise(chain):
        one.__cause__ = cause
    return sent(chain[0], note, where) if note else chain[0]


class _Itself:
    """Unpickles as the exception, in Python's way: Dask has another, which brings frames and loses an exit code."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __reduce__(self) -> str | tuple[Any, ...]:
        return self._error.__reduce_ex__(4)


class _Rebuilt:
    """Unpickles as the exception, made without calling its class."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (type(self._error), self._error.args, vars(self._error))


def _rebuilt(kind: type[BaseException], args: tuple[Any, ...], attributes: dict[str, Any]) -> BaseException:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(attributes)
    return error


def _traceback(error: BaseException) -> str:
    return f"Where it was raised, in the process of the task:\n{of_user(error).rstrip()}"
