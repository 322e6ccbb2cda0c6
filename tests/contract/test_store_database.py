"""The database itself: durability, one writer, migrations, columns."""

from __future__ import annotations

import importlib
import os
import pkgutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from made import Clock
from sqlalchemy import create_engine, inspect, select, text

from millrace import store
from millrace.errors import AlreadyExists, Busy, Conflict, PluginMissing, SettingsError
from millrace.schema.artifacts import Artifact
from millrace.schema.deployments import Deployment, DeploymentSchedule, SkippedFire
from millrace.schema.events import ReceivedEvent
from millrace.schema.flows import Flow, FlowCreate
from millrace.schema.limits import Limit
from millrace.schema.logs import Log
from millrace.schema.pools import Worker, WorkPool, WorkQueue
from millrace.schema.queries import FlowQuery
from millrace.schema.runs import FlowRun, TaskRun
from millrace.schema.states import State
from millrace.store import flows, tables
from millrace.store.database import Database, Transaction
from millrace.store.migrations import MIGRATIONS

for _module in pkgutil.iter_modules(store.__path__):  # some define tables of their own
    importlib.import_module(f"millrace.store.{_module.name}")

# Fields that are worked out on reading, and what they come from.
DERIVED = {
    FlowRun: {"estimated_run_time", "estimated_start_time_delta", "work_pool_name", "work_queue_name"},
    TaskRun: {"estimated_run_time", "estimated_start_time_delta"},
    Deployment: {"schedules", "status", "work_pool_name", "work_queue_name", "global_concurrency_limit"},
    WorkPool: {"status", "active_slots"},
    WorkQueue: {"status", "active_slots", "work_pool_name"},
    Worker: {"status"},
    Log: {"updated"},
}
# Columns that no field shows.
OURS = {
    FlowRun: {"state_timestamp", "schedule_id", "lease_holder", "lease_expires", "in_process", "slot"},
    TaskRun: {"state_timestamp"},
    Deployment: {"declared_paused", "work_pool_id"},
    DeploymentSchedule: {"position", "declared_active", "active_said", "since", "last_made", "next_fire", "wake"},
    State: {"sequence", "flow_run_id", "attempt"},
    ReceivedEvent: {"resource_id", "flow_run_id"},
    Log: {"sequence"},
    Limit: {"counted"},
}


@pytest.mark.parametrize(
    ("model", "table"),
    [
        (Flow, tables.flows),
        (FlowRun, tables.flow_runs),
        (State, tables.flow_run_states),
        (TaskRun, tables.task_runs),
        (ReceivedEvent, tables.events),
        (Log, tables.logs),
        (Artifact, tables.artifacts),
        (Deployment, tables.deployments),
        (DeploymentSchedule, tables.deployment_schedules),
        (SkippedFire, tables.skipped_fires),
        (WorkPool, tables.work_pools),
        (WorkQueue, tables.work_queues),
        (Worker, tables.workers),
        (Limit, tables.concurrency_limits),
    ],
)
def test_columns_are_fields(model: type, table: object) -> None:
    fields = set(model.model_fields) - DERIVED.get(model, set())  # type: ignore[attr-defined]
    columns = set(table.columns.keys()) - OURS.get(model, set())  # type: ignore[attr-defined]
    assert columns == fields


def described(url: str) -> dict[str, object]:
    """Every table of a database with its columns, indexes and constraints."""
    if url.startswith("postgresql:"):
        url = url.replace("postgresql:", "postgresql+psycopg:")
    engine = create_engine(url)
    inspector = inspect(engine)
    found: dict[str, object] = {}
    for name in inspector.get_table_names():
        found[name] = {
            "columns": sorted((c["name"], str(c["type"]), c["nullable"]) for c in inspector.get_columns(name)),
            "primary": inspector.get_pk_constraint(name)["constrained_columns"],
            "unique": sorted(tuple(u["column_names"]) for u in inspector.get_unique_constraints(name)),
            "indexes": sorted((i["name"], tuple(i["column_names"]), i["unique"]) for i in inspector.get_indexes(name)),
            "foreign": sorted(
                (f["constrained_columns"][0], f["referred_table"], f["options"].get("ondelete"))
                for f in inspector.get_foreign_keys(name)
            ),
        }
    engine.dispose()
    return found


