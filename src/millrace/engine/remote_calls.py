"""A call of a task's function as it is made in the other process: the contexts it finds there, and how it ends.

A task that is called or submitted in there runs in there, in threads, as part of the same flow run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from millrace.client.locate import connect
from millrace.engine import belongings, travel
from millrace.engine.context import FlowRunContext, TaskRunContext, tags
from millrace.engine.declared import listed
from millrace.engine.errands import FlowPart
from millrace.engine.homeward import Homeward, Send, prepare_process, way_open
from millrace.engine.interrupts import Stoppable
from millrace.engine.logs import prints_logged
from millrace.engine.parcels import flow_run_here, this_process
from millrace.engine.recorder import recorder
from millrace.engine.runners import ThreadPoolTaskRunner
from millrace.engine.task_events import task_run_of
from millrace.schema.runs import Lease

if TYPE_CHECKING:
    from millrace.client.synchronous import Client

FLUSH_SECONDS = 10.0


class _Reached:
    """A client that connects when it is first used; most tasks need none."""

    def __init__(self, lease: Lease | None) -> None:
        self._lease = lease

    def __getattr__(self, name: str) -> Any:
        client = connect()
        return getattr(client.with_lease(self._lease) if self._lease else client, name)


@lru_cache(maxsize=4)
def _part(blob: bytes) -> FlowPart:
    part: FlowPart = travel.unpack(blob)
    return part


def make(flow: bytes, errand: bytes, send: Send, stoppable: Stoppable) -> tuple[bool, bytes]:
    """Makes the call; whether it gave a value, and the value or the exception, packed.

    Args:
        flow: the flow run's part.
        errand: the call.
        send: takes messages home.
        stoppable: stops it.
    """
    name = "?"
    try:
        fn, args, kwargs, isasync, seconds, parameters, facts, labels, home, level = travel.unpack(errand)
        stand, run_name, log_prints, run_count, persists, known, clock = facts
        name, run_id = stand.name, known.id
        context = TaskRunContext(stand, run_id, run_name, parameters, log_prints, run_count, known.tags, persists)
        context._model = partial(task_run_of, known, clock)
        with ExitStack() as stack:
            if home != this_process():
                prepare_process(level)
                stack.enter_context(way_open(send))
            stack.enter_context(tags(*labels))
            stack.enter_context(_flow_entered(flow, send, stoppable, run_id, home == this_process()))
            stack.enter_context(context.entered())
            stack.enter_context(prints_logged(log_prints))
            call = partial(listed(fn.get()), *args, **kwargs)
            value = asyncio.run(stoppable.acall(call, seconds)) if isasync else stoppable.call(call, seconds)
        return True, travel.pack_value(name, value)
    except BaseException as error:  # goes home, whatever it is
        return False, travel.pack_error(error)


def _context(part: FlowPart, send: Send) -> FlowRunContext:
    client, sender = cast("Client", _Reached(part.lease)), cast("Client", Homeward(send))
    context = FlowRunContext(part.flow, part.run, part.run.parameters, client, sender, part.lease)
    context.log_prints, context.running = part.log_prints, part.running
    context.parent = _context(part.parent, send) if part.parent is not None else None
    return context


@contextmanager
def _flow_entered(blob: bytes, send: Send, stoppable: Stoppable, task_run: UUID, at_home: bool) -> Iterator[None]:
    if not blob:
        yield
        return
    belongings.watch()
    part = _part(blob)
    own = flow_run_here(part.run.id) if at_home else None
    if own is not None:
        with own.entered():
            yield
        return
    context = _context(part, send)
    context.runner = ThreadPoolTaskRunner()
    context.label = f"{task_run.hex[-12:]}-"
    with context.entered():
        try:
            yield
        finally:
            if stoppable.reason is not None:
                context.over = True
                for child in list(context.children):
                    child.stop(stoppable.reason)
            context.runner.close()
            recorder().flush(FLUSH_SECONDS)
