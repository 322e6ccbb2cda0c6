"""All processes of one attempt of a run: found by descent and by label, and ended for good.

A Jupyter kernel lives in a session of its own and a daemon has no parent any more, so a process group is not enough.
Every process that an attempt starts inherits `MILLRACE__ATTEMPT` in its environment: that is its label.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable

import psutil

LABEL = "MILLRACE__ATTEMPT"
_GONE = (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess, OSError)


def same_process(pid: int, create_time: float) -> bool:
    """Whether the process still lives and is not another one that was given its number.

    Args:
        pid: its number.
        create_time: when it began, in seconds since the epoch, as psutil tells.
    """
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - create_time) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
    except _GONE:
        return False


def create_time(pid: int) -> float:
    """When a process began; 0 if it is gone."""
    try:
        return float(psutil.Process(pid).create_time())
    except _GONE:
        return 0.0


def boot_time() -> float:
    """When this machine started, in seconds since the epoch."""
    return float(psutil.boot_time())


def of_attempt(label: str, session: int | None, *, descendants: bool = False) -> list[psutil.Process]:
    """The living processes of an attempt, its first process included.

    Args:
        label: of the attempt: `<flow run id>/<attempt>`.
        session: the number of its first process, which leads a session; None: not known.
        descendants: that process lives: take all that descend from it, too.
    """
    found: dict[int, psutil.Process] = {}
    if session is not None and descendants:
        with contextlib.suppress(*_GONE):
            first = psutil.Process(session)
            found = {process.pid: process for process in [first, *first.children(recursive=True)]}
    for process in psutil.process_iter():
        with contextlib.suppress(*_GONE):
            if process.pid not in found and _belongs(process, label, session):
                found[process.pid] = process
    found.pop(os.getpid(), None)
    return [process for process in found.values() if _lives(process)]


def _belongs(process: psutil.Process, label: str, session: int | None) -> bool:
    # A fork shows the environment of the process it was forked from: those are known by their session.
    if session is not None and os.getsid(process.pid) == session:
        return True
    return process.environ().get(LABEL) == label


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except _GONE:
        return False


def terminate(pid: int) -> None:
    """Ask a process and its group to end.

    Args:
        pid: the leader of the group.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGTERM)


def kill(label: str, session: int | None, known: Iterable[psutil.Process] = ()) -> bool:
    """Kill every process of an attempt, again and again until none is left, for five seconds at most.

    Args:
        label: of the attempt: `<flow run id>/<attempt>`.
        session: the number of its first process; None: not known.
        known: processes found before their parents died.
    """
    deadline = time.monotonic() + 5.0
    members = list(known)
    while True:
        members = [*of_attempt(label, session), *(process for process in members if _lives(process))]
        if not members:
            return True
        if time.monotonic() > deadline:
            return False
        _signal(members, signal.SIGKILL)
        time.sleep(0.02)


def _signal(members: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in members:
        with contextlib.suppress(*_GONE):
            process.send_signal(number)
