"""Log lines of runs: to a file first, then to the server. What is in the file is never lost.

One spool per attempt of a run: `<attempt>.log.jsonl`, a `LogCreate` as JSON on each line, appended in one write. Beside
it `<attempt>.log.sent` holds how many of its bytes the server has acknowledged. Lines carry their id: a batch that is
sent twice, by this process or by the worker after a kill, is stored once.
"""

from __future__ import annotations

import builtins
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from millrace.engine.context import FlowRunContext, TaskRunContext, run_logger
from millrace.engine.log_handlers import on_screen
from millrace.engine.secrecy import masked
from millrace.errors import InvalidInput, MillraceError
from millrace.schema.fields import new_id
from millrace.schema.logs import LogCreate

BATCH_BYTES = 512 * 1024
BATCH_LINES = 500
MAX_MESSAGE = 100_000


class TakesLogs(Protocol):
    """The part of a client that shipping needs."""

    def create_logs(self, body: list[LogCreate]) -> object:
        """Stores log lines."""
        ...


class Spool:
    """The log file of one attempt of a run.

    Args:
        path: `<run directory>/<attempt>.log.jsonl`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._file: int | None = None

    @property
    def sent_path(self) -> Path:
        """The file that holds how far the server has it."""
        return self.path.with_suffix(".sent")

    def write(
        self,
        name: str,
        level: int,
        message: str,
        *,
        timestamp: datetime | None = None,
        flow_run_id: UUID | None = None,
        task_run_id: UUID | None = None,
    ) -> None:
        """Appends one line; when this returns, a `kill -9` does not lose it.

        Args:
            name: the logger.
            level: as in `logging`.
            message: the text.
            timestamp: when; now by default.
            flow_run_id: the run.
            task_run_id: the task run, if it is one's.
        """
        message = masked(message)
        text = message if len(message) <= MAX_MESSAGE else message[:MAX_MESSAGE] + " … (cut)"
        line = json.dumps(
            {
                "id": str(new_id()),
                "name": name,
                "level": level,
                "message": text.encode("utf-8", "replace").decode(),
                "timestamp": (timestamp or datetime.now(UTC)).isoformat(),
                "flow_run_id": str(flow_run_id) if flow_run_id else None,
                "task_run_id": str(task_run_id) if task_run_id else None,
            }
        )
        with self._lock:
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.write(self._file, (line + "\n").encode())

    def close(self) -> None:
        """Gives the descriptor back; writing opens it again."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None

    def unsent(self) -> tuple[list[LogCreate], int]:
        """The next lines the server does not have, and the offset behind them."""
        start = self.sent()
        try:
            with self.path.open("rb") as file:
                file.seek(start)
                block = file.read(BATCH_BYTES)
        except FileNotFoundError:
            return [], start
        lines: list[LogCreate] = []
        for line in block.splitlines(keepends=True):
            if not line.endswith(b"\n") or len(lines) == BATCH_LINES:
                break  # the rest of a partial line may still come
            start += len(line)
            try:
                lines.append(LogCreate.model_validate_json(line))
            except ValueError:
                continue  # torn by a crash: nothing else in it can be saved
        return lines, start

    def others(self) -> list[Spool]:
        """Files beside it, of processes of the run that have ended or were ended before they sent all of it."""
        paths = self.path.parent.glob("*.log.jsonl")
        found = [Spool(path) for path in paths if path != self.path]
        return [spool for spool in found if spool.sent() < spool.path.stat().st_size]

    def acknowledge(self, offset: int) -> None:
        """Remembers that the server has everything before an offset."""
        file = os.open(self.sent_path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.pwrite(file, f"{offset:020d}".encode(), 0)
        finally:
            os.close(file)

    def sent(self) -> int:
        """How many bytes the server has acknowledged."""
        try:
            return int(self.sent_path.read_bytes() or b"0")
        except (FileNotFoundError, ValueError):
            return 0


def ship(spools: list[Spool], client: TakesLogs) -> int:
    """Sends one batch of the lines the server does not have; gives the number of lines sent.

    Args:
        spools: whose lines; a request holds those of many.
        client: where to.
    """
    lines: list[LogCreate] = []
    read: list[tuple[Spool, int]] = []
    for spool in spools:
        new, offset = spool.unsent()
        lines += new
        read.append((spool, offset))
        if len(lines) >= BATCH_LINES:
            break
    if lines:
        send(client, lines)
    for spool, offset in read:
        if offset != spool.sent():
            spool.acknowledge(offset)
    return len(lines)


def send(client: TakesLogs, lines: list[LogCreate]) -> None:
    """Sends lines; if the server cannot take the batch, halves it until only the line it cannot take is left out.

    Args:
        client: where to.
        lines: in order.
    """
    try:
        client.create_logs(lines)
    except InvalidInput:
        if len(lines) > 1:
            middle = len(lines) // 2
            send(client, lines[:middle])
            send(client, lines[middle:])


def ship_remaining(run_directory: Path, client: TakesLogs) -> int:
    """Sends what the processes of a run left unsent, attempt by attempt; for the worker, after a child has ended.

    Args:
        run_directory: `settings.run_directory(flow_run_id)`.
        client: where to. Lines of a lost attempt are sent too: they happened.

    Returns:
        The number of lines sent.
    """
    total = 0
    for path in sorted(run_directory.glob("*.log.jsonl"), key=_attempt_of):
        while count := ship([Spool(path)], client):
            total += count
    return total


def _attempt_of(path: Path) -> tuple[int, str]:
    number = path.name.partition(".")[0]
    return (int(number) if number.isdigit() else 0, path.name)


@dataclass(frozen=True)
class Attached:
    """A run that this process belongs to without driving it: a kernel's, or that of a program which a run started.

    Args:
        run_id: the run.
        spool: where its lines from here go.
        name: its name, where it is known.
        home: the context variables to show its lines in.
    """

    run_id: UUID
    spool: Spool
    name: str = ""
    home: Context = field(default_factory=copy_context, compare=False)
    sender: None = None
    flow: None = None

    @property
    def flow_run(self) -> Any:
        """The little that is known of it."""
        return _Known(self.run_id, self.name)


@dataclass(frozen=True)
class _Known:
    id: UUID
    name: str


_of_process: FlowRunContext | None = None


def belong_to(flow: FlowRunContext | None) -> None:
    """Says that this whole process belongs to one run: what its threads log is that run's, whoever started them.

    Args:
        flow: the run.
    """
    global _of_process
    _of_process = flow


def belongs_to() -> FlowRunContext | None:
    """The run that this process belongs to and drives, or None."""
    return _of_process


def run_of(record: logging.LogRecord) -> tuple[FlowRunContext | None, TaskRunContext | None]:
    """Whose line it is: what the logger was made for, else where it was logged, else the process's own run.

    Args:
        record: the line.
    """
    found = record.__dict__
    flow = found.get("millrace_flow") or FlowRunContext.get() or _of_process
    return flow, found["millrace_task"] if "millrace_task" in found else TaskRunContext.get()


def line_text(record: logging.LogRecord, form: Callable[[logging.LogRecord], str]) -> str:
    """The text of a line; where its arguments do not fit it, what there is of it, and why: nothing is raised.

    Args:
        record: the line.
        form: makes the text.
    """
    try:
        return form(record)
    except Exception as error:  # a line that cannot be written must not fail the user's code
        said = record.msg if isinstance(record.msg, str) else f"<{type(record.msg).__name__}>"
        return f"{said} (not formatted: {type(error).__name__}: {error})"


class RunHandler(logging.Handler):
    """Writes the lines of loggers to the spool of the run they belong to.

    Args:
        dirty: called with each run whose spool was written to.
    """

    of_millrace = True

    def __init__(self, dirty: Any) -> None:
        super().__init__()
        self._dirty = dirty
        self.setFormatter(logging.Formatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one line; a line that belongs to no run goes only where Python's logging sends it."""
        flow, task = run_of(record)
        if flow is None or flow.spool is None:
            return
        try:
            flow.spool.write(
                record.name,
                record.levelno,
                line_text(record, self.format),
                timestamp=datetime.fromtimestamp(record.created, UTC),
                flow_run_id=flow.run_id,
                task_run_id=task.id if task else None,
            )
        except (OSError, MillraceError):  # a full disk must not fail the user's code
            self.handleError(record)
        else:
            self._dirty(flow)


_prints_lock = threading.Lock()
_logging_prints = 0
_original_print = builtins.print


def _print(*values: Any, sep: str | None = " ", end: str | None = "\n", file: Any = None, flush: bool = False) -> None:
    task, flow = TaskRunContext.get(), FlowRunContext.get()
    wanted = task.log_prints if task else flow is not None and flow.log_prints
    if not wanted or file not in (None, sys.stdout):
        _original_print(*values, sep=sep, end=end, file=file, flush=flush)
        return
    text = (" " if sep is None else sep).join(str(value) for value in values)
    # in one piece, so that no line of another thread comes between
    _original_print(text + ("\n" if end is None else end), end="", file=file, flush=flush)
    if text.strip():
        _log_print(text, flow, task)


def _log_print(text: str, flow: FlowRunContext | None, task: TaskRunContext | None) -> None:
    """Logs what was printed, to anything but the screen, which has it already."""
    to = run_logger(flow, task, millrace_printed=True)
    if not to.isEnabledFor(logging.INFO):
        return
    record = to.logger.makeRecord(to.logger.name, logging.INFO, "print", 0, "%s", (text,), None, extra=to.extra)
    if not on_screen(record):
        to.logger.handle(record)
        return
    for handler in to.logger.handlers:
        handler.handle(record)


@contextmanager
def prints_logged(wanted: bool) -> Iterator[None]:
    """While any such block is open, `print` inside runs that want it is logged as well as printed.

    Args:
        wanted: False makes this do nothing.
    """
    global _logging_prints, _original_print
    if not wanted:
        yield
        return
    with _prints_lock:
        _logging_prints += 1
        if builtins.print is not _print:
            _original_print = builtins.print
            builtins.print = _print
    try:
        yield
    finally:
        with _prints_lock:
            _logging_prints -= 1
            if _logging_prints == 0 and builtins.print is _print:
                builtins.print = _original_print
