"""A run is asked to stop: by Ctrl-C, by SIGTERM, by a terminal that closes, or by the event its caller holds."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_HANGUP = getattr(signal, "SIGHUP", None)  # Windows has none
_BELL = getattr(signal, "SIGURG", None)
"""By which the engine stops the run that this one is, see `engine.interrupts`; heard where the engine listens to it."""


class StopRequest:
    """Hears that a run is to stop. As a context manager it takes SIGINT, SIGTERM and SIGHUP for as long as it is open.

    SIGHUP is left alone where it is ignored: that is what `nohup` is for.

    Signals can only be taken in the main thread; elsewhere only the event is heard.

    Args:
        event: set by the caller to cancel; None when it never does.
        take_signals: whether to take the signals.
    """

    def __init__(self, event: threading.Event | None = None, take_signals: bool = True) -> None:
        self._event = event
        self._take = take_signals and threading.current_thread() is threading.main_thread()
        self._received: list[int] = []
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if self._take:
            for number in _SIGNALS:
                self._before[number] = signal.signal(number, self._hear)
            if _HANGUP is not None and signal.getsignal(_HANGUP) is not signal.SIG_IGN:
                self._before[_HANGUP] = signal.signal(_HANGUP, self._hear)
            if _BELL is not None and callable(signal.getsignal(_BELL)):
                self._before[_BELL] = signal.signal(_BELL, self._hear)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._received.append(number)

    def asked(self) -> bool:
        """Whether the run is to stop."""
        return bool(self._received) or (self._event is not None and self._event.is_set())

    def at_once(self) -> bool:
        """Whether somebody asked twice, and means now."""
        return len([number for number in self._received if number != _BELL]) > 1

    @property
    def reason(self) -> str:
        """Who asked, for people."""
        if not self._received or self._received[0] == _BELL:
            return "it was cancelled"
        return f"it was stopped by {signal.Signals(self._received[0]).name}"
