"""Tasks whose function is a generator: called they give their items, submitted the list of them.

See `millrace.engine.generators` for how the run goes and ends. A called one is never cached: its items are handed on
as they are made, and what is kept, if the task keeps its result, is what the function returns.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

from millrace.engine import protocol, tracing
from millrace.engine.async_generators import AsyncItems, arun_items
from millrace.engine.calls import conclude
from millrace.engine.effects import Conversation, Step
from millrace.engine.futures import wait
from millrace.engine.generators import Items, Try, run_items
from millrace.engine.inputs import settle
from millrace.engine.interrupts import Stoppable
from millrace.engine.states import Outcome, RunState
from millrace.engine.submission import leave_if_suspended
from millrace.engine.tag_slots import tag_slots
from millrace.engine.task_calls import TaskCall
from millrace.engine.task_runs import TaskRunSession
from millrace.engine.tracebacks import own


class TaskTry(Try):
    """One try of a task's function."""

    def __init__(self, session: TaskRunSession) -> None:
        self.session = session
        session.check()
        super().__init__(session.context, Stoppable(), session.task.timeout_seconds)

    def make(self) -> Any:
        """The function's generator."""
        args, kwargs = self.session.arguments()
        return self.session.task.fn(*args, **kwargs)

    def finish(self) -> Any:
        """What the function returned."""
        return settle(self.value)

    def failed(self, error: BaseException) -> None:
        """What was raised is logged with the state it leads to."""

    def given(self, item: Any, fresh: bool) -> None:
        """Whoever uses the item has it from this task."""
        if self.session.flow is not None:
            self.session.flow.lineage.add(item, self.session.context.id, fresh)


class TaskCourse:
    """The run of a task.

    Args:
        session: the run.
    """

    def __init__(self, session: TaskRunSession) -> None:
        self.session = session
        self.perform, self.aperform = session.perform, session.aperform

    def conversation(self) -> Conversation:
        """What the run does."""
        return protocol.task_run(replace(self.session.plan(), looks=False))

    def tried(self) -> Try:
        """Another try begins."""
        return TaskTry(self.session)

    def ended(self, ending: tuple[Step, Outcome]) -> RunState:
        """The final state."""
        return self.session.ending(*ending).state

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Waits for what comes before it; whatever goes wrong, the run gets an ending."""
        self._ready()
        with self._ended(), self._slots():
            yield

    @asynccontextmanager
    async def arecorded(self) -> AsyncIterator[None]:
        """The same for `async with`."""
        if any(not future.done() for future in self.session.needs.futures):
            await asyncio.to_thread(wait, self.session.needs.futures)
        self._ready()
        with self._ended():
            async with self._slots():
                yield

    def _ready(self) -> None:
        leave_if_suspended()
        early = self.session.upstream()
        if early is not None:
            raise own(early.result(raise_on_failure=False))

    def _slots(self) -> Any:
        session = self.session
        if not session.limited_tags:
            return nullcontext()
        return tag_slots(session.facts.tags, session.context.id, session.waits, session.check)

    @contextmanager
    def _ended(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self.session.broken(error)
            raise
        finally:
            self.session.close()


async def _each(items: Iterable[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item


def task_items(call: TaskCall) -> Any:
    """What calling a generator task gives: its items, of the task's colour.

    Args:
        call: the task and its arguments.
    """
    if (trace := tracing.current()) is not None:
        stand_in = trace.call(call.task, "task", call.parameters, call.wait_for)
        return stand_in if hasattr(stand_in, "__aiter__") or not call.task.isasync else _each(stand_in)
    course = TaskCourse(TaskRunSession(call))
    ending = partial(conclude, return_state=False)
    if call.task.isasync:
        return AsyncItems(call.task, arun_items(course, course.arecorded(), ending))
    return Items(call.task, run_items(course, course.recorded(), ending))
