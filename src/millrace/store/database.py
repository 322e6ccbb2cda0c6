"""The database: one thread owns every write, readers read snapshots.

SQLite runs in WAL mode with `synchronous=FULL`, so what is answered is on the disk. A commit costs a flush, therefore
the writer takes all functions that wait, runs each in a savepoint of its own and commits once for all of them. Only its
connection writes and checkpoints. Postgres gets the same thread; an advisory lock keeps several servers in turn, so
the sequence of events is the order in which they became visible.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DatabaseError, NoSuchModuleError, StatementError
from sqlalchemy.pool import NullPool, QueuePool

from millrace.errors import Busy, Conflict, MillraceError, PluginMissing, SettingsError
from millrace.schema.fields import now
from millrace.store import migrations
from millrace.store.lockfile import LockFile
from millrace.store.writer import Writer, translated

T = TypeVar("T")

_READERS = 8
_LOCK_WAIT_SECONDS = 10


@dataclass
class Transaction:
    """What a store function works in.

    Attributes:
        connection: the connection, in a transaction.
        now: the moment of the transaction; everything written in it bears this time.
        held: runs whose lease the writer has shown (`leases.check`).
    """

    connection: Connection
    now: datetime
    held: set[UUID] = field(default_factory=set)


class Database:
    """A database, open for writing by this process alone.

    Args:
        url: `sqlite:///<absolute path>` or `postgresql://…`.
        clock: tells the moment; tests give their own.

    Raises:
        Conflict: another process writes this file, or the file was made by another version or program.
        SettingsError: the URL cannot be used.

    Example:
        >>> database = Database(f"sqlite:////{tmp}/millrace.db")
        >>> database.write(lambda tx: flows.create(tx, FlowCreate(name="etl")))[0].name
        'etl'
    """

    def __init__(self, url: str, *, clock: Callable[[], datetime] = now) -> None:
        self._clock = clock
        self._lock: LockFile | None = None
        target = _normal(url)
        self.path = Path(target.database or "") if target.get_backend_name() == "sqlite" else None
        self._engine, self._readers = self._sqlite(self.path) if self.path else _postgres(target)
        try:
            connection = self._engine.connect()
            migrations.migrate(connection, self._clock(), self.path or target.render_as_string())
        except MillraceError:
            self._dispose()
            raise
        except DatabaseError as error:
            self._dispose()
            raise Conflict(
                f"{self.path or target.render_as_string()} cannot be opened as a database: {error.orig}. "
                "Look at its permissions, or name another data directory in MILLRACE_HOME."
            ) from None
        self._writer = Writer(connection, self.path)

    def _sqlite(self, path: Path) -> tuple[Engine, Engine]:
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = LockFile(path)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            self._dispose()
            raise SettingsError(
                f"The database {path} cannot be written: {error.strerror}. "
                "Name another data directory in MILLRACE_HOME."
            ) from None
        options: dict[str, Any] = {"isolation_level": None, "check_same_thread": False, "timeout": _LOCK_WAIT_SECONDS}
        writing = create_engine(f"sqlite:///{path}", poolclass=NullPool, connect_args=options)
        reading = create_engine(
            URL.create("sqlite", database=f"file:{_quoted(path)}", query={"mode": "ro", "uri": "true"}),
            poolclass=QueuePool,
            pool_size=_READERS,
            max_overflow=56,
            connect_args=options,
        )
        event.listen(writing, "connect", _set_up_writer)
        event.listen(writing, "begin", _begin_immediate)
        event.listen(reading, "connect", _set_up_reader)
        event.listen(reading, "begin", _begin)
        return writing, reading

    def write(self, fn: Callable[[Transaction], T]) -> T:
        """Runs a function in a transaction; returns when what it wrote is on the disk.

        Args:
            fn: gets the transaction, on the writer's thread. Its exception undoes what it wrote and comes out here.

        Raises:
            Busy: the database cannot write now (locked, disk full); nothing was written.
        """
        return self._writer.run(lambda connection: fn(Transaction(connection, self._clock())))

    def read(self, fn: Callable[[Transaction], T]) -> T:
        """Runs a function on one snapshot of what is committed.

        Raises:
            Busy: the database cannot be read now.
        """
        if self._writer.closed:
            raise Busy("The database is closed.")
        try:
            with self._readers.connect() as connection, connection.begin():
                return fn(Transaction(connection, self._clock()))
        except StatementError as error:
            raise translated(error) from None

    def on_commit(self, callback: Callable[[], None]) -> None:
        """Calls a function after each commit that changed something, on the writer's thread: it must be quick."""
        self._writer.callbacks.append(callback)

    def close(self) -> None:
        """Finishes what waits, and lets another process have the file."""
        self._writer.close()
        self._dispose()

    def _dispose(self) -> None:
        for engine in (getattr(self, "_engine", None), getattr(self, "_readers", None)):
            if engine is not None:
                engine.dispose()
        if self._lock is not None:
            self._lock.release()


def _normal(url: str) -> URL:
    try:
        target = make_url(url)
        backend = target.get_backend_name()
    except Exception:
        raise SettingsError(f"{url!r} is not a database URL; write sqlite:////path/to/file or postgresql://…") from None
    if backend == "sqlite":
        if not target.database or target.database == ":memory:":
            raise SettingsError("The database must be a file: write sqlite:////path/to/file.")
        return target.set(database=str(Path(target.database).expanduser().absolute()))
    if backend == "postgresql":
        return target.set(drivername="postgresql+psycopg")
    raise SettingsError(f"{backend} is not supported; write sqlite:////path/to/file or postgresql://…")


def _postgres(url: URL) -> tuple[Engine, Engine]:
    try:
        writing = create_engine(url, poolclass=NullPool)
        reading = create_engine(
            url,
            pool_size=_READERS,
            max_overflow=24,
            isolation_level="REPEATABLE READ",
            execution_options={"postgresql_readonly": True},
        )
    except (ModuleNotFoundError, NoSuchModuleError):
        raise PluginMissing("Postgres needs a driver: pip install 'millrace[postgres]'.") from None
    event.listen(writing, "begin", _take_turns)
    return writing, reading


def _quoted(path: Path) -> str:
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _set_up_writer(connection: Any, _record: Any) -> None:
    connection.create_function("lower", 1, _lower, deterministic=True)
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "cache_size=-32768",
        "temp_store=MEMORY",
        "journal_size_limit=16777216",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _set_up_reader(connection: Any, _record: Any) -> None:
    connection.create_function("lower", 1, _lower, deterministic=True)
    for pragma in ("query_only=ON", "wal_autocheckpoint=0", "cache_size=-8192", "temp_store=MEMORY"):
        connection.execute(f"PRAGMA {pragma}")


def _lower(text: Any) -> Any:
    # SQLite's own knows only the letters of English.
    return text.lower() if isinstance(text, str) else text


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _take_turns(connection: Connection) -> None:
    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7172616365)")
