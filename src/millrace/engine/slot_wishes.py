"""What is wanted of concurrency limits, and the conversation about it: ask, wait, ask again. No I/O in here."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from uuid import UUID

from pydantic import ValidationError

from millrace.errors import (
    AcquireConcurrencySlotTimeoutError,
    ConcurrencySlotAcquisitionError,
    InvalidInput,
    NotFound,
    SlotsTaken,
)
from millrace.schema.fields import new_id
from millrace.schema.limits import LimitTaken, SlotHolder

SHORTEST_LEASE, LONGEST_LEASE = 60, 86_400


@dataclass
class Wish:
    """Slots of each of some limits, or of none.

    Attributes:
        names: of the limits.
        occupy: slots of each.
        mode: held for a while, or used up.
        timeout_seconds: how long to wait; None: for ever.
        max_retries: how often to ask again; None: for ever.
        strict: a missing limit is an error.
        poll: seconds for which one request may wait.
        ticket: keeps the place in the queue, and names the lease.
    """

    names: list[str]
    occupy: int = 1
    mode: Literal["concurrency", "rate_limit"] = "concurrency"
    timeout_seconds: float | None = None
    max_retries: int | None = None
    strict: bool = False
    poll: float = 20.0
    ticket: UUID = field(default_factory=new_id)

    def __post_init__(self) -> None:
        seconds = self.timeout_seconds
        number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        if seconds is not None and not (number and seconds >= 0):
            raise InvalidInput(
                f"timeout_seconds={seconds!r:.80}: give a number of seconds, not negative, or None to wait for ever."
            )

    def ask(self, wait_seconds: float) -> dict[str, Any]:
        """The fields of the request."""
        return {
            "names": self.names,
            "slots": self.occupy,
            "mode": self.mode,
            "wait_seconds": wait_seconds,
            "ticket": self.ticket,
        }

    @property
    def called(self) -> str:
        """The limits, for messages."""
        return ", ".join(repr(name) for name in self.names)

    def conversation(self) -> Generator[Ask | Pause, Any, Any]:
        """Asks until there is an answer.

        Yields:
            `Ask`, to be answered with what the server answered or thrown what it refused; `Pause`, to be slept.

        Returns:
            The server's answer.

        Raises:
            AcquireConcurrencySlotTimeoutError: the time is up.
            ConcurrencySlotAcquisitionError: the slots cannot be had.
        """
        began, tries = time.monotonic(), 0
        while True:
            left = None if self.timeout_seconds is None else self.timeout_seconds - (time.monotonic() - began)
            wait = 0.0 if self.max_retries is not None else self.poll
            wait = wait if left is None else min(wait, max(left, 0.0))
            try:
                return (yield Ask(wait))
            except SlotsTaken as error:
                tries += 1
                yield Pause(self._pause(error, began, tries))
            except (InvalidInput, NotFound) as error:
                raise ConcurrencySlotAcquisitionError(f"No slots of {self.called} can be had: {error}") from error

    def _pause(self, error: SlotsTaken, began: float, tries: int) -> float:
        if self.max_retries is not None and tries > self.max_retries:
            raise ConcurrencySlotAcquisitionError(
                f"All slots of {self.called} were taken {tries} times (max_retries={self.max_retries})."
            ) from error
        if self.timeout_seconds is None:
            return error.retry_after
        left = self.timeout_seconds - (time.monotonic() - began)
        if left <= 0:
            raise self.late() from error
        return min(error.retry_after, left)

    def late(self) -> AcquireConcurrencySlotTimeoutError:
        """The error of a wish that waited too long."""
        return AcquireConcurrencySlotTimeoutError(
            f"{self.occupy} free slots of {self.called} were not to be had within {self.timeout_seconds:g} s. Wait for "
            f"longer, or raise the limit: millrace gcl update {self.names[0]!r} --limit …"
        )

    def anew(self) -> Wish:
        """The same wish for another block."""
        return replace(self, ticket=new_id())

    def missing(self, limits: list[LimitTaken]) -> list[str]:
        """The names that no limit has.

        Args:
            limits: those that slots were taken of.
        """
        known = {limit.name for limit in limits}
        return [name for name in self.names if name not in known]


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the server, and let it take so many seconds."""

    wait_seconds: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so many seconds."""

    seconds: float


def names_of(names: str | list[str]) -> list[str]:
    """The names of limits as a list, each once.

    Args:
        names: one or more.

    Raises:
        InvalidInput: something else than texts.
    """
    if not isinstance(names, str | Iterable | None):
        raise InvalidInput(f"Names of concurrency limits are texts, not {names!r:.80}.")
    found = [names] if isinstance(names, str) else list(names or ())
    if wrong := [name for name in found if not isinstance(name, str)]:
        raise InvalidInput(f"Names of concurrency limits are texts, not {wrong[0]!r}.")
    return [name for name in dict.fromkeys(found) if name]


def checked_occupy(occupy: int) -> int:
    """The number of slots.

    Args:
        occupy: slots of each limit.

    Raises:
        InvalidInput: there is no such number of slots.
    """
    if not isinstance(occupy, int) or isinstance(occupy, bool) or occupy < 1:
        raise InvalidInput(f"occupy={occupy!r}: take a whole number of slots, at least 1.")
    return occupy


def checked_duration(seconds: float) -> float:
    """The length of a lease.

    Args:
        seconds: as it was given.

    Raises:
        InvalidInput: it is too short or too long.
    """
    if not SHORTEST_LEASE <= seconds <= LONGEST_LEASE:
        raise InvalidInput(
            f"lease_duration={seconds!r}: a lease lasts {SHORTEST_LEASE} to {LONGEST_LEASE} seconds, and is renewed "
            "while it is held."
        )
    return float(seconds)


def checked_holder(holder: SlotHolder | Mapping[str, Any] | None) -> SlotHolder | None:
    """The holder as it is sent.

    Args:
        holder: a `SlotHolder`, or its type and id.

    Raises:
        InvalidInput: it is none.
    """
    if holder is None or isinstance(holder, SlotHolder):
        return holder
    try:
        return SlotHolder.model_validate(holder if isinstance(holder, Mapping) else vars(holder))
    except (ValidationError, TypeError):
        raise InvalidInput(f"holder={holder!r}: give its type (flow_run, task_run or deployment) and its id.") from None
