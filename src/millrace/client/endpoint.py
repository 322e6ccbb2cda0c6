"""Where a server listens and how to be let in."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from millrace.errors import InvalidInput

# One Host name for every Unix socket: the server's allow-list knows it.
SOCKET_URL = "http://localhost/api"


@dataclass(frozen=True)
class Runtime:
    """What a running embedded server says of itself in its runtime file.

    Args:
        pid: its process.
        create_time: when that process began, in seconds since 1970: another process may get its pid later.
        socket: its Unix socket.
        token: what a request must carry.
        url: the API's URL as seen through the socket.
        version: of Millrace.
        started: when, as ISO 8601.
        worker_pid: the process of its worker.
    """

    pid: int
    create_time: float
    socket: str
    token: str = field(repr=False)
    url: str = SOCKET_URL
    version: str | None = None
    started: str | None = None
    worker_pid: int | None = None

    @classmethod
    def read(cls, path: Path | str) -> Runtime | None:
        """The content of a runtime file; None if there is none or it is being written."""
        try:
            said: Any = json.loads(Path(path).read_text())
            known = {name: said[name] for name in cls.__dataclass_fields__ if said.get(name) is not None}
            return cls(**known)
        except (OSError, ValueError, TypeError, AttributeError):
            return None


@dataclass(frozen=True)
class Endpoint:
    """A server of the API.

    Args:
        url: the API's address, ending in `/api`.
        socket: the Unix socket to reach it by; None: TCP.
        token: a bearer token, or `user:password` if `basic`.
        basic: send the token as HTTP basic authentication.
        origin: the environment variable that named it; None: the embedded server.
        runtime_file: where an embedded server says what it is; read anew when it was started again.

    Example:
        >>> Endpoint("http://127.0.0.1:4200/api").place
        'http://127.0.0.1:4200/api'
    """

    url: str
    socket: str | None = None
    token: str | None = field(default=None, repr=False)
    basic: bool = False
    origin: str | None = None
    runtime_file: str | None = None

    @classmethod
    def embedded(cls, runtime: Runtime, path: Path | str) -> Endpoint:
        """The endpoint of an embedded server."""
        return cls(runtime.url, runtime.socket, runtime.token, runtime_file=str(path))

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return self.socket or self.url

    @property
    def local(self) -> bool:
        """Whether it is on this machine."""
        return self.socket is not None or urlsplit(self.url).hostname in ("127.0.0.1", "localhost", "::1")

    @property
    def headers(self) -> dict[str, str]:
        """What lets a request in."""
        if not self.token:
            return {}
        if self.basic:
            return {"Authorization": "Basic " + base64.b64encode(self.token.encode()).decode()}
        return {"Authorization": f"Bearer {self.token}"}

    def renewed(self) -> Endpoint:
        """The same server's present endpoint: an embedded one that was started again has another token."""
        runtime = Runtime.read(self.runtime_file) if self.runtime_file else None
        return replace(self, url=runtime.url, socket=runtime.socket, token=runtime.token) if runtime else self

    @property
    def remedy(self) -> str:
        """What to do when nothing answers there."""
        if self.origin is None:
            return "Start it with `millrace up`."
        return (
            f"{self.origin} names it: correct that, start a server there (`millrace server start`), or unset "
            f"{self.origin} to use the embedded server (`millrace up`)."
        )


def required(given: object) -> Endpoint:
    """The endpoint that a client was given.

    Args:
        given: what it was given.

    Raises:
        InvalidInput: no endpoint.
    """
    if isinstance(given, Endpoint):
        return given
    said = "" if given is None else f", not {given!r:.80}"
    raise InvalidInput(
        f"A client is made with the Endpoint of a server{said}. millrace.connect() gives the client of this process, "
        "in async code await millrace.aconnect(); MILLRACE_API_URL names a shared server."
    )
