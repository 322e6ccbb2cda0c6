"""The processes that a run started, ended with it: for runs that are called in a script, a kernel or another run."""

from __future__ import annotations

import contextlib
import os
from uuid import UUID

import psutil

from millrace.engine.belongings import known
from millrace.engine.context import WITHIN as LABEL

_GRACE = 2.0
_GONE = (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess, OSError)
_ROUNDS = 3


def end_of(run_id: UUID) -> int:
    """Ends the processes of a run: asked first, killed after two seconds.

    Args:
        run_id: the run.

    Returns:
        How many there were.
    """
    ended = 0
    for _ in range(_ROUNDS):  # one may have started another meanwhile
        family = _of(str(run_id))
        if not family:
            break
        ended += len(family)
        for process in family:
            with contextlib.suppress(*_GONE):
                process.terminate()
        _, alive = psutil.wait_procs(family, timeout=_GRACE)
        for process in alive:
            with contextlib.suppress(*_GONE):
                process.kill()
        psutil.wait_procs(alive, timeout=_GRACE)
    return ended


def _of(run_id: str) -> list[psutil.Process]:
    family: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(*_GONE):
            if run_id in process.environ().get(LABEL, ""):
                family[process.pid] = process
    for child, label in list(known.items()):
        with contextlib.suppress(AssertionError, ValueError, *_GONE):  # of another process, or closed
            if run_id in label and child.is_alive() and child.pid is not None:
                family[child.pid] = psutil.Process(child.pid)
    for process in list(family.values()):
        with contextlib.suppress(*_GONE):
            family.update((one.pid, one) for one in process.children(recursive=True))
    family.pop(os.getpid(), None)
    return [process for process in family.values() if _lives(process)]


def _lives(process: psutil.Process) -> bool:
    with contextlib.suppress(*_GONE):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False
