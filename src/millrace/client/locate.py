"""Which server this process talks to, and the start and stop of the embedded one.

`MILLRACE_API_URL` (or `PREFECT_API_URL`) names a shared server. Without it there is the embedded server of the data
directory: found by its runtime file, started on first need as a process of its own that outlives this one.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import Context
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from millrace import plugins, settings
from millrace.client.asynchronous import AsyncClient
from millrace.client.endpoint import Endpoint, Runtime
from millrace.client.synchronous import Client
from millrace.errors import MillraceError, ServerUnavailable, SettingsError

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows has neither this nor the embedded server
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "Endpoint",
    "Runtime",
    "aconnect",
    "connect",
    "embedded_status",
    "killed",
    "locate",
    "revive",
    "start_embedded",
    "stop_embedded",
]

START_SECONDS = 10.0
STOP_SECONDS = 20.0
_POLL = 0.015
_SAME_PROCESS = 2.0  # seconds; a create time computed from the boot time shifts when the clock is set


# -- which server


def locate(start: bool | None = None) -> Endpoint:
    """The server this process talks to.

    Args:
        start: start the embedded server if it does not run; None: as the setting `autostart` says.

    Raises:
        ServerUnavailable: the embedded server does not run and was not to be started, or it did not come up.

    Example:
        >>> locate().place  # doctest: +SKIP
        '/home/me/.local/share/millrace/run/server.sock'
    """
    shared = _shared()
    if shared is not None:
        return shared
    where = settings.current()
    runtime = embedded_status()
    if runtime is not None:
        return Endpoint.embedded(runtime, where.runtime_file)
    if start or (start is None and where.autostart):
        return start_embedded()
    raise ServerUnavailable(f"No Millrace server runs for {where.home}. Start it with `millrace up`.")


def _shared() -> Endpoint | None:
    where = settings.current()
    token = where.api_token.get_secret_value() if where.api_token else os.environ.get("PREFECT_API_KEY")
    basic = None if token else os.environ.get("PREFECT_API_AUTH_STRING")
    if where.api_url:
        origin, url = "MILLRACE_API_URL", where.api_url
    elif os.environ.get("PREFECT_API_URL"):
        origin, url = "PREFECT_API_URL", os.environ["PREFECT_API_URL"].rstrip("/")
    else:
        return None
    if not url.startswith(("http://", "https://")):
        raise SettingsError(f"{origin}={url!r} must start with http:// or https://, as in http://127.0.0.1:4200/api.")
    return Endpoint(url, None, token or basic, basic is not None, origin)


# -- clients of this process

_guard = threading.Lock()
_connected: tuple[Any, Client] | None = None
_of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[Any, AsyncClient]] = WeakKeyDictionary()


def _after_fork() -> None:
    global _guard
    _guard = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def connect() -> Client:
    """The client of this process, for all its threads; the embedded server is started if need be.

    Raises:
        ServerUnavailable: the embedded server did not come up.
    """
    global _connected
    with _guard:
        wanted = _wanted()
        if _connected is None or _connected[0] != wanted or not _runs(_connected[1].endpoint):
            _connected = (wanted, Client(locate()))
        return _connected[1]


async def aconnect() -> AsyncClient:
    """The client of the running event loop; the embedded server is started if need be.

    Raises:
        ServerUnavailable: the embedded server did not come up.
    """
    loop = asyncio.get_running_loop()
    wanted = _wanted()
    known = _of_loops.get(loop)
    if known is None or known[0] != wanted or not _runs(known[1].endpoint):
        # The door to plain calls: the start waits for a process.
        known = (wanted, AsyncClient(await asyncio.to_thread(locate)))
        for over in [one for one in _of_loops if one.is_closed()]:
            del _of_loops[over]  # its connections hold it, and so nobody else would ever forget them
        _of_loops[loop] = known
    return known[1]


def _wanted() -> Any:
    where = settings.current()
    return (where.home, where.api_url, where.api_token, os.environ.get("PREFECT_API_URL"))


def _runs(endpoint: Endpoint) -> bool:
    # Cheap, for it is asked before every use: whether first need has come again.
    if endpoint.runtime_file is None:
        return True
    if not settings.current().autostart:
        return (
            True  # nobody here would start it; a request says whether it runs, also to a container, which sees no pid
        )
    for child in _started:
        child.poll()
    runtime = Runtime.read(endpoint.runtime_file)
    return runtime is not None and runtime.token == endpoint.token and _lives(runtime.pid)


def revive(client: Client, *, stopped: bool = False) -> None:
    """Starts the embedded server of a client again if it died while this process needed it.

    Args:
        client: a client of this process.
        stopped: start it also if it was stopped in order (`millrace down`).

    Raises:
        ServerUnavailable: it did not come up.
    """
    where, endpoint = settings.current(), client.endpoint
    if not where.autostart or endpoint.runtime_file != str(where.runtime_file) or _runs(endpoint):
        return
    if stopped or where.runtime_file.exists():
        start_embedded()
        client.pool.renewed()


# -- the embedded server

_NOT_INHERITED = (
    "MILLRACE_API_URL",
    "MILLRACE_API_TOKEN",
    "PREFECT_API_URL",
    "PREFECT_API_KEY",
    "PREFECT_API_AUTH_STRING",
)
_started: list[subprocess.Popen[bytes]] = []  # ours to reap, or they would stay as zombies until this process ends


def embedded_status() -> Runtime | None:
    """What the embedded server of the data directory says of itself; None if it does not run."""
    runtime = Runtime.read(settings.current().runtime_file)
    return runtime if runtime is not None and _listens(runtime) else None


def killed() -> Runtime | None:
    """What the embedded server of the data directory said of itself, if it ended without having been told to stop."""
    runtime = Runtime.read(settings.current().runtime_file)
    if runtime is None or _alive(runtime):
        return None
    return None if _listens(runtime) else runtime  # threads of a killed process outlive it a little, and its socket too


def start_embedded(wait: float = START_SECONDS) -> Endpoint:
    """Starts the embedded server of the data directory, or joins the one that runs.

    Args:
        wait: seconds until it must answer.

    Raises:
        ServerUnavailable: it did not come up; the message shows the end of its log.
    """
    where = settings.current()
    if fcntl is None:  # pragma: no cover - Windows
        raise ServerUnavailable(
            "The embedded server needs Unix sockets. Run `millrace server start` and set MILLRACE_API_URL."
        )
    try:
        where.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        where.logs_directory.mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        raise SettingsError(f"The data directory {where.home} cannot be used: {error}. Set MILLRACE_HOME.") from None
    deadline = time.monotonic() + wait
    with _only_one(where.home / "start.lock", deadline):
        runtime = embedded_status()  # another starter may have been faster
        if runtime is None:
            runtime = _wait_until_ready(_launch(where), deadline, where)
    return Endpoint.embedded(runtime, where.runtime_file)


def stop_embedded(wait: float = STOP_SECONDS) -> bool:
    """Stops the embedded server of the data directory and its worker; whether there was one.

    Args:
        wait: seconds it has to end in order; then it is killed. What was acknowledged is on disk either way.
    """
    where = settings.current()
    runtime = Runtime.read(where.runtime_file)
    if runtime is None:
        return False
    deadline = time.monotonic() + wait
    if not _alive(runtime):
        with _only_one(where.home / "start.lock", deadline):  # its worker may be starting the next one
            runtime = Runtime.read(where.runtime_file)
            if runtime is None or not _alive(runtime):
                where.runtime_file.unlink(missing_ok=True)
                _dismiss(None if runtime is None else runtime.worker_pid)
                return False
    _signalled(runtime.pid, signal.SIGTERM)
    while _alive(runtime):
        if time.monotonic() > deadline:
            if runtime.worker_pid is not None:  # it would take the server for killed, and start it again
                _signalled(runtime.worker_pid, signal.SIGTERM)
            _signalled(runtime.pid, signal.SIGKILL)
            deadline += 2.0
        time.sleep(_POLL)
    return True


def _launch(where: settings.Settings) -> subprocess.Popen[bytes]:
    log = where.logs_directory / "server.log"
    with log.open("ab") as output:
        process: subprocess.Popen[bytes] = Context().run(  # nobody's: the run that needs it first does not end it
            subprocess.Popen,
            [sys.executable, "-m", "millrace.server.embedded"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=where.home,
            env=_environment(where.home),
            start_new_session=True,
        )
    _started.append(process)
    return process


def _environment(home: Path) -> dict[str, str]:
    """This process's environment without what belongs to it alone: its server, its run, its kernel."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in _NOT_INHERITED
        and not name.startswith(("MILLRACE__", "PREFECT__", "JPY_"))
        and not (name == "MPLBACKEND" and value.startswith("module:"))
    }
    return {**kept, "MILLRACE_HOME": str(home)}


