"""A door in front of a server that refuses some paths: what a client does without them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from urllib.parse import urlsplit

from peers import Place

BODY = b'{"detail":"not here"}'
REFUSAL = (
    b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)


@contextmanager
def without(place: Place, *parts: str) -> Iterator[Place]:
    """The same server, with connections that begin by asking for one of these parts of a path refused by 404.

    Args:
        place: the server.
        parts: of paths.
    """
    target = (str(urlsplit(place.url).hostname), int(urlsplit(place.url).port or 80))
    listening = socket.create_server(("127.0.0.1", 0))
    opened: list[socket.socket] = [listening]

    def serve() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=pass_on, args=(listening.accept()[0],), daemon=True).start()

    def pass_on(client: socket.socket) -> None:
        opened.append(client)
        with suppress(OSError):
            first = client.recv(65536)
            path = first.split(b" ", 2)[1].decode() if first.count(b" ") >= 2 else ""
            if any(part in path for part in parts):
                client.sendall(REFUSAL)
                client.close()
                return
            server = socket.create_connection(target)
            opened.append(server)
            server.sendall(first)
            threading.Thread(target=pump, args=(server, client), daemon=True).start()
            pump(client, server)

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield replace(place, url=f"http://127.0.0.1:{listening.getsockname()[1]}/api")
    finally:
        for end in opened:
            with suppress(OSError):
                end.close()
