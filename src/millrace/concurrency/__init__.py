"""Concurrency and rate limits around blocks of code.

`millrace.concurrency(...)` and `from millrace import concurrency` are the function; this package holds it by the names
and colours of the original: `millrace.concurrency.sync` and `millrace.concurrency.asyncio`. It may be called, because
Python lets `millrace.concurrency` mean only one thing once the package is loaded.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from millrace.engine.concurrency import Slots as Slots
from millrace.engine.concurrency import arate_limit as arate_limit
from millrace.engine.concurrency import concurrency as concurrency
from millrace.engine.concurrency import rate_limit as rate_limit
from millrace.errors import AcquireConcurrencySlotTimeoutError as AcquireConcurrencySlotTimeoutError
from millrace.errors import ConcurrencySlotAcquisitionError as ConcurrencySlotAcquisitionError
from millrace.errors import ConcurrencySlotsLost as ConcurrencySlotsLost


class _Concurrency(ModuleType):
    def __call__(self, *arguments: Any, **options: Any) -> Slots:
        return concurrency(*arguments, **options)

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return import_module, (self.__name__,)  # tasks that use it travel to other processes


sys.modules[__name__].__class__ = _Concurrency
