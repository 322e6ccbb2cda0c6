"""How long a local server takes from nothing to its first answer."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from benchmarks import peer
from benchmarks.measure import Row

BARE = """
import uvicorn
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"true"})
uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="error", lifespan="off")
"""


def _port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _start(command: list[str], env: dict[str, str], port: int, path: str, limit: float = 120) -> float:
    """Seconds from start to the first answer; the server is stopped afterwards."""
    started = time.perf_counter()
    server = subprocess.Popen(
        command, env=env, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while time.perf_counter() - started < limit:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=1) as answer:
                    if answer.status == 200:
                        return time.perf_counter() - started
            except OSError:
                time.sleep(0.01)
        raise TimeoutError(" ".join(command))
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)


def rows(place: Path) -> list[Row]:
    """The table's rows."""
    times: dict[str, list[float]] = {"ours": [], "peer": [], "limit": []}
    for turn in range(3):
        home = place / str(turn)
        env = peer.environment(home / "prefect", MILLRACE_HOME=str(home / "millrace"))
        port = _port()
        serve = [
            sys.executable,
            "-m",
            "millrace",
            "server",
            "start",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--no-token",
        ]
        times["ours"].append(_start(serve, env, port, "/api/health"))
        port = _port()
        serve = [
            str(peer.python().parent / "prefect"),
            "server",
            "start",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--no-ui",
        ]
        times["peer"].append(_start(serve, env, port, "/api/health"))
        port = _port()
        times["limit"].append(_start([sys.executable, "-c", BARE.replace("PORT", str(port))], env, port, "/"))
    ours, theirs, limit = (1000 * sorted(times[name])[1] for name in ("ours", "peer", "limit"))
    return [
        Row(
            "local server, start to first answer",
            ours,
            theirs,
            limit,
            "≤ 1,500 ms",
            "new data directory; limit: bare uvicorn",
        )
    ]
