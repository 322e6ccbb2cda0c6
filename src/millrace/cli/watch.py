"""Watching a run in a terminal: its states and lines as they come."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from uuid import UUID

import typer
from rich.text import Text

from millrace.cli import DONE, FAILED, INTERRUPTED, TIME_UP
from millrace.cli.output import console, note, say, state
from millrace.client.follow import Message, follow
from millrace.client.stream import ends
from millrace.client.synchronous import Client
from millrace.client.waiting import PATIENCE, Waiting, overdue, why
from millrace.errors import MillraceError, NotFound
from millrace.schema.fields import now
from millrace.schema.logs import Log
from millrace.schema.queries import FlowRunQuery
from millrace.schema.runs import FlowRun, FlowRunFilter
from millrace.schema.states import StateType

_CELLS = "millrace.cell."
_OF_A_STATE, _OF_A_LINE = (6, 600), (40, 4000)  # lines and characters that are shown, at most, of what one says


def find(client: Client, text: str) -> FlowRun:
    """The run of this id, or the newest of this name.

    Args:
        client: the server.
        text: an id or a name.

    Raises:
        NotFound: there is none.
    """
    try:
        return client.read_flow_run(UUID(text))
    except ValueError:
        pass
    only = FlowRunFilter.model_validate({"name": {"any_": [text]}})
    found = client.read_flow_runs(FlowRunQuery(flow_runs=only, limit=1))
    if not found:
        raise NotFound(f"There is no flow run {text!r}. See them with `millrace flow-run ls`.")
    return found[0]


def watch(client: Client, run: FlowRun, *, timeout: float | None = None, quiet: bool = False) -> FlowRun:
    """Shows what happens to a run until it is over; gives it as it is then.

    Args:
        client: the server.
        run: the run.
        timeout: seconds; None: as long as it takes.
        quiet: show nothing.

    Raises:
        typer.Exit: the time was up, or it was interrupted; the run goes on.
    """
    client.patience = 30.0  # the server may be started anew meanwhile
    deadline = None if timeout is None else time.monotonic() + timeout
    coming: queue.SimpleQueue[Message | BaseException | None] = queue.SimpleQueue()
    threading.Thread(target=_follow, args=(client, run.id, coming), daemon=True).start()
    end: Message | None = None  # is shown when all was heard: lines come a little later than the state
    late: list[Log] = []  # those, of several processes: shown in the order of their moments
    silence = _Silence(client, run, note if quiet else say)
    goes_on = f"The run {run.name!r} goes on: millrace flow-run watch {run.id}"
    try:
        while True:
            message = _next(coming, deadline, silence)
            if isinstance(message, BaseException):
                raise message
            if end is not None and not quiet and not isinstance(message, list):
                show(late, run.id)
                show(end, run.id)
                end, late = None, []
            if message is None:
                return client.read_flow_run(run.id)
            if not isinstance(message, list) and ends(message, run.id):
                end = message
            elif isinstance(message, list) and end is not None:
                late += message
            elif not quiet:
                show(message, run.id)
    except queue.Empty:
        note(f"millrace: the {timeout:g} s are up. {goes_on}")
        raise typer.Exit(TIME_UP) from None
    except KeyboardInterrupt:
        note(f"\nStopped watching. {goes_on}\nCancel it: millrace flow-run cancel {run.id}")
        raise typer.Exit(INTERRUPTED) from None


class _Silence:
    """What is said while nothing happens: why the run has not begun, each reason once."""

    def __init__(self, client: Client, run: FlowRun, tell: Callable[[str], None]) -> None:
        self.client, self.run, self.tell = client, run, tell
        self.told: Waiting | None = None

    def explain(self) -> None:
        if self.run.start_time is not None:
            return
        with suppress(MillraceError):
            self.run = self.client.read_flow_run(self.run.id)
            reason = why(self.client, self.run) if overdue(self.run, now()) else None
            if reason is not None and reason != self.told:
                self.tell(f"{now().astimezone():%H:%M:%S} · {reason}")
                self.told = reason


def _next(
    coming: queue.SimpleQueue[Message | BaseException | None], deadline: float | None, silence: _Silence
) -> Message | BaseException | None:
    while True:
        left = PATIENCE if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            return coming.get(timeout=min(left, PATIENCE))
        except queue.Empty:
            if left < PATIENCE:
                raise
            silence.explain()


def _follow(client: Client, run_id: UUID, coming: queue.SimpleQueue[Message | BaseException | None]) -> None:
    try:
        for message in follow(client, run_id):
            coming.put(message)
        coming.put(None)
    except BaseException as error:
        coming.put(error)


def show(message: Message, run_id: UUID) -> None:
    """Prints what happened, or lines; what is very long is cut, and what shows the whole is said.

    Args:
        message: what `follow` gives.
        run_id: the run that is watched.
    """
    if isinstance(message, list):
        for entry in sorted(message, key=lambda entry: entry.timestamp):
            command = f"millrace flow-run logs {entry.flow_run_id or run_id}"
            line(entry, shortened(entry.message, _OF_A_LINE, command))
        return
    stamp = f"{message.occurred.astimezone():%H:%M:%S}"
    if message.resource.get("prefect.resource.id") == f"prefect.flow-run.{run_id}":
        said = message.payload.get("validated_state") or {}
        name = message.event.rpartition(".")[2]
        text = _message(said.get("message"), run_id)
        say(Text(f"{stamp} · {name}{text}", style="bold"))
    elif message.event == f"{_CELLS}finished":
        said = message.payload
        trouble = _message(f"{said['ename']}: {said.get('evalue') or ''}" if said.get("ename") else None, run_id)
        say(Text(f"{stamp} · cell {int(said.get('index', 0)) + 1} {said.get('status')}{trouble}", style="dim"))


def _message(said: str | None, run_id: UUID) -> str:
    return f" {shortened(said, _OF_A_STATE, f'millrace flow-run inspect {run_id}')}" if said else ""


def shortened(text: str, most: tuple[int, int], command: str) -> str:
    """A text without its middle, if it is longer than anybody reads while a run goes on.

    Args:
        text: the text.
        most: how many lines and characters are kept of it.
        command: what shows the whole.

    Example:
        >>> shortened("a\\nb\\nc\\nd", (2, 80), "cat it")
        'a\\n… 2 lines more: cat it …\\nd'
    """
    lines, characters = most
    found = text.splitlines()
    left = len(found) - lines
    kept = [*found[: lines // 2], f"… {left} lines more: {command} …", *found[-lines // 2 :]] if left > 0 else found
    if sum(map(len, kept)) > characters + len(command):
        left = len(text) - characters
        return f"{text[: characters // 2]} … {left} characters more: {command} … {text[-characters // 2 :]}"
    return "\n".join(kept) if left > 0 else text


def line(entry: Log, text: str | None = None) -> None:
    """Prints a log line.

    Args:
        entry: the line.
        text: what is shown of it; None: all.
    """
    level = logging.getLevelName(entry.level)
    style = "red" if entry.level >= logging.ERROR else "yellow" if entry.level >= logging.WARNING else ""
    head = f"{entry.timestamp.astimezone():%H:%M:%S.%f}"[:-3]
    console().print(Text(f"{head} {level:<7} {entry.message if text is None else text}", style=style), soft_wrap=True)


def ended(run: FlowRun) -> int:
    """Says how a run ended; gives the exit code.

    Args:
        run: a run that is over.
    """
    said = _message(run.state.message if run.state else None, run.id)
    say(Text.assemble(f"{run.name}: ", state(run.state), said))
    return code(run)


def code(run: FlowRun) -> int:
    """0 for a completed run."""
    return DONE if run.state_type is StateType.COMPLETED else FAILED
