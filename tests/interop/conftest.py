"""The real Prefect beside ours: one environment, one server of each kind for the whole session.

The session may be of several test processes: what they share is started by the first that needs it; see `keeper`.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keeper
import outcomes
import peers
import pytest
import shops
from peers import Output, Peer, Place

HELD = keeper.hold()

# a shell that starts pytest in the background has it, and all it starts, ignore what Ctrl-C sends; `serve` must not
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure() -> None:
    """This process needs nothing any more."""
    keeper.release(HELD)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here is marked."""
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in here:
        item.add_marker(pytest.mark.interop)
    outcomes.collected(item.nodeid for item in here)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep the outcome of each scenario for the page of interoperability."""
    outcomes.note(report)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the outcomes down; `scripts/generate_interop.py` reads them."""
    cache = getattr(session.config, "cache", None)
    if cache is not None and not os.environ.get("MILLRACE_INTEROP_ORACLE"):
        outcomes.write(Path(cache.mkdir("millrace")) / "interop.json")


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], Any]], Any]:
    """Makes something once for all test processes; each gets what was said of it as JSON."""
    base = tmp_path_factory.getbasetemp()
    place = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base

    def made(name: str, make: Callable[[Path], Any]) -> Any:
        folder = place / f"shared-{name}"
        folder.mkdir(exist_ok=True)
        with keeper.alone(folder / "lock"):
            known = folder / "made.json"
            if not known.exists():
                fresh = make(folder)
                known.write_text(json.dumps(fresh))
            return json.loads(known.read_text())

    return made


Shared = Callable[[str, Callable[[Path], Any]], Any]


@pytest.fixture(scope="session")
def peer(shared: Shared, tmp_path_factory: pytest.TempPathFactory) -> Peer:
    """The real Prefect; without it these tests are skipped, which CI does not allow."""
    try:
        python = shared("peer", lambda _: str(peers.installed_peer()))
    except (RuntimeError, OSError) as error:
        if os.environ.get("MILLRACE_CI"):
            raise
        pytest.skip(f"the real Prefect cannot be installed here: {error}")
    return Peer(Path(python), tmp_path_factory.mktemp("peer"))


def kept(shared: Shared, name: str, starting: Callable[[Path], tuple[str, list[str], dict[str, str]]]) -> Place:
    """A server that all test processes use, on its way."""

    def start(folder: Path) -> dict[str, Any]:
        url, command, env = starting(folder)
        program = peers.started(keeper.command(command), folder / "out.txt", env)
        return {"url": url, "out": str(program.out), "pid": program.pid}

    found = shared(name, start)
    return Place(name, found["url"], Output(Path(found["out"]), found["pid"]))


@pytest.fixture(scope="session")
def starting_theirs(peer: Peer, shared: Shared) -> Place:
    """The real server, on its way: it takes long, so others start meanwhile."""
    return kept(shared, "prefect", lambda folder: peers.their_server(peer, folder))


@pytest.fixture(scope="session")
def theirs(starting_theirs: Place) -> Place:
    """The real server."""
    return peers.answers(starting_theirs)


@pytest.fixture(scope="session")
def ours(starting_theirs: Place, shared: Shared, request: pytest.FixtureRequest) -> Place:
    """Our server. MILLRACE_INTEROP_ORACLE=1 puts the real one in its place: it must pass the same tests."""
    if os.environ.get("MILLRACE_INTEROP_ORACLE"):
        return request.getfixturevalue("theirs")  # type: ignore[no-any-return]
    return peers.answers(kept(shared, "millrace", peers.our_server))


@pytest.fixture(scope="session")
def shop(peer: Peer, theirs: Place, shared: Shared) -> shops.Shop:
    """Our deployments at the real server."""
    made = shared("shop", lambda folder: shops.furnish(peer, theirs, folder))
    return shops.Shop(theirs, Path(made["folder"]), Path(made["home"]), made["shown"], made["ids"])


@pytest.fixture(scope="session")
def worker(shop: shops.Shop, theirs: Place, shared: Shared) -> Iterator[Output]:
    """A worker of ours at the real server, of the pool `shops.OURS`."""

    def start(folder: Path) -> dict[str, Any]:
        command, env = shops.of_worker(shop, theirs, shops.OURS, shops.OUR_WORKER)
        program = peers.started(keeper.command(command), folder / "out.txt", env, shop.folder)
        return {"out": str(program.out), "pid": program.pid}

    found = shared("worker", start)
    yield Output(Path(found["out"]), found["pid"])
