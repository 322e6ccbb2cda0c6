"""What hooks and conditions raise is their own affair; what stops the code around them is not."""

from __future__ import annotations

import asyncio
import logging

import pytest

from millrace.engine.asides import aasides, asides
from millrace.engine.interrupts import Stopped, Terminated

LOG = logging.getLogger("asides")
FROM_OUTSIDE = [KeyboardInterrupt(), Stopped(), asyncio.CancelledError(), Terminated("SIGTERM", lambda: False)]


@pytest.mark.parametrize("error", FROM_OUTSIDE, ids=lambda error: type(error).__name__)
def test_what_stops_the_process_or_the_run_goes_through(error: BaseException) -> None:
    def stopped() -> None:
        raise error

    async def astopped() -> None:
        raise error

    with pytest.raises(type(error)):
        asides(LOG, "hook", [(stopped, ())])
    with pytest.raises(type(error)):
        asyncio.run(aasides(LOG, "hook", [(astopped, ())]))


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(4)], ids=lambda error: type(error).__name__)
def test_what_a_hook_raises_itself_is_logged_and_the_next_is_called(error: BaseException) -> None:
    called = []

    def raises() -> None:
        raise error

    asides(LOG, "hook", [(raises, ()), (called.append, (1,))])
    assert called == [1]
