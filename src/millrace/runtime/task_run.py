"""The task run that this code belongs to.

Attributes:
    id: its id, as text.
    name: its name.
    task_name: the name of its task.
    tags: its tags.
    parameters: its arguments by name, futures resolved.
    run_count: which try this is, from 1.
    api_url: where the API shows it; None with an embedded server, which listens on no port.
    ui_url: None: Millrace shows runs in the notebook and the terminal.
"""

from __future__ import annotations

from typing import Any

from millrace import settings
from millrace.engine.context import TaskRunContext
from millrace.runtime.attributes import JSON, NUMBER, TEXT, Attributes


def _of_run(name: str, empty: Any = None) -> Any:
    context = TaskRunContext.get()
    return getattr(context, name) if context is not None else empty


def _id() -> str | None:
    found = _of_run("id")
    return str(found) if found else None


def _task_name() -> str | None:
    task = _of_run("task")
    return str(task.name) if task is not None else None


def _api_url() -> str | None:
    url, run = settings.current().api_url, _id()
    return f"{url}/task_runs/{run}" if url and run else None


_ATTRIBUTES = Attributes(
    __name__,
    "TASK_RUN",
    {
        "id": (_id, TEXT),
        "name": (lambda: _of_run("name"), TEXT),
        "task_name": (_task_name, TEXT),
        "tags": (lambda: list(_of_run("tags", [])), JSON),
        "parameters": (lambda: _of_run("parameters", {}), JSON),
        "run_count": (lambda: _of_run("run_count", 0), NUMBER),
        "api_url": (_api_url, TEXT),
        "ui_url": (lambda: None, TEXT),
    },
)


def __getattr__(name: str) -> Any:
    return _ATTRIBUTES.get(name)


def __dir__() -> list[str]:
    return sorted(_ATTRIBUTES.read)
