"""The processes that a run started, ended with it: for runs that are called in a script or a kernel.

A worker's run is a session of its own, and the worker ends all of it. Here the run shares its process with whoever
called it, so what it started is told by time: the children of this process that began after the run did, and all that
descends from them. Millrace's own processes have owners of their own.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterable

import psutil

_log = logging.getLogger("millrace.flow_runs")
_GRACE = 2.0
_CLOCK = 0.05
"""Seconds by which the clock of processes is coarser than ours."""

_GONE = (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess, OSError)
_NOT_THEIRS = ("millrace.", "multiprocessing.resource_tracker")


def end_since(moment: float, others: int) -> int:
    """Ends the processes that began since a moment: asked first, killed after two seconds.

    Args:
        moment: seconds since the epoch.
        others: how many other runs this process has: with any, nobody can tell whose a process is, and all are left.

    Returns:
        How many there were.
    """
    found = _since(moment)
    if not found:
        return 0
    if others:
        numbers = ", ".join(str(process.pid) for process in found)
        _log.warning("Processes were left, since other runs of this process may own them: %s", numbers)
        return 0
    family = _with_descendants(found)
    for process in family:
        with contextlib.suppress(*_GONE):
            process.terminate()
    _, alive = psutil.wait_procs(family, timeout=_GRACE)
    for process in alive:
        with contextlib.suppress(*_GONE):
            process.kill()
    psutil.wait_procs(alive, timeout=_GRACE)
    return len(family)


def _since(moment: float) -> list[psutil.Process]:
    found = []
    longest = time.time() - moment + _CLOCK
    for child in psutil.Process().children():
        with contextlib.suppress(*_GONE):
            words = " ".join(child.cmdline())
            if _age(child) <= longest and not any(name in words for name in _NOT_THEIRS):
                found.append(child)
    return found


def _age(process: psutil.Process) -> float:
    """Seconds since a process began. Linux counts from the boot, whose moment it knows only to the second."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return time.time() - process.create_time()
    return time.clock_gettime(time.CLOCK_BOOTTIME) - (process.create_time() - psutil.boot_time())


def _with_descendants(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    family = list(processes)
    for process in list(family):
        with contextlib.suppress(*_GONE):
            family += process.children(recursive=True)
    return family
