"""Hears what a server's WebSockets tell of one run, where the server is not a Millrace server.

The streams are those of the Prefect API: `/events/out` and `/logs/out`. They are lossy: neither tells what was before
(events: some minutes of it), lines are told only where their server has that turned on, and a listener that is slow
loses messages. So whoever listens goes on asking, only less often once a stream has spoken.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from datetime import timedelta
from typing import Any
from uuid import UUID

from millrace import plugins
from millrace.client.endpoint import Endpoint
from millrace.schema.events import RESOURCE_ID, ReceivedEvent
from millrace.schema.fields import now
from millrace.schema.logs import Log
from millrace.schema.operations import STREAMS

Heard = ReceivedEvent | Log

EVENTS, LOGS = (next(found.path for found in STREAMS if found.name == name) for name in ("events_out", "logs_out"))
LOOK = 5.0  # seconds between two looks at what a stream tells anyhow
TICK = 0.05  # seconds between two looks at what was heard
_SLICE = 0.5  # seconds after which a reader sees that nobody listens any more
_PATIENCE = 10.0
_AGAIN = 1.0
_STATES = ("prefect.flow-run.", "prefect.task-run.")


class Ear:
    """One stream, read by a thread of its own into a queue.

    A server that refuses the stream, by status or by closing it before it is open, is not asked for it again; a stream
    that breaks is opened again.

    Args:
        endpoint: the server.
        path: of the stream.
        filter: makes what is to be told; asked again with each connection.
        into: where messages go.

    Attributes:
        open: it is open: what happens from now on is told, if the server tells anything.
        speaks: it is open and has told something since; until then nobody knows whether it ever will.
        refused: it was refused.
        gap: it began to speak and nothing was asked since: what was just before it may not have told, so a question
            comes before anything that it tells.
    """

    def __init__(self, endpoint: Endpoint, path: str, filter: Any, into: queue.SimpleQueue[Heard]) -> None:
        self.endpoint, self.path, self._filter, self._into = endpoint, path, filter, into
        self.open = False
        self.speaks = False
        self.gap = False
        self.refused = endpoint.socket is not None
        self._closed = threading.Event()
        self._looked: float | None = None
        if not self.refused:
            threading.Thread(target=self._listen, name="millrace-ear", daemon=True).start()

    def due(self, poll: float) -> bool:
        """Whether it is time to ask for what the stream may have missed; if so, it counts as asked.

        Args:
            poll: seconds between two questions while the stream does not speak.
        """
        moment = time.monotonic()
        recent = self._looked is not None and moment - self._looked < (LOOK if self.speaks else poll) - TICK
        if recent and not self.gap:
            return False
        self._looked, self.gap = moment, False
        return True

    def close(self) -> None:
        """The thread ends soon."""
        self._closed.set()

    def _listen(self) -> None:
        faults = plugins.load("websockets.exceptions")
        while not (self._closed.is_set() or self.refused):
            try:
                with self._connection() as socket:
                    self._introduce(socket)
                    self._read(socket)
            except faults.InvalidStatus as error:
                self.refused = error.response.status_code < 500 and error.response.status_code != 429
            except faults.WebSocketException:
                self.refused = not self.open
            except OSError:
                pass
            self.open = self.speaks = False
            self._closed.wait(_AGAIN)

    def _connection(self) -> Any:
        return plugins.load("websockets.sync.client:connect")(
            self.endpoint.url.replace("http", "ws", 1) + self.path,
            additional_headers=self.endpoint.headers,
            subprotocols=["prefect"],
            open_timeout=_PATIENCE,
            close_timeout=_AGAIN,
            max_size=None,
            proxy=None if self.endpoint.local else True,
        )

    def _introduce(self, socket: Any) -> None:
        socket.send(json.dumps({"type": "auth", "token": self.endpoint.token}))
        socket.recv(timeout=_PATIENCE)
        socket.send(json.dumps({"type": "filter", "filter": self._filter()}))
        self.open = True

    def _read(self, socket: Any) -> None:
        while not self._closed.is_set():
            try:
                said = json.loads(socket.recv(timeout=_SLICE))
            except TimeoutError:
                continue
            heard = understood(said)
            if heard is not None:
                self.gap = self.gap or not self.speaks
                self.speaks = True
                self._into.put(heard)


def understood(said: Any) -> Heard | None:
    """A message of a stream as it is told on; None for one that is no news of a run.

    Args:
        said: the message as JSON.
    """
    try:
        if said["type"] == "log":
            return Log.model_validate(said["log"])
        event = ReceivedEvent.model_validate(said["event"])
    except (KeyError, TypeError, ValueError):
        return None
    state = event.payload.get("validated_state")
    return None if event.event.startswith(_STATES) and not state else event


class Ears:
    """Both streams of a run.

    Args:
        endpoint: the server.
        flow_run_id: the run.
    """

    def __init__(self, endpoint: Endpoint, flow_run_id: UUID) -> None:
        self._coming: queue.SimpleQueue[Heard] = queue.SimpleQueue()

        def events() -> dict[str, Any]:
            # A server takes the moment of the filter for the end of what is wanted, unless it is told another.
            until = (now() + timedelta(days=365)).isoformat()
            since = (now() - timedelta(days=1)).isoformat()
            return {
                "occurred": {"since": since, "until": until},
                "event": {"prefix": [*_STATES, "millrace."]},
                "any_resource": {"id": [f"prefect.flow-run.{flow_run_id}"]},
            }

        def lines() -> dict[str, Any]:
            return {"flow_run_id": {"any_": [str(flow_run_id)]}}

        self.events = Ear(endpoint, EVENTS, events, self._coming)
        self.logs = Ear(endpoint, LOGS, lines, self._coming)

    def heard(self) -> list[Heard]:
        """What came since the last time, in the order it came in."""
        found: list[Heard] = []
        while True:
            try:
                found.append(self._coming.get_nowait())
            except queue.Empty:
                return found

    def close(self) -> None:
        """Stop listening."""
        self.events.close()
        self.logs.close()


def about(event: ReceivedEvent, kind: str) -> UUID | None:
    """The run of this kind that an event is about.

    Args:
        event: what was heard.
        kind: `flow-run` or `task-run`.
    """
    name = event.resource.get(RESOURCE_ID, "")
    try:
        return UUID(name.removeprefix(f"prefect.{kind}.")) if name.startswith(f"prefect.{kind}.") else None
    except ValueError:
        return None
