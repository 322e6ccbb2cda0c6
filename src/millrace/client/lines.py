"""The lines of an answer that keeps coming."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import httpx

# An interrupt of the kernel does not wake a sleeping event loop (ipykernel): it has to wake up by itself now and then.
SLICE = 0.2


def lines(response: httpx.Response) -> Iterator[str]:
    """Each line as it comes, without its end."""
    return response.iter_lines()


async def alines(response: httpx.Response) -> AsyncIterator[str]:
    """Each line as it comes, without its end; a cancellation is heard within a fifth of a second."""
    source = response.aiter_lines()
    while True:
        coming = asyncio.ensure_future(anext(source, None))
        try:
            while not coming.done():
                await asyncio.wait({coming}, timeout=SLICE)
        except BaseException:
            coming.cancel()
            with suppress(asyncio.CancelledError, httpx.HTTPError):
                await coming
            raise
        line = coming.result()
        if line is None:
            return
        yield line
