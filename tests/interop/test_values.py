"""Variables, artifacts and secrets: the real client at our server, ours at the real one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import peers
from peers import Peer, Place


def test_the_real_client_at_our_server(peer: Peer, ours: Place, tmp_path: Path) -> None:
    found = peer.play("values", ours, seconds=200)
    assert found["refused"] and not found["twice"]
    assert (found["variable"], found["missing"]) == ({"n": 2}, "default")
    assert found["secret"] == "of-the-peer-2"
    assert found["later"] == {"user": "me", "password": "of-the-peer-1"}
    kept = ours.ask("POST", "/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [found["run"]]}}})
    shown = {one["key"]: (one["type"], one["data"], one["task_run_id"] is not None) for one in kept}
    assert shown == {
        "interop-table": ("table", '[{"a": 1, "b": null}]', True),
        "interop-markdown": ("markdown", "# hello", True),
        "interop-link": ("markdown", "[there](https://example.org)", True),
        "interop-progress": ("progress", 60.0, True),
    }
    document = ours.ask("GET", "/block_types/slug/secret/block_documents/name/interop-secret")
    assert document["data"] == {"value": "********"}
    # what the real client saved, ours loads
    same = "Secret.load('interop-secret').get() == 'of-the-peer-' + '2'"
    assert ask_ours(ours, f"print('RESULT', json.dumps({same}))", tmp_path) is True


OURS = """
import json
from millrace import Secret, Variable, flow, task
from millrace.artifacts import *
Secret({"user": "me", "password": "of-ours-" + "1"}).save("interop-ours", overwrite=True)
Secret({"user": "me", "password": "of-ours-" + "2"}).save("interop-ours", overwrite=True)
Variable.set("interop_ours", [1, {"b": None}])
try:
    Variable.set("interop_ours", 2)
    refused = False
except ValueError:
    refused = True
Variable.set("interop_ours", [2], overwrite=True)
@task
def leave():
    create_table_artifact({"a": [1]}, key="ours-table")
    update_progress_artifact(create_progress_artifact(1, key="ours-progress"), 70)
@flow
def leaving():
    leave()
    create_link_artifact("https://example.org", key="ours-link")
run = leaving(return_state=True).state_details.flow_run_id
loaded = Secret.load("interop-ours").get()
print("RESULT", json.dumps({
    "run": str(run), "refused": refused, "right": loaded == {"user": "me", "password": "of-ours-" + "2"},
    "variable": Variable.get("interop_ours"), "unset": [Variable.unset("interop_ours"), Variable.unset("interop_ours")],
}))
"""


def ask_ours(place: Place, script: str, home: Path) -> object:
    """What a script of ours finds out at a server."""
    environment = {**peers.clean(), "PREFECT_API_URL": place.url, "MILLRACE_HOME": str(home)}
    whole = "import json\nfrom millrace import Secret\n" + script
    done = subprocess.run([sys.executable, "-c", whole], env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.rsplit("RESULT", 1)[1])


def test_ours_at_the_real_server(peer: Peer, theirs: Place, tmp_path: Path) -> None:
    found = ask_ours(theirs, OURS, tmp_path)
    assert isinstance(found, dict)
    assert found["refused"] and found["right"]
    assert (found["variable"], found["unset"]) == ([2], [True, False])
    kept = theirs.ask("POST", "/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [found["run"]]}}})
    assert {one["key"]: one["data"] for one in kept} == {
        "ours-table": '{"a": [1]}',
        "ours-progress": 70.0,
        "ours-link": "[https://example.org](https://example.org)",
    }
    (listed,) = peer.cli(theirs, "block ls")
    assert "interop-ours" in listed
