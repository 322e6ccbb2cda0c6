"""The raw output of a job, turned into log lines of its run."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from millrace.errors import MillraceError
from millrace.schema.fields import now
from millrace.schema.logs import LogCreate
from millrace.workers.jobs import Job

LOGGER = "millrace.output"
_LEVEL = 20
_BATCH = 400
_READ = 1 << 20
_LONGEST = 16_000
_MARKS = 4096


class OutputTail:
    """Sends what a job printed since the last time.

    How far it came stands in `<attempt>.out.sent`, and a line's id follows from its place: a line that is sent twice is
    stored once, and none is left out.

    Args:
        job: the job.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._sent = job.out.with_suffix(".out.sent")
        self._offset = _number(self._sent)
        self._marks: list[tuple[int, float]] = []  # up to which byte was written at which moment

    def look(self) -> None:
        """Note when what was printed since the last look was written; cheap, for it is done many times a second."""
        try:
            found = os.stat(self._job.out)
        except OSError:
            return
        if found.st_size > (self._marks[-1][0] if self._marks else self._offset):
            if len(self._marks) >= _MARKS:  # nobody could be told of these for long
                del self._marks[: _MARKS // 2]
            self._marks.append((found.st_size, min(found.st_mtime, time.time())))

    def ship(self, client: Any, *, everything: bool = False) -> None:
        """Send complete lines.

        Args:
            client: the client.
            everything: also the last line without an end, and until nothing is left.
        """
        self.look()
        while True:
            chunk = self._read()
            end = chunk.rfind(b"\n") + 1
            if end == 0:
                end = len(chunk) if everything or len(chunk) >= _READ else 0
            if end == 0:
                return
            self._send(client, chunk[:end])
            if not everything and len(chunk) < _READ:
                return

    def _read(self) -> bytes:
        try:
            with self._job.out.open("rb") as file:
                file.seek(self._offset)
                return file.read(_READ)
        except FileNotFoundError:
            return b""

    def _send(self, client: Any, data: bytes) -> None:
        lines: list[LogCreate] = []
        for raw in data.splitlines(keepends=True):
            text = raw.decode("utf-8", "replace").rstrip()
            if text:
                lines.append(self._line(text))
            self._offset += len(raw)
            if len(lines) >= _BATCH:
                self._post(client, lines)
                lines = []
        self._post(client, lines)

    def _line(self, text: str) -> LogCreate:
        return LogCreate(
            id=_id(self._job, self._offset),
            name=LOGGER,
            level=_LEVEL,
            message=text[:_LONGEST],
            timestamp=self._written(),
            flow_run_id=self._job.flow_run_id,
        )

    def _written(self) -> datetime:
        """When the line that begins at the offset was written: by the next look at the latest."""
        for end, moment in self._marks:
            if self._offset < end:
                return datetime.fromtimestamp(moment, UTC)
        return now()

    def _post(self, client: Any, lines: list[LogCreate]) -> None:
        if lines:
            try:
                client.create_logs(lines)
            except MillraceError:
                self._offset = _number(self._sent)
                raise
        self._sent.write_text(str(self._offset))
        self._marks = [mark for mark in self._marks if mark[0] > self._offset]


def _id(job: Job, offset: int) -> UUID:
    return uuid5(job.flow_run_id, f"{job.attempt} out {offset}")


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):
        return 0


def ship(tail: OutputTail, client: Any, *, everything: bool = False) -> bool:
    """Send a job's output; a server that cannot be reached is tried again later.

    Args:
        tail: the job's output.
        client: the client.
        everything: also what comes after the last complete line.

    Returns:
        Whether it arrived.
    """
    try:
        tail.ship(client, everything=everything)
    except MillraceError:
        return False
    return True
