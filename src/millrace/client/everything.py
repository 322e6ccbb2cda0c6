"""Follows everything that happens on a server, from now on."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx

from millrace import settings
from millrace.client import exchange, retry
from millrace.client.exchange import Request
from millrace.client.lines import lines
from millrace.client.stream import PATH, SILENCE
from millrace.client.synchronous import Client
from millrace.errors import NotSupported
from millrace.schema.events import ReceivedEvent


def follow_all(client: Client) -> Iterator[ReceivedEvent]:
    """Tells every event as it happens, for ever; a connection that breaks is taken up where it broke.

    Args:
        client: the server.

    Raises:
        NotSupported: the server has no such stream.

    Example:
        >>> for event in follow_all(client):  # doctest: +SKIP
        ...     print(event.event)
    """
    cursor: str | None = None
    while True:
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": cursor} if cursor else {})}
        limit = settings.current().api_timeout
        request = Request("GET", PATH, headers=headers, timeout=httpx.Timeout(limit, read=SILENCE))
        try:
            with client.pool.stream(request, client.headers) as response:
                if response.status_code == 404:
                    raise NotSupported("This server has no stream of events; ask it with read_events().")
                if not response.is_success and response.status_code not in retry.BUSY_STATUS:
                    response.read()
                    raise exchange.refusal(request, response)
                for line in lines(response):
                    name, _, text = line.partition(": ")
                    if name == "id":
                        cursor = text
                    elif name == "data":
                        yield ReceivedEvent.model_validate_json(text)
        except httpx.TransportError:
            pass
        time.sleep(0.2)
