"""What a call in another process says beside its value: lines it prints and logs, states of tasks it runs.

There, each becomes a message; here, a message is done what would have been done on the spot: printed, logged by the
logger of that name, recorded. Messages are plain data and arrive in the order in which they were sent.
"""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from millrace.engine.console import ConsoleHandler
from millrace.engine.context import FlowRunContext, TaskRunContext
from millrace.engine.logs import line_text, run_of
from millrace.engine.recorder import recorder
from millrace.schema.events import Event

Message = dict[str, Any]
Send = Callable[[Message], object]

_problems = logging.getLogger("millrace.engine")
_home: ContextVar[Send | None] = ContextVar("millrace_home", default=None)
_ways: list[Send] = []
_RECORD = (
    *("name", "levelno", "levelname", "created", "msecs", "pathname", "lineno", "funcName", "process", "threadName"),
    *("millrace_printed", "millrace_short"),
)


# -- there


def way_home() -> Send | None:
    """Takes messages of the code that asks; that of a thread without context goes with the latest call."""
    return _home.get() or (_ways[-1] if _ways else None)


@contextmanager
def way_open(send: Send) -> Iterator[None]:
    """What is printed and logged inside the block goes home.

    Args:
        send: takes a message.
    """
    token = _home.set(send)
    _ways.append(send)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, Printed):
                stream.flush()
        _ways.remove(send)
        _home.reset(token)


class Homeward:
    """Stands for the client that events are sent with: they go home and are recorded there.

    Args:
        send: takes a message.
    """

    lease = True  # what it carries belongs to a run that holds one

    def __init__(self, send: Send) -> None:
        self._send = send

    def create_events(self, events: list[Event]) -> None:
        """Sends events home."""
        self._send({"events": [event.model_dump(mode="json") for event in events]})


class Printed(io.TextIOBase):
    """Stands for stdout or stderr: what is written goes home, line by line.

    Args:
        stream: `stdout` or `stderr`.
        otherwise: where to write while no call is being made.
    """

    def __init__(self, stream: str, otherwise: Any) -> None:
        self._stream = stream
        self._otherwise = otherwise
        self._kept: list[tuple[Send, str]] = []
        self._lock = threading.Lock()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Any text can be written."""
        return "utf-8"

    def writable(self) -> bool:
        """Yes."""
        return True

    def fileno(self) -> int:
        """The descriptor below, for those who write to it directly."""
        return int(self._otherwise.fileno())

    def write(self, text: str) -> int:
        """Keeps a text until its line is complete."""
        send = way_home()
        if send is None:
            return int(self._otherwise.write(text))
        with self._lock:
            self._kept.append((send, text))
        if "\n" in text:
            self.flush()
        return len(text)

    def flush(self) -> None:
        """Sends what was kept."""
        with self._lock:
            kept, self._kept = self._kept, []
        texts: dict[int, list[str]] = {}
        for send, text in kept:
            texts.setdefault(id(send), []).append(text)
        for send in {id(send): send for send, _ in kept}.values():
            send({"out": self._stream, "text": "".join(texts[id(send)])})


class LogsHome(logging.Handler):
    """Sends log records home."""

    def emit(self, record: logging.LogRecord) -> None:
        """Sends one record, its message made up and its exception as text."""
        send = way_home()
        if send is None:
            return
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        _, task = run_of(record)
        text = line_text(record, logging.LogRecord.getMessage)
        found = {name: getattr(record, name) for name in _RECORD if hasattr(record, name)}
        found |= {"msg": text, "exc_text": record.exc_text}
        send({"log": found, "task": [str(task.id), task.name] if task is not None else None})


def _spooled_here(record: logging.LogRecord) -> bool:
    """Whether a line is of a flow run that is driven in this process, by a task that calls a flow."""
    flow, _ = run_of(record)
    return flow is not None and flow.spool is not None


@lru_cache(maxsize=1)
def prepare_process(root_level: int) -> None:
    """Makes what this process logs and prints go home; once.

    Args:
        root_level: the level of the root logger at home.
    """
    recorder()
    for logger in [one for one in logging.root.manager.loggerDict.values() if isinstance(one, logging.Logger)]:
        for handler in logger.handlers:
            if isinstance(handler, ConsoleHandler):
                handler.addFilter(_spooled_here)  # the others are shown at home
    home = LogsHome()
    home.addFilter(lambda record: not _spooled_here(record))
    logging.root.addHandler(home)
    logging.root.setLevel(root_level)
    sys.stdout, sys.stderr = Printed("stdout", sys.stdout), Printed("stderr", sys.stderr)


# -- here


@dataclass(frozen=True, slots=True)
class _Named:
    """The task run of a log line: a task's own, or that of a task it called."""

    id: UUID
    name: str


@dataclass(frozen=True, slots=True)
class Inbox:
    """Does what the messages of one call say, in the contexts of its run.

    Args:
        flow: the flow run.
        task: the task run.
    """

    flow: FlowRunContext | None
    task: TaskRunContext

    def take(self, message: Message) -> None:
        """Does what one message says.

        Args:
            message: as it came.
        """
        try:
            self._take(message)
        except Exception as error:  # a screen that is gone, a handler of the user's: the call goes on
            _problems.warning("what a task said in another process could not be passed on: %s", error)

    def _take(self, message: Message) -> None:
        if "out" in message:
            stream = sys.stderr if message["out"] == "stderr" else sys.stdout
            stream.write(message["text"])
        elif "log" in message:
            with self.task.entered():
                self._log(message["log"], message["task"])
        elif "events" in message and self.flow is not None:
            for given in message["events"]:
                event = Event.model_validate(given)
                recorder().record(self.flow.sender, lambda event=event: event)

    def _log(self, given: dict[str, Any], task: list[str] | None) -> None:
        logger = logging.getLogger(given["name"])
        if not logger.isEnabledFor(given["levelno"]):
            return
        record = logging.makeLogRecord({**given, "args": (), "millrace_flow": self.flow})
        if task is not None:
            record.millrace_task, record.task_run_name = _Named(UUID(task[0]), task[1]), task[1]
        else:
            record.millrace_task = None
        if self.flow is not None:
            record.flow_run_name = self.flow.flow_run.name
        logger.handle(record)
