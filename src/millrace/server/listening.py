"""Sockets we bind ourselves, and the HTTP server behind them."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import os
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from millrace.errors import SettingsError
from millrace.server.context import Context

GRACE_SECONDS = 3
BACKLOG = 512
M_ARENA_MAX = -8


def spare_memory() -> None:
    """Let glibc keep two heaps instead of one for each thread, which saves ten megabytes; elsewhere it does nothing."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)


def listen_tcp(host: str, port: int) -> socket.socket:
    """A listening socket.

    Args:
        host: the address to bind.
        port: 0: a free one.

    Raises:
        SettingsError: the port is taken, or the address is not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # only a socket that names its protocol gets TCP_NODELAY from asyncio; without it an answer takes 40 ms
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
        return sock
    except (OSError, OverflowError) as error:
        sock.close()
        number = getattr(error, "errno", None)
        if number == errno.EADDRINUSE:
            raise SettingsError(
                f"Port {port} on {host} is in use. Stop what listens there, or choose another with --port."
            ) from None
        raise SettingsError(f"Cannot listen on {host}:{port}: {error}.") from None


def listen_unix(path: Path) -> socket.socket:
    """A listening Unix socket that only this user can open; what a killed server left at the path is replaced.

    Args:
        path: where; the caller holds the lock that says that nobody else listens there.
    """
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        sock.bind(str(path))
    finally:
        os.umask(before)
    path.chmod(0o600)
    sock.listen(BACKLOG)
    return sock


class Server(uvicorn.Server):  # type: ignore[misc]
    """uvicorn, which ends our streams before it waits for connections to end.

    Args:
        app: the application.
        context: of the application.
        on_signal: called for SIGTERM and SIGINT; may do something first and then set `should_exit`.
    """

    should_exit: bool
    started: bool

    def __init__(self, app: ASGIApp, context: Context, on_signal: Callable[[], None] | None = None) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="asyncio",
                http="h11",
                ws="websockets-sansio",
                ws_max_size=context.settings.max_body_bytes,
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                timeout_keep_alive=60,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )
        self._context = context
        self._on_signal = on_signal
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._context.bell.close()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal ends gracefully, a second one at once."""
        if self._on_signal is not None and not self.should_exit:
            asked, self._on_signal = self._on_signal, None
            asked()
            return
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def run(server: Server, sock: socket.socket, beside: Callable[[], Awaitable[None]] | None = None) -> None:
    """Serve until told to stop.

    Args:
        server: the server.
        sock: where it listens.
        beside: runs as a task on the same loop, cancelled at the end.
    """

    async def main() -> None:
        task = asyncio.ensure_future(beside()) if beside is not None else None
        try:
            await server.serve(sockets=[sock])
        finally:
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
