"""The auth matrix, made from the table: whatever is served must be refused to whoever should not ask."""

from __future__ import annotations

import base64
import http.client
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from millrace.errors import NotAllowed
from millrace.schema.operations import OPERATIONS, STREAMS
from millrace.server.app import OPEN_OPERATIONS
from millrace.server.routes import OperationRoute
from millrace.server.security import Policy, host_name, is_loopback

from .conftest import TOKEN, Running, run_server

ID = "00000000-0000-0000-0000-000000000001"
OPEN = {"GET /health", "GET /ready"}
"""What may be asked without a token. A new line here wants a good reason."""

OTHER_ROUTES = {"openapi", "csrf_token"}

GOOD = {"Authorization": f"Bearer {TOKEN}"}
TOKENS: dict[str, dict[str, str]] = {
    "no token": {},
    "bad token": {"Authorization": "Bearer wrong"},
    "empty token": {"Authorization": "Bearer "},
    "bad basic": {"Authorization": "Basic " + base64.b64encode(b"user:wrong").decode()},
    "not base64": {"Authorization": "Basic ***"},
    "another scheme": {"Authorization": f"Digest {TOKEN}"},
}
ORIGINS: dict[str, tuple[dict[str, str], int]] = {
    "foreign host": ({"Host": "evil.example"}, 403),
    "rebound host": ({"Host": "evil.example:4200"}, 403),
    "no host name": ({"Host": ""}, 403),
    "foreign origin": ({"Origin": "https://evil.example"}, 403),
    "null origin": ({"Origin": "null"}, 403),
    "other port": ({"Origin": "http://127.0.0.1:1"}, 403),
    "cross-site": ({"Sec-Fetch-Site": "cross-site"}, 403),
    "same-site": ({"Sec-Fetch-Site": "same-site"}, 403),
    "form": ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
    "text": ({"Content-Type": "text/plain"}, 415),
    "multipart": ({"Content-Type": "multipart/form-data; boundary=x"}, 415),
    "odd charset": ({"Content-Type": "application/json; charset=utf-16"}, 415),
}


def concrete(path: str) -> str:
    return re.sub(r"{(\w+)}", lambda m: "x" if "name" in m[1] else ID, path)


def lines() -> Iterator[tuple[str, str]]:
    for operation in OPERATIONS:
        yield operation.method, operation.path
    for stream in STREAMS:
        if stream.kind == "sse":
            yield "GET", stream.path
    yield "GET", "/openapi.json"
    yield "GET", "/csrf-token"


