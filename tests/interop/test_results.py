"""Results kept by the real client are read by ours, and ours by the real client."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import peers
import pytest
from peers import Peer, Place

from millrace import settings
from millrace.client.handle import RunHandle
from millrace.client.locate import connect
from millrace.errors import UnreadableResult

VALUE = {
    "when": datetime(2026, 1, 2, 3, tzinfo=UTC),
    "day": date(2026, 1, 2),
    "set": {1},
    "path": Path("/a"),
    "text": "ü",
    "deep": [{"list": [1, 2.5, None]}],
}
OUR_FLOWS = """
import json
from datetime import UTC, date, datetime
from pathlib import Path
from millrace import flow
def value():
    return {"when": datetime(2026, 1, 2, 3, tzinfo=UTC), "day": date(2026, 1, 2), "set": {1}, "path": Path("/a"),
            "tuple": (1, (2,)), "bytes": b"x", "text": "ü", "deep": [{"list": [1, 2.5, None]}]}
found = {}
for name in ("json", "pickle", "compressed/json", "compressed/pickle"):
    made = flow(name=f"ours as {name.replace('/', ' ')}", result_serializer=name)(value)
    found[name] = str(made(return_state=True).state_details.flow_run_id)
print("RESULT " + json.dumps(found))
"""


@pytest.fixture
def client(ours: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    for name, value in {"API_URL": ours.url, "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(f"MILLRACE_{name}", value)
    settings.current.cache_clear()
    yield connect()
    settings.current.cache_clear()


def test_what_the_real_client_kept_is_read(peer: Peer, ours: Place, client: Any) -> None:
    ids = peer.play("results", ours, "keep", seconds=150)
    for serializer, id in ids.items():
        handle = RunHandle(id, client)
        if "pickle" in serializer:
            with pytest.raises(UnreadableResult, match="is a pickle"):
                handle.result()
            found = handle.result(allow_pickle=True)
        else:
            found = handle.result()
        assert found.pop("id").int == 7
        assert found == VALUE, serializer
        assert client.read_flow_run(handle.id).state.result(allow_pickle=True)["day"] == VALUE["day"]


def test_what_we_kept_is_read_by_the_real_client(peer: Peer, ours: Place, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OUR_FLOWS],
        env={**peers.clean(), "MILLRACE_API_URL": ours.url, "MILLRACE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    ids = json.loads(done.stdout.rsplit(peers.MARK, 1)[1])
    read = peer.play("results", ours, "read", json.dumps(ids), seconds=150)
    for text in read.values():
        assert "datetime.date(2026, 1, 2)" in text and "'set': {1}" in text and "'tuple': (1, (2,))" in text
        assert "PosixPath('/a')" in text and "'bytes': b'x'" in text and "'list': [1, 2.5, None]" in text
        assert "datetime.datetime(2026, 1, 2, 3, 0, tzinfo=" in text
    assert set(read) == {"json", "pickle", "compressed/json", "compressed/pickle"}
