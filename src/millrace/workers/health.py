"""Whether a process that serves is well, asked over HTTP on this machine: for systemd, Kubernetes and their like."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from millrace.errors import InvalidInput

HOST = "127.0.0.1"


class Health:
    """Answers `GET /health` until `close`: 200 when well, 503 when not, with a few facts.

    Args:
        report: says whether all is well, and the facts.
        port: the port; 0: any that is free.

    Raises:
        InvalidInput: the port is taken.

    Example:
        >>> health = Health(lambda: (True, {"status": "healthy"}), 0)
        >>> health.close()
    """

    def __init__(self, report: Callable[[], tuple[bool, dict[str, Any]]], port: int) -> None:
        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                well, facts = report() if self.path == "/health" else (False, {"detail": "There is /health here."})
                body = json.dumps(facts).encode()
                self.send_response(404 if self.path != "/health" else 200 if well else 503)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        try:
            self._server = ThreadingHTTPServer((HOST, port), Handler)
        except (OSError, OverflowError) as error:
            raise InvalidInput(
                f"The health of this process cannot be told on port {port} of {HOST}: {error}. Give webserver another "
                "port, or 0 for any that is free."
            ) from None
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, name="millrace-health", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{HOST}:{self._server.server_address[1]}/health"

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
