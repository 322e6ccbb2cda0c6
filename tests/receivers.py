"""A mail server and a web server of one's own: real sockets, what they received is kept."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Letters:
    """What a mail server received.

    Attributes:
        url: of the server.
        received: the mails.
        refusals: codes to answer the next mails with, first in first out.
    """

    url: str = ""
    received: list[EmailMessage] = field(default_factory=list)
    refusals: list[int] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)


@contextmanager
def mail_server() -> Iterator[Letters]:
    """A server that speaks as much SMTP as a client needs (RFC 5321)."""
    letters = Letters()

    class Conversation(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.say("220 mailbox")
            while line := self.rfile.readline():
                word = line.split(b" ", 1)[0].strip().upper()
                if word == b"DATA":
                    self.say("354 go on")
                    self.take()
                elif word == b"QUIT":
                    self.say("221 bye")
                    return
                else:
                    if word == b"RCPT":
                        letters.recipients.append(line.decode().partition(":")[2].strip())
                    self.say("250 mailbox")

        def take(self) -> None:
            lines = []
            while (line := self.rfile.readline()) not in (b".\r\n", b""):
                lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
            if letters.refusals:
                self.say(f"{letters.refusals.pop(0)} not now")
                return
            letters.received.append(message_from_bytes(b"".join(lines), policy=policy.default))
            self.say("250 taken")

        def say(self, text: str) -> None:
            self.wfile.write(text.encode() + b"\r\n")

    with _serving(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Conversation)) as port:
        letters.url = f"smtp://127.0.0.1:{port}"
        yield letters


@dataclass
class Calls:
    """What a web server received.

    Attributes:
        url: of the server.
        received: method, path, headers and body of each request.
        answers: statuses to answer the next requests with; then 200.
    """

    url: str = ""
    received: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)


@contextmanager
def web_server() -> Iterator[Calls]:
    """A server that keeps what it is sent."""
    calls = Calls()

    class Conversation(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            calls.received.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            status = calls.answers.pop(0) if calls.answers else 200
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", f"{calls.url}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_PUT = do_POST

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with _serving(ThreadingHTTPServer(("127.0.0.1", 0), Conversation)) as port:
        calls.url = f"http://127.0.0.1:{port}"
        yield calls


@contextmanager
def _serving(server: socketserver.ThreadingTCPServer) -> Iterator[int]:
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
