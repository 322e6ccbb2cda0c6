"""Marks on an argument: how a task should take it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Annotation(Generic[T]):
    """A value with a mark on it; the task's function gets the value.

    Args:
        value: the argument.
    """

    value: T

    def unwrap(self) -> T:
        """The value without the mark."""
        return self.value

    def rewrap(self, value: Any) -> Self:
        """The same mark on another value."""
        return type(self)(value)


class unmapped(Annotation[T]):
    """Gives the same value to every call of `map`.

    Example:
        >>> add.map([1, 2, 3], unmapped(10)).result()  # doctest: +SKIP
        [11, 12, 13]
    """

    __slots__ = ()


class allow_failure(Annotation[T]):
    """Lets a task run although this argument, a future or state, failed; the function gets the exception then.

    Also for entries of `wait_for`. A run that was cancelled or crashed is no failure: what needs it stays NotReady.

    Example:
        >>> report.submit(allow_failure(fetch.submit()))  # doctest: +SKIP
    """

    __slots__ = ()


class quote(Annotation[T]):
    """Passes a value exactly as it is: futures and states in it are neither waited for nor replaced.

    Use it for large collections as well: they are not searched then.

    Example:
        >>> describe.submit(quote(rows))  # doctest: +SKIP
    """

    __slots__ = ()

    def unquote(self) -> T:
        """The value without the mark."""
        return self.value


class opaque(Annotation[T]):
    """Takes the result of a future or state, but searches neither the value nor the result for others.

    Example:
        >>> describe.submit(opaque(load.submit()))  # doctest: +SKIP
    """

    __slots__ = ()
