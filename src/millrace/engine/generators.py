"""Flows whose function is a generator: the run is made with the first item and goes on while items are taken.

| what happens | how the run ends |
|---|---|
| the generator is exhausted | Completed; what the function returned is its result |
| it raises | Failed, or tried again: from the beginning, so that items made before come again |
| the consumer stops: `close()`, `break`, the generator is forgotten | the function's own `finally` runs; Completed |
| the consumer throws an exception in and the function does not catch it | Failed |
| `timeout_seconds` | counts while the function works, not while the consumer does |
| a worker runs it | all items are taken, none is kept; return what should be |

The function runs in a context of its own: `tags()` and the current run hold inside it, between items as well, and never
in the code that takes the items. An async generator runs in one asyncio task from its beginning to its end.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from functools import partial
from types import TracebackType
from typing import Any

from millrace.engine import protocol
from millrace.engine.calls import conclude, session_of
from millrace.engine.context import run_thread
from millrace.engine.effects import Call, Effect
from millrace.engine.flow_runs import FlowLike, FlowRunSession
from millrace.engine.inputs import settle
from millrace.engine.logs import prints_logged
from millrace.engine.states import RunState
from millrace.errors import RunCancelled

CLOSING_SECONDS = 30.0
"""How long forgetting a generator waits for its run to be ended."""

END = object()


class Try:
    """One try of a generator function, step by step: in a context of its own, on what is left of its time."""

    def __init__(self, session: FlowRunSession) -> None:
        self.session = session
        self.context = session.begin_call()
        self.place = copy_context()
        self.left = session.flow.timeout_seconds
        self.value: Any = None

    def make(self) -> Any:
        """The function's generator."""
        args, kwargs = self.session.arguments(self.context)
        return self.session.flow.fn(*args, **kwargs)

    def spend(self, begun: float) -> None:
        """Takes a step from the time that is left."""
        if self.left is not None:
            self.left = max(self.left - (time.monotonic() - begun), 0.001)

    def finish(self) -> Any:
        """What the function returned, its tasks waited for."""
        value = settle(self.value)
        if self.context.runner is not None:
            self.context.runner.close()
        return value

    def failed(self, error: BaseException, heard: bool) -> BaseException:
        """Logs what was raised; what the run ends with."""
        self.session.failed(error)
        if heard or not isinstance(error, Exception):
            return error
        # Nobody is there to take the items of another try.
        return RunCancelled(f"The consumer stopped early, and then the flow raised {type(error).__name__}: {error}")


class _Steps(Try):
    """The steps of a `def` function."""

    generator: Generator[Any, Any, Any] | None = None

    def first(self) -> Any:
        """The first item, or the end."""
        self.generator = self._step(self.make)
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
                self.place.run(self.generator.close)
        self.session.end_call(self.context)

    def _step(self, work: Callable[[], Any]) -> Any:
        return self.place.run(self._stoppable, work)

    def _stoppable(self, work: Callable[[], Any]) -> Any:
        begun = time.monotonic()
        with ExitStack() as stack:
            stack.enter_context(self.context.entered())
            stack.enter_context(prints_logged(self.context.log_prints))
            stack.callback(self.spend, begun)
            return self.context.stoppable.call(partial(self._one, work), self.left)

    def _one(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except StopIteration as end:
            self.value = end.value
            return END


class Talk:
    """The conversation of a run, answered by whoever holds the items."""

    def __init__(self, session: FlowRunSession) -> None:
        self._inner = protocol.flow_run(session.plan())
        self.answer: Any = None
        self.error: BaseException | None = None
        self.state: RunState | None = None
        self.heard = True

    def effect(self) -> Effect | None:
        """What to do next; None at the end, when there is a state."""
        try:
            effect = self._inner.send(self.answer) if self.error is None else self._inner.throw(self.error)
        except StopIteration as end:
            self.state = end.value
            return None
        self.answer = self.error = None
        return effect


@contextmanager
def recorded(session: FlowRunSession) -> Iterator[None]:
    """However it ends, the parent hears of it and the lease is given back."""
    try:
        yield
    except BaseException as error:
        session.beginning.ended(None, error)
        raise
    finally:
        session.close()


def _run(session: FlowRunSession, ending: Callable[[RunState], Any]) -> Generator[Any, Any, Any]:
    """The run, with items on the way; its value is what `ending` makes of the final state.

    Every `yield` is in this one frame: a generator that delegates is over when it is closed, and a run is not.
    """
    talk = Talk(session)
    with recorded(session):
        while (effect := talk.effect()) is not None:
            if not isinstance(effect, Call):
                try:
                    talk.answer = session.perform(effect)
                except BaseException as error:
                    talk.error = error
                continue
            steps = _Steps(session)
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
                talk.answer = steps.finish()
            except BaseException as error:
                talk.error = steps.failed(error, talk.heard)
            finally:
                steps.end()
    assert talk.state is not None
    return ending(talk.state)


def exhausted(session: FlowRunSession) -> RunState:
    """Runs a generator flow to its end and drops its items; what a worker does.

    Args:
        session: the run.
    """
    ending: list[RunState] = []
    for _ in _run(session, ending.append):
        pass
    return ending[0]


class FlowGenerator(Generator[Any, Any, Any]):
    """What calling a `def` flow gives whose function is a generator. The run is made with the first item.

    Args:
        flow: the flow.
        parameters: by name, as they were given; checked at once.
        wait_for: futures to wait for first.

    Raises:
        ParameterError: the arguments do not fit; no run is made.
    """

    def __init__(self, flow: FlowLike, parameters: dict[str, Any], wait_for: Iterable[Any] | None) -> None:
        self._session = session_of(flow, parameters, wait_for)
        self._inner = _run(self._session, partial(conclude, return_state=False))
        self._begun = self._over = False

    def __repr__(self) -> str:
        return f"<items of {self._session.flow!r}>"

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


def thrown_by(typ: Any, val: Any, tb: TracebackType | None) -> BaseException:
    """The exception that the three arguments of `throw` mean."""
    error: BaseException = typ if isinstance(typ, BaseException) else typ() if val is None else typ(val)
    return error.with_traceback(tb) if tb else error


def _close_quietly(generator: Generator[Any, Any, Any]) -> None:
    with contextlib.suppress(Exception):
        generator.close()  # what it raised is in the run's log and state
