# Generated from connection.py by scripts/generate_client.py: change that file, then run the script.
"""Sending requests: the open connections, and the one loop that sends until there is an answer."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import httpx

from millrace.client import exchange, retry
from millrace.client.endpoint import Endpoint, required
from millrace.client.exchange import Request
from millrace.client.pool import LIMITS, Shared, thread_mark
from millrace.errors import MillraceError
from millrace.schema.runs import LEASE_HEADER, Lease


class Pool(Shared):
    """Connections kept open between requests, made anew where the old ones must not be used."""

    _open: httpx.Client | None = None

    def _client(self) -> httpx.Client:
        mark = thread_mark()
        current = self._open
        if current is not None and self.mark == mark:
            return current
        with self.lock:
            if self._open is None or self.mark != mark:
                socket = self.endpoint.socket
                transport = httpx.HTTPTransport(uds=socket, verify=False, limits=LIMITS) if socket else None
                self._open = httpx.Client(transport=transport, **self.opening())
                self.mark = mark
            return self._open

    def send(self, request: Request, headers: dict[str, str]) -> httpx.Response:
        """Sends once."""
        return self._client().request(**self.sending(request, headers))

    @contextmanager
    def stream(self, request: Request, headers: dict[str, str]) -> Iterator[httpx.Response]:
        """Sends once and leaves the answer's body to be read as it comes."""
        with self._client().stream(**self.sending(request, headers)) as response:
            yield response

    def close(self) -> None:
        """Closes the connections, if they are ours to close."""
        current, self._open = self._open, None
        if current is not None and self.mark == thread_mark():
            current.close()


class Connection:
    """A way to a server: sends, waits, tries again, says what went wrong.

    Args:
        endpoint: the server; `connect` and `aconnect` find it themselves.
        lease: fences every request: it is refused with LeaseLost once another attempt holds the run.
        patience: seconds to go on trying while the server does not answer or is busy; see `retry`.
        pool: the connections of another client, to be shared.

    Raises:
        InvalidInput: no endpoint is given.
    """

    def __init__(
        self,
        endpoint: Endpoint | None = None,
        *,
        lease: Lease | None = None,
        patience: float = 30.0,
        pool: Pool | None = None,
    ) -> None:
        self.lease = lease
        self.patience = patience
        self.pool = pool or Pool(required(endpoint))
        self.headers = {LEASE_HEADER: lease.header} if lease else {}

    @property
    def endpoint(self) -> Endpoint:
        """The server, as it is known now."""
        return self.pool.endpoint

    def with_lease(self, lease: Lease | None) -> Self:
        """A client on the same connections whose requests are fenced by this lease."""
        return type(self)(self.endpoint, lease=lease, patience=self.patience, pool=self.pool)

    def close(self) -> None:
        """Closes the connections, those of clients made by `with_lease` too; a later call opens new ones."""
        self.pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _call(
        self,
        name: str,
        *path: Any,
        body: Any = None,
        fields: dict[str, Any] | None = None,
        query: dict[str, Any] | None = None,
    ) -> Any:
        request = exchange.request(name, path, body, fields or {}, query or {}, plain_logs=self.pool.plain_logs)
        response, tries = self._send(request)
        return exchange.answer(name, request, response, tries=tries)

    def _send(self, request: Request) -> tuple[httpx.Response, int]:
        """Sends until there is an answer; with it the number of tries."""
        began = time.monotonic()
        policy = retry.Policy(self.patience)
        tries = 0
        while True:
            tries += 1
            try:
                response = self.pool.send(request, self.headers)
            except httpx.TransportError as error:
                what, wish = retry.trouble(error), 0.0
                refusal: MillraceError = exchange.unavailable(self.endpoint, request, error)
            else:
                if response.status_code == 401 and self.pool.renewed():
                    continue
                if response.status_code not in retry.BUSY_STATUS:
                    return response, tries
                what, wish = retry.BUSY_STATUS[response.status_code], retry.retry_after(response.headers)
                refusal = exchange.refusal(request, response)
            pause = policy.delay(
                what,
                repeatable=request.repeatable,
                tries=tries,
                elapsed=time.monotonic() - began,
                chance=random.random(),
                retry_after=wish,
            )
            if pause is None:
                raise refusal from None
            time.sleep(pause)
            self.pool.renewed()