class Asker:
    """Raw requests over one kept connection, so that thousands of them take seconds."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.connection = http.client.HTTPConnection(running.host, timeout=10)

    def ask(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> tuple[int, Any]:
        host = headers.get("Host", self.running.host)
        self.connection.putrequest(method, "/api" + path, skip_host=True, skip_accept_encoding=True)
        self.connection.putheader("Host", host)
        for name, value in headers.items():
            if name != "Host":
                self.connection.putheader(name, value)
        if body or method != "GET":
            self.connection.putheader("Content-Length", str(len(body)))
        self.connection.endheaders(body)
        answer = self.connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")


@pytest.fixture(scope="module")
def asker(running: Running) -> Asker:
    return Asker(running)


@pytest.mark.parametrize("case", TOKENS)
def test_every_operation_wants_the_token(asker: Asker, case: str) -> None:
    for method, path in lines():
        if f"{method} {path}" in OPEN:
            continue
        for slash in ("", "/"):
            wanted = concrete(path).rstrip("/") + slash
            status, answer = asker.ask(method, wanted, TOKENS[case])
            assert status == 401, (method, wanted, answer)
            assert answer["code"] == "Unauthenticated"


@pytest.mark.parametrize("case", ORIGINS)
@pytest.mark.parametrize("token", [{}, GOOD], ids=["no token", "good token"])
def test_every_operation_refuses_what_a_web_page_could_send(asker: Asker, case: str, token: dict[str, str]) -> None:
    headers, expected = ORIGINS[case]
    for method, path in lines():
        status, answer = asker.ask(method, concrete(path), headers | token)
        assert status == expected, (method, path, answer)
        assert "code" in answer


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE", "BREW"])
def test_no_method_and_no_path_is_open(asker: Asker, method: str) -> None:
    for path in (
        "/health/../flows/filter",
        "/nothing",
        "/flows//",
        "/flows/health",
        "/x/health",
        "/../health",
        "//health",
    ):
        connection = http.client.HTTPConnection(asker.running.host, timeout=10)
        connection.putrequest(method, "/api" + path)
        connection.putheader("Content-Length", "0")
        connection.endheaders()
        assert connection.getresponse().status in (400, 401), (method, path)
        connection.close()


def test_a_body_needs_its_content_type(asker: Asker) -> None:
    status, answer = asker.ask("POST", "/flows/", GOOD, b'{"name": "x"}')
    assert status == 415
    assert "application/json" in answer["detail"]


def test_the_open_operations_are_the_reviewed_ones(asker: Asker) -> None:
    assert {f"{op.method} {op.path}" for op in OPERATIONS if op.name in OPEN_OPERATIONS} == OPEN
    for line in OPEN:
        assert asker.ask(*line.split(), {}) == (200, True)  # type: ignore[arg-type]


def test_every_route_is_in_the_matrix(running: Running) -> None:
    """A route that comes from elsewhere than the table fails here: it would be in no test above."""
    known = {op.name for op in OPERATIONS} | {s.name for s in STREAMS} | OTHER_ROUTES
    assert {route.name for route in running.app.router.routes} == known
    for route in running.app.router.routes:
        if isinstance(route, OperationRoute):
            assert route.operation in OPERATIONS


@pytest.mark.parametrize(
    "headers",
    [
        GOOD,
        {"Authorization": "Basic " + base64.b64encode(TOKEN.encode()).decode()},
        {"Authorization": f"bearer {TOKEN}"},
        GOOD | {"Sec-Fetch-Site": "none"},
        GOOD | {"Sec-Fetch-Site": "same-origin"},
        GOOD | {"Host": "localhost"},
        GOOD | {"Host": "LOCALHOST.:99"},
        GOOD | {"Host": "[::1]:4200"},
        GOOD | {"Content-Type": "application/json"},
        GOOD | {"Content-Type": 'application/json; charset="UTF-8"'},
    ],
)
def test_who_may_ask(asker: Asker, headers: dict[str, str]) -> None:
    assert asker.ask("POST", "/flows/filter", headers)[0] == 200
    origin = {"Origin": f"http://{headers.get('Host', asker.running.host)}"}
    assert asker.ask("POST", "/flows/filter", headers | origin)[0] == 200


# -- WebSockets

SOCKETS = [stream for stream in STREAMS if stream.kind == "websocket"]


@pytest.mark.parametrize("stream", SOCKETS, ids=lambda s: s.name)
@pytest.mark.parametrize("case", ORIGINS)
def test_every_stream_refuses_a_web_page(running: Running, stream: Any, case: str) -> None:
    headers, _ = ORIGINS[case]
    if case in ("foreign host", "rebound host", "no host name"):
        status, _ = upgrade(running, concrete(stream.path), headers["Host"])
        assert status == 403
        return
    with pytest.raises(InvalidStatus) as refused:
        connect(
            running.websocket_url + concrete(stream.path),
            additional_headers=headers | GOOD,
            subprotocols=["prefect"],  # type: ignore[list-item]
            proxy=None,
        )
    assert refused.value.response.status_code == 403


def upgrade(running: Running, path: str, host: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(running.host, timeout=10)
    connection.putrequest("GET", "/api" + path, skip_host=True)
    for name, value in {
        "Host": host,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
        **GOOD,
    }.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


@pytest.mark.parametrize("stream", SOCKETS, ids=lambda s: s.name)
@pytest.mark.parametrize(
    "first",
    [
        {"type": "auth"},
        {"type": "auth", "token": None},
        {"type": "auth", "token": "wrong"},
        {"type": "auth", "token": 1},
        {"type": "filter", "filter": {}},
        ["auth"],
        None,
    ],
)
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}], ids=["no header", "bad header"])
def test_every_stream_wants_the_token(running: Running, stream: Any, first: Any, headers: dict[str, str]) -> None:
    for subprotocols in (["prefect"], None):
        with connect(
            running.websocket_url + concrete(stream.path),
            subprotocols=subprotocols,  # type: ignore[arg-type]
            additional_headers=headers,
            proxy=None,
        ) as socket:
            socket.send(json.dumps(first))
            with pytest.raises(ConnectionClosed) as closed:
                socket.recv(timeout=5)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1008


def test_a_stream_takes_the_token(running: Running) -> None:
    url = running.websocket_url + "/events/in"
    with connect(url, subprotocols=["prefect"], proxy=None) as socket:  # type: ignore[list-item]
        assert socket.subprotocol == "prefect"
        socket.send(json.dumps({"type": "auth", "token": TOKEN}))
        assert json.loads(socket.recv(timeout=5)) == {"type": "auth_success"}


# -- policies


def test_no_token_is_refused_off_loopback() -> None:
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.org", ""):
        with pytest.raises(NotAllowed, match="--no-token"):
            Policy.for_address(host, None)
    for host in ("127.0.0.1", "::1", "localhost", "127.8.8.8"):
        Policy.for_address(host, None)


def test_hosts() -> None:
    everywhere = Policy.for_address("0.0.0.0", "t", "flows.example.org, other")
    for name in ("flows.example.org:4200", "OTHER", "localhost:1", "10.0.0.7:4200"):
        everywhere.check_host(name, "10.0.0.7")
    for name in ("evil.example", "10.0.0.8", "", None, "0.0.0.0"):
        with pytest.raises(NotAllowed):
            everywhere.check_host(name, "10.0.0.7")
    one = Policy.for_address("10.0.0.7", "t")
    one.check_host("10.0.0.7:80", "10.0.0.7")
    with pytest.raises(NotAllowed):
        one.check_host("10.0.0.8", "10.0.0.8")
    assert [host_name(h) for h in ("[::1]:80", "a.:1", " A ")] == ["::1", "a", "a"]
    assert not is_loopback("localhost.evil.example")


def test_the_unix_socket_is_private_and_guarded_too(tmp_path: Any) -> None:
    with run_server(tmp_path, unix=True, loops=False) as running:
        assert running.path is not None
        assert running.path.stat().st_mode & 0o777 == 0o600
        assert running.client.get("/admin/version").status_code == 200
        assert running.client.get("/admin/version", headers={"Authorization": ""}).status_code == 401
        assert running.client.get("/admin/version", headers={"Host": "evil.example"}).status_code == 403
