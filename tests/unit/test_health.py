"""The health of a process that serves, asked over HTTP."""

from __future__ import annotations

import httpx
import pytest

from millrace.errors import InvalidInput
from millrace.workers.health import Health


def test_it_says_whether_all_is_well() -> None:
    told = [(True, {"status": "healthy"}), (False, {"status": "unhealthy"})]
    health = Health(lambda: told.pop(0), 0)
    try:
        well, ill = httpx.get(health.url), httpx.get(health.url)
        assert (well.status_code, well.json()) == (200, {"status": "healthy"})
        assert (ill.status_code, ill.json()) == (503, {"status": "unhealthy"})
        assert httpx.get(health.url.replace("/health", "/secret")).status_code == 404
        port = int(health.url.split(":")[2].split("/")[0])
        with pytest.raises(InvalidInput, match=f"port {port} of 127.0.0.1.*another port"):
            Health(lambda: (True, {}), port)
    finally:
        health.close()
    with pytest.raises(httpx.ConnectError):
        httpx.get(health.url)
