"""One server for the tests of a module that leave it as they found it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from yard import Yard, open_yard


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    """A yard at whose server others are opened: `open_plot`."""
    with pytest.MonkeyPatch.context() as patch:
        yield from open_yard(tmp_path_factory.mktemp("ground"), patch)
