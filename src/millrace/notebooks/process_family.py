"""Everything a kernel started: its children, and those that left it, known by a mark in their environment."""

from __future__ import annotations

import time

import psutil

MARK = "MILLRACE__KERNEL_MARK"
SERVER = "millrace.server.embedded"
"""The module of the embedded server. A kernel starts one on first need, but it is no part of the kernel: it stays."""


def descendants(pid: int) -> list[psutil.Process]:
    """The children of a kernel and theirs, without the embedded server and what runs under it.

    Args:
        pid: of the kernel.
    """
    found = []
    try:
        children = psutil.Process(pid).children()
    except psutil.Error:
        return []
    for child in children:
        try:
            if SERVER in child.cmdline():
                continue
        except psutil.Error:
            continue
        found += [child, *descendants(child.pid)]
    return found


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
