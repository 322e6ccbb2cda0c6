"""Generator flows and tasks that are `async def`: as in `millrace.engine.generators`, in one asyncio task each."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Any, ClassVar, Protocol

from millrace.engine.calls import conclude, session_of
from millrace.engine.effects import Call, Effect
from millrace.engine.flow_like import FlowLike
from millrace.engine.flow_runs import FlowRunSession
from millrace.engine.generators import END, Course, FlowCourse, Talk, Try, thrown_by
from millrace.engine.interrupts import SLICE
from millrace.engine.lineage import ALONE_RETURNED, holders
from millrace.engine.logs import prints_logged
from millrace.engine.states import RunState


class _Performer:
    """Runs an async generator in one task: what it opens in one step it closes in the same task in another."""

    def __init__(self, tried: Try) -> None:
        self._tried = tried
        self._queue: asyncio.Queue[tuple[Callable[[], Any], asyncio.Future[Any]]] = asyncio.Queue()
        self.context = tried.context
        self.task = asyncio.create_task(self._perform(), context=tried.place)

    async def _perform(self) -> None:
        with self.context.entered(), prints_logged(self.context.log_prints):
            item = None
            while item is not END:
                move, reply = await self._queue.get()
                try:
                    item = await move()
                    self._tried.given(item, holders(item) <= ALONE_RETURNED)
                except StopAsyncIteration:
                    item = END
                except BaseException as error:
                    if not reply.done():
                        reply.set_exception(error)
                    return
                if not reply.done():
                    reply.set_result(item)

    async def ask(self, move: Callable[[], Any]) -> Any:
        """The outcome of one step."""
        reply: asyncio.Future[Any] = asyncio.Future()
        self._queue.put_nowait((move, reply))
        try:
            await asyncio.wait({reply, self.task}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self.stop()
            if reply.done() and not reply.cancelled():
                reply.exception()  # heard, and not of interest any more
            raise
        # A loop that ends cancels all tasks, this one's too, before it closes what is left of generators.
        return reply.result() if reply.done() else await move()

    async def stop(self) -> None:
        """Cancels what goes on and waits until the function has cleaned up."""
        self.task.cancel()
        while not self.task.done():
            await asyncio.wait({self.task}, timeout=SLICE)


class _AsyncSteps:
    """The steps of an `async def` function."""

    generator: AsyncGenerator[Any, Any] | None = None
    performer: _Performer | None = None

    def __init__(self, tried: Try) -> None:
        self.tried = tried

    async def first(self) -> Any:
        """The first item, or the end."""
        self.generator = self.tried.place.run(self.tried.make)
        self.performer = _Performer(self.tried)
        return await self.send(None)

    async def send(self, value: Any) -> Any:
        """The next item, or the end."""
        assert self.generator is not None
        return await self._step(partial(self.generator.asend, value))

    async def throw(self, error: BaseException) -> Any:
        """The same, after an exception."""
        assert self.generator is not None
        return await self._step(partial(self.generator.athrow, error))

    async def abandon(self) -> None:
        """The function's own clean-up."""
        assert self.generator is not None
        await self._step(self.generator.aclose)

    async def end(self) -> None:
        """The try is over, however it ended."""
        if self.performer is not None:
            await self.performer.stop()
        if self.generator is not None:
            with contextlib.suppress(Exception):
                await self.generator.aclose()
        await asyncio.to_thread(self.tried.over)

    async def _step(self, move: Callable[[], Any]) -> Any:
        assert self.performer is not None
        begun = time.monotonic()
        try:
            return await self.tried.stoppable.acall(partial(self.performer.ask, move), self.tried.left)
        finally:
            self.tried.spend(begun)


class AsyncCourse(Course, Protocol):
    """A run with items on the way, in `async def` colour."""

    async def aperform(self, effect: Effect) -> Any:
        """Performs an effect other than `Call`."""


