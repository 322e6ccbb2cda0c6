"""Flows and tasks whose function is a generator: the run begins with the first item and goes on while items are taken.

| what happens | how the run ends |
|---|---|
| the generator is exhausted | Completed; what the function returned is its result |
| it raises | Failed, or tried again: from the beginning, so that items made before come again |
| the consumer stops: `close()`, `break`, the generator is forgotten | the function's own `finally` runs; Completed |
| the consumer throws an exception in and the function does not catch it | Failed |
| `timeout_seconds` | counts while the function works, not while the consumer does |
| a worker runs the flow | all items are taken, none is kept; return what should be |
| the task is submitted or mapped | all items are taken; the list of them is the result |

The function runs in a context of its own: `tags()` and the current run hold inside it, between items as well, and never
in the code that takes the items. An async generator runs in one asyncio task from its beginning to its end.
"""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import copy_context
from functools import partial
from types import TracebackType
from typing import Any, Protocol

from millrace.engine import protocol
from millrace.engine.calls import conclude, session_of
from millrace.engine.context import run_thread
from millrace.engine.effects import Call, Conversation, Effect
from millrace.engine.flow_like import FlowLike
from millrace.engine.flow_runs import FlowRunSession
from millrace.engine.inputs import settle
from millrace.engine.interrupts import Stoppable
from millrace.engine.lineage import ALONE_RETURNED, holders
from millrace.engine.logs import prints_logged
from millrace.engine.states import RunState
from millrace.errors import RunCancelled

CLOSING_SECONDS = 30.0
"""How long forgetting a generator waits for its run to be ended."""

END = object()


class Entered(Protocol):
    """A run's context."""

    log_prints: bool

    def entered(self) -> AbstractContextManager[None]:
        """Makes it the current run."""


class Try(ABC):
    """One try of a generator function, step by step: in a context of its own, on what is left of its time.

    Args:
        context: the run's.
        stoppable: stops its code.
        seconds: its time limit.
    """

    def __init__(self, context: Entered, stoppable: Stoppable, seconds: float | None) -> None:
        self.context = context
        self.stoppable = stoppable
        self.place = copy_context()
        self.left = seconds
        self.value: Any = None

    @abstractmethod
    def make(self) -> Any:
        """The function's generator."""

    @abstractmethod
    def finish(self) -> Any:
        """What the run gives in the end."""

    @abstractmethod
    def failed(self, error: BaseException) -> None:
        """Something was raised."""

    def given(self, item: Any, fresh: bool) -> None:  # noqa: B027 - of interest to tasks only
        """An item was made; fresh if nothing else holds it."""

    def over(self) -> None:  # noqa: B027 - of interest to flows only
        """The try has ended, however it did."""

    def spend(self, begun: float) -> None:
        """Takes a step from the time that is left."""
        if self.left is not None:
            self.left = max(self.left - (time.monotonic() - begun), 0.001)

    def ended_by(self, error: BaseException, heard: bool) -> BaseException:
        """What the run ends with when something was raised."""
        self.failed(error)
        if heard or not isinstance(error, Exception):
            return error
        # Nobody is there to take the items of another try.
        return RunCancelled(f"The consumer stopped early, and then {type(error).__name__} was raised: {error}")


class FlowTry(Try):
    """One try of a flow's function."""

    def __init__(self, session: FlowRunSession) -> None:
        self.session = session
        self.run = session.begin_call()
        super().__init__(self.run, self.run.stoppable, session.flow.timeout_seconds)

    def make(self) -> Any:
        """The function's generator."""
        args, kwargs = self.session.arguments(self.run)
        return self.session.flow.fn(*args, **kwargs)

    def finish(self) -> Any:
        """What the function returned, its tasks waited for."""
        value = settle(self.value)
        if self.run.runner is not None:
            self.run.runner.close()
        return value

    def failed(self, error: BaseException) -> None:
        """Logs what was raised."""
        self.session.failed(error)

    def over(self) -> None:
        """No task outlives the try."""
        self.session.end_call(self.run)


class _Steps:
    """The steps of a `def` function."""

    generator: Generator[Any, Any, Any] | None = None

    def __init__(self, tried: Try) -> None:
        self.tried = tried

    def first(self) -> Any:
        """The first item, or the end."""
        self.generator = self._step(self.tried.make)
        return self.send(None)

    def send(self, value: Any) -> Any:
        """The next item, or the end."""
        assert self.generator is not None
        return self._step(partial(self.generator.send, value))

    def throw(self, error: BaseException) -> Any:
        """The same, after an exception."""
        assert self.generator is not None
        return self._step(partial(self.generator.throw, error))

    def abandon(self) -> None:
        """The function's own clean-up."""
        assert self.generator is not None
        self._step(self.generator.close)

    def end(self) -> None:
        """The try is over, however it ended."""
        if self.generator is not None:
            with contextlib.suppress(Exception):
                self.tried.place.run(self.generator.close)
        self.tried.over()

    def _step(self, work: Callable[[], Any]) -> Any:
        return self.tried.place.run(self._stoppable, work)

    def _stoppable(self, work: Callable[[], Any]) -> Any:
        begun, tried = time.monotonic(), self.tried
        with ExitStack() as stack:
            stack.enter_context(tried.context.entered())
            stack.enter_context(prints_logged(tried.context.log_prints))
            stack.callback(tried.spend, begun)
            return tried.stoppable.call(partial(self._one, work), tried.left)

    def _one(self, work: Callable[[], Any]) -> Any:
        try:
            item = work()
        except StopIteration as end:
            self.tried.value = end.value
            return END
        fresh = holders(item) <= ALONE_RETURNED
        self.tried.given(item, fresh)
        return item


