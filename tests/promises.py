"""The times that Millrace promises, and what a busy machine is forgiven: nothing while its processors are free."""

from __future__ import annotations

import os
import time

CANCELLED_WITHIN = 15.0
"""Seconds from the request until the state is Cancelled and nothing of the run is left. Ten are for clean-up."""


class Promise:
    """A time that has begun to run.

    Args:
        seconds: what is promised.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._began = time.monotonic()
        self._busy = _busy()

    @property
    def ceiling(self) -> float:
        """What is allowed here and now: what is promised, times the programs that each processor has to serve."""
        return self.seconds * max(1.0, self._busy, _busy())

    def kept(self) -> None:
        """It was kept, if this is called in time."""
        took = time.monotonic() - self._began
        assert took <= self.ceiling, f"{took:.1f} s; promised are {self.seconds:g}, allowed here {self.ceiling:.1f}"


def _busy() -> float:
    return os.getloadavg()[0] / (os.cpu_count() or 1)
