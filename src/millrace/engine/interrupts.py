"""Stopping code that runs: time limits and cancellation, and what they can and cannot interrupt.

| where the code runs | time limit, cancellation |
|---|---|
| `async def` | at its next `await` (the asyncio task is cancelled) |
| `def`, main thread | at once, blocking system calls such as `time.sleep` or a socket included (SIGALRM, SIGURG) |
| `def`, another thread | when Python next executes a bytecode; a blocking call or a long C function finishes first |
| Windows, main thread | as in another thread |

A C extension that neither returns nor releases the interpreter is interrupted by nothing but the end of its process:
that is what a worker does with a cancelled run after its grace period.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, ClassVar

from millrace.engine.alarms import (
    TimeLimitReached,
    limited,
    on_main_thread,
    raise_in,
    settle,
)
from millrace.errors import RunCancelled
from millrace.schema.states import State

BY_REQUEST = "Cancelled by request."
PART_STOPPED = "The run that it is part of was stopped."

SLICE = 0.2
"""How long anything waits at a stretch: an interrupt of a kernel does not wake an idle event loop, a slice does."""


class CallLost(Exception):
    """The process in which the run's function was called ended before the function did."""


class RunSuspended(BaseException):
    """The run is suspended: its code is left here, to be run from its start when somebody resumes it.

    Args:
        state: the state the run has.
    """

    def __init__(self, state: State) -> None:
        super().__init__(f"The run is {state.name}.")
        self.state = state


class Stopped(BaseException):
    """Raised inside a thread's code by `Stoppable.stop`."""


class Terminated(BaseException):
    """The process was asked to end: the user's code gets to clean up, then the process ends.

    Args:
        text: how it was asked.
        cancelled: finds out whether that is because its run was cancelled; asked when the user's code has been left.
    """

    def __init__(self, text: str, cancelled: Callable[[], bool]) -> None:
        super().__init__(text)
        self._cancelled = cancelled
        self._meaning: BaseException | None = None

    def meaning(self) -> BaseException:
        """What it means to the run whose code it was raised in: its cancellation, or only itself."""
        if self._meaning is None:
            self._meaning = RunCancelled(BY_REQUEST) if self._cancelled() else self
        return self._meaning.with_traceback(self.__traceback__)


class _MainBell:
    """Interrupts calls on the main thread by a signal of our own.

    Not by SIGINT, which a script in the background of a shell ignores, and which would end the process, or the next
    cell of a notebook, if it came late: what SIGURG does where nobody listens is nothing.
    """

    _calls: ClassVar[list[Stoppable]] = []
    _before: ClassVar[dict[int, Any]] = {}

    @classmethod
    def listen(cls, call: Stoppable) -> None:
        """A call begins on the main thread."""
        if not cls._calls:
            cls._before = {signal.SIGURG: signal.signal(signal.SIGURG, cls._ring)}
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                cls._before[signal.SIGINT] = signal.signal(signal.SIGINT, cls._interrupted)
        cls._calls.append(call)

    @classmethod
    def leave(cls, call: Stoppable) -> None:
        """It has ended."""
        cls._calls.remove(call)
        if not cls._calls:
            before, cls._before = cls._before, {}
            for number, handler in before.items():
                if signal.getsignal(number) in (cls._ring, cls._interrupted):
                    signal.signal(number, handler or signal.SIG_DFL)

    @classmethod
    def _ring(cls, number: int, frame: FrameType | None) -> None:
        for call in cls._calls:
            if call.wants_out():
                raise Stopped
        before = cls._before.get(number)
        if callable(before):
            before(number, frame)

    @classmethod
    def _interrupted(cls, number: int, frame: FrameType | None) -> None:
        # A person's interrupt reaches this thread, which may be waiting for parts of the run on other threads.
        for call in cls._calls:
            call.stop_parts()
        raise KeyboardInterrupt


def interrupter() -> Callable[[], object]:
    """What interrupts the code of this thread, when called from another: KeyboardInterrupt or Stopped arrives in it."""
    thread = threading.get_ident()
    if on_main_thread() and callable(signal.getsignal(signal.SIGINT)):
        return lambda: signal.pthread_kill(thread, signal.SIGINT)
    return lambda: raise_in(thread, Stopped)


