"""The embedded server's own worker: one process, started again when it dies, ended with the server."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from millrace.settings import OWN_WORKER, Settings

logger = logging.getLogger(__name__)

SHORTEST_BACKOFF, LONGEST_BACKOFF = 1.0, 30.0
HEALTHY_AFTER = 10.0
LOG_LIMIT = 5 * 1024 * 1024
POOL = "default"
COMMAND = (sys.executable, "-m", "millrace", "worker", "start", "--pool", POOL)


class WorkerProcess:
    """Keeps one worker running, in the process group of this process. Its runs are children with groups of their own.

    Args:
        settings: of the server.
        changed: called with the worker's pid whenever there is a new one.
        command: what to start.
    """

    def __init__(self, settings: Settings, changed: Callable[[int], None], command: tuple[str, ...] = COMMAND) -> None:
        self._settings, self._changed, self._command = settings, changed, command
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._keep, name="millrace-worker-process", daemon=True)

    def start(self) -> None:
        """Start it, and keep it."""
        self._thread.start()

    def stop(self, grace: float) -> None:
        """End the worker; its running flows go on, and the next worker takes them over.

        Args:
            grace: seconds before it is killed.
        """
        self._stopping.set()
        with self._lock:
            process = self._process
        if process is not None and process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                process.wait(grace)
            except subprocess.TimeoutExpired:
                logger.warning("the worker did not stop within %.0f s and is killed", grace)
                process.kill()
                process.wait()
        if self._thread.is_alive():
            self._thread.join(2)

    def _keep(self) -> None:
        backoff = SHORTEST_BACKOFF
        while not self._stopping.is_set():
            started = time.monotonic()
            code = self._run_once()
            if self._stopping.is_set():
                return
            backoff = (
                SHORTEST_BACKOFF if time.monotonic() - started > HEALTHY_AFTER else min(LONGEST_BACKOFF, 2 * backoff)
            )
            logger.warning("the worker ended (%s); a new one starts in %.0f s", code, backoff)
            self._stopping.wait(backoff)

    def _run_once(self) -> int | str:
        log = open_worker_log(self._settings.logs_directory / "worker.log")
        try:
            with self._lock:
                if self._stopping.is_set():
                    return "stopping"
                self._process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=worker_environment(self._settings),
                    cwd=self._settings.home,
                )
            self._changed(self._process.pid)
            return self._process.wait()
        except OSError as error:
            return str(error)
        finally:
            os.close(log)


def worker_environment(settings: Settings) -> dict[str, str]:
    """The environment of the worker: ours, and pointing at this server and no other."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("MILLRACE_API_URL", "MILLRACE_API_TOKEN", "PREFECT_API_URL", "PREFECT_API_KEY")
    }
    return environment | {"MILLRACE_HOME": str(settings.home), "MILLRACE_AUTOSTART": "false", OWN_WORKER: "1"}


def open_worker_log(path: Path) -> int:
    """A descriptor that appends to the worker's log; a long log is put aside first."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > LOG_LIMIT:
            path.replace(path.with_suffix(".log.1"))
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def kill_left_over(pid: object) -> None:
    """Kill the worker that a killed server left behind; a process that only has its number is left alone.

    Args:
        pid: as the old runtime file said.
    """
    if not isinstance(pid, int):
        return
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        words = process.cmdline()
        if "millrace" in words and "worker" in words:
            logger.warning("killing the worker %s of a server that was killed; its runs go on", pid)
            process.kill()
            process.wait(5)
