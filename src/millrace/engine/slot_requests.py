"""Asking for slots of concurrency limits, in either colour, and around it: whom to ask, and who asks."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from millrace.client.locate import aconnect, connect
from millrace.engine.context import FlowRunContext, TaskRunContext
from millrace.engine.interrupts import SLICE
from millrace.engine.slot_keeper import hasty, logger
from millrace.engine.slot_wishes import Ask, Wish
from millrace.errors import ConcurrencySlotAcquisitionError
from millrace.schema.limits import LimitTaken, SlotHolder

if TYPE_CHECKING:
    from millrace.client.asynchronous import AsyncClient
    from millrace.client.synchronous import Client

T = TypeVar("T")


def converse(talk: Any, ask: Callable[[float], Any], check: Callable[[], object] | None = None) -> Any:
    """Performs a conversation about slots, in `def` colour.

    Args:
        talk: `Wish.conversation()`.
        ask: sends the request that may wait for so many seconds.
        check: called again and again; raises if it is of no use any more.
    """
    step = next(talk)
    try:
        while True:
            if check is not None:
                check()
            if isinstance(step, Ask):
                try:
                    answer = ask(step.wait_seconds)
                except Exception as error:
                    step = talk.throw(error)
                    continue
                step = talk.send(answer)
            else:
                _sleep(step.seconds, check)
                step = next(talk)
    except StopIteration as done:
        return done.value


def _sleep(seconds: float, check: Callable[[], object] | None) -> None:
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        time.sleep(min(left, SLICE))
        if check is not None:
            check()


_lines: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[frozenset[str], asyncio.Lock]] = WeakKeyDictionary()


async def aconverse(wish: Wish, ask: Any) -> Any:
    """The same to be awaited. Of all who want slots of the same limits in one loop, one asks, and the others wait here.

    A thousand tasks would otherwise take all connections for waiting, those by which slots are returned too.

    Args:
        wish: what is wanted.
        ask: sends the request that may wait for so many seconds.
    """
    began = time.monotonic()
    task = asyncio.current_task()
    assert task is not None
    line = _lines.setdefault(task.get_loop(), {}).setdefault(frozenset(wish.names), asyncio.Lock())
    talk = wish.conversation()
    step = next(talk)
    try:
        while True:
            if not isinstance(step, Ask):
                await asyncio.sleep(step.seconds)
                step = next(talk)
                continue
            try:
                answer = await _sliced(_asked(line, wish, ask, step.wait_seconds, began))
            except Exception as error:
                step = talk.throw(error)
                continue
            step = talk.send(answer)
    except StopIteration as done:
        return done.value


async def _asked(line: asyncio.Lock, wish: Wish, ask: Any, seconds: float, began: float) -> Any:
    waited = None if wish.timeout_seconds is None else wish.timeout_seconds - (time.monotonic() - began)
    try:
        await asyncio.wait_for(line.acquire(), waited if waited is None else max(waited, 0.001))
    except TimeoutError:
        raise wish.late() from None
    try:
        left = None if waited is None else max(0.0, (wish.timeout_seconds or 0) - (time.monotonic() - began))
        return await ask(seconds if left is None else min(seconds, left))
    finally:
        line.release()


async def _sliced(work: Coroutine[Any, Any, T]) -> T:
    """Awaits in slices: an interrupt of a kernel does not wake an idle event loop, a slice does."""
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=SLICE)
        return task.result()
    except BaseException:
        task.cancel()
        raise


# -- around


def the_client() -> Client:
    """Who is asked: the server of the current run, or of this process."""
    flow = FlowRunContext.get()
    return connect() if flow is None else flow.client


async def the_clients() -> tuple[AsyncClient, Client]:
    """Who is asked by `await`, and who is told in the background."""
    flow = FlowRunContext.get()
    client = await aconnect()
    fenced = client.with_lease(flow.lease) if flow is not None else client
    return fenced, hasty(connect() if flow is None else flow.client)


def current_holder() -> SlotHolder | None:
    """The run that is in progress here."""
    task, flow = TaskRunContext.get(), FlowRunContext.get()
    if task is not None:
        return SlotHolder(type="task_run", id=task.id)
    return None if flow is None else SlotHolder(type="flow_run", id=flow.flow_run.id)


def tell_missing(wish: Wish, limits: Iterable[LimitTaken], *, quiet: bool = False) -> None:
    """Says which limits do not exist.

    Args:
        wish: what was wanted.
        limits: those that there are.
        quiet: say it at level DEBUG.

    Raises:
        ConcurrencySlotAcquisitionError: the wish is strict.
    """
    missing = wish.missing(list(limits))
    if not missing:
        return
    called = ", ".join(repr(name) for name in missing)
    if wish.strict:
        raise ConcurrencySlotAcquisitionError(
            f"There is no concurrency limit {called}. Create it: millrace gcl create {missing[0]!r} --limit …"
        )
    level = logging.DEBUG if quiet else logging.WARNING
    logger().log(level, "There is no concurrency limit %s: nothing is held up by it.", called)
