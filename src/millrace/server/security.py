"""Who may ask: the checks that stand in front of every route and stream, in this order, refusing by default.

Host allow-list → Origin → Sec-Fetch-Site → strict JSON content type → token. A browser's page cannot pass the first
four, whatever it knows; the token keeps out other users of the machine and the network. Open without a token are only
the routes given as `open_routes`, found by matching the routes themselves: the text of a path decides nothing.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import json
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import anyio
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from millrace.errors import InvalidInput, MillraceError, NotAllowed, Unauthenticated
from millrace.server.answers import error_answer

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
SOCKET_NAMES = LOOPBACK_NAMES | {"millrace"}
WILDCARDS = frozenset({"0.0.0.0", "::", ""})
AUTH_SECONDS = 10.0
WS_POLICY = 1008


class WrongContentType(InvalidInput):
    """A body that is not declared as JSON."""

    status = 415


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
        (True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_name(header: str) -> str:
    """The name in a Host header, without its port.

    Example:
        >>> host_name("[::1]:4200"), host_name("LocalHost:4200")
        ('::1', 'localhost')
    """
    value = header.strip().lower()
    if value.startswith("["):
        return value[1:].partition("]")[0]
    return value.partition(":")[0].rstrip(".")


@dataclass(frozen=True)
class Policy:
    """What the checks compare with.

    Args:
        token: the secret; None: nobody is asked for one (only on loopback).
        hosts: names the server answers to.
        any_own_address: also to the address the connection came to (when bound to all addresses).
    """

    token: str | None
    hosts: frozenset[str] = field(default=LOOPBACK_NAMES)
    any_own_address: bool = False

    @classmethod
    def for_socket(cls, token: str) -> Policy:
        """The embedded server's."""
        return cls(token, SOCKET_NAMES)

    @classmethod
    def for_address(cls, host: str, token: str | None, allowed_hosts: str = "") -> Policy:
        """The shared server's.

        Args:
            host: the address it binds.
            token: the secret, or None.
            allowed_hosts: more names, by comma.

        Raises:
            NotAllowed: no token for an address that others can reach.
        """
        if token is None and not is_loopback(host):
            raise NotAllowed(
                f"--no-token is refused for {host}: anyone who reaches this address could run code. "
                "Give --token-file, or bind 127.0.0.1."
            )
        names = {name.strip().lower() for name in allowed_hosts.split(",") if name.strip()}
        wildcard = host in WILDCARDS
        if wildcard:
            names.add(socket.gethostname().lower())
        return cls(token, LOOPBACK_NAMES | names | ({host.lower()} - WILDCARDS), wildcard)

    def check_host(self, header: str | None, own_address: str | None) -> None:
        """Refuse names that are not ours: a page that points its own name at this machine (DNS rebinding)."""
        name = host_name(header or "")
        if name in self.hosts or (self.any_own_address and own_address and name == own_address.lower()):
            return
        raise NotAllowed(f"This server does not answer to the host name {name[:200]!r}. See MILLRACE_ALLOWED_HOSTS.")

    def check_token(self, authorization: str | None) -> None:
        """Compare the Authorization header (bearer, or basic with the token as `user:password`)."""
        if self.token is None:
            return
        if authorization is None:
            raise Unauthenticated("This server wants a token: set MILLRACE_API_TOKEN (`Authorization: Bearer …`).")
        if not self.accepts(presented(authorization)):
            raise Unauthenticated("The token is wrong.")

    def accepts(self, token: object) -> bool:
        """Whether this is the token, in constant time."""
        if self.token is None:
            return True
        return isinstance(token, str) and hmac.compare_digest(token.encode(), self.token.encode())


