"""The store on every database there is: SQLite always, Postgres if MILLRACE_TEST_POSTGRES has a server's URL."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from made import Clock
from runners_made import ELSEWHERE, MAKE
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

import needs
from millrace.client.synchronous import Client
from millrace.engine.runners import TaskRunner
from millrace.store.database import Database
from servers import own_server

POSTGRES = os.environ.get("MILLRACE_TEST_POSTGRES")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/millrace.db"
    if not POSTGRES:
        reason = (
            "MILLRACE_TEST_POSTGRES is not set to a server's URL: scripts/start_postgres.sh starts one and prints it"
        )
        needs.missing(reason)
    # One database for each process of the test run, so that they do not empty each other's.
    name = f"millrace_test_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    server = make_url(POSTGRES).set(drivername="postgresql+psycopg")
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return make_url(POSTGRES).set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def db(url: str, clock: Clock) -> Iterator[Database]:
    database = Database(url, clock=clock)
    yield database
    database.close()


# -- task runners


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of an embedded server that belongs to this module."""
    with own_server(tmp_path_factory.mktemp("mill")) as found:
        yield found


@pytest.fixture(scope="module", params=list(MAKE))
def runner(request: pytest.FixtureRequest, client: Client) -> Iterator[TaskRunner]:
    """A runner that stays open for all tests."""
    with MAKE[request.param]() as found:
        found.kind = request.param  # type: ignore[attr-defined]
        yield found


@pytest.fixture(scope="module", params=ELSEWHERE)
def elsewhere(request: pytest.FixtureRequest, client: Client) -> Iterator[TaskRunner]:
    """A runner whose tasks run in other processes."""
    with MAKE[request.param]() as found:
        found.kind = request.param  # type: ignore[attr-defined]
        yield found
