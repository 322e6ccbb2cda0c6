"""The server, as a command reaches for it."""

from __future__ import annotations

from millrace.client import locate
from millrace.client.synchronous import Client

SECONDS = 3.0


def reach() -> Client:
    """The client of this process; somebody at a terminal learns within seconds that nothing answers."""
    client = locate.connect()
    client.patience = SECONDS
    return client