class Talk:
    """The conversation of a run, answered by whoever holds the items."""

    def __init__(self, conversation: Conversation) -> None:
        self._inner = conversation
        self.answer: Any = None
        self.error: BaseException | None = None
        self.ending: Any = None
        self.heard = True

    def effect(self) -> Effect | None:
        """What to do next; None at the end, when there is an ending."""
        try:
            effect = self._inner.send(self.answer) if self.error is None else self._inner.throw(self.error)
        except StopIteration as end:
            self.ending = end.value
            return None
        self.answer = self.error = None
        return effect


class Course(Protocol):
    """A run with items on the way: what differs between flows and tasks, and between the two colours."""

    def conversation(self) -> Conversation:
        """What the run does."""

    def perform(self, effect: Effect) -> Any:
        """Performs an effect other than `Call`."""

    def tried(self) -> Try:
        """Another try begins."""

    def ended(self, ending: Any) -> RunState:
        """The final state, of what the conversation gave in the end."""


class FlowCourse:
    """The run of a flow.

    Args:
        session: the run.
    """

    def __init__(self, session: FlowRunSession) -> None:
        self.session = session
        self.perform, self.aperform = session.perform, session.aperform

    def conversation(self) -> Conversation:
        """What the run does."""
        return protocol.flow_run(self.session.plan())

    def tried(self) -> Try:
        """Another try begins."""
        return FlowTry(self.session)

    def ended(self, ending: RunState) -> RunState:
        """The final state."""
        return ending

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """However it ends, the parent hears of it and the lease is given back."""
        try:
            yield
        except BaseException as error:
            self.session.beginning.ended(None, error)
            raise
        finally:
            self.session.close()


def run_items(course: Course, recorded: AbstractContextManager[None], ending: Callable[[RunState], Any]) -> Any:
    """The run, with items on the way; its value is what `ending` makes of the final state.

    Every `yield` is in this one frame: a generator that delegates is over when it is closed, and a run is not.

    Args:
        course: the run.
        recorded: entered for as long as it goes on.
        ending: gets the final state.
    """
    talk = Talk(course.conversation())
    with recorded:
        while (effect := talk.effect()) is not None:
            if not isinstance(effect, Call):
                try:
                    talk.answer = course.perform(effect)
                except BaseException as error:
                    talk.error = error
                continue
            tried = course.tried()
            steps = _Steps(tried)
            try:
                item = steps.first()
                while item is not END:
                    try:
                        sent = yield item
                    except GeneratorExit:
                        talk.heard, item = False, END
                        steps.abandon()
                    except BaseException as thrown:
                        item = steps.throw(thrown)
                    else:
                        item = steps.send(sent)
                talk.answer = tried.finish()
            except BaseException as error:
                talk.error = tried.ended_by(error, talk.heard)
            finally:
                steps.end()
        state = course.ended(talk.ending)
    return ending(state)


def exhausted(session: FlowRunSession) -> RunState:
    """Runs a generator flow to its end and drops its items; what a worker does.

    Args:
        session: the run.
    """
    ending: list[RunState] = []
    course = FlowCourse(session)
    for _ in run_items(course, course.recorded(), ending.append):
        pass
    return ending[0]


class Items(Generator[Any, Any, Any]):
    """What calling a `def` flow or task gives whose function is a generator. The run begins with the first item.

    Args:
        of: the flow or task.
        inner: the run.
    """

    def __init__(self, of: Any, inner: Generator[Any, Any, Any]) -> None:
        self._of = of
        self._inner = inner
        self._begun = self._over = False

    def __repr__(self) -> str:
        return f"<items of {self._of!r}>"

    def send(self, value: Any) -> Any:
        """Goes on, giving the function a value for its `yield`; the next item."""
        return self._move(partial(self._inner.send, value))

    def throw(self, typ: Any, val: Any = None, tb: TracebackType | None = None) -> Any:
        """Raises an exception in the function, at its `yield`; the next item."""
        return self._move(partial(self._inner.throw, thrown_by(typ, val, tb)))

    def close(self) -> None:
        """Stops the function at its `yield` and ends the run; without effect when it has ended."""
        self._over = True
        self._inner.close()

    def _move(self, move: Callable[[], Any]) -> Any:
        self._begun = True
        try:
            return move()
        except BaseException:
            self._over = True
            raise

    def __del__(self) -> None:
        if not getattr(self, "_begun", False) or self._over:
            return
        self._over = True
        # Ending a run asks the server, and not on this thread: who is being collected may hold a lock that needs.
        with contextlib.suppress(RuntimeError):  # the interpreter ends
            run_thread(_close_quietly, self._inner, name="millrace-close").join(CLOSING_SECONDS)


class FlowGenerator(Items):
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
        super().__init__(flow, run_items(course, course.recorded(), partial(conclude, return_state=False)))


def thrown_by(typ: Any, val: Any, tb: TracebackType | None) -> BaseException:
    """The exception that the three arguments of `throw` mean."""
    error: BaseException = typ if isinstance(typ, BaseException) else typ() if val is None else typ(val)
    return error.with_traceback(tb) if tb else error


def _close_quietly(generator: Generator[Any, Any, Any]) -> None:
    with contextlib.suppress(Exception):
        generator.close()  # what it raised is in the run's log and state
