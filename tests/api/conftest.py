"""A real server in a thread of the test: real sockets, a real database file, no mocks."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from millrace.client.synchronous import Client
from millrace.server.app import create_app
from millrace.server.context import Context
from millrace.server.listening import Server, listen_tcp, listen_unix, run
from millrace.server.security import Policy
from millrace.server.shared import open_database
from millrace.settings import Settings
from servers import own_server

TOKEN = "user:a secret token"


@dataclass
class Running:
    """A server that runs, and a client of it."""

    url: str
    host: str
    app: Any
    context: Context
    server: Server
    client: httpx.Client
    path: Path | None = None

    @property
    def websocket_url(self) -> str:
        return self.url.replace("http://", "ws://")

    def create_flow(self, name: str = "etl") -> str:
        return str(self.client.post("/flows/", json={"name": name}).json()["id"])

    def create_run(self, **fields: Any) -> dict[str, Any]:
        body = {"flow_id": self.create_flow(), "state": {"type": "PENDING"}, **fields}
        answer = self.client.post("/flow_runs/", json=body)
        assert answer.status_code in (200, 201), answer.text
        return dict(answer.json())

    def begin(self, name: str = "etl", **fields: Any) -> dict[str, Any]:
        body = {
            "flow_name": name,
            "flow_run": {"flow_id": "00000000-0000-0000-0000-000000000000", **fields},
            "holder": "a test",
        }
        answer = self.client.post("/millrace/flow_runs/begin", json=body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())


@contextmanager
def run_server(home: Path, *, unix: bool = False, loops: bool = True, **options: Any) -> Iterator[Running]:
    """Start a server over a directory, and stop it at the end."""
    settings = Settings(home=home, **options)
    database = open_database(None, settings)
    context = Context(database, settings, embedded=unix)
    policy = Policy.for_socket(TOKEN) if unix else Policy.for_address("127.0.0.1", TOKEN)
    app = create_app(context, policy, loops=loops)
    path = home / "server.sock"
    sock: socket.socket = listen_unix(path) if unix else listen_tcp("127.0.0.1", 0)
    server = Server(app, context)
    thread = threading.Thread(target=run, args=(server, sock), daemon=True)
    thread.start()
    assert server.ready.wait(10)
    host = "millrace" if unix else f"127.0.0.1:{sock.getsockname()[1]}"
    url = f"http://{host}/api"
    transport = httpx.HTTPTransport(uds=str(path)) if unix else None
    client = httpx.Client(
        base_url=url,
        headers={"Authorization": f"Bearer {TOKEN}"},
        transport=transport,
        timeout=20,
        trust_env=False,
        verify=False,
    )
    try:
        yield Running(url, host, app, context, server, client, path if unix else None)
    finally:
        client.close()
        server.should_exit = True
        thread.join(10)
        database.close()
        sock.close()
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server for a module's tests, on TCP."""
    with run_server(tmp_path_factory.mktemp("home"), sweep_seconds=0.5, max_body_bytes=200_000) as found:
        yield found


@pytest.fixture
def start_server() -> Iterator[Callable[..., Any]]:
    """Starts servers of one's own."""
    yield run_server


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of an embedded server that belongs to this module."""
    with own_server(tmp_path_factory.mktemp("mill")) as found:
        yield found
