"""Databases for tests of the store: copies of one to which every migration was applied, which takes longer than most
tests. That migrations lead to these tables is shown by tests/contract/test_store_database.py."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

from sqlalchemy import Engine, create_engine, inspect
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

import needs
from millrace.store.database import Database
from millrace.store.tables import migrations

POSTGRES = os.environ.get("MILLRACE_TEST_POSTGRES")
# One for each process of the test run, so that they do not empty each other's.
_NAME = f"millrace_test_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"


@cache
def _file() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="millrace-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    Database(f"sqlite:///{folder}/millrace.db").close()
    return folder / "millrace.db"


def sqlite(path: Path) -> str:
    """The URL of a new file that has every table, and no rows.

    Args:
        path: of the file. One that is there already is left as it is.
    """
    if not path.exists():
        shutil.copyfile(_file(), path)
        path.chmod(0o600)
    return f"sqlite:///{path}"


def empty_postgres(name: str = _NAME) -> str:
    """The URL of a new Postgres database without anything.

    Args:
        name: of the database; the one of this name is dropped.
    """
    if not POSTGRES:
        needs.missing(
            "MILLRACE_TEST_POSTGRES is not set to a server's URL: scripts/start_postgres.sh starts one and prints it"
        )
    server = make_url(POSTGRES).set(drivername="postgresql+psycopg")
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return make_url(POSTGRES).set(database=name).render_as_string(hide_password=False)


@cache
def _tables() -> tuple[str, Engine, str]:
    url = empty_postgres(f"{_NAME}_tables")
    Database(url).close()
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"), poolclass=NullPool)
    names = ", ".join(name for name in inspect(engine).get_table_names() if name != migrations.name)
    return url, engine, f"TRUNCATE {names} RESTART IDENTITY"


def postgres() -> str:
    """The URL of a Postgres database that has every table, and no rows. It is the same one each time."""
    url, engine, truncate = _tables()
    with engine.begin() as connection:
        connection.exec_driver_sql(truncate)
    return url
