"""Every task runner, as the tests make them."""

from __future__ import annotations

from collections.abc import Callable

import millrace
from millrace.engine.runners import TaskRunner

MAKE: dict[str, Callable[[], TaskRunner]] = {
    "thread": lambda: millrace.ThreadPoolTaskRunner(max_workers=4),
    "process": lambda: millrace.ProcessPoolTaskRunner(max_workers=2),
    "inline": lambda: millrace.InlineTaskRunner(),
    "dask": lambda: millrace.DaskTaskRunner(
        cluster_kwargs={"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
    ),
}
ELSEWHERE = ["process", "dask"]
"""Those that call tasks in other processes."""