def presented(authorization: str) -> str | None:
    """The token in an Authorization header, or None."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return None
    return None


def check_origin(origin: str | None, host: str | None) -> None:
    """Refuse what another page sends; browsers name the page in Origin, other programs send none."""
    if origin is None:
        return
    try:
        parts = urlsplit(origin)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme in ("http", "https") and parts.netloc and parts.netloc.lower() == (host or "").lower():
        return
    raise NotAllowed(f"Requests from the origin {origin[:200]!r} are refused.")


def check_fetch_site(site: str | None) -> None:
    """Refuse what a browser itself says comes from elsewhere."""
    if site not in (None, "none", "same-origin"):
        raise NotAllowed(f"Requests with Sec-Fetch-Site: {site[:50]} are refused.")


def check_content_type(content_type: str | None, has_body: bool) -> None:
    """Refuse forms and plain text, which any page may send anywhere; a body must say that it is JSON."""
    if content_type is None:
        if has_body:
            raise WrongContentType("Send the body with `Content-Type: application/json`.")
        return
    kind, _, parameters = content_type.partition(";")
    charset = parameters.strip().lower().replace('"', "")
    if kind.strip().lower() != "application/json" or charset not in ("", "charset=utf-8"):
        raise WrongContentType(f"Content-Type {content_type[:100]!r} is refused: send `application/json`.")


def headers_of(scope: Scope) -> dict[str, str]:
    """The headers by lower-case name. A repeated one is joined, and so fails the checks above."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _has_body(headers: dict[str, str]) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0").strip() != "0"


class Guard:
    """The ASGI middleware that makes the checks.

    Args:
        app: what they guard.
        policy: what they compare with; or a function of it, for a server that learns its address late.
        open_routes: the routes that need no token.
    """

    def __init__(self, app: ASGIApp, policy: Policy, open_routes: Callable[[], Iterable[BaseRoute]]) -> None:
        self.app = app
        self.policy = policy
        self.open_routes = open_routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)

    def _check(self, scope: Scope, headers: dict[str, str]) -> None:
        server: Sequence[Any] | None = scope.get("server")
        self.policy.check_host(headers.get("host"), str(server[0]) if server else None)
        check_origin(headers.get("origin"), headers.get("host"))
        check_fetch_site(headers.get("sec-fetch-site"))

    def _is_open(self, scope: Scope) -> bool:
        return any(route.matches(scope)[0] is Match.FULL for route in self.open_routes())

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = headers_of(scope)
        try:
            self._check(scope, headers)
            check_content_type(headers.get("content-type"), _has_body(headers))
            if not self._is_open(scope):
                self.policy.check_token(headers.get("authorization"))
        except MillraceError as error:
            await error_answer(error)(scope, receive, send)
            return
        scope["millrace.headers"] = headers
        await self.app(scope, receive, send)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = headers_of(scope)
        try:
            self._check(scope, headers)
            # a browser names the kind of a WebSocket's content nowhere; whoever does so is no client of ours
            check_content_type(headers.get("content-type"), has_body=False)
        except MillraceError as error:
            await receive()
            await send({"type": "websocket.close", "code": WS_POLICY, "reason": str(error)[:120]})
            return
        handshake = Handshake(self.policy, receive, send)
        if await handshake.perform(headers.get("authorization"), scope.get("subprotocols") or []):
            await self.app(scope, handshake.receive, handshake.send)


class Handshake:
    """The token by the first message of a WebSocket; the handler behind sees a socket that was just accepted."""

    def __init__(self, policy: Policy, receive: Receive, send: Send) -> None:
        self._policy, self._receive, self._send = policy, receive, send
        self._connected = False

    async def perform(self, authorization: str | None, subprotocols: Iterable[str]) -> bool:
        """Accept and ask for the token; whether it was right. Otherwise the socket is closed with 1008."""
        if (await self._receive())["type"] != "websocket.connect":
            return False
        names_protocol = "prefect" in subprotocols
        await self._send({"type": "websocket.accept", "subprotocol": "prefect" if names_protocol else None})
        if not names_protocol and authorization and self._policy.accepts(presented(authorization)):
            return True  # said in the header, as clients of hosted servers do; they wait for no answer
        problem = await self._token_problem()
        if problem is None:
            await self._send({"type": "websocket.send", "text": '{"type": "auth_success"}'})
            return True
        await self._send({"type": "websocket.close", "code": WS_POLICY, "reason": problem})
        return False

    async def _token_problem(self) -> str | None:
        message: Message = {"type": "timeout"}
        with anyio.move_on_after(AUTH_SECONDS):
            message = await self._receive()
        try:
            said = json.loads(message.get("text") or "null")
        except ValueError:
            said = None
        if not isinstance(said, dict) or said.get("type") != "auth":
            return "Expected an 'auth' message"
        return None if self._policy.accepts(said.get("token")) else "Invalid token"

    async def receive(self) -> Message:
        """What the handler behind receives: first that somebody connects."""
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        return await self._receive()

    async def send(self, message: Message) -> None:
        """What the handler behind sends, but its acceptance, which was sent."""
        if message["type"] != "websocket.accept":
            await self._send(message)
