"""The embedded server: the user's own, on a Unix socket, one per data directory. `python -m millrace.server.embedded`.

Started detached by `client/locate.py`, it outlives whoever started it, brings a worker of its own (not with
`--no-worker`), and leaves when nothing is scheduled and nobody has asked for anything for a while.
"""

from __future__ import annotations

import gc

if __name__ == "__main__":
    gc.disable()  # what it imports stays: to look for garbage among it takes a sixth of the start

import asyncio
import contextlib
import fcntl
import hashlib
import json
import logging
import logging.handlers
import os
import secrets
import socket
import stat
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import psutil

from millrace.errors import AlreadyExists, Conflict, MillraceError, SettingsError
from millrace.schema.fields import now
from millrace.schema.pools import WorkPoolCreate
from millrace.server.app import create_app
from millrace.server.context import Context
from millrace.server.listening import Server, listen_unix, run, spare_memory
from millrace.server.process_template import PROCESS_TEMPLATE
from millrace.server.security import Policy
from millrace.server.shared import open_database
from millrace.server.version import millrace_version
from millrace.server.worker_process import POOL, WorkerProcess, kill_left_over
from millrace.settings import Settings, current
from millrace.store import counters, pools
from millrace.store.database import Database

logger = logging.getLogger(__name__)

LONGEST_SOCKET_PATH = 100
WORKER_GRACE = 8.0
LOCK_PATIENCE = 15.0
URL = "http://millrace/api"


def socket_path(settings: Settings) -> Path:
    """Where the socket lies: in the data directory, or, when that path is too long for a socket, in a private
    directory among the temporary files.

    Raises:
        SettingsError: that directory belongs to somebody else.
    """
    path = settings.runtime_directory / "server.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        return path
    digest = hashlib.sha256(os.fsencode(settings.home)).hexdigest()[:16]
    directory = Path(tempfile.gettempdir()) / f"millrace-{os.getuid()}-{digest}"
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise SettingsError(f"{directory} is not a private directory of yours. Remove it, or shorten MILLRACE_HOME.")
    return directory / "server.sock"


