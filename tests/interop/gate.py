"""A door in front of a server: it writes down what is asked for and refuses some paths. What does a client do then?"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from peers import Place

BODY = b'{"detail":"not here"}'
REFUSAL = (
    b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)
_LINE = re.compile(rb"^([A-Z]+) /api(\S*) HTTP/1\.1\r\n")


@dataclass
class Door(Place):
    """A place as it is seen through a door.

    Args:
        asked: method and path of the requests, in their order.
    """

    asked: list[str] = field(default_factory=list)

    def times(self, pattern: str) -> int:
        """How many of the requests so far match."""
        return sum(1 for line in list(self.asked) if re.search(pattern, line))

    def first(self, pattern: str) -> int:
        """The place of the first request that matches, among all."""
        return next(number for number, line in enumerate(list(self.asked)) if re.search(pattern, line))


@contextmanager
def without(place: Place, *parts: str) -> Iterator[Door]:
    """The same server, with connections that begin by asking for one of these parts of a path refused by 404.

    Args:
        place: the server.
        parts: of paths; none: nothing is refused.
    """
    target = (str(urlsplit(place.url).hostname), int(urlsplit(place.url).port or 80))
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/api"
    door = Door(place.name, url, place.program, place.headers)
    opened: list[socket.socket] = [listening]

    def serve() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=pass_on, args=(listening.accept()[0],), daemon=True).start()

    def note(data: bytes) -> None:
        if found := _LINE.match(data):  # a request is sent from its first line on
            door.asked.append(f"{found[1].decode()} {found[2].decode()}")

    def pass_on(client: socket.socket) -> None:
        opened.append(client)
        with suppress(OSError):
            first = client.recv(65536)
            path = first.split(b" ", 2)[1].decode() if first.count(b" ") >= 2 else ""
            if any(part in path for part in parts):
                note(first)
                client.sendall(REFUSAL)
                client.close()
                return
            server = socket.create_connection(target)
            opened.append(server)
            note(first)
            server.sendall(first)
            threading.Thread(target=pump, args=(server, client, False), daemon=True).start()
            pump(client, server, True)

    def pump(source: socket.socket, sink: socket.socket, asking: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if asking:
                    note(data)
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield door
    finally:
        for end in opened:
            with suppress(OSError):
                end.close()
