"""The real Prefect beside ours: one environment, one server of each kind for the whole session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import peers
import pytest
import shops
from peers import Peer, Place, Program

RESULTS = "millrace/interop"
_outcomes: dict[str, str] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here is marked, and slow programs get the time they need."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.interop)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep the outcome of each scenario for the page of interoperability."""
    if "interop/" not in report.nodeid:
        return
    if report.when == "call" or report.outcome != "passed":
        _outcomes[report.nodeid.split("interop/", 1)[1]] = report.outcome


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Add the outcomes to those of earlier runs; `scripts/generate_interop.py` reads them."""
    cache = getattr(session.config, "cache", None)
    if cache is not None and _outcomes and not os.environ.get("MILLRACE_INTEROP_ORACLE"):
        cache.set(RESULTS, {**cache.get(RESULTS, {}), **_outcomes})


@pytest.fixture(scope="session")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Peer:
    """The real Prefect; without it these tests are skipped, which CI does not allow."""
    try:
        python = peers.installed_peer()
    except (RuntimeError, OSError) as error:
        if os.environ.get("MILLRACE_CI"):
            raise
        pytest.skip(f"the real Prefect cannot be installed here: {error}")
    return Peer(python, tmp_path_factory.mktemp("peer"))


@pytest.fixture(scope="session")
def starting_theirs(peer: Peer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The real server, on its way: it takes long, so others start meanwhile."""
    place = peers.start_theirs(peer, tmp_path_factory.mktemp("theirs"))
    yield place
    place.program.stop()


@pytest.fixture(scope="session")
def theirs(starting_theirs: Place) -> Place:
    """The real server."""
    return peers.answers(starting_theirs)


@pytest.fixture(scope="session")
def ours(peer: Peer, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Place]:
    """Our server. MILLRACE_INTEROP_ORACLE=1 puts the real one in its place: it must pass the same tests."""
    if os.environ.get("MILLRACE_INTEROP_ORACLE"):
        yield request.getfixturevalue("theirs")
        return
    place = peers.start_ours(tmp_path_factory.mktemp("ours"))
    try:
        yield peers.answers(place)
    finally:
        place.program.stop()


@pytest.fixture(scope="session")
def shop(peer: Peer, theirs: Place, tmp_path_factory: pytest.TempPathFactory) -> shops.Shop:
    """Our deployments at the real server."""
    return shops.open_shop(peer, theirs, tmp_path_factory.mktemp("books"), tmp_path_factory.mktemp("millrace"))


@pytest.fixture(scope="session")
def worker(shop: shops.Shop, theirs: Place) -> Iterator[Program]:
    """A worker of ours at the real server, of the pool `shops.OURS`."""
    with shops.our_worker(shop, theirs, shops.OURS) as program:
        yield program
