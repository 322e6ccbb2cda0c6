"""The README's tour, run as a reader runs it: cells in one kernel, commands in a terminal, one data directory."""

from __future__ import annotations

from pathlib import Path

import pytest
from reader import Reader, blocks

from millrace import settings
from millrace.client.locate import stop_embedded

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(240)
def test_the_tour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path / "home"))
    for name in ("MILLRACE_API_URL", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    settings.current.cache_clear()
    page = (ROOT / "README.md").read_text()
    kinds = [block.kind for block in blocks(page)]
    assert kinds.count("ipython") >= 6 and kinds.count("console") >= 2
    reader = Reader(ROOT, tmp_path)
    try:
        for _ in reader.read(page):
            pass
    finally:
        reader.close()
        stop_embedded()
        settings.current.cache_clear()