class Stoppable:
    """A run's calls of user code, which another thread may stop.

    Attributes:
        reason: why it was stopped; raised at the next effect if the code could not be interrupted.
        suspension: it is to be left before its next task; what runs is not interrupted.
        parts: the runs within it, which stop with it wherever they are.
    """

    def __init__(self) -> None:
        self.reason: BaseException | None = None
        self.suspension: RunSuspended | None = None
        self.parts: set[Stoppable] = set()
        self._lock = threading.RLock()  # a handler of a signal may come to it where its own thread holds it
        self._interrupt: Callable[[], object] | None = None
        self._thread, self._rung, self._repeats = 0, False, False

    def stop(self, reason: BaseException) -> None:
        """Interrupts the call, if one is in progress, and lets no other begin. Any thread may call this.

        Args:
            reason: the exception the run ends with.
        """
        with self._lock:
            if self.reason is None:
                self.reason = reason
                if self._interrupt is not None:
                    self._interrupt()
        self.stop_parts()

    def repeat(self) -> None:
        """Interrupts the call again, where it is known that nobody is at work on the first interrupt.

        That is known on the main thread, where the handler of the signal sees which exception is being handled there:
        code that swallowed the interrupt (`except:`) handles none, a `finally` or the end of a `with` block does.
        """
        with self._lock:
            if self._rung and self._interrupt is not None and not self.parts:
                self._rung, self._repeats = False, True
                self._interrupt()

    def heard(self, reason: BaseException) -> None:
        """The code itself has asked and learnt that it is stopped; on its own thread it raises the reason itself.

        Args:
            reason: the exception the run ends with.
        """
        if self._thread != threading.get_ident():
            self.stop(reason)
        elif self.reason is None:
            self.reason = reason

    def join(self, part: Stoppable) -> None:
        """A run within this one begins.

        Args:
            part: stops it; at once if this one was stopped.
        """
        self.parts.add(part)
        if self.reason is not None:
            part.stop(RunCancelled(PART_STOPPED))

    def stop_parts(self) -> None:
        """Stops the parts on other threads: the code on this one may be waiting for them."""
        for part in list(self.parts):
            if part._thread != self._thread:
                part.stop(RunCancelled(PART_STOPPED))

    def wants_out(self) -> bool:
        """Whether a call in progress is to be interrupted; true once."""
        rings = self.reason is not None and self._interrupt is not None and not self._rung
        self._rung = self._rung or rings
        return rings and not (self._repeats and _being_handled())

    def calls(self) -> bool:
        """Whether user code is being called."""
        return self._interrupt is not None

    def check(self) -> None:
        """Raises the reason if the run was stopped."""
        if self.reason is not None:
            raise self.reason

    def check_suspension(self) -> None:
        """Raises if the run was suspended: where the next task would begin, or one is waited for."""
        if self.suspension is not None:
            raise self.suspension

    def call(self, fn: Callable[[], Any], seconds: float | None) -> Any:
        """Calls a function, stoppable and within a time limit.

        Args:
            fn: the function, its arguments bound.
            seconds: the limit.
        """
        if not on_main_thread():
            return self._called(fn, seconds, lambda: raise_in(self._thread, Stopped))
        _MainBell.listen(self)
        try:
            return self._called(fn, seconds, lambda: signal.pthread_kill(self._thread, signal.SIGURG))
        finally:
            _MainBell.leave(self)

    def _called(self, fn: Callable[[], Any], seconds: float | None, interrupt: Callable[[], object]) -> Any:
        try:
            self._begin(interrupt)
            try:
                return limited(fn, seconds)
            finally:
                self._end()
                if self.reason is not None:
                    settle()
        except (KeyboardInterrupt, Stopped):
            self.check()
            raise

    async def acall(self, fn: Callable[[], Coroutine[Any, Any, Any]], seconds: float | None) -> Any:
        """Awaits a coroutine function, stoppable and within a time limit.

        Args:
            fn: the function, its arguments bound.
            seconds: the limit.
        """
        leaving: list[BaseException] = []
        work = asyncio.ensure_future(_contained(fn, leaving))
        loop = work.get_loop()
        self._begin(lambda: loop.call_soon_threadsafe(work.cancel))
        deadline, expired = (None if seconds is None else time.monotonic() + seconds), False
        try:
            while not work.done():
                left = SLICE if deadline is None else min(SLICE, max(deadline - time.monotonic(), 0))
                await asyncio.wait({work}, timeout=left)
                if deadline is not None and time.monotonic() >= deadline and not work.done():
                    expired, deadline = work.cancel(), None
            if expired and work.cancelled():
                raise TimeLimitReached
            value = work.result()
            if leaving:
                raise leaving[0]
            return value
        except asyncio.CancelledError:
            await _cancelled(work)
            self.check()
            raise
        finally:
            self._end()

    def elsewhere(self, call: Callable[[], Any], interrupt: Callable[[], object]) -> Any:
        """Waits for a call that is made in another process.

        Args:
            call: waits for it and gives its value.
            interrupt: stops it; called on the thread of whoever stops the run.
        """
        self._begin(interrupt)
        try:
            return call()
        finally:
            self._end()
            self.check()

    def _begin(self, interrupt: Callable[[], object]) -> None:
        with self._lock:
            self.check()
            self._thread, self._interrupt = threading.get_ident(), interrupt

    def _end(self) -> None:
        with self._lock:
            self._interrupt = None


def _being_handled() -> bool:
    """Whether this thread is within the handling of an interrupt."""
    error = sys.exc_info()[1]
    while error is not None and not isinstance(error, Stopped):
        error = error.__context__
    return error is not None


async def _contained(fn: Callable[[], Coroutine[Any, Any, Any]], leaving: list[BaseException]) -> Any:
    """A task that ends by one of these two ends its loop at once, and nobody would say how the run ended."""
    try:
        return await fn()
    except (SystemExit, KeyboardInterrupt) as error:
        leaving.append(error)
        return None


async def _cancelled(work: asyncio.Future[Any]) -> None:
    """Cancels what is still going on and waits until it has cleaned up; a second interrupt ends the waiting."""
    work.cancel()
    while not work.done():
        await asyncio.wait({work}, timeout=SLICE)
    if not work.cancelled():
        work.exception()
