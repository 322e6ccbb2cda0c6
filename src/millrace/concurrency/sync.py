"""Concurrency and rate limits for `def`: `with concurrency(…)`, and `rate_limit(…)` is called."""

from __future__ import annotations

from millrace.engine.concurrency import concurrency as concurrency
from millrace.engine.concurrency import rate_limit as rate_limit
from millrace.errors import AcquireConcurrencySlotTimeoutError as AcquireConcurrencySlotTimeoutError
from millrace.errors import ConcurrencySlotAcquisitionError as ConcurrencySlotAcquisitionError
