"""The shared server: the API on a TCP address, for a team or another machine."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable

from millrace.server.app import create_app
from millrace.server.context import Context
from millrace.server.listening import Server, listen_tcp, run, spare_memory
from millrace.server.security import Policy
from millrace.settings import Settings, current
from millrace.store import leases
from millrace.store.database import Database

logger = logging.getLogger(__name__)


def serve(
    host: str = "127.0.0.1",
    port: int = 4200,
    database_url: str | None = None,
    token: str | None = None,
    *,
    settings: Settings | None = None,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        host: the address to bind.
        port: the port; 0: a free one.
        database_url: an SQLAlchemy URL; None: the SQLite file of the data directory.
        token: what clients must show; None: nobody is asked, which is refused off loopback.
        settings: of this process.
        on_ready: called with the API's URL when it listens.

    Raises:
        NotAllowed: no token for an address that others can reach.
        SettingsError: the port is in use.
        Conflict: another process writes to the SQLite file.
    """
    spare_memory()
    settings = settings or current()
    policy = Policy.for_address(host, token, settings.allowed_hosts)
    sock = listen_tcp(host, port)
    try:
        database = open_database(database_url, settings)
        try:
            context = Context(database, settings)
            if on_ready is not None:
                on_ready(api_url(host, sock))
            run(Server(create_app(context, policy), context), sock)
        finally:
            database.close()
    finally:
        sock.close()


def open_database(url: str | None, settings: Settings) -> Database:
    """The store, with the leases that were alive when the last server ended given time to be extended.

    Args:
        url: an SQLAlchemy URL; None: the SQLite file of the data directory.
        settings: of this process.
    """
    if url is None:
        settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        url = f"sqlite:///{settings.database_path}"
    database = Database(url)
    try:
        database.write(lambda tx: leases.grant_after_restart(tx, settings.lease_seconds))
    except BaseException:
        database.close()
        raise
    return database


def api_url(host: str, sock: socket.socket) -> str:
    """The URL to give to clients."""
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{name}:{sock.getsockname()[1]}/api"
