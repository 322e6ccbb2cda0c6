"""An embedded server that belongs to a module of tests."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from millrace import settings
from millrace.client.locate import connect, embedded_status, stop_embedded
from millrace.client.synchronous import Client
from millrace.engine.recorder import recorder

PATIENCE = 60.0


@contextmanager
def own_server(home: Path, **environment: str) -> Iterator[Client]:
    """A client of an embedded server that lives as long as this does. It brings no worker.

    Args:
        home: its data directory.
        environment: more variables for it and this process.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"MILLRACE_HOME": str(home), **environment}.items():
            patch.setenv(name, value)
        settings.current.cache_clear()
        server = _started(home)
        try:
            client = connect()
            yield client
            recorder().flush(logs=True)
            client.close()
        finally:
            stop_embedded()
            server.wait(PATIENCE)
    settings.current.cache_clear()


def _started(home: Path) -> subprocess.Popen[bytes]:
    """A server as `millrace up` starts it, but without a worker: it costs more than the server, and nobody needs it."""
    home.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "millrace.server.embedded", "--no-worker"]
    with (home / "server.txt").open("wb") as said:
        server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=home, start_new_session=True
        )
    deadline = time.monotonic() + PATIENCE
    while (found := embedded_status()) is None or found.pid != server.pid:
        assert server.poll() is None and time.monotonic() < deadline, (home / "server.txt").read_text()
        time.sleep(0.02)
    return server