class RuntimeFile:
    """What the running server says of itself to clients of the same user.

    Args:
        path: where.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._facts: dict[str, Any] = {}

    def read(self) -> dict[str, Any]:
        """What an earlier server said; empty if nothing can be read."""
        try:
            found = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def write(self, **facts: Any) -> None:
        """Say these facts as well; the file is replaced as a whole."""
        self._facts |= facts
        temporary = self.path.with_suffix(f".{os.getpid()}.tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(self._facts, file, indent=1)
        temporary.replace(self.path)

    def remove(self) -> None:
        """Say nothing any more."""
        self.path.unlink(missing_ok=True)


def take_lock(settings: Settings, patience: float = LOCK_PATIENCE) -> TextIO | None:
    """The lock of the data directory, held until the process ends; None: another server serves it.

    Args:
        settings: name the directory.
        patience: seconds to wait for a server that holds the lock and does not answer: it is just leaving.

    Raises:
        Conflict: it does neither leave nor answer.
    """
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    settings.runtime_directory.mkdir(exist_ok=True, mode=0o700)
    deadline = time.monotonic() + patience
    file = (settings.home / "server.lock").open("a")
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except OSError:
            if _listens(RuntimeFile(settings.runtime_file).read().get("socket")):
                file.close()
                return None
        if time.monotonic() > deadline:
            file.close()
            raise Conflict(
                f"A server holds {settings.home / 'server.lock'} but does not answer. Kill it and try again."
            )
        time.sleep(0.03)


def _listens(path: object) -> bool:
    if not isinstance(path, str):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def ensure_pool(database: Database) -> None:
    """Create the pool `default` if it is not there."""
    with contextlib.suppress(AlreadyExists):
        wanted = WorkPoolCreate(
            name=POOL, type="process", base_job_template=PROCESS_TEMPLATE, description="Runs on this machine."
        )
        database.write(lambda tx: pools.create(tx, wanted))


class Embedded:
    """One embedded server, with the lock held.

    Args:
        settings: of this process.
        own_worker: whether it brings a worker for the pool `default`.
    """

    def __init__(self, settings: Settings, *, own_worker: bool = True) -> None:
        self.settings = settings
        self.runtime = RuntimeFile(settings.runtime_file)
        self.token = secrets.token_urlsafe(32)
        self.own_worker = own_worker
        self.worker = WorkerProcess(settings, lambda pid: self.runtime.write(worker_pid=pid))
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked = False

    def run(self) -> None:
        """Serve until SIGTERM, SIGINT or idleness."""
        settings = self.settings
        path = socket_path(settings)
        database = open_database(None, settings)
        try:
            ensure_pool(database)
            context = Context(database, settings, embedded=True)
            app = create_app(context, Policy.for_socket(self.token))
            # only now that a start can hardly fail: until then the worker of a killed server may try again
            kill_left_over(self.runtime.read().get("worker_pid"))
            self.runtime.remove()
            sock = listen_unix(path)
            try:
                server = Server(app, context, on_signal=self.ask_to_stop)
                run(server, sock, lambda: self._beside(server, context, path))
            finally:
                self.runtime.remove()
                path.unlink(missing_ok=True)
        finally:
            self.worker.stop(WORKER_GRACE)
            database.close()
            logger.info("stopped")

    def ask_to_stop(self) -> None:
        """Stop soon; from a signal handler."""
        self._asked = True
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)

    async def _beside(self, server: Server, context: Context, path: Path) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        if self._asked:
            self._stop.set()
        while not server.started:
            await asyncio.sleep(0.005)
        self._announce(path)
        if self.own_worker:
            self.worker.start()
        idle = asyncio.ensure_future(self._until_idle(context))
        stop = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait((idle, stop), return_when=asyncio.FIRST_COMPLETED)
        finally:
            idle.cancel()
            stop.cancel()
        # the worker says goodbye to a server that still answers, and need not wait for work until its time is up
        goodbye = asyncio.ensure_future(asyncio.to_thread(self.worker.stop, WORKER_GRACE))
        context.leaving = True
        context.bell.ring()
        await goodbye
        server.should_exit = True

    def _announce(self, path: Path) -> None:
        self.runtime.write(
            pid=os.getpid(),
            create_time=psutil.Process().create_time(),
            socket=str(path),
            url=URL,
            token=self.token,
            version=millrace_version(),
            started=now().isoformat(),
            worker_pid=None,
        )
        logger.info("listening on %s", path)

    async def _until_idle(self, context: Context) -> None:
        limit = self.settings.idle_exit_seconds
        while True:
            await asyncio.sleep(min(30.0, max(0.5, limit / 4)))
            if not self.runtime.path.exists():
                self.runtime.write()  # somebody tidied up; without it nobody would find this server
            if time.monotonic() - context.last_used < limit or context.open_streams:
                continue
            try:
                busy = await context.read(counters.read)
            except MillraceError:
                continue
            coming = busy.scheduled or busy.active_schedules or busy.waiting_automations
            if not (busy.running or busy.pending or coming):
                logger.info("idle for %.0f s with nothing scheduled: leaving", limit)
                return


def set_up_log(settings: Settings) -> None:
    """Log into the data directory; old logs are put aside."""
    settings.logs_directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    handler = logging.handlers.RotatingFileHandler(
        settings.logs_directory / "server.log", maxBytes=5 * 1024 * 1024, backupCount=2
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


def main(say: Callable[[str], None] = lambda text: print(text, file=sys.stderr), words: tuple[str, ...] = ()) -> int:
    """Run the embedded server of `MILLRACE_HOME`; the exit code.

    Args:
        say: prints a line for people.
        words: of the command line; `--no-worker`: other workers are enough.
    """
    try:
        settings = current()
        lock = take_lock(settings)
        if lock is None:
            say(f"A server runs for {settings.home} already.")
            return 0
        with lock:
            spare_memory()
            set_up_log(settings)
            Embedded(settings, own_worker="--no-worker" not in words).run()
    except MillraceError as error:
        say(error.message)
        return 1
    return 0


if __name__ == "__main__":
    gc.freeze()
    gc.enable()
    sys.exit(main(words=tuple(sys.argv[1:])))