def test_tables_are_all_migrations_applied(url: str) -> None:
    Database(url).close()
    migrated = described(url)
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    tables.metadata.drop_all(engine)
    tables.metadata.create_all(engine)
    engine.dispose()
    assert migrated == described(url)
    numbers = [migration.number for migration in MIGRATIONS]
    assert numbers == sorted(set(numbers))


def test_a_function_that_fails_undoes_only_itself(db: Database) -> None:
    def fail(tx: Transaction) -> None:
        flows.create(tx, FlowCreate(name="lost"))
        raise AlreadyExists("on purpose")

    started, answers = threading.Event(), []

    def block(tx: Transaction) -> None:
        started.set()
        time.sleep(0.2)

    with ThreadPoolExecutor(9) as pool:
        pool.submit(db.write, block)
        started.wait()
        good = [pool.submit(db.write, lambda tx, n=n: flows.create(tx, FlowCreate(name=f"f{n}"))) for n in range(4)]
        bad = [pool.submit(db.write, fail) for _ in range(4)]
        answers = [future.result()[0].name for future in good]
        for future in bad:
            with pytest.raises(AlreadyExists, match="on purpose"):
                future.result()
    assert answers == ["f0", "f1", "f2", "f3"]
    assert [flow.name for flow in db.read(lambda tx: flows.query(tx, FlowQuery()))] == answers


def test_waiting_functions_share_a_commit(db: Database) -> None:
    commits = []
    db.on_commit(lambda: commits.append(1))
    started = threading.Event()

    def block(tx: Transaction) -> None:
        started.set()
        time.sleep(0.2)

    with ThreadPoolExecutor(20) as pool:
        pool.submit(db.write, block)
        started.wait()
        list(pool.map(lambda n: db.write(lambda tx: flows.create(tx, FlowCreate(name=f"f{n}"))), range(15)))
    assert len(commits) <= 4


