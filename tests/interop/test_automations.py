"""Automations of the real client at our server."""

from __future__ import annotations

import json
import time

from peers import Peer, Place


def test_the_real_client_makes_automations_and_triggers_on_our_server(peer: Peer, ours: Place) -> None:
    ours.ask("POST", "/work_pools/", {"name": "automations", "type": "process"})
    found = peer.play("automations", ours, "automations", seconds=180)
    assert found["same"] == ["all", 300.0, ["do-nothing", "run-deployment"]]
    assert (found["changed"], found["disabled"]) == ("changed", False)
    assert len(set(found["deployed"])) == 1
    names = [one["name"] for one in ours.ask("POST", "/automations/filter", {"sort": "NAME_ASC"})]
    ours_of_it = [name for name in names if name.startswith("interop-")]
    assert ours_of_it == ["interop-automation", "interop-trigger"]
    condition = {"deployments": {"id": {"any_": found["deployed"][:1]}}}
    deadline = time.monotonic() + 60
    while not (runs := ours.ask("POST", "/flow_runs/filter", condition)):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert [run["parameters"]["x"] for run in runs] == [3]


def test_the_real_command_line_shows_and_rests_our_automations(peer: Peer, ours: Place) -> None:
    body = {
        "name": "by-hand",
        "trigger": {"type": "event", "posture": "Reactive", "expect": ["interop.never"], "threshold": 1, "within": 0},
        "actions": [{"type": "do-nothing"}],
    }
    made = ours.ask("POST", "/automations/", body)
    shown = peer.cli(
        ours,
        "automation ls",
        "automation inspect by-hand --json",
        "automation pause by-hand",
        "event emit interop.told --resource-id interop.1",
        "automation inspect by-hand --json",
        f"automation resume --id {made['id']}",
        "automation inspect by-hand --json",
        f"automation delete --id {made['id']}",
    )
    assert "by-hand" in shown[0]
    assert made["id"] in shown[1]
    assert [json.loads(shown[number])[0]["enabled"] for number in (1, 4, 6)] == [True, False, True]
    ours.ask("GET", f"/automations/{made['id']}", expected=404)
