"""What it takes to start a process, and a started process as its worker sees it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from millrace.workers import tree


@dataclass(frozen=True)
class Launch:
    """A process to start.

    Args:
        argv: the command; the first part is the program.
        env: its whole environment.
        cwd: its working directory.
        out: the file that takes what it writes to stdout and stderr.
    """

    argv: list[str]
    env: dict[str, str]
    cwd: Path
    out: Path


class Running(Protocol):
    """A process that was started: here, by a warm parent, or by a worker before us."""

    pid: int
    create_time: float

    def wait(self, timeout: float) -> bool:
        """Whether it has ended, after at most that many seconds."""

    @property
    def code(self) -> int | None:
        """Its exit code, negative for a signal; None where nobody could see it."""


@dataclass
class Spawned:
    """A child of this process."""

    popen: subprocess.Popen[bytes]
    create_time: float = 0.0
    pid: int = 0

    def __post_init__(self) -> None:
        self.pid = self.popen.pid
        self.create_time = tree.create_time(self.pid)

    def wait(self, timeout: float) -> bool:
        """Whether it has ended, after at most that many seconds."""
        try:
            self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    @property
    def code(self) -> int | None:
        """Its exit code."""
        return self.popen.returncode


@dataclass
class Stranger:
    """A process that somebody else started: it can be watched, its exit code cannot be seen."""

    pid: int
    create_time: float
    code: int | None = None

    def wait(self, timeout: float) -> bool:
        """Whether it has ended, after at most that many seconds."""
        deadline = time.monotonic() + timeout
        while tree.same_process(self.pid, self.create_time):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(0.2, left))
        return True


@dataclass
class Forked:
    """A child of the warm parent, which tells when it ends."""

    pid: int
    create_time: float
    code: int | None = None
    ended: threading.Event = field(default_factory=threading.Event)

    def wait(self, timeout: float) -> bool:
        """Whether it has ended, after at most that many seconds."""
        return self.ended.wait(timeout)


def spawn(launch: Launch) -> Spawned:
    """Start a process in a session of its own.

    Args:
        launch: what to start.

    Raises:
        OSError: the program or the working directory is not there.
    """
    launch.out.parent.mkdir(parents=True, exist_ok=True)
    out = os.open(launch.out, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        popen = subprocess.Popen(
            launch.argv,
            env=launch.env,
            cwd=launch.cwd,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    finally:
        os.close(out)
    return Spawned(popen)


def describe(code: int | None) -> str:
    """How a process ended, in words.

    Args:
        code: its exit code, negative for a signal; None: unknown.

    Example:
        >>> describe(-9)
        'was killed by signal 9 (SIGKILL)'
    """
    if code is None:
        return "is gone, and nobody saw how it ended"
    number = -code if code < 0 else code - _SHELL
    if number <= 0:
        return f"exited with code {code}"
    name = str(number)
    with contextlib.suppress(ValueError):
        name = f"{number} ({signal.Signals(number).name})"
    hint = "; the machine may have run out of memory" if number == signal.SIGKILL and _killed_for_memory() else ""
    if code > 0:  # a shell that ran the command says so of it
        return f"exited with code {code}, as after signal {name}{hint}"
    return f"was killed by signal {name}{hint}"


_SHELL = 128
"""What a shell adds to the number of the signal that killed a command."""


def _killed_for_memory() -> bool:
    # The kernel counts the kills of its memory killer; a rise since we began means that one of ours may be among them.
    return _oom_kills() > _OOM_AT_START


def _oom_kills() -> int:
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


_OOM_AT_START = _oom_kills()
