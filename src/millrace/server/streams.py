"""Connections that stay open: WebSockets of events and logs, and server-sent events with resume.

Each follower keeps the sequence number it has sent and reads what lies beyond when the bell rings; nothing is queued
for it, so a slow one costs no memory. Whoever gets here has shown the token (`security.Handshake`, `security.Guard`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from millrace.errors import InvalidInput, MillraceError
from millrace.schema.events import RESOURCE_ID, Event, EventFilter, EventOrder, OccurredFilter, ReceivedEvent
from millrace.schema.fields import now
from millrace.schema.logs import Log, LogFilter
from millrace.schema.states import TERMINAL
from millrace.server.answers import answer_to, logger
from millrace.server.context import Context
from millrace.server.matching import event_matches, log_matches
from millrace.server.worker_channel import worker_channel
from millrace.store import events, logs
from millrace.store.database import Transaction

M = TypeVar("M", bound=BaseModel)

SPACING = 0.05
HEARTBEAT = 15.0
EVENT_BATCH = 200
LOG_BATCH = 500
BACKFILL = timedelta(minutes=15)
BACKFILL_EVENTS = 1000
CLOCK_SKEW = timedelta(minutes=1)
PENDING_EVENTS = 1000

INVALID, PROTOCOL_ERROR, GOING_AWAY, INTERNAL, TRY_LATER = 1007, 1002, 1001, 1011, 1013

LOG_LIST = TypeAdapter(list[Log])


def endpoint(name: str, context: Context) -> Callable[..., Any]:
    """The function that serves a stream of the table.

    Args:
        name: as in the table.
        context: the server.

    Raises:
        RuntimeError: there is none.
    """
    if name == "follow_events":
        return partial(follow_events, context)
    if name not in SOCKETS:
        raise RuntimeError(f"the stream {name} has no handler in server/streams.py")
    return partial(_serve_socket, context, SOCKETS[name])


async def _serve_socket(
    context: Context, serve: Callable[[Context, WebSocket], Awaitable[None]], socket: WebSocket
) -> None:
    await socket.accept()
    context.used()
    context.open_streams += 1
    try:
        await serve(context, socket)
        code, reason = GOING_AWAY, "the server stops"
    except WebSocketDisconnect:
        return
    except ValidationError as error:
        code, reason = INVALID, f"invalid message: {error.errors(include_input=False)[0]['msg']}"
    except InvalidInput as error:
        code, reason = PROTOCOL_ERROR, str(error)
    except MillraceError as error:
        code, reason = TRY_LATER, str(error)
    except Exception:
        logger.exception("a stream failed")
        code, reason = INTERNAL, "internal error"
    finally:
        context.open_streams -= 1
        context.used()
    with contextlib.suppress(RuntimeError, WebSocketDisconnect):
        await socket.close(code, reason[:120])


async def events_in(context: Context, socket: WebSocket) -> None:
    """Store the events a client sends; those that come together are stored in one write."""
    pending: asyncio.Queue[Event | None] = asyncio.Queue(PENDING_EVENTS)

    async def take() -> None:
        try:
            while True:
                await pending.put(Event.model_validate_json(await socket.receive_text()))
        finally:
            await pending.put(None)

    taker = asyncio.create_task(take())
    try:
        open_ = True
        while open_:
            batch = [await pending.get()]
            while not pending.empty():
                batch.append(pending.get_nowait())
            open_ = batch[-1] is not None
            if stored := [event for event in batch if event is not None]:
                context.used()
                await context.write(events.append, stored)
        await taker
    finally:
        taker.cancel()


async def events_out(context: Context, socket: WebSocket) -> None:
    """Send events that fit a filter: the last minutes first, then each as it is stored."""
    wanted, backfill = await _filter(socket, EventFilter)
    past = wanted.model_copy(deep=True)
    if wanted.occurred.until <= now() + CLOCK_SKEW:
        # clients send the moment they made the filter; taken at its word it would let nothing through
        wanted.occurred = OccurredFilter(since=wanted.occurred.since)
    past.order = EventOrder.ASC
    past.occurred.since = max(past.occurred.since, now() - BACKFILL)

    def start(tx: Transaction) -> tuple[int, list[ReceivedEvent]]:
        found = events.query(tx, past, BACKFILL_EVENTS).events if backfill else []
        return events.last(tx), found

    cursor, known = await context.read(start)
    seen_before = {event.id for event in known}

    async def send(event: ReceivedEvent) -> None:
        await socket.send_text(f'{{"type":"event","event":{event.model_dump_json()}}}')

    async def pump() -> None:
        nonlocal cursor
        for event in known:
            await send(event)
        async for _ in _rings(context):
            while batch := await context.read(events.after, cursor, flow_run_id=None, limit=EVENT_BATCH):
                for event in batch:
                    if event.id not in seen_before and event_matches(event, wanted):
                        await send(event)
                cursor = batch[-1].sequence or cursor
                seen_before.clear()

    await _until_gone(socket, pump())


async def logs_out(context: Context, socket: WebSocket) -> None:
    """Send log lines that fit a filter, each as it is stored."""
    wanted, _ = await _filter(socket, LogFilter)
    cursor = await context.read(logs.last)

    async def pump() -> None:
        nonlocal cursor
        async for _ in _rings(context):
            while batch := await context.read(logs.after, cursor, flow_run_id=None, limit=LOG_BATCH):
                for _, log in batch:
                    if log_matches(log, wanted):
                        await socket.send_text(f'{{"type":"log","log":{log.model_dump_json()}}}')
                cursor = batch[-1][0]

    await _until_gone(socket, pump())


SOCKETS: dict[str, Callable[[Context, WebSocket], Awaitable[None]]] = {
    "events_in": events_in,
    "events_out": events_out,
    "logs_out": logs_out,
    "worker_channel": worker_channel,
}


async def _rings(context: Context, timeout: float = 60.0) -> AsyncIterator[bool]:
    """Now, and then after each ring or time-out, until the server stops; whether it rang."""
    bell = context.bell
    rang = True
    while not bell.closed:
        seen = bell.count
        yield rang
        await bell.wait(seen, timeout)
        rang = bell.count != seen
        if rang and not bell.closed:
            await asyncio.sleep(SPACING)


async def _filter(socket: WebSocket, model: type[M]) -> tuple[M, bool]:
    message = await socket.receive_json()
    if not isinstance(message, dict) or message.get("type") != "filter":
        raise InvalidInput("Expected 'filter' message")
    return model.model_validate(message.get("filter") or {}), bool(message.get("backfill", True))


async def _until_gone(socket: WebSocket, pump: Any) -> None:
    """Run the pump until it ends or the client closes; what the client says meanwhile does not matter."""

    async def listen() -> None:
        while True:
            await socket.receive_text()

    tasks = [asyncio.create_task(pump), asyncio.create_task(listen())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# -- server-sent events


def parse_cursor(text: str | None) -> tuple[int, int] | None:
    """The two sequence numbers of a cursor.

    Raises:
        InvalidInput: it is none.

    Example:
        >>> parse_cursor("12.345"), parse_cursor("7"), parse_cursor("")
        ((12, 345), (7, 0), None)
    """
    if not text:
        return None
    event, _, log = text.partition(".")
    if not event.isdecimal() or not (log or "0").isdecimal() or len(text) > 40:
        raise InvalidInput(f"A cursor reads <event number>.<log number>, not {text[:60]!r}.")
    return int(event), int(log or 0)


async def follow_events(context: Context, request: Request) -> Response:
    """Events and, if asked, log lines, of one run or of all, after a cursor or from now on.

    Without a cursor a run is told from its beginning, and everything from now on. A line stored before the end of a
    run is sent before it.
    """
    context.used()
    query = request.query_params
    try:
        run = UUID(query["flow_run_id"]) if query.get("flow_run_id") else None
        cursor = parse_cursor(request.headers.get("last-event-id") or query.get("after"))
        if cursor is None:
            cursor = (0, 0) if run else await context.read(lambda tx: (events.last(tx), logs.last(tx)))
        if max(cursor) >= 2**63:
            raise InvalidInput("The cursor is too large.")
    except ValueError as error:
        return answer_to(error if isinstance(error, MillraceError) else InvalidInput(f"flow_run_id: {error}"))
    except Exception as error:
        return answer_to(error)
    with_logs = query.get("logs", "").lower() in ("1", "true", "yes", "on")
    return StreamingResponse(
        _messages(context, run, cursor, with_logs),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _messages(
    context: Context, run: UUID | None, cursor: tuple[int, int], with_logs: bool
) -> AsyncIterator[bytes]:
    event_at, log_at = cursor

    def look(tx: Transaction) -> tuple[list[tuple[int, Log]], list[ReceivedEvent]]:
        lines = logs.after(tx, log_at, flow_run_id=run, limit=LOG_BATCH) if with_logs else []
        if len(lines) >= LOG_BATCH:
            return lines, []
        return lines, events.after(tx, event_at, flow_run_id=run, limit=EVENT_BATCH)

    context.open_streams += 1
    try:
        yield b": millrace\n\n"
        async for rang in _rings(context, HEARTBEAT):
            if not rang:
                yield b": still here\n\n"
            more = True
            while more and not context.bell.closed:
                lines, happened = await context.read(look)
                for found in in_order(lines, happened):
                    if isinstance(found, ReceivedEvent):
                        event_at = found.sequence or event_at
                        yield _message("event", f"{event_at}.{log_at}", found.model_dump_json().encode())
                    else:
                        log_at = found[-1][0]
                        data = LOG_LIST.dump_json([line for _, line in found])
                        yield _message("logs", f"{event_at}.{log_at}", data)
                more = len(lines) >= LOG_BATCH or len(happened) >= EVENT_BATCH
    finally:
        context.open_streams -= 1
        context.used()


def in_order(
    lines: list[tuple[int, Log]], happened: list[ReceivedEvent]
) -> Iterator[list[tuple[int, Log]] | ReceivedEvent]:
    """What was found in one look, as it happened: a line comes before what is later than it.

    All lines come before the end of a run, and each kind stays in its own order.

    Args:
        lines: with their sequence numbers.
        happened: events.
    """
    at = 0
    for event in happened:
        of_flow = event.resource.get(RESOURCE_ID, "").startswith("prefect.flow-run.")
        ends = of_flow and event.resource.get("prefect.state-type") in TERMINAL
        upto = len(lines) if ends else at
        while upto < len(lines) and lines[upto][1].timestamp <= event.occurred:
            upto += 1
        if upto > at:
            yield lines[at:upto]
            at = upto
        yield event
    if at < len(lines):
        yield lines[at:]


def _message(kind: str, cursor: str, data: bytes) -> bytes:
    return b"event: %s\nid: %s\ndata: %s\n\n" % (kind.encode(), cursor.encode(), data)
