"""The thread that owns every write: it commits once for all functions that wait."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DatabaseError, DataError, DBAPIError, IntegrityError, StatementError

from millrace.errors import Busy, Conflict, InvalidInput, MillraceError

logger = logging.getLogger(__name__)

T = TypeVar("T")

_LARGEST_BATCH = 500
_IDLE_SECONDS = 1.0
_LARGEST_IDLE_WAL = 16 * 1024 * 1024


class _Job:
    """A function that waits for its turn, and what becomes of it."""

    __slots__ = ("fn", "future", "outcome")

    def __init__(self, fn: Callable[[Connection], Any]) -> None:
        self.fn = fn
        self.future: Future[Any] = Future()
        self.outcome: tuple[Any, BaseException | None] = (None, None)


class Writer:
    """Runs functions on one connection, in one thread.

    Args:
        connection: the only one that writes.
        path: the SQLite file; None elsewhere.
    """

    def __init__(self, connection: Connection, path: Path | None) -> None:
        self.callbacks: list[Callable[[], None]] = []
        self.closed = False
        self._connection = connection
        self._path = path
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._gate = threading.Lock()
        self._dirty = False
        self._seen_changes = 0
        self._changed()
        self._thread = threading.Thread(target=self._work, name="millrace-writer", daemon=True)
        self._thread.start()

    def run(self, fn: Callable[[Connection], T]) -> T:
        """Queues a function, waits until its batch is committed, and gives its value or raises its exception."""
        if threading.current_thread() is self._thread:
            raise RuntimeError("a function of the writer must not wait for the writer")
        job = _Job(fn)
        with self._gate:
            if self.closed:
                raise Busy("The database is closed.")
            self._queue.put(job)
        value: T = job.future.result()
        return value

    def close(self) -> None:
        """Ends after what is queued."""
        with self._gate:
            if self.closed:
                return
            self.closed = True
            self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while True:
            batch, last = self._next_batch()
            if batch:
                self._commit(batch)
            elif not last:
                self._checkpoint()
            if last:
                break
        self._checkpoint()
        self._connection.close()

    def _next_batch(self) -> tuple[list[_Job], bool]:
        """All that waits; nothing after an idle second in which the log of the database should be tidied."""
        try:
            job = self._queue.get(timeout=_IDLE_SECONDS if self._dirty else None)
        except Empty:
            return [], False
        batch: list[_Job] = []
        while job is not None:
            batch.append(job)
            if len(batch) >= _LARGEST_BATCH:
                return batch, False
            try:
                job = self._queue.get_nowait()
            except Empty:
                return batch, False
        return batch, True

    def _commit(self, batch: list[_Job]) -> None:
        try:
            with self._connection.begin():
                if len(batch) == 1:  # nobody else's work to save from its exception
                    batch[0].outcome = (batch[0].fn(self._connection), None)
                else:
                    for job in batch:
                        job.outcome = self._in_savepoint(job)
        except BaseException as error:
            # The transaction is gone, and with it what every function of the batch wrote.
            failure = translated(error)
            for job in batch:
                job.future.set_exception(failure)
            return
        for job in batch:
            value, error_of_job = job.outcome
            if error_of_job is not None:
                job.future.set_exception(error_of_job)
            else:
                job.future.set_result(value)
        if self._changed():
            self._dirty = True
            self._announce()

    def _in_savepoint(self, job: _Job) -> tuple[Any, BaseException | None]:
        savepoint = self._connection.begin_nested()
        try:
            value = job.fn(self._connection)
        except BaseException as error:
            savepoint.rollback()
            return None, translated(error)
        savepoint.commit()
        return value, None

    def _changed(self) -> bool:
        if self._path is None:
            return True
        changes: int = self._connection.connection.total_changes
        changed = changes != self._seen_changes
        self._seen_changes = changes
        return changed

    def _announce(self) -> None:
        for callback in list(self.callbacks):
            try:
                callback()
            except Exception:
                logger.exception("a function called after each commit failed")

    def _checkpoint(self) -> None:
        """Moves the log into the database file, and shortens it where that costs nobody a wait."""
        self._dirty = False
        if self._path is None:
            return
        cursor = self._connection.connection.cursor()
        try:
            cursor.execute("PRAGMA busy_timeout=0")
            cursor.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            log = self._path.with_name(self._path.name + "-wal")
            if log.exists() and log.stat().st_size > _LARGEST_IDLE_WAL:
                cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            cursor.execute("PRAGMA busy_timeout=10000")
        except Exception:
            logger.warning("the log of the database could not be tidied now", exc_info=True)
        finally:
            cursor.close()


def translated(error: BaseException) -> BaseException:
    """An error of the database as one of ours; any other error as it is."""
    if isinstance(error, StatementError) and isinstance(error.orig, MillraceError):
        return error.orig
    if not isinstance(error, DBAPIError):
        return error
    if isinstance(error, IntegrityError):
        ours: MillraceError = Conflict(f"This does not fit what is stored: {error.orig}.")
    elif isinstance(error, DataError):
        ours = InvalidInput(f"A value cannot be stored: {error.orig}.")
    elif isinstance(error, DatabaseError):
        ours = Busy(f"The database cannot do this now: {error.orig}.")
    else:
        return error
    ours.__cause__ = error
    return ours
