"""The store on every database there is: SQLite always, Postgres if MILLRACE_TEST_POSTGRES has its URL."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from made import Clock
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

from millrace.store.database import Database

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
        pytest.skip("MILLRACE_TEST_POSTGRES is not set to the URL of a database that may be emptied")
    engine = create_engine(make_url(POSTGRES).set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    engine.dispose()
    return POSTGRES


@pytest.fixture
def db(url: str, clock: Clock) -> Iterator[Database]:
    database = Database(url, clock=clock)
    yield database
    database.close()
