"""An embedded server that belongs to a module of tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from millrace import settings
from millrace.client.locate import connect, start_embedded, stop_embedded
from millrace.client.synchronous import Client
from millrace.engine.recorder import recorder


@contextmanager
def own_server(home: Path, **environment: str) -> Iterator[Client]:
    """A client of an embedded server that lives as long as this does.

    Args:
        home: its data directory.
        environment: more variables for it and this process.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"MILLRACE_HOME": str(home), **environment}.items():
            patch.setenv(name, value)
        settings.current.cache_clear()
        try:
            start_embedded()
            yield connect()
            recorder().flush(logs=True)
        finally:
            stop_embedded()
    settings.current.cache_clear()
