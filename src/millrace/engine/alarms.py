"""Time limits of code: an alarm that rings on its thread. `millrace.engine.interrupts` says what that can interrupt."""

from __future__ import annotations

import ctypes
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, ClassVar


class TimeLimitReached(Exception):
    """The time limit of the run that is being driven was reached; enclosing runs see their own.

    A text says more than whose limit it is, which the conversation of the run knows.
    """


class Alarm(BaseException):
    """Raised inside the user's code; a `BaseException`, so that `except Exception` in a loop does not swallow it."""


def raise_in(thread: int, kind: type[BaseException]) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(kind))


def on_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer")


class _MainAlarm:
    """Rings on the main thread, by a signal. They nest: the outermost that is due rings first."""

    _stack: ClassVar[list[_MainAlarm]] = []
    _previous: ClassVar[Any] = None

    def __init__(self, seconds: float) -> None:
        self.at = time.monotonic() + seconds
        self.rung = False
        self.kind: type[Alarm] = type("Alarm", (Alarm,), {})

    def set(self) -> None:
        """Begins to wait."""
        if not _MainAlarm._stack:
            _MainAlarm._previous = signal.signal(signal.SIGALRM, self._ring)
        _MainAlarm._stack.append(self)
        self._arm()

    def unset(self) -> None:
        """Rings no more."""
        if self in _MainAlarm._stack:
            _MainAlarm._stack.remove(self)
        self._arm()
        if not _MainAlarm._stack:
            signal.signal(signal.SIGALRM, _MainAlarm._previous or signal.SIG_DFL)

    @staticmethod
    def _arm() -> None:
        waiting = [alarm.at for alarm in _MainAlarm._stack if not alarm.rung]
        signal.setitimer(signal.ITIMER_REAL, max(min(waiting) - time.monotonic(), 0.001) if waiting else 0)

    @staticmethod
    def _ring(number: int, frame: FrameType | None) -> None:
        moment = time.monotonic() + 0.001
        due = next((alarm for alarm in _MainAlarm._stack if not alarm.rung and alarm.at <= moment), None)
        if due is not None:
            due.rung = True
        _MainAlarm._arm()
        if due is not None:
            raise due.kind()


class _ThreadAlarm:
    """Rings on any other thread, by an exception set from a timer's."""

    def __init__(self, seconds: float) -> None:
        self.kind: type[Alarm] = type("Alarm", (Alarm,), {})
        self.lock = threading.Lock()
        self.active = self.rung = False
        self.thread = 0
        self.timer = threading.Timer(seconds, self._ring)
        self.timer.daemon = True

    def set(self) -> None:
        """Begins to wait."""
        self.thread, self.active = threading.get_ident(), True
        self.timer.start()

    def unset(self) -> None:
        """Rings no more; if it has just rung, the exception arrives in here."""
        with self.lock:
            self.active = False
        self.timer.cancel()
        if self.rung:
            settle()

    def _ring(self) -> None:
        with self.lock:
            if self.active:
                self.rung = True
                raise_in(self.thread, self.kind)


def settle() -> None:
    """An exception set from another thread arrives at one of the next bytecodes: let it arrive here.

    At a jump backwards, that is; a sleep would give way to every busy thread each time.
    """
    for _ in range(100):
        pass


def time_limit_message(what: str, seconds: float | None) -> str:
    return f"The {what} took longer than its time limit of {seconds:g} s." if seconds is not None else ""


def limited(fn: Callable[[], Any], seconds: float | None) -> Any:
    """Calls a function that may take so long and no longer; see the table in `millrace.engine.interrupts`.

    A function and no `with` block: an exception from another thread may arrive between any two bytecodes, and only
    within this one frame is every such place covered.

    Args:
        fn: the function, its arguments bound.
        seconds: the limit; None for none.

    Raises:
        TimeLimitReached: it took longer.
    """
    if seconds is None:
        return fn()
    alarm = _MainAlarm(seconds) if on_main_thread() else _ThreadAlarm(seconds)
    try:
        try:
            alarm.set()
            return fn()
        finally:
            alarm.unset()
    except alarm.kind as rung:
        raise TimeLimitReached().with_traceback(rung.__traceback__) from None
