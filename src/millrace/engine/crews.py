"""Threads that drive submitted tasks: as many at a time as there are places. Who waits gives its place back."""

from __future__ import annotations

import concurrent.futures
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from typing import NamedTuple

_place: ContextVar[Place | None] = ContextVar("millrace_place", default=None)


class Places:
    """How many calls may go on at the same time, and the threads that take them.

    A call that has to wait for its place takes no thread. One that comes back from waiting for something else goes
    before those that have not begun.

    A thread goes on from call to call as long as there are any. Before it begins one while more are waiting, it has one
    more thread come; only one is on its way at a time. So calls that sleep or read get a thread each as fast as threads
    can start, while those that compute do not get hundreds that fight for the interpreter.

    Args:
        limit: how many.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._free = limit
        self._waiting: deque[_Job] = deque()
        self._coming = False
        self._returning = 0
        self._lock = threading.Condition()

    def put(self, job: _Job) -> None:
        """Has a call made now, or when there is a place.

        Raises:
            RuntimeError: no thread can be started, and none is at work.
        """
        with self._lock:
            self._waiting.append(job)
        try:
            self._more()
        except RuntimeError:
            with self._lock:
                self._waiting.remove(job)
            job.crew.ended()
            raise

    def release(self, place: Place) -> None:
        """Gives a place to who waits for one."""
        with self._lock:
            place.held = False
            self._free += 1
            self._lock.notify()
        self._more()

    def acquire(self, place: Place) -> None:
        """Waits for a place."""
        with self._lock:
            self._returning += 1
            try:
                while not self._free:
                    self._lock.wait(0.2)  # in slices, so that an exception set in this thread arrives
                self._free -= 1
                place.held = True
            finally:
                self._returning -= 1
        self._more()

    def _more(self) -> None:
        """Has one more thread come if there is something for it to do."""
        with self._lock:
            if self._coming or not self._waiting or self._free <= self._returning:
                return
            self._coming = True
            threads = self._waiting[0].crew.threads
        try:
            threads.submit(self._work)
        except RuntimeError:
            with self._lock:
                self._coming = False
                if self._free < self.limit:
                    return  # those at work take the calls one after the other
            raise

    def _work(self) -> None:
        with self._lock:
            self._coming = False
            if self._free <= self._returning:
                return
            self._free -= 1
        place = Place(self)
        try:
            while (job := self._next(place)) is not None:
                self._more()
                job.run(place)
        finally:
            if place.held:
                self.release(place)

    def _next(self, place: Place) -> _Job | None:
        with self._lock:
            if not place.held or not self._waiting or self._free < self._returning:
                return None
            return self._waiting.popleft()


class Place:
    """The place of one thread."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.thread = threading.get_ident()
        self.away = 0
        self.held = True


class _Job(NamedTuple):
    crew: Crew
    context: Context
    call: Callable[[], object]

    def run(self, place: Place) -> None:
        try:
            self.context.run(self._placed, place)
        finally:
            self.crew.ended()

    def _placed(self, place: Place) -> None:
        _place.set(place)
        self.call()


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
        place.places.release(place)
    try:
        yield
    finally:
        place.away -= 1
        if place.away == 0:
            place.places.acquire(place)


class Crew:
    """The calls of one runner that have not ended.

    Args:
        places: shared by the crews of one runner that stays open for several runs of flows.
    """

    def __init__(self, places: Places) -> None:
        self.places = places
        self._threads: concurrent.futures.ThreadPoolExecutor | None = None
        self._open = 0
        self._closed = False
        self._lock = threading.Condition()

    @property
    def threads(self) -> concurrent.futures.ThreadPoolExecutor:
        """Where its calls go on, and those of others that come after them."""
        if self._threads is None:
            self._threads = concurrent.futures.ThreadPoolExecutor(sys.maxsize, "millrace-task")
        return self._threads

    def enlist(self) -> Callable[[Callable[[], object]], None]:
        """Counts a call that is to come; gives what starts it, in a copy of the present context variables.

        Raises:
            RuntimeError: the crew is closed.
        """
        context = copy_context()
        with self._lock:
            if self._closed:
                raise RuntimeError("The task runner is closed: the flow run whose tasks it ran has ended")
            self._open += 1
        return lambda call: self.places.put(_Job(self, context, call))

    def ended(self) -> None:
        """One of its calls has."""
        with self._lock:
            self._open -= 1
            if not self._open:
                self._lock.notify_all()

    def close(self, timeout: float | None = None) -> None:
        """Waits until every call has ended, so many seconds at most.

        Args:
            timeout: None waits as long as it takes.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            while self._open and (deadline is None or time.monotonic() < deadline):
                self._lock.wait(0.2)
            if self._open:
                return  # those that wait for a place still need a thread, if only to be told that they are cancelled
            self._closed = True
        if self._threads is not None:
            self._threads.shutdown(wait=False)
