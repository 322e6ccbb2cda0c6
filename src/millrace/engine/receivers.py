"""Messages to runs: sending one, and receiving them one after the other."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from typing import Generic, Protocol, TypeVar
from uuid import UUID

from pydantic import BaseModel

from millrace.client.locate import connect
from millrace.client.resuming import checked_interval
from millrace.client.synchronous import Client
from millrace.engine.context import FlowRunContext
from millrace.engine.interrupts import SLICE
from millrace.errors import InvalidInput, MissingContext
from millrace.schema.fields import new_id
from millrace.schema.inputs import FlowRunInput

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Receivable(Protocol[T_co]):
    """What makes a message of a stored input."""

    def __call__(self, flow_run_input: FlowRunInput, /) -> T_co:
        """The message."""


def receiver_and_client(flow_run_id: UUID | str | None) -> tuple[UUID, Client]:
    """The run an input is for and the way to its server.

    Args:
        flow_run_id: the run; None: the current one.

    Raises:
        MissingContext: there is no current run.
    """
    context = FlowRunContext.get()
    if flow_run_id is not None:
        here = context is not None and str(context.flow_run.id) == str(flow_run_id)
        return UUID(str(flow_run_id)), context.client if here and context else connect()
    if context is None:
        raise MissingContext("Give a flow_run_id, or call this inside a flow: outside of one there is no current run.")
    return context.flow_run.id, context.client


def prefix_of(name: str) -> str:
    """What the keys of messages of a class begin with.

    Args:
        name: the name of the class.

    Example:
        >>> prefix_of("Greeting")
        'greeting-auto'
    """
    return re.sub(r"[^a-z0-9-]", "-", name.lower()) + "-auto"


def send(flow_run_id: UUID | str, message: BaseModel, sender: str | None, key_prefix: str | None) -> None:
    """Stores a message for a run.

    Args:
        flow_run_id: the run.
        message: the message.
        sender: who sends; None: the current run, if there is one.
        key_prefix: what its key begins with; None: the name of its class.
    """
    run, client = receiver_and_client(flow_run_id)
    context = FlowRunContext.get()
    if sender is None and context is not None:
        sender = f"prefect.flow-run.{context.flow_run.id}"
    key = f"{key_prefix or prefix_of(type(message).__name__)}-{new_id()}"
    client.create_flow_run_input(run, key=key, value=json.dumps(message.model_dump(mode="json")), sender=sender)


def sender_run(sender: str | None) -> UUID:
    """The run that sent a message.

    Args:
        sender: as the message says.

    Raises:
        InvalidInput: no run sent it.
    """
    kind, _, id = (sender or "").rpartition(".")
    if kind != "prefect.flow-run":
        raise InvalidInput(f"The message was not sent by a run but by {sender or 'nobody'}: there is nobody to answer.")
    return UUID(id)


class Receiver(Generic[T]):
    """Messages to a run, oldest first, each once; a loop over it waits for the next.

    Args:
        make: makes a message of what is stored.
        key_prefix: what their keys begin with.
        timeout: seconds to wait for one; None: for ever.
        poll_interval: seconds between two looks, at most.
        raise_timeout_error: a loop that waited too long raises; otherwise it ends.
        exclude_keys: keys of messages to leave out.
        flow_run_id: the run; None: the current one.
    """

    def __init__(
        self,
        make: Receivable[T],
        key_prefix: str,
        timeout: float | None = 3600,
        poll_interval: float = 10,
        raise_timeout_error: bool = False,
        exclude_keys: set[str] | None = None,
        flow_run_id: UUID | str | None = None,
    ) -> None:
        self.make = make
        self.key_prefix = key_prefix
        self.timeout = timeout
        self.poll_interval = checked_interval(poll_interval)
        self.raise_timeout_error = raise_timeout_error
        self.exclude_keys = set(exclude_keys or ())
        self.flow_run_id, self._client = receiver_and_client(flow_run_id)
        self._context = FlowRunContext.get()

    def _look(self) -> list[T]:
        known = sorted(self.exclude_keys)
        found = self._client.filter_flow_run_inputs(
            self.flow_run_id, prefix=self.key_prefix, limit=1, exclude_keys=known
        )
        self.exclude_keys.update(one.key for one in found)
        return [self.make(one) for one in found]

    def _pause(self, began: float) -> float:
        waited = time.monotonic() - began
        if self.timeout is not None and waited >= self.timeout:
            raise TimeoutError(f"No message came to the run within {self.timeout:g} s.")
        wished = min(max(SLICE, waited / 10), self.poll_interval)
        return wished if self.timeout is None else min(wished, self.timeout - waited)

    def _check(self) -> None:
        if self._context is not None:
            self._context.stoppable.check()

    def next(self) -> T:
        """The next message.

        Raises:
            TimeoutError: none came in time.
        """
        began = time.monotonic()
        while not (found := self._look()):
            until = time.monotonic() + self._pause(began)
            while (left := until - time.monotonic()) > 0:
                time.sleep(min(left, SLICE))
                self._check()
        return found[0]

    async def anext(self) -> T:
        """The next message, for `async` code.

        Raises:
            TimeoutError: none came in time.
        """
        began = time.monotonic()
        while not (found := await asyncio.to_thread(self._look)):
            until = time.monotonic() + self._pause(began)
            while (left := until - time.monotonic()) > 0:
                await asyncio.sleep(min(left, SLICE))
                self._check()
        return found[0]

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        try:
            return self.next()
        except TimeoutError:
            if self.raise_timeout_error:
                raise
            raise StopIteration from None

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        try:
            return await self.anext()
        except TimeoutError:
            if self.raise_timeout_error:
                raise
            raise StopAsyncIteration from None
