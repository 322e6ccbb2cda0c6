"""The task runner that calls tasks in other processes of this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, Self

from millrace.engine import travel
from millrace.engine.alarms import TimeLimitReached
from millrace.engine.errands import Errand
from millrace.engine.homeward import Inbox
from millrace.engine.interrupts import CallLost, Stoppable
from millrace.engine.parcels import packed, packed_flow
from millrace.engine.processes import GRACE_SECONDS, ProcessPool
from millrace.engine.runners import CrewTaskRunner, checked_workers


class ProcessPoolTaskRunner(CrewTaskRunner):
    """Calls submitted tasks in other processes: true parallelism for Python code, and code that dies dies alone.

    The task's states, retries, caching and hooks stay in this process; its function, its arguments and its result
    travel, by value where no import finds them, so tasks of a notebook or a script work, and no
    `if __name__ == "__main__"` is needed. Each of the processes is started when first needed, serves many tasks, and
    ends with the flow run, or with the `with` block of the runner.

    A time limit or a cancellation interrupts the function wherever it is; one that does not react within five seconds
    loses its process. A task whose process dies is Crashed, is tried again if it has retries, and takes no other task
    with it.

    Args:
        max_workers: how many processes at most; None: as many as there are processors.
        initializer: called first in each process.
        initargs: its arguments.
        subprocess_message_processor_factories: accepted because Prefect has it, and not used: what tasks log, print and
            record always comes back.

    Raises:
        ValueError: `max_workers` is less than 1.

    Example:
        >>> @flow(task_runner=ProcessPoolTaskRunner(max_workers=4))  # doctest: +SKIP
        ... def simulate(seeds: list[int]):
        ...     return one_world.map(seeds)
    """

    def __init__(
        self,
        max_workers: int | None = None,
        subprocess_message_processor_factories: Iterable[Any] | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> None:
        self.max_workers = checked_workers(max_workers) or os.cpu_count() or 1
        self.initializer = initializer
        self.initargs = tuple(initargs)
        super().__init__(self.max_workers)
        self._pool: ProcessPool | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(max_workers={self.max_workers})"

    def _options(self) -> tuple[Any, ...]:
        return (type(self), self.max_workers, self.initializer, self.initargs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ProcessPoolTaskRunner) and other._options() == self._options()

    def __hash__(self) -> int:
        return hash((type(self), self.max_workers))

    def _arguments(self) -> tuple[Any, ...]:
        return (self.max_workers, None, self.initializer, self.initargs)

    def open(self) -> Self:
        """A runner for one run of a flow, with processes of its own, or those of one that stays open."""
        made = super().open()
        made._pool = self._pool if self._started else None
        made._owns = not self._started
        return made

    _owns = True

    @property
    def carrier(self) -> Self:
        """Itself."""
        return self

    def carry(self, errand: Errand, stoppable: Stoppable) -> Any:
        """Has a function called in one of the processes.

        Args:
            errand: the call.
            stoppable: stops it.

        Raises:
            CannotTravel: the function, an argument or the result cannot be sent.
            CallLost: the process ended before the function did.
            TimeLimitReached: it took too long.
        """
        body, flow = packed(errand), packed_flow(errand.flow)
        pool = self._pool = self._pool or ProcessPool((self.initializer, self.initargs) if self.initializer else None)
        process = pool.take()
        process.begin()
        limit = None if errand.seconds is None else process.kill_later(errand.seconds + GRACE_SECONDS)
        try:
            good, found = stoppable.elsewhere(
                lambda: process.call(flow, body, Inbox(errand.flow, errand.context).take), process.stop
            )
        except CallLost:
            if process.overdue and errand.seconds is not None:
                raise TimeLimitReached from None
            raise
        finally:
            if limit is not None:
                limit.cancel()
            process.done()
            pool.give_back(process)
        if good:
            return travel.unpack(found)
        raise travel.unpack_error(found)

    def close(self, timeout: float | None = None) -> None:
        """Waits until every submitted call has ended, then lets the processes go."""
        super().close(timeout)
        if self._owns and not self._started and self._pool is not None:
            self._pool.close()
            self._pool = None

    def _start(self) -> None:
        self._pool = ProcessPool((self.initializer, self.initargs) if self.initializer else None)

    def _stop(self) -> None:
        if self._pool is not None:
            self._pool.close()
            self._pool = None
