"""Threads that drive submitted tasks: as many at a time as there are places. Who waits gives its place back."""

from __future__ import annotations

import concurrent.futures
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context

_place: ContextVar[Place | None] = ContextVar("millrace_place", default=None)


class Places:
    """How many calls may go on at the same time.

    A call that has to wait for its place takes no thread. One that comes back from waiting for something else goes
    before those that have not begun.

    Args:
        limit: how many.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._free = limit
        self._pending: deque[Callable[[], object]] = deque()
        self._returning = 0
        self._lock = threading.Condition()

    def start(self, launch: Callable[[], object]) -> None:
        """Launches now, or when there is a place.

        Args:
            launch: what to call; must not block.
        """
        with self._lock:
            if not self._free:
                self._pending.append(launch)
                return
            self._free -= 1
        launch()

    def release(self) -> None:
        """Gives one place to who waits for it."""
        with self._lock:
            if self._returning or not self._pending:
                self._free += 1
                self._lock.notify()
                return
            launch = self._pending.popleft()
        launch()

    def acquire(self) -> None:
        """Waits for a place."""
        with self._lock:
            self._returning += 1
            try:
                while not self._free:
                    self._lock.wait(0.2)  # in slices, so that an exception set in this thread arrives
                self._free -= 1
            finally:
                self._returning -= 1


class Place:
    """One call's place, and the thread that holds it."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.thread = threading.get_ident()
        self.away = 0


@contextmanager
def place_given_back() -> Iterator[None]:
    """While the block waits, another task may run in the place of this one; without a place it does nothing.

    That is why a task may wait for tasks it submitted, however few may run at the same time.
    """
    place = _place.get()
    if place is None or place.thread != threading.get_ident():
        yield
        return
    place.away += 1
    if place.away == 1:
        place.places.release()
    try:
        yield
    finally:
        place.away -= 1
        if place.away == 0:
            place.places.acquire()


class Crew:
    """The threads of one runner and the calls they have not finished.

    Args:
        places: shared by the crews of one runner that stays open for several runs of flows.
    """

    def __init__(self, places: Places) -> None:
        self.places = places
        self._threads: concurrent.futures.ThreadPoolExecutor | None = None
        self._open = 0
        self._lock = threading.Condition()

    def enlist(self) -> Callable[[Callable[[], object]], None]:
        """Counts a call that is to come; gives what starts it, in a copy of the present context variables."""
        context = copy_context()
        with self._lock:
            self._open += 1
            if self._threads is None:
                self._threads = concurrent.futures.ThreadPoolExecutor(sys.maxsize, "millrace-task")
        threads = self._threads

        def start(call: Callable[[], object]) -> None:
            self.places.start(lambda: threads.submit(context.run, self._work, call))

        return start

    def _work(self, call: Callable[[], object]) -> None:
        _place.set(Place(self.places))
        try:
            call()
        finally:
            try:
                self.places.release()
            finally:
                with self._lock:
                    self._open -= 1
                    if not self._open:
                        self._lock.notify_all()

    def close(self, timeout: float | None = None) -> None:
        """Waits until every call has ended, so many seconds at most.

        Args:
            timeout: None waits as long as it takes.
        """
        if self._threads is None:
            return
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            while self._open and (deadline is None or time.monotonic() < deadline):
                self._lock.wait(0.2)
            if self._open:
                return  # those that wait for a place still need a thread, if only to be told that they are cancelled
        self._threads.shutdown(wait=False)
