# Generated from following.py by scripts/generate_client.py: change that file, then run the script.
"""Follows a run: what happens to it, as it happens, until it is over and everything it said was told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from uuid import UUID

import httpx

from millrace.client import exchange, retry
from millrace.client.ears import TICK, Ears, Heard
from millrace.client.lines import lines
from millrace.client.stream import EVENTS_PAGE, PAGE, Asking, Listening, Message
from millrace.client.synchronous import Client
from millrace.schema.logs import Log
from millrace.schema.runs import TaskRun


def follow(client: Client, flow_run_id: UUID, after: str | None = None, poll: float = 0.5) -> Iterator[Message]:
    """Tells what happens to a run; ends when the run is over and drained.

    A broken connection is taken up again where it broke, without a loss and without a repetition.

    Args:
        client: the server.
        flow_run_id: the run.
        after: the cursor to resume after; None: from the beginning of the run.
        poll: seconds between two looks at a server of another make; where its streams tell of the run, it is
            looked at every five seconds.

    Raises:
        NotFound: there is no such run.
        ServerUnavailable: the server went away and did not come back.

    Example:
        >>> for message in follow(client, run.id):  # doctest: +SKIP
        ...     print(message if isinstance(message, list) else message.event)
    """
    place = Listening(flow_run_id, after)
    place.saw(client.read_flow_run(flow_run_id))
    while not place.over and not place.deaf:
        for message in _listen(client, place):
            yield message
        if not (place.turned or place.over):
            # Whatever it was: this call waits for the server as patiently as any other, or says what is wrong.
            time.sleep(0.1)
            place.saw(client.read_flow_run(flow_run_id))
    if place.deaf:
        ears = Ears(client.endpoint, flow_run_id)
        try:
            for message in _ask(client, Asking(flow_run_id), ears, poll):
                yield message
        finally:
            ears.close()


def _listen(client: Client, place: Listening) -> Iterator[Message]:
    """What one connection tells, until it ends or breaks."""
    request = place.request
    try:
        with client.pool.stream(request, client.headers) as response:
            if response.status_code == 404:
                place.deaf = True
            elif response.is_success:
                for line in lines(response):
                    message = place.feed(line)
                    if message is not None:
                        yield message
                    if place.turned:
                        return
            elif response.status_code not in (401, *retry.BUSY_STATUS):
                response.read()
                raise exchange.refusal(request, response)
    except httpx.ReadTimeout:
        place.over = place.terminal
    except httpx.TransportError:
        pass


def _ask(client: Client, known: Asking, ears: Ears, poll: float) -> Iterator[Message]:
    quiet = 0
    heard: list[Heard] = []
    while quiet < 2 or known.waits:
        told = False
        look = ears.events.due(poll) or known.terminal
        runs = [client.read_flow_run(known.flow_run_id)] if look else []
        stored = _log_lines(client, known) if ears.logs.due(poll) or known.terminal else []
        for message in known.heard([*stored, *heard]):
            yield message
            told = True
        for event in [*known.runs(_task_runs(client, known) if look else []), *known.runs(runs)]:
            yield event
            told = True
        if look:
            for message in _cells(client, known):
                yield message
                told = True
        was_over = known.terminal
        for _ in range(max(1, round(poll / TICK))):
            time.sleep(min(TICK, poll))
            heard = ears.heard()
            if ears.logs.gap:
                break
            for message in known.heard(heard):
                yield message
                told = True
            if known.terminal and not was_over:
                break
        quiet = quiet + 1 if was_over and not told else 0


def _log_lines(client: Client, known: Asking) -> list[Log]:
    found: list[Log] = []
    while True:
        page = client.read_logs(known.log_query(len(found)))
        found += page
        if len(page) < PAGE:
            break
    if found:
        known.rewind(found[-1])
    return found


def _cells(client: Client, known: Asking) -> list[Message]:
    told: list[Message] = []
    while True:
        page = (client.read_events(known.cell_query())).events
        told += known.cells(page)
        if len(page) < EVENTS_PAGE or page[-1].occurred == page[0].occurred:
            return told


def _task_runs(client: Client, known: Asking) -> list[TaskRun]:
    found: list[TaskRun] = []
    while True:
        page = client.read_task_runs(known.task_query(len(found)))
        found += page
        if len(page) < PAGE:
            return found
