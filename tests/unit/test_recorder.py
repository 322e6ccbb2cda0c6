"""The recorder: what `flush` waits for."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from millrace.engine.logs import Spool
from millrace.engine.recorder import Recorder


class SlowClient:
    """Takes log lines when it is let."""

    lease = None

    def __init__(self) -> None:
        self.asked, self.go = threading.Event(), threading.Event()
        self.lines: list[Any] = []

    def create_logs(self, lines: list[Any]) -> None:
        self.asked.set()
        assert self.go.wait(10)
        self.lines += lines


def test_flush_waits_for_lines_that_are_on_their_way(tmp_path: Path) -> None:
    client, spool, recorder = SlowClient(), Spool(tmp_path / "1.log.jsonl"), Recorder()
    spool.write("test", 20, "hello")
    recorder.dirty(cast(Any, SimpleNamespace(spool=spool, sender=client)))
    assert client.asked.wait(10)
    assert not recorder.flush(0.2, logs=True)
    client.go.set()
    assert recorder.flush(10, logs=True)
    assert [line.message for line in client.lines] == ["hello"]
