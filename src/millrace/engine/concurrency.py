"""Concurrency and rate limits around a block of code: slots of named limits, in either colour."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any
from uuid import UUID

from millrace.engine.alarms import on_main_thread, settle
from millrace.engine.interrupts import SLICE, Stopped, interrupter
from millrace.engine.slot_events import tell_acquired, tell_released
from millrace.engine.slot_keeper import HeldSlots, give_back, hasty, slot_keeper
from millrace.engine.slot_requests import aconverse, converse, current_holder, tell_missing, the_client, the_clients
from millrace.engine.slot_wishes import Wish, checked_duration, checked_holder, checked_occupy, names_of
from millrace.errors import ConcurrencySlotAcquisitionError, ConcurrencySlotsLost
from millrace.schema.limits import LimitTaken, SlotHolder, SlotLease

if TYPE_CHECKING:
    from millrace.client.synchronous import Client

POLL_SECONDS = 20.0
THREAD_POLL_SECONDS = 1.0
"""What stops a thread arrives between two requests of it, so that they must not last."""


class Slots:
    """A block that holds slots; made by `concurrency`. Use it with `with` or, in `async def`, with `async with`.

    It may be entered again after it was left, but not while it is held.
    """

    def __init__(
        self, wish: Wish, lease_duration: float, holder: SlotHolder | None, *, quiet: bool, stops: bool
    ) -> None:
        self._wish = wish
        self._seconds = lease_duration
        self._holder = holder
        self._quiet = quiet
        self._stops = stops
        self._check: Callable[[], object] | None = None
        self._held: HeldSlots | None = None
        self._limits: list[LimitTaken] = []
        self._told: dict[UUID, UUID] = {}

    # -- with

    def __enter__(self) -> None:
        if not self._begin():
            return
        client = the_client()
        plain = hasty(client)
        self._wish.poll = POLL_SECONDS if on_main_thread() else THREAD_POLL_SECONDS
        try:
            lease = self._acquire(client)
            if self._granted(lease):
                self._hold(lease, plain, interrupter() if self._stops else None)
        except BaseException:
            # the server may have granted them at this very moment: nobody would ever return them
            self._drop()
            give_back(plain, self._wish.ticket)
            raise

    def _acquire(self, client: Client) -> SlotLease:
        talk = self._wish.conversation()
        lease: SlotLease = converse(talk, lambda wait: client.lease_slots(**self._fields(wait)), self._check)
        return lease

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        held = self._drop()
        if held is None:
            return
        rung = held.rung
        if rung:
            with contextlib.suppress(KeyboardInterrupt, Stopped):
                settle()
        if not held.lost:
            give_back(held.client, held.lease_id)
        elif rung and (error is None or isinstance(error, KeyboardInterrupt | Stopped)):
            raise self._loss() from None

    # -- async with

    async def __aenter__(self) -> None:
        if not self._begin():
            return
        client, plain = await the_clients()
        self._wish.poll = POLL_SECONDS
        try:
            lease: SlotLease = await aconverse(self._wish, lambda wait: client.lease_slots(**self._fields(wait)))
            if self._granted(lease):
                self._hold(lease, plain, _canceller() if self._stops else None)
        except BaseException:
            self._drop()
            slot_keeper().give_up(plain, self._wish.ticket)
            raise
        self._aclient = client

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        held = self._drop()
        if held is None:
            return
        if held.rung and not isinstance(error, asyncio.CancelledError):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(SLICE)  # the interruption is on its way: let it arrive here
        if held.rung:
            _uncancel()
        if held.lost:
            if held.rung and (error is None or isinstance(error, asyncio.CancelledError)):
                raise self._loss() from None
            return
        try:
            await self._aclient.return_slots(lease_id=held.lease_id)
        except asyncio.CancelledError:
            slot_keeper().give_up(held.client, held.lease_id)
            raise
        except Exception:
            slot_keeper().give_up(held.client, held.lease_id)

    # -- both

    def _begin(self) -> bool:
        if self._held is not None:
            raise ConcurrencySlotAcquisitionError(
                f"These slots of {self._wish.called} are held already. Call concurrency(…) for each block."
            )
        self._wish = self._wish.anew()
        return bool(self._wish.names)

    def _fields(self, wait_seconds: float) -> dict[str, Any]:
        fields = self._wish.ask(wait_seconds)
        return {**fields, "lease_duration": self._seconds, "holder": self._holder or current_holder()}

    def _granted(self, lease: SlotLease) -> bool:
        tell_missing(self._wish, lease.limits, quiet=self._quiet)
        return bool(lease.limits)

    def _hold(self, lease: SlotLease, plain: Client, interrupt: Any) -> None:
        held = HeldSlots(lease.lease_id, self._wish.names, self._seconds, plain, interrupt, self._quiet)
        self._held, self._limits = held, lease.limits
        slot_keeper().hold(held)
        self._told = tell_acquired(lease.limits, self._wish.occupy)

    def _drop(self) -> HeldSlots | None:
        held, self._held = self._held, None
        if held is not None:
            slot_keeper().release(held)
            tell_released(self._limits, self._wish.occupy, self._told)
        return held

    def _loss(self) -> ConcurrencySlotsLost:
        return ConcurrencySlotsLost(
            f"The slots of {self._wish.called} were lost while the block went on, and may be another's. "
            "With raise_on_lease_renewal_failure=False the block would have gone on."
        )


def concurrency(
    names: str | list[str],
    occupy: int = 1,
    timeout_seconds: float | None = None,
    max_retries: int | None = None,
    lease_duration: float = 300,
    strict: bool = False,
    holder: SlotHolder | Mapping[str, Any] | None = None,
    suppress_warnings: bool = False,
    raise_on_lease_renewal_failure: bool | None = None,
) -> Slots:
    """Holds slots of concurrency limits during a block: so many blocks run at once, wherever they run.

    Slots of several limits are taken together or not at all. Whoever waits gets them in turn, and soon after they are
    free. The slots are leased: they are renewed in the background, and come back when the block ends, when its run
    ends, or when its process died and the lease was not renewed.

    Args:
        names: of the limits; see `millrace gcl create`.
        occupy: slots to take of each.
        timeout_seconds: how long to wait; None: for ever.
        max_retries: how often to ask again when there are none; None: for ever.
        lease_duration: seconds after which the slots of a dead process come back, 60 to 86400.
        strict: a limit that does not exist is an error; else the block runs without it, and the log says so.
        holder: who holds them, by type and id; None: the current task run or flow run.
        suppress_warnings: say what is missing or lost at level DEBUG.
        raise_on_lease_renewal_failure: interrupt the block when its slots are lost; None: as `strict` says.

    Raises:
        AcquireConcurrencySlotTimeoutError: no slots in time; a `TimeoutError`.
        ConcurrencySlotAcquisitionError: more slots than there are, a missing limit (`strict`), or `max_retries`.
        ConcurrencySlotsLost: the slots were lost during the block, and it was interrupted.
        InvalidInput: an argument that cannot be used.

    Example:
        >>> with concurrency("database", occupy=1, timeout_seconds=60):  # doctest: +SKIP
        ...     query()
        >>> async with concurrency(["database", "reports"]):  # doctest: +SKIP
        ...     await query()
    """
    wish = Wish(
        names_of(names),
        checked_occupy(occupy),
        timeout_seconds=timeout_seconds,
        max_retries=max_retries,
        strict=strict,
    )
    stops = strict if raise_on_lease_renewal_failure is None else raise_on_lease_renewal_failure
    duration = checked_duration(lease_duration)
    return Slots(wish, duration, checked_holder(holder), quiet=suppress_warnings, stops=stops)


def rate_limit(
    names: str | list[str], occupy: int = 1, timeout_seconds: float | None = None, strict: bool = False
) -> None:
    """Waits until slots of rate limits are free, and uses them up: they come back with time, not by the end of a block.

    Args:
        names: of the limits, all of them with a `slot_decay_per_second`.
        occupy: slots to take of each.
        timeout_seconds: how long to wait; None: for ever.
        strict: a limit that does not exist is an error.

    Raises:
        AcquireConcurrencySlotTimeoutError: no slots in time; a `TimeoutError`.
        ConcurrencySlotAcquisitionError: a limit has no decay or too few slots, or is missing (`strict`).
        InvalidInput: an argument that cannot be used.

    Example:
        >>> for page in pages:  # doctest: +SKIP
        ...     rate_limit("the api")
        ...     fetch(page)
    """
    wish = Wish(names_of(names), checked_occupy(occupy), "rate_limit", timeout_seconds, strict=strict)
    if not wish.names:
        return
    client = the_client()
    wish.poll = POLL_SECONDS if on_main_thread() else THREAD_POLL_SECONDS
    taken = converse(wish.conversation(), lambda wait: client.take_slots(**wish.ask(wait)))
    tell_missing(wish, taken)
    tell_acquired(taken, wish.occupy)


async def arate_limit(
    names: str | list[str], occupy: int = 1, timeout_seconds: float | None = None, strict: bool = False
) -> None:
    """The same as `rate_limit`, to be awaited.

    Args:
        names: of the limits, all of them with a `slot_decay_per_second`.
        occupy: slots to take of each.
        timeout_seconds: how long to wait; None: for ever.
        strict: a limit that does not exist is an error.

    Raises:
        AcquireConcurrencySlotTimeoutError: no slots in time; a `TimeoutError`.
        ConcurrencySlotAcquisitionError: a limit has no decay or too few slots, or is missing (`strict`).
        InvalidInput: an argument that cannot be used.

    Example:
        >>> await arate_limit("the api")  # doctest: +SKIP
    """
    wish = Wish(names_of(names), checked_occupy(occupy), "rate_limit", timeout_seconds, strict=strict)
    if not wish.names:
        return
    client, _ = await the_clients()
    taken: list[LimitTaken] = await aconverse(wish, lambda wait: client.take_slots(**wish.ask(wait)))
    tell_missing(wish, taken)
    tell_acquired(taken, wish.occupy)


def _canceller() -> Any:
    task = asyncio.current_task()
    assert task is not None
    loop = task.get_loop()
    return lambda: loop.call_soon_threadsafe(task.cancel)


def _uncancel() -> None:
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
