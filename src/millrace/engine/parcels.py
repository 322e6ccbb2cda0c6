"""Calls of tasks as bytes: packed here, unpacked by `remote_calls`."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import lru_cache
from typing import Any
from uuid import UUID, uuid4
from weakref import WeakValueDictionary

from millrace.engine import travel
from millrace.engine.context import FlowRunContext
from millrace.engine.errands import Errand, FlowPart, Stand

_here: WeakValueDictionary[UUID, FlowRunContext] = WeakValueDictionary()


@lru_cache(maxsize=1)
def this_process() -> UUID:
    """A mark of this process, other in each."""
    return uuid4()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=this_process.cache_clear)


def packed(errand: Errand, wrap: Callable[[Any], Any] = lambda value: value) -> bytes:
    """What travels, without the flow run's part.

    Args:
        errand: the call.
        wrap: replaces arguments that are to be sent another way.

    Raises:
        CannotTravel: something in it cannot be pickled; the message names it.
    """
    run, task = errand.context, errand.context.task
    stand = Stand(task.name, task.task_key, getattr(task, "version", None), task.tags)
    fn = travel.Function(errand.fn)
    parameters = wrap(run.parameters)
    args, kwargs = wrap(errand.args), wrap(errand.kwargs)
    facts = (stand, run.name, run.log_prints, run.run_count, run.persists, errand.facts, errand.clock)
    root = logging.getLogger().level
    given = (fn, args, kwargs, errand.isasync, errand.seconds, parameters, facts, errand.tags, this_process(), root)
    try:
        return travel.pack(given)
    except Exception as error:
        raise travel.cannot_travel(task.name, fn, parameters, error) from None


@lru_cache(maxsize=16)
def _flow_blob(context: _Same, running: int) -> bytes:
    return travel.pack(FlowPart.of(context.context))


class _Same:
    """A key that is equal for the same context."""

    def __init__(self, context: FlowRunContext) -> None:
        self.context = context

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.context is self.context

    def __hash__(self) -> int:
        return id(self.context)


def packed_flow(context: FlowRunContext | None) -> bytes:
    """The flow run's part of an errand, packed once for all its tasks; empty without a flow run.

    Args:
        context: the flow run.
    """
    if context is None:
        return b""
    _here[context.flow_run.id] = context
    return _flow_blob(_Same(context), context.running)


def flow_run_here(run_id: UUID) -> FlowRunContext | None:
    """The flow run's own context, if an errand turns out to be made in the process it came from.

    Args:
        run_id: the flow run.
    """
    return _here.get(run_id)
