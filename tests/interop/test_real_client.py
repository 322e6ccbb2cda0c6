"""The real client, command line and workers of Prefect at our server. Each test is one scenario."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import gate
import peers
import pytest
from peers import Peer, Place, Program

POOL = "interop"


# -- flows run by a script


@pytest.fixture(scope="module")
def flows(peer: Peer, ours: Place) -> dict[str, Any]:
    """What the real client found out about the flows it ran."""
    return dict(peer.play("flows", ours, PREFECT_LOGGING_LEVEL="INFO", seconds=90))


def test_tasks_called_submitted_and_mapped(flows: dict[str, Any], ours: Place) -> None:
    run = flows["tasks"]
    assert (run["name"], run["value"]) == ("Completed", 10)
    found = ours.task_runs(run["run"])
    assert sorted(task["name"].rsplit("-", 1)[0] for task in found) == ["add", *["double"] * 5]
    assert {task["state_name"] for task in found} == {"Completed"}
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


# -- pools, deployments and their schedules


def test_work_pools_by_the_command_line(peer: Peer, ours: Place) -> None:
    name = "interop-cli"
    peer.cli(ours, f"work-pool create {name} --type process")
    listed, inspected, _, paused, _, resumed, slots, _ = peer.cli(
        ours,
        "work-pool ls",
        f"work-pool inspect {name} --output json",
        f"work-pool pause {name}",
        f"work-pool inspect {name} --output json",
        f"work-pool resume {name}",
        f"work-pool inspect {name} --output json",
        f"work-pool slots {name}",
        f"work-pool delete {name}",
    )
    assert name in listed and "0 active" in slots
    assert json.loads(inspected)["base_job_template"]["job_configuration"]["command"] == "{{ command }}"
    assert [json.loads(text)["is_paused"] for text in (inspected, paused, resumed)] == [False, True, False]
    ours.ask("GET", f"/work_pools/{name}", expected=404)


@dataclass
class Yard:
    """A pool with a real worker, and what was deployed to it."""

    place: Place
    worker: Program
    full: str
    ids: dict[str, str]

    def ask(self, name: str, **body: Any) -> str:
        """A new run of one of the deployments."""
        body.setdefault("state", {"type": "SCHEDULED"})
        return str(self.place.ask("POST", f"/deployments/{self.ids[name]}/create_flow_run", body)["id"])

    def said(self) -> str:
        return self.worker.said[-4000:]


@pytest.fixture(scope="module")
def pool(peer: Peer, ours: Place) -> str:
    peer.cli(ours, f"work-pool create {POOL} --type process")
    return POOL


@pytest.fixture(scope="module")
def yard(peer: Peer, ours: Place, pool: str) -> Iterator[Yard]:
    with peer.worker(ours, pool, "--name", "real worker") as worker:
        full = peer.play("deploy", ours, pool, "full")["full"]
        yield Yard(ours, worker, full, peer.play("deploy", ours, pool, "rest"))


def test_deploy_from_a_directory_with_all_schedules(yard: Yard, ours: Place) -> None:
    found = ours.ask("GET", f"/deployments/{yard.full}")
    assert (found["name"], found["work_pool_name"], found["version"]) == ("full", POOL, "v7")
    assert found["description"] == "everything at once" and sorted(found["tags"]) == ["full", "interop"]
    assert found["parameters"] == {"x": 4} and found["job_variables"] == {"env": {"YARD": "full of logs"}}
    assert found["entrypoint"] == "yard_flows.py:yard" and found["pull_steps"]
    limit = found["global_concurrency_limit"]
    assert (limit["limit"] if limit else found["concurrency_limit"]) == 3
    kinds = {next(k for k in ("cron", "interval", "rrule") if k in s["schedule"]): s for s in found["schedules"]}
    assert kinds["cron"]["schedule"]["timezone"] == "Europe/Berlin"
    assert kinds["interval"]["schedule"]["interval"] == 21600
    assert "FREQ=WEEKLY;BYDAY=MO;BYHOUR=9" in kinds["rrule"]["schedule"]["rrule"]

    def planned() -> list[dict[str, Any]]:
        return ours.runs(deployment_id={"any_": [yard.full]}, state={"type": {"any_": ["SCHEDULED"]}})

    runs = peers.until(lambda: (found := planned()) and len(found) >= 3 and found, 70)
    assert all(run["auto_scheduled"] and "auto-scheduled" in run["tags"] for run in runs)


def test_deployments_by_the_command_line(peer: Peer, yard: Yard, ours: Place) -> None:
    name = "interop-yard/full"
    listed, inspected, schedules, asked = peer.cli(
        ours,
        "deployment ls",
        f"deployment inspect {name} --output json",
        f"deployment schedule ls {name}",
        f"deployment run {name} -p x=9 --start-in 10h",
    )
    assert name in listed and "cron: 15 3 * * *" in schedules and "Created flow run" in asked
    one = json.loads(inspected)["schedules"][0]["id"]
    _, paused, _, resumed = peer.cli(
        ours,
        f"deployment schedule pause {name} {one}",
        f"deployment inspect {name} --output json",
        f"deployment schedule resume {name} {one}",
        f"deployment inspect {name} --output json",
    )
    for text, active in ((paused, False), (resumed, True)):
        assert {s["id"]: s["active"] for s in json.loads(text)["schedules"]}[one] is active
    asked_for = [run for run in ours.runs(deployment_id={"any_": [yard.full]}) if run["parameters"] == {"x": 9}]
    assert len(asked_for) == 1 and not asked_for[0]["auto_scheduled"]
    ours.ask("DELETE", f"/flow_runs/{asked_for[0]['id']}")


# -- workers


def test_a_worker_runs_what_is_scheduled_and_what_is_asked_for(peer: Peer, yard: Yard, ours: Place) -> None:
    every = {"interval": 3600, "anchor_date": (datetime.now(UTC) + timedelta(seconds=2)).isoformat()}
    ours.ask(
        "POST",
        f"/deployments/{yard.ids['yard']}/schedules",
        [{"schedule": every, "parameters": {"x": 6}}],
        expected=201,
    )
    (asked,) = peer.cli(ours, "deployment run interop-yard/plain -p x=5")
    by_hand = next(run for run in ours.runs(deployment_id={"any_": [yard.ids["yard"]]}) if run["parameters"]["x"] == 5)
    assert by_hand["id"] in asked
    ended = ours.ended(by_hand["id"], otherwise=yard.said)
    assert (ended["state_name"], ended["work_pool_name"]) == ("Completed", POOL)
    assert ended["infrastructure_pid"] and ended["labels"]["prefect.worker.name"] == "real worker"
    peers.until(lambda: "the yard got 5, and bare" in ours.lines(by_hand["id"]), 15)
    names = [state["name"] for state in ours.ask("GET", f"/flow_run_states/?flow_run_id={by_hand['id']}")]
    assert names == ["Scheduled", "Pending", "Submitting", "Running", "Completed"]

    def fired() -> str | None:
        runs = ours.runs(deployment_id={"any_": [yard.ids["yard"]]})
        return next((r["id"] for r in runs if r["auto_scheduled"] and r["state_name"] != "Scheduled"), None)

    assert ours.ended(peers.until(fired, 70), otherwise=yard.said)["state_name"] == "Completed"


def test_the_command_line_watches_a_run(peer: Peer, yard: Yard, ours: Place) -> None:
    watched = "deployment run interop-yard/plain -p x=11 --watch --watch-timeout 100"
    (said,) = peer.cli(ours, watched, seconds=120)
    assert "the yard got 11, and bare" in said and "Completed" in said, said


def test_the_worker_is_seen(yard: Yard, ours: Place) -> None:
    def seen() -> list[dict[str, Any]]:
        found = ours.ask("POST", f"/work_pools/{POOL}/workers/filter", {})
        return [worker for worker in found if worker["name"] == "real worker" and worker["status"] == "ONLINE"]

    assert peers.until(seen)
    assert ours.ask("GET", f"/work_pools/{POOL}")["status"] == "READY"


def test_cancelling_ends_the_process(peer: Peer, yard: Yard, ours: Place, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    run = yard.ask("sleeper", parameters={"note": str(note)})
    pid = int(peers.until(lambda: note.exists() and note.read_text(), 60, yard.said))
    ours.reach(run, "Running")
    peer.cli(ours, f"flow-run cancel {run}")
    ours.reach(run, "Cancelled", otherwise=yard.said)
    peers.until(lambda: not Path(f"/proc/{pid}").exists(), 10)


def test_a_process_killed_by_sigkill_is_crashed(yard: Yard, ours: Place) -> None:
    ended = ours.ended(yard.ask("killed"), otherwise=yard.said)
    assert ended["state_name"] == "Crashed" and "SIGKILL" in ended["state"]["message"]


def test_run_deployment_from_a_script_and_a_flow(peer: Peer, yard: Yard, ours: Place) -> None:
    found = peer.play("ask", ours, "interop-yard/plain", "interop-sleeper/sleeper", seconds=100)
    assert (found["waited"]["state"], found["waited"]["final"]) == ("Completed", True)
    assert found["at_once"]["state"] == "Scheduled" and found["at_once"]["seconds"] < 10
    assert found["twice"][0] == found["twice"][1]
    assert not found["gave_up"]["final"] and 1.5 <= found["gave_up"]["seconds"] < 20
    inside = found["inside"]
    assert inside["final"] and ours.ask("GET", f"/task_runs/{inside['parent']}")["state_name"] == "Completed"


def test_a_worker_without_its_channel_polls(peer: Peer, ours: Place, pool: str) -> None:
    name = "interop-polling"
    with (
        gate.without(ours, "/workers/connect") as place,
        peer.worker(place, name, "--type", "process", "--name", "polling worker") as worker,
    ):
        worker.until(lambda: _known(ours, name) and ours.ask("POST", f"/work_pools/{name}/workers/filter", {}))
        ids = peer.play("deploy", place, name, "rest")
        run = ours.ask("POST", f"/deployments/{ids['yard']}/create_flow_run", {"state": {"type": "SCHEDULED"}})
        assert ours.ended(run["id"], 60, lambda: worker.said[-4000:])["state_name"] == "Completed"
    (seen,) = ours.ask("POST", f"/work_pools/{name}/workers/filter", {})
    assert seen["name"] == "polling worker"


def _known(place: Place, pool: str) -> bool:
    return bool(place.ask("POST", "/work_pools/filter", {"work_pools": {"name": {"any_": [pool]}}}))


def test_serve(peer: Peer, ours: Place) -> None:
    served = peer.scenario("serve", ours, PREFECT_RUNNER_POLL_FREQUENCY="1")
    try:

        def runs() -> list[dict[str, Any]]:
            found = ours.ask("POST", "/flow_runs/filter", {"deployments": {"name": {"any_": ["served"]}}})
            return [run for run in found if run["state_name"] == "Completed"]

        done = served.until(runs, 90)
        assert all(run["parameters"] == {"x": 8} and run["auto_scheduled"] for run in done)
    finally:
        served.stop(signal.SIGINT)
    deployment = ours.ask("GET", "/deployments/name/interop-yard/served")
    assert deployment["paused"] or not any(s["active"] for s in deployment["schedules"])
    ours.ask("DELETE", f"/deployments/{deployment['id']}")


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
    program.wait(10)
    time.sleep(0.5)
    # nobody holds a lease for a run of the real client, so nobody may say that it is lost; a person can
    assert ours.run(run["id"])["state_name"] == "Running"
    answer = ours.ask("POST", f"/flow_runs/{run['id']}/set_state", {"state": {"type": "CANCELLED"}, "force": True})
    assert answer["status"] == "ACCEPT" and ours.run(run["id"])["state_name"] == "Cancelled"


# -- with a token


@pytest.fixture(scope="module")
def guarded(peer: Peer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("guarded")
    token = folder / "token"
    token.write_text("somebody:a-secret")
    token.chmod(0o600)
    place = peers.start_ours(folder, "--token-file", str(token), headers={"Authorization": "Bearer somebody:a-secret"})
    try:
        yield peers.answers(place)
    finally:
        place.program.stop()


def _run_with(peer: Peer, place: Place, variable: str) -> str:
    before = {run["id"] for run in place.runs()}
    script = ["-c", "from yard_flows import yard; yard(7)"]
    program = peer.start(script, place, PYTHONPATH=str(peers.SCENARIOS), **{variable: "somebody:a-secret"})
    assert program.wait(60) == 0, program.said
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