def _wait_until_ready(process: subprocess.Popen[bytes], deadline: float, where: settings.Settings) -> Runtime:
    while True:
        runtime = embedded_status()
        if runtime is not None and _answers(Endpoint.embedded(runtime, where.runtime_file)):
            return runtime
        code = process.poll()
        if code is not None:
            raise ServerUnavailable(f"The embedded server ended at once (exit code {code}). {_end_of_log(where)}")
        if time.monotonic() > deadline:
            process.terminate()
            raise ServerUnavailable(f"The embedded server did not answer in time. {_end_of_log(where)}")
        time.sleep(_POLL)


def _end_of_log(where: settings.Settings) -> str:
    log = where.logs_directory / "server.log"
    try:
        lines = log.read_bytes()[-4096:].decode(errors="replace").splitlines()[-12:]
    except OSError:
        lines = []
    return "\n".join([f"The end of {log}:", *(f"    {line}" for line in lines or ["(nothing)"])])


def _answers(endpoint: Endpoint) -> bool:
    try:
        with Client(endpoint, patience=0.0) as client:
            return client.health()
    except MillraceError:
        return False


def _alive(runtime: Runtime) -> bool:
    """Whether its process lives: that very one, for another may have its pid by now."""
    for child in _started:
        child.poll()
    psutil = plugins.load("psutil")  # 15 ms, and only a stop asks
    try:
        process = psutil.Process(runtime.pid)
        same = abs(float(process.create_time()) - runtime.create_time) < _SAME_PROCESS
        return same and bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _dismiss(worker_pid: int | None) -> None:
    """The worker of a server that was killed would start it again."""
    psutil = plugins.load("psutil")
    with suppress(psutil.Error):
        if worker_pid is not None and {"millrace", "worker"} <= set(psutil.Process(worker_pid).cmdline()):
            _signalled(worker_pid, signal.SIGTERM)


def _listens(runtime: Runtime) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2.0)
        try:
            probe.connect(runtime.socket)
        except OSError:
            return False
    return True


def _lives(pid: int) -> bool:
    if not _signalled(pid, 0):
        return False
    try:  # in a container nobody may fetch the exit code of a server that was killed: it stays, as a zombie
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return True


def _signalled(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except OSError:
        return False
    return True


@contextmanager
def _only_one(path: Path, deadline: float) -> Iterator[None]:
    """Holds a lock file: of two starters one starts, the other joins."""
    with path.open("ab") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise ServerUnavailable(
                        f"Another process has been starting the embedded server for too long ({path} is locked)."
                    ) from None
                time.sleep(_POLL)
        yield
