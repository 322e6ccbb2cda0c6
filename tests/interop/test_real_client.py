"""The real client and command line of Prefect at our server. Each test is one scenario."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peers
import pytest
from peers import Peer, Place

# -- flows run by a script


@pytest.fixture(scope="module")
def flows(peer: Peer, ours: Place) -> dict[str, Any]:
    """What the real client found out about the flows it ran."""
    return dict(peer.play("flows", ours, PREFECT_LOGGING_LEVEL="INFO", seconds=200))


def test_tasks_called_submitted_and_mapped(flows: dict[str, Any], ours: Place) -> None:
    run = flows["tasks"]
    assert (run["name"], run["value"]) == ("Completed", 10)
    found = ours.task_runs(run["run"])
    assert sorted(task["name"].rsplit("-", 1)[0] for task in found) == ["add", *["double"] * 5]
    assert {task["state_name"] for task in found} == {"Completed"}
    read = flows["read"]["tasks"]
    assert sorted(read["tasks"]) == [["add", "Completed"], *[["double", "Completed"]] * 5]
    assert (read["state"], read["states"]) == ("Completed", ["Pending", "Running", "Completed"])
    assert {"a printed line", "a logged line"} <= set(read["lines"])
    assert all(task["start_time"] and task["end_time"] and task["run_count"] == 1 for task in found)


def test_the_graph_of_a_run(flows: dict[str, Any]) -> None:
    graph = flows["read"]["tasks"]["graph"]
    nodes = {id: node for id, node in graph["nodes"]}
    last = next(node for node in nodes.values() if node["label"].startswith("add"))
    assert len(nodes) == 6 and len(last["parents"]) == 4 and not last["children"]
    assert set(graph["root_node_ids"]) == {id for id, node in nodes.items() if not node["parents"]}
    assert [state["name"] for state in graph["states"]] == ["Pending", "Running", "Completed"]
    assert [node["kind"] for _, node in flows["read"]["parent"]["graph"]["nodes"]] == ["flow-run"]


def test_retries_of_flow_and_task_wait_their_delay(flows: dict[str, Any]) -> None:
    assert (flows["retries"]["name"], flows["retries"]["value"]) == ("Completed", 2)
    first, second = flows["flow_tries"]
    assert second - first >= 0.95  # the delay of the task, then that of the flow
    assert flows["task_tries"][1] - flows["task_tries"][0] >= 0.45
    read = flows["read"]["retries"]
    assert read["run_count"] == 2
    # one name differs on purpose: we say Retrying for the second try of a flow run, the original says Running
    assert [name.replace("Retrying", "Running") for name in read["states"]] == [
        "Pending",
        "Running",
        "AwaitingRetry",
        "Running",
        "Completed",
    ]


def test_failing_runs(flows: dict[str, Any], ours: Place) -> None:
    raised, said = flows["raises"], flows["says_failed"]
    assert (raised["type"], said["type"]) == ("FAILED", "FAILED")
    assert "RuntimeError: a broken task" in ours.run(raised["run"])["state"]["message"]
    assert ours.run(said["run"])["state"]["message"] == "it said so itself"
    assert [task["state_name"] for task in ours.task_runs(raised["run"])] == ["Failed"]


def test_subflows_two_deep(flows: dict[str, Any], ours: Place) -> None:
    assert flows["parent"]["value"] == 42
    at = flows["parent"]["run"]
    for name in ("interop-child", "interop-grandchild"):
        (stand_in,) = ours.task_runs(at)
        assert stand_in["state_name"] == "Completed"
        (nested,) = ours.runs(parent_task_run_id={"any_": [stand_in["id"]]})
        assert nested["state_name"] == "Completed" and nested["parameters"] == {"x": 20}
        assert stand_in["state"]["state_details"]["child_flow_run_id"] == nested["id"]
        assert ours.ask("GET", f"/flows/{nested['flow_id']}")["name"] == name
        at = nested["id"]


def test_tags_caching_and_artifacts(flows: dict[str, Any], ours: Place) -> None:
    run = flows["more"]
    assert (run["name"], run["value"]) == ("Completed", 14)
    found = {task["name"].rsplit("-", 1)[0]: task for task in ours.task_runs(run["run"])}
    assert set(found["tagged"]["tags"]) == {"a-tag", "around"}
    assert "Cached" in {task["state_name"] for task in ours.task_runs(run["run"])}
    (note,) = ours.ask("POST", "/artifacts/latest/filter", {"artifacts": {"key": {"any_": ["interop-note"]}}})
    assert (note["data"], note["flow_run_id"]) == ("# a heading", run["run"])


def test_what_is_not_offered_is_refused_clearly(ours: Place) -> None:
    if ours.name == "prefect":
        pytest.skip("the original has it")
    refused = ours.ask("POST", "/saved_searches/", {}, expected=501)
    assert refused["code"] == "NotServed" and "does not have saved searches" in refused["detail"]


def test_logs_and_the_command_line_reads(peer: Peer, flows: dict[str, Any], ours: Place) -> None:
    run = flows["tasks"]["run"]
    assert {"a printed line", "a logged line"} <= set(ours.lines(run))
    listed, inspected, logs = peer.cli(
        ours,
        "flow-run ls --flow-name interop-tasks --limit 200",  # beside the runs that schedules have planned
        f"flow-run inspect {run} --output json",
        f"flow-run logs {run}",
    )
    assert run in listed and "COMPLETED" in listed
    assert json.loads(inspected)["state"]["name"] == "Completed"
    assert "a printed line" in logs and "a logged line" in logs


def test_a_script_killed_by_sigkill_leaves_its_run_running(peer: Peer, ours: Place, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    program = peer.start(
        ["-c", f"from yard_flows import sleeper; sleeper(note={str(note)!r})"],
        ours,
        PYTHONPATH=str(peers.SCENARIOS),
    )
    program.until(lambda: note.exists() and note.read_text())
    (run,) = [r for r in ours.runs(state={"name": {"any_": ["Running"]}}) if r["parameters"].get("note") == str(note)]
    program.popen.kill()
    program.wait(60)
    time.sleep(0.5)
    # nobody holds a lease for a run of the real client, so nobody may say that it is lost; a person can
    assert ours.run(run["id"])["state_name"] == "Running"
    answer = ours.ask("POST", f"/flow_runs/{run['id']}/set_state", {"state": {"type": "CANCELLED"}, "force": True})
    assert answer["status"] == "ACCEPT" and ours.run(run["id"])["state_name"] == "Cancelled"


# -- pools


def test_work_pools_by_the_command_line(peer: Peer, ours: Place) -> None:
    name = "interop-cli"
    made, listed, inspected, _, paused, _, resumed, slots, _ = peer.cli(
        ours,
        f"work-pool create {name} --type process",
        "work-pool ls",
        f"work-pool inspect {name} --output json",
        f"work-pool pause {name}",
        f"work-pool inspect {name} --output json",
        f"work-pool resume {name}",
        f"work-pool inspect {name} --output json",
        f"work-pool slots {name}",
        f"work-pool delete {name}",
    )
    assert name in made and name in listed and "0 active" in slots
    assert json.loads(inspected)["base_job_template"]["job_configuration"]["command"] == "{{ command }}"
    assert [json.loads(text)["is_paused"] for text in (inspected, paused, resumed)] == [False, True, False]
    ours.ask("GET", f"/work_pools/{name}", expected=404)


# -- with a token


@pytest.fixture(scope="module")
def guarded(peer: Peer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("guarded")
    token = folder / "token"
    token.write_text("somebody:a-secret")
    token.chmod(0o600)
    url, command, env = peers.our_server(folder, "--token-file", str(token))
    program = peers.started(command, folder / "out.txt", env)
    try:
        yield peers.answers(Place("millrace", url, program, {"Authorization": "Bearer somebody:a-secret"}))
    finally:
        program.stop()


def _run_with(peer: Peer, place: Place, variable: str) -> str:
    before = {run["id"] for run in place.runs()}
    script = ["-c", "from yard_flows import yard; yard(7)"]
    program = peer.start(script, place, PYTHONPATH=str(peers.SCENARIOS), **{variable: "somebody:a-secret"})
    assert program.wait(150) == 0, program.said
    (run,) = (run for run in place.runs() if run["id"] not in before)
    assert run["state_name"] == "Completed"
    assert "the yard got 7, and nothing" in place.lines(run["id"])
    return str(run["id"])


def test_a_key_lets_in(peer: Peer, guarded: Place) -> None:
    # to a server of one's own the real client shows its key over HTTP only, not on the socket that task runs travel on
    _run_with(peer, guarded, "PREFECT_API_KEY")


def test_user_and_password_let_in(peer: Peer, guarded: Place) -> None:
    run = _run_with(peer, guarded, "PREFECT_API_AUTH_STRING")
    assert [task["state_name"] for task in guarded.task_runs(run)] == ["Completed"]


def test_a_wrong_token_is_refused(peer: Peer, guarded: Place) -> None:
    (said,) = peer.cli(guarded, "flow-run ls", codes=[1], PREFECT_API_AUTH_STRING="somebody:else")
    assert "401" in said or "Unauthorized" in said
