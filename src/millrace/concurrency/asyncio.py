"""Concurrency and rate limits for `async def`: `async with concurrency(…)`, and `rate_limit(…)` is awaited."""

from __future__ import annotations

from millrace.engine.concurrency import arate_limit as rate_limit
from millrace.engine.concurrency import concurrency as concurrency
from millrace.errors import AcquireConcurrencySlotTimeoutError as AcquireConcurrencySlotTimeoutError
from millrace.errors import ConcurrencySlotAcquisitionError as ConcurrencySlotAcquisitionError

__all__ = ["AcquireConcurrencySlotTimeoutError", "ConcurrencySlotAcquisitionError", "concurrency", "rate_limit"]
