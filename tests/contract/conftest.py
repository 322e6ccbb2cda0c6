"""The store on every database there is: SQLite always, Postgres if MILLRACE_TEST_POSTGRES has a server's URL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from made import Clock
from runners_made import ELSEWHERE, MAKE

import databases
from millrace.client.synchronous import Client
from millrace.engine.runners import TaskRunner
from millrace.store.database import Database
from servers import own_server


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    return f"sqlite:///{tmp_path}/millrace.db" if request.param == "sqlite" else databases.empty_postgres()


@pytest.fixture(params=["sqlite", "postgres"])
def db(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Database]:
    """A database that has every table, and no rows."""
    url = databases.sqlite(tmp_path / "millrace.db") if request.param == "sqlite" else databases.postgres()
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
