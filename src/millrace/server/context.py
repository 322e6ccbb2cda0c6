"""What every handler and stream of one server shares, and what one request brings."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

from millrace.errors import InvalidInput
from millrace.server.bell import Bell
from millrace.server.slot_queue import SlotQueue
from millrace.settings import Settings
from millrace.store import leases
from millrace.store.database import Database, Transaction
from millrace.store.vault import Vault

T = TypeVar("T")
THREADS = 16


@dataclass
class Context:
    """One running server.

    Args:
        database: its store.
        settings: its settings.
        embedded: whether it is the user's own server on a Unix socket.
        bell: rung by every commit.
        slots: who waits for slots of concurrency limits.
        replan: wakes the scheduler, because schedules changed.
        leaving: it stops as soon as its worker has: nobody waits for work any more.
    """

    database: Database
    settings: Settings
    embedded: bool = False
    bell: Bell = field(default_factory=Bell)
    slots: SlotQueue = field(default_factory=SlotQueue)
    replan: Callable[[], None] = field(default=lambda: None)
    threads: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(THREADS, thread_name_prefix="millrace-request")
    )
    last_used: float = field(default_factory=time.monotonic)
    open_streams: int = 0
    leaving: bool = False

    def __post_init__(self) -> None:
        self.vault = Vault(self.settings.key_file, self.settings.encryption_key)
        """Encrypts what is secret."""

    def used(self) -> None:
        """Somebody wants something: the idle clock starts anew."""
        self.last_used = time.monotonic()

    async def in_thread(self, fn: Callable[..., T], *args: Any) -> T:
        """Run a blocking function without blocking the loop."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, fn, *args)

    async def read(self, fn: Callable[..., T], *args: Any, **options: Any) -> T:
        """Read from the store, in a thread. `fn` gets the transaction and the arguments."""
        return await self.in_thread(lambda: self.database.read(lambda tx: fn(tx, *args, **options)))

    async def write(self, fn: Callable[..., T], *args: Any, **options: Any) -> T:
        """Write to the store, in a thread."""
        return await self.in_thread(lambda: self.database.write(lambda tx: fn(tx, *args, **options)))


@dataclass(frozen=True)
class Call:
    """One request, for its handler.

    Args:
        context: the server.
        lease: the run and attempt that fence its writes, if the request names them.
        gone: whether the client has hung up; only handlers that wait are told.
    """

    context: Context
    lease: tuple[UUID, int] | None = None
    gone: Callable[[], bool] = bool

    def read(self, fn: Callable[..., T], *args: Any, **options: Any) -> T:
        """The answer of a store function, which gets a reading transaction and the arguments."""
        return self.context.database.read(lambda tx: fn(tx, *args, **options))

    def write(self, fn: Callable[..., T], *args: Any, **options: Any) -> T:
        """The answer of a store function that writes; first, in the same transaction, the lease is checked.

        Raises:
            LeaseLost: another attempt holds the run; nothing was written.
        """

        def fenced(tx: Transaction) -> T:
            if self.lease is not None:
                leases.check(tx, *self.lease)
            return fn(tx, *args, **options)

        return self.context.database.write(fenced)

    def write_plan(self, fn: Callable[..., T], *args: Any, **options: Any) -> T:
        """Like `write`, for what changes when something is due: the scheduler looks again at once."""
        answer = self.write(fn, *args, **options)
        self.context.replan()
        return answer


def parse_lease(header: str | None) -> tuple[UUID, int] | None:
    """The run and attempt in the header `Millrace-Lease: <flow run id>/<attempt>`.

    Raises:
        InvalidInput: it is something else.

    Example:
        >>> parse_lease("00000000-0000-0000-0000-000000000001/2")
        (UUID('00000000-0000-0000-0000-000000000001'), 2)
    """
    if header is None:
        return None
    run, _, attempt = header.partition("/")
    try:
        return UUID(run), int(attempt)
    except ValueError:
        raise InvalidInput(f"Millrace-Lease must read <flow run id>/<attempt>, not {header[:100]!r}.") from None
