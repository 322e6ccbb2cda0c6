"""A bell that every commit rings and that waiting coroutines hear: no thread waits, nothing polls."""

from __future__ import annotations

import asyncio
import threading


class Bell:
    """Wakes coroutines of one event loop from any thread; rings that come together are heard as one.

    Example:
        seen = bell.count
        rows = look()
        if not rows:
            await bell.wait(seen, timeout=5)
    """

    def __init__(self) -> None:
        self.count = 0
        self.closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiters: set[asyncio.Future[None]] = set()
        self._lock = threading.Lock()
        self._pending = False

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Name the loop whose coroutines wait."""
        with self._lock:
            self._loop, self._pending, self.closed = loop, False, False

    def detach(self) -> None:
        """Forget the loop; rings are heard by nobody."""
        with self._lock:
            self._loop = None

    def ring(self) -> None:
        """Something was committed; from any thread."""
        with self._lock:
            if self._loop is None or self._pending or self._loop.is_closed():
                return
            self._pending = True
            self._loop.call_soon_threadsafe(self._wake)

    def close(self) -> None:
        """Everybody should go home: waiters return at once, now and later. On the loop's thread."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        with self._lock:
            self._pending = False
        self.count += 1
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, since: int, timeout: float) -> None:
        """Return when the bell rang after `since`, or after the time-out.

        Args:
            since: `count` as it was before the caller looked, so that nothing is missed.
            timeout: seconds.
        """
        if self.count != since or self.closed or timeout <= 0:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await asyncio.wait((waiter,), timeout=timeout)
        finally:
            self._waiters.discard(waiter)
