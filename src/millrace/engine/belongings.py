"""Whose a process is: what the code of a run starts carries the ids of its runs in its environment, with their names.

A worker's run is a session of its own, and the worker ends all of it. A called run shares its process with whoever
called it: a kernel has processes of its own, of other runs, and of cells. So `subprocess` tells here which run starts
one, on whatever thread and in whatever process of the run, and what such a process starts inherits the label.
Processes of `multiprocessing` inherit nothing that could be read from outside: of them the objects are known. Inside,
a forked one has the context variables of whoever started it; one that is spawned, by itself or by a fork server, takes
the label out of its object, before it runs a line of the user's.

What other ways start (`os.fork`, `os.posix_spawn`, extensions), and code on threads that do not know their run (those
of `threading.Thread` without a copied context), is nobody's, and is left alone.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from contextvars import Context
from functools import lru_cache, wraps
from multiprocessing.process import BaseProcess
from typing import Any
from urllib.parse import quote
from weakref import WeakKeyDictionary

from millrace.engine.context import WITHIN as LABEL
from millrace.engine.context import FlowRunContext

_ENV = 10
"""The place of `env` among the arguments of Popen."""

known: WeakKeyDictionary[BaseProcess, str] = WeakKeyDictionary()
"""The processes of `multiprocessing` that runs of this process started, with their labels."""


def label() -> str:
    """The ids and names of the runs whose code runs here, the outermost first; empty outside of runs."""
    runs: list[str] = []
    context = FlowRunContext.get()
    while context is not None:
        runs.insert(0, f"{context.run_id}:{quote(context.flow_run.name, safe='')}")
        context = context.parent
    return "/".join([*([os.environ[LABEL]] if LABEL in os.environ else []), *runs]) if runs else ""


def nobodys(start: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Starts a process that belongs to no run, though a run's code comes to start it.

    Args:
        start: what starts it.
        args: its arguments.
        options: its options.
    """
    return Context().run(start, *args, **options)


@lru_cache(maxsize=1)
def watch() -> None:
    """From now on the processes that runs start are told apart. Once is enough."""
    popen = subprocess.Popen.__init__
    start = BaseProcess.start

    @wraps(popen)
    def labelled(self: Any, *args: Any, **options: Any) -> None:
        mark = label()
        if mark and len(args) > _ENV:
            args = (*args[:_ENV], _with(mark, args[_ENV]), *args[_ENV + 1 :])
        elif mark:
            options["env"] = _with(mark, options.get("env"))
        popen(self, *args, **options)

    @wraps(start)
    def remembered(self: BaseProcess) -> None:
        mark = label()
        if mark:
            vars(self)["_millrace_within"] = _Label(mark)
        start(self)
        if mark:
            known[self] = mark

    subprocess.Popen.__init__ = labelled  # type: ignore[method-assign]
    BaseProcess.start = remembered  # type: ignore[method-assign]


class _Label:
    """The label on its way in the object of a process: where that is unpickled, the process takes it on.

    Args:
        mark: the ids of the runs.
    """

    def __init__(self, mark: str) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return _taken_on, (self._mark,)


def _taken_on(mark: str) -> None:
    os.environ[LABEL] = mark


def _with(mark: str, env: Mapping[Any, Any] | None) -> dict[Any, Any]:
    return {**(os.environ if env is None else env), LABEL: mark}
