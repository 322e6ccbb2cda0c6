"""A server that misbehaves on purpose: real sockets, and an answer for each request from a list."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from millrace.client.endpoint import Endpoint

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\ntrue"
BUSY = b'HTTP/1.1 503 Busy\r\nRetry-After: 0.05\r\nContent-Length: 17\r\n\r\n{"detail":"busy"}'
HANG_UP = b""


def answer(status: int, body: str, reason: str = "Reason") -> bytes:
    """An answer as it goes over the wire."""
    head = (
        f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {len(body.encode())}\r\n\r\n"
    )
    return head.encode() + body.encode()


@dataclass
class Scripted:
    """What was asked so far."""

    endpoint: Endpoint
    asked: list[bytes] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        """Method and path of each request."""
        return [request.split(b" HTTP", 1)[0].decode() for request in self.asked]


@contextmanager
def scripted(*answers: bytes) -> Iterator[Scripted]:
    """Serves these answers, one a request; the last one again and again."""
    listener = socket.create_server(("127.0.0.1", 0))
    found = Scripted(Endpoint(f"http://127.0.0.1:{listener.getsockname()[1]}/api"))
    left = list(answers)
    open_: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            open_.append(connection)
            threading.Thread(target=talk, args=(connection,), daemon=True).start()

    def talk(connection: socket.socket) -> None:
        while request := _read(connection):
            found.asked.append(request)
            reply = left.pop(0) if len(left) > 1 else left[0]
            if reply == HANG_UP:
                break
            connection.sendall(reply)
        connection.close()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield found
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in open_:
            connection.close()


def _read(connection: socket.socket) -> bytes:
    data = b""
    try:
        while b"\r\n\r\n" not in data:
            part = connection.recv(65536)
            if not part:
                return b""
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        while len(body) < length:
            body += connection.recv(65536)
    except OSError:
        return b""
    return head + b"\r\n\r\n" + body
