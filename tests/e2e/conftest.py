"""One server, or one server and one worker, for the tests of a module that leave them as they found them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from yard import Yard, open_corner, open_yard


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    """A yard at whose server others are opened: `open_plot`."""
    with pytest.MonkeyPatch.context() as patch:
        yield from open_yard(tmp_path_factory.mktemp("ground"), patch)


@pytest.fixture(scope="module")
def staff(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    """A yard with a worker; `STAFF` in a module says with which variables."""
    with pytest.MonkeyPatch.context() as patch:
        for staff in open_yard(tmp_path_factory.mktemp("staff"), patch, **getattr(request.module, "STAFF", {})):
            staff.start_worker()
            yield staff


@pytest.fixture
def staffed(staff: Yard, tmp_path: Path) -> Iterator[Yard]:
    """Where the server and the worker of all tests are enough, and nothing is there that others made."""
    yield from open_corner(staff, tmp_path)
