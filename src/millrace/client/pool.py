"""What the connections of both colours have in common."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from typing import Any

import httpx

from millrace.client.endpoint import Endpoint
from millrace.client.exchange import Request
from millrace.schema.fields import API_VERSION

# A little less than the five seconds after which uvicorn closes an idle connection: never write into a closing one.
LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=4.0)
HEADERS = {"X-PREFECT-API-VERSION": API_VERSION, "User-Agent": "millrace"}


def thread_mark() -> Any:
    """Where connections of the plain colour may be used: in this process. A fork must not write to its parent's."""
    return os.getpid()


def task_mark() -> Any:
    """Where connections of the async colour may be used: in this process and in the running event loop."""
    return (os.getpid(), asyncio.get_running_loop())


class _OwnRequests(logging.Filter):
    """Takes our requests out of httpx's log: who turns logging on in a notebook wants to see their own."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is about a request of somebody else."""
        url = record.args[1] if isinstance(record.args, tuple) and len(record.args) > 1 else None
        return not str(url).startswith(tuple(_places))


_places: set[str] = set()
logging.getLogger("httpx").addFilter(_OwnRequests())


class Shared:
    """The endpoint of a pool, what a request to it looks like, and whether its connections may still be used.

    Args:
        endpoint: the server.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.plain_logs = False  # whether the server refuses log lines that carry an id
        self.mark: Any = None  # where the open connections may be used
        self._lock = (os.getpid(), threading.Lock())

    @property
    def lock(self) -> threading.Lock:
        """Guards the opening; a new one after a fork, for the old one may be held by a thread that is not here."""
        if self._lock[0] != os.getpid():
            self._lock = (os.getpid(), threading.Lock())
        return self._lock[1]

    def renewed(self) -> bool:
        """Takes the endpoint of an embedded server that was started anew; whether there is one."""
        fresh = self.endpoint.renewed()
        if fresh == self.endpoint:
            return False
        if (fresh.socket, fresh.url) != (self.endpoint.socket, self.endpoint.url):
            self.mark = None
        self.endpoint = fresh
        return True

    def opening(self) -> dict[str, Any]:
        """How a client of httpx is opened."""
        return {
            # Loading the certificates takes 40 ms, which only TLS is worth.
            "verify": self.endpoint.url.startswith("https://"),
            # Neither proxies nor ~/.netrc have a say in what stays on this machine.
            "trust_env": not self.endpoint.local,
            "limits": LIMITS,
        }

    def sending(self, request: Request, headers: dict[str, str]) -> dict[str, Any]:
        """What httpx is told to send."""
        _places.add(self.endpoint.url)
        return {
            "method": request.method,
            "url": self.endpoint.url + request.path,
            "content": request.content,
            "params": request.query or None,
            "headers": {**HEADERS, **request.headers, **self.endpoint.headers, **headers},
            "timeout": request.timeout,
        }
