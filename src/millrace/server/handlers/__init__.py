"""One function for each operation of the table, in a file for each noun; found here by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

from millrace.schema.operations import OPERATIONS
from millrace.server.handlers import (
    admin,
    artifacts,
    automations,
    blocks,
    deployments,
    events,
    flow_runs,
    flows,
    inputs,
    leases,
    limits,
    logs,
    pages,
    tag_limits,
    task_runs,
    variables,
    work_pools,
    work_queues,
    workers,
)

MODULES: tuple[ModuleType, ...] = (
    admin,
    artifacts,
    automations,
    blocks,
    deployments,
    events,
    flow_runs,
    flows,
    inputs,
    leases,
    limits,
    logs,
    pages,
    tag_limits,
    task_runs,
    variables,
    work_pools,
    work_queues,
    workers,
)

Handler = Callable[..., Any]


def find_handlers() -> dict[str, Handler]:
    """The handler of every operation.

    Raises:
        RuntimeError: an operation has no handler, a handler no operation, or two have one name.
    """
    found: dict[str, Handler] = {}
    for module in MODULES:
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ != module.__name__ or name.startswith("_"):
                continue
            if name in found:
                raise RuntimeError(f"two handlers are called {name}")
            found[name] = function
    named = {operation.name for operation in OPERATIONS}
    if missing := sorted(named - found.keys()):
        raise RuntimeError(f"operations without a handler in server/handlers: {', '.join(missing)}")
    if extra := sorted(found.keys() - named):
        raise RuntimeError(f"handlers without a line in schema/operations.py: {', '.join(extra)}")
    return found