async def arun_items(
    course: AsyncCourse, recorded: AbstractAsyncContextManager[None], ending: Callable[[RunState], Any]
) -> AsyncGenerator[Any, Any]:
    """As `run_items`, for an async generator, which can give no value: the final state goes to `ending`.

    Args:
        course: the run.
        recorded: entered for as long as it goes on.
        ending: gets the final state.
    """
    talk = Talk(course.conversation())
    async with recorded:
        while (effect := talk.effect()) is not None:
            if not isinstance(effect, Call):
                try:
                    talk.answer = await course.aperform(effect)
                except BaseException as error:
                    talk.error = error
                continue
            tried = course.tried()
            steps = _AsyncSteps(tried)
            try:
                item = await steps.first()
                while item is not END:
                    try:
                        sent = yield item
                    except GeneratorExit:
                        talk.heard, item = False, END
                        await steps.abandon()
                    except BaseException as thrown:
                        item = await steps.throw(thrown)
                    else:
                        item = await steps.send(sent)
                talk.answer = await asyncio.to_thread(tried.finish)
            except BaseException as error:
                talk.error = tried.ended_by(error, talk.heard)
            finally:
                await steps.end()
        state = course.ended(talk.ending)
    ending(state)


@asynccontextmanager
async def arecorded(course: FlowCourse) -> AsyncIterator[None]:
    """What `FlowCourse.recorded` does, for `async with`.

    Args:
        course: the run.
    """
    with course.recorded():
        yield


class AsyncItems(AsyncGenerator[Any, Any]):
    """What calling an `async def` flow or task gives whose function is a generator. It begins with the first item.

    Args:
        of: the flow or task.
        inner: the run.
    """

    _closing: ClassVar[set[AsyncGenerator[Any, Any]]] = set()
    _loop: asyncio.AbstractEventLoop | None = None
    _over = False

    def __init__(self, of: Any, inner: AsyncGenerator[Any, Any]) -> None:
        self._of = of
        self._inner = inner

    def __repr__(self) -> str:
        return f"<items of {self._of!r}>"

    async def asend(self, value: Any) -> Any:
        """Goes on, giving the function a value for its `yield`; the next item."""
        return await self._move(self._inner.asend(value))

    async def athrow(self, typ: Any, val: Any = None, tb: TracebackType | None = None) -> Any:
        """Raises an exception in the function, at its `yield`; the next item."""
        return await self._move(self._inner.athrow(thrown_by(typ, val, tb)))

    async def aclose(self) -> None:
        """Stops the function at its `yield` and ends the run; without effect when it has ended."""
        self._over = True
        await self._inner.aclose()

    async def _move(self, move: Any) -> Any:
        self._loop = asyncio.get_running_loop()  # where it is closed when it is forgotten
        try:
            return await move
        except BaseException:
            self._over = True
            raise

    def __del__(self) -> None:
        if self._loop is None or self._over:
            return
        # Kept until it is closed: by this task, or by the loop's own end, which may come before the task begins.
        self._closing.add(self._inner)
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._loop.create_task, _aclose_quietly(self._inner))


async def _aclose_quietly(generator: AsyncGenerator[Any, Any]) -> None:
    with contextlib.suppress(Exception):
        await generator.aclose()
    AsyncItems._closing.discard(generator)


class AsyncFlowGenerator(AsyncItems):
    """The items of a flow.

    Args:
        flow: the flow.
        parameters: by name, as they were given; checked at once.
        wait_for: futures to wait for first.

    Raises:
        ParameterError: the arguments do not fit; no run is made.
    """

    def __init__(self, flow: FlowLike, parameters: dict[str, Any], wait_for: Iterable[Any] | None) -> None:
        course = FlowCourse(session_of(flow, parameters, wait_for))
        super().__init__(flow, arun_items(course, arecorded(course), partial(conclude, return_state=False)))


async def aexhausted(session: FlowRunSession) -> RunState:
    """Runs an async generator flow to its end and drops its items; what a worker does.

    Args:
        session: the run.
    """
    ending: list[RunState] = []
    course = FlowCourse(session)
    async for _ in arun_items(course, arecorded(course), ending.append):
        pass
    return ending[0]