def test_what_changes_nothing_announces_nothing(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/a.db")
    commits = []
    db.on_commit(lambda: commits.append(1))
    db.write(lambda tx: flows.query(tx, FlowQuery()))
    db.write(lambda tx: flows.create(tx, FlowCreate(name="a")))
    db.write(lambda tx: flows.create(tx, FlowCreate(name="a")))
    db.close()
    assert len(commits) == 1


def test_a_callback_that_fails_harms_nobody(db: Database) -> None:
    def fail() -> None:
        raise RuntimeError("on purpose")

    db.on_commit(fail)
    db.write(lambda tx: flows.create(tx, FlowCreate(name="a")))
    assert db.write(lambda tx: flows.create(tx, FlowCreate(name="b")))[1]


def test_the_writer_does_not_wait_for_itself(db: Database) -> None:
    with pytest.raises(RuntimeError, match="must not wait"):
        db.write(lambda tx: db.write(lambda inner: None))


def test_readers_cannot_write(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/a.db")
    with pytest.raises(Busy, match="readonly"):
        db.read(lambda tx: flows.create(tx, FlowCreate(name="a")))
    db.close()


def test_reading_sees_one_moment(db: Database) -> None:
    def twice(tx: Transaction) -> tuple[int, int]:
        first = len(flows.query(tx, FlowQuery()))
        db.write(lambda other: flows.create(other, FlowCreate(name="late")))
        return first, len(flows.query(tx, FlowQuery()))

    assert db.read(twice) == (0, 0)


def test_closed_is_closed(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/a.db")
    db.close()
    db.close()
    with pytest.raises(Busy, match="closed"):
        db.write(lambda tx: None)
    with pytest.raises(Busy, match="closed"):
        db.read(lambda tx: None)


def test_durable_settings(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/a.db")
    pragma = lambda name: db.write(lambda tx: tx.connection.scalar(text(f"PRAGMA {name}")))  # noqa: E731
    assert (pragma("journal_mode"), pragma("synchronous"), pragma("foreign_keys")) == ("wal", 2, 1)
    assert db.read(lambda tx: tx.connection.scalar(text("PRAGMA query_only"))) == 1
    assert db.read(lambda tx: tx.connection.scalar(text("PRAGMA wal_autocheckpoint"))) == 0
    assert (tmp_path / "a.db").stat().st_mode & 0o077 == 0
    db.close()


def test_the_log_of_the_database_is_tidied_when_idle(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/a.db")
    blob = "x" * 100_000
    for _ in range(30):
        db.write(
            lambda tx: [
                tx.connection.execute(tables.memory.insert().values(name=os.urandom(8).hex(), value=blob))
                for _ in range(20)
            ]
        )
    deadline = time.monotonic() + 10
    log = tmp_path / "a.db-wal"
    while log.stat().st_size > 16 * 2**20 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert log.stat().st_size <= 16 * 2**20
    db.close()


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    db = Database(url)
    code = f"from millrace.store.database import Database\nDatabase({url!r})"
    second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert second.returncode == 1 and "Conflict" in second.stderr
    assert f"in use by process {os.getpid()}" in second.stderr and "a.db" in second.stderr
    with pytest.raises(Conflict, match="in use"):
        Database(url)
    db.close()
    Database(url).close()


def test_a_newer_database_is_refused(url: str) -> None:
    Database(url).close()
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.execute(tables.migrations.insert().values(number=99, name="from the future", applied=Clock()()))
    with pytest.raises(Conflict, match=r"written by a newer Millrace.*Upgrade"):
        Database(url)
    with engine.begin() as connection:
        connection.execute(tables.migrations.delete().where(tables.migrations.c.number == 99))
    Database(url).close()
    with engine.begin() as connection:
        connection.execute(tables.migrations.update().values(name="another branch"))
    engine.dispose()
    with pytest.raises(Conflict, match=r"schema this Millrace does not know.*another branch"):
        Database(url)


def test_a_foreign_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (id INTEGER)")
    connection.close()
    with pytest.raises(Conflict, match="theirs"):
        Database(f"sqlite:///{path}")
    (tmp_path / "text.db").write_text("this is not a database at all " * 100)
    with pytest.raises(Conflict, match="cannot be opened as a database"):
        Database(f"sqlite:///{tmp_path}/text.db")
    with pytest.raises(Conflict, match="cannot be opened as a database"):  # and the lock was given back
        Database(f"sqlite:///{tmp_path}/text.db")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://localhost/a", "not a url", ""])
def test_urls_that_cannot_be_used(url: str) -> None:
    with pytest.raises(SettingsError):
        Database(url)


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot be written"):
        Database(f"sqlite:///{tmp_path}/file/a.db")


def test_postgres_without_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(PluginMissing, match=r"millrace\[postgres\]"):
        Database("postgresql://localhost/none")


def test_a_lock_from_outside_is_busy_not_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millrace.store.database._LOCK_WAIT_SECONDS", 0.2)
    db = Database(f"sqlite:///{tmp_path}/a.db")
    other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Busy, match="locked"):
        db.write(lambda tx: flows.create(tx, FlowCreate(name="a")))
    assert db.read(lambda tx: flows.query(tx, FlowQuery())) == []
    other.execute("ROLLBACK")
    other.close()
    assert db.write(lambda tx: flows.create(tx, FlowCreate(name="a")))[1]
    db.close()


WRITER = textwrap.dedent(
    """
    import os, sys, threading
    from millrace.schema.flows import FlowCreate
    from millrace.store import flows
    from millrace.store.database import Database

    db = Database(sys.argv[1])
    ledger = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def work(n):
        count = 0
        while True:
            name = f"flow-{n}-{count}"
            db.write(lambda tx: flows.create(tx, FlowCreate(name=name)))
            os.write(ledger, (name + "\\n").encode())
            count += 1

    for n in range(4):
        threading.Thread(target=work, args=(n,)).start()
    """
)


@pytest.mark.parametrize("trial", range(3))
def test_p1_what_was_acknowledged_survives_kill(tmp_path: Path, trial: int) -> None:
    path, ledger = tmp_path / "a.db", tmp_path / "ledger"
    child = subprocess.Popen([sys.executable, "-c", WRITER, f"sqlite:///{path}", str(ledger)])
    deadline = time.monotonic() + 30
    while not (ledger.exists() and ledger.read_bytes().count(b"\n") > 30 + 20 * trial):
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.003)
    child.send_signal(signal.SIGKILL)
    child.wait()
    acknowledged = set(ledger.read_text().splitlines())
    db = Database(f"sqlite:///{path}")
    stored = set(db.read(lambda tx: tx.connection.scalars(select(tables.flows.c.name)).all()))
    check = db.read(lambda tx: tx.connection.scalar(text("PRAGMA integrity_check")))
    db.close()
    assert len(acknowledged) > 30 and acknowledged <= stored
    assert len(stored - acknowledged) <= 4  # at most the one write each thread had not heard of yet
    assert check == "ok"
