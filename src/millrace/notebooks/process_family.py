"""Everything a kernel started: its children, and those that left it, known by a mark in their environment."""

from __future__ import annotations

import time

import psutil

MARK = "MILLRACE_KERNEL_MARK"


def marked(mark: str) -> list[psutil.Process]:
    """The processes that were started by the kernel with this mark, however deep and in whatever session.

    Args:
        mark: the kernel's mark.
    """
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):  # gone, or another user's
            continue
    return found


def kill_marked(mark: str, also: list[psutil.Process], within: float = 3.0) -> None:
    """Kill a kernel's family until none is left.

    Args:
        mark: the kernel's mark.
        also: processes known to belong to it.
        within: seconds after which to give up.
    """
    deadline = time.monotonic() + within
    family = {process.pid: process for process in [*also, *marked(mark)]}
    while family:
        for process in family.values():
            try:
                process.kill()
            except psutil.Error:
                continue
        psutil.wait_procs(list(family.values()), timeout=0.5)
        if time.monotonic() > deadline:
            return
        # One that was being forked while we looked.
        family = {process.pid: process for process in marked(mark)}
