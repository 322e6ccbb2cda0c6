"""One writer a database file: a lock next to it that the kernel drops when its process dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from millrace.errors import Conflict


class LockFile:
    """An exclusive lock, held from creation to `release`.

    Args:
        database: the file it guards; the lock is `<database>.lock` beside it.

    Raises:
        Conflict: another process has it; the message names the process.
    """

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + ".lock")
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._descriptor)
            raise Conflict(
                f"The database {database} is in use by process {holder}. Two servers cannot write one file: "
                "stop that one (millrace down), or name another data directory in MILLRACE_HOME."
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let another process have it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
