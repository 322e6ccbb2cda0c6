"""Keeps programs that several test processes use: started once, ended when the last of those processes is gone.

Every test process holds a file locked for as long as it lives. A program is started under this module, run as a script,
which waits for that lock to be free and then ends the program: whoever started it, and however the tests ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import psutil

PATIENCE = 15.0
SESSION = os.environ.get("PYTEST_XDIST_TESTRUNUID") or uuid.uuid4().hex
ALIVE = Path(tempfile.gettempdir()) / f"millrace-interop-{SESSION}.alive"
"""What the test processes of this session hold."""


def hold() -> IO[str]:
    """Says that this process may still need what is kept, until the answer is released."""
    file = ALIVE.open("a")
    fcntl.flock(file, fcntl.LOCK_SH)
    return file


def release(held: IO[str]) -> None:
    """Says that this process needs nothing any more; the last one takes the file along."""
    with held, contextlib.suppress(BlockingIOError):
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ALIVE.unlink(missing_ok=True)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """One process at a time while the block lasts."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def command(program: list[str]) -> list[str]:
    """How to start a program that is kept."""
    return [sys.executable, __file__, str(ALIVE), *program]


def end(pid: int, number: int = signal.SIGTERM, seconds: float = PATIENCE) -> None:
    """Ends a process and everything that it started."""
    with contextlib.suppress(psutil.Error):
        top = psutil.Process(pid)
        family = [top, *top.children(recursive=True)]
        top.send_signal(number)
        psutil.wait_procs([top], seconds)
        for one in family:
            with contextlib.suppress(psutil.Error):
                one.kill()


def main() -> int:
    """Run a program while anybody holds the file."""
    alive, program = Path(sys.argv[1]), subprocess.Popen(sys.argv[2:])

    def end_when_free() -> None:
        with alive.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            end(program.pid)
            alive.unlink(missing_ok=True)

    threading.Thread(target=end_when_free, daemon=True).start()
    return program.wait()


if __name__ == "__main__":
    sys.exit(main())
