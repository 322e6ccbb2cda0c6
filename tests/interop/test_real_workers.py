"""Deployments and workers of the real Prefect at our server. Each test is one scenario."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import gate
import peers
import pytest
from peers import Peer, Place, Program
from shops import millrace

POOL = "interop"


@dataclass
class Yard:
    """A pool with a real worker, and what was deployed to it."""

    place: Place
    door: gate.Door
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
def pool(ours: Place) -> str:
    ours.ask("POST", "/work_pools/", {"name": POOL, "type": "process"})
    return POOL


@pytest.fixture(scope="module")
def yard(peer: Peer, ours: Place, pool: str) -> Iterator[Yard]:
    with gate.without(ours) as door, peer.worker(door, pool, "--name", "real worker") as worker:
        ids = peer.play("deploy", ours, pool, "full", "rest")
        yield Yard(ours, door, worker, ids["full"], ids)


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

    def fires(run: dict[str, Any]) -> str:
        """Which of the schedules a run is of, by its time."""
        due = datetime.fromisoformat(run["expected_start_time"])
        there, here = due.astimezone(ZoneInfo("Europe/Berlin")), due.astimezone(ZoneInfo("America/New_York"))
        if (there.hour, there.minute) == (3, 15):
            return "cron"
        return "rrule" if (here.weekday(), here.hour, here.minute) == (0, 9, 0) else "interval"

    peers.until(lambda: len({fires(run) for run in planned()}) == 3, 70, planned)
    runs = planned()
    assert all(run["auto_scheduled"] and "auto-scheduled" in run["tags"] for run in runs)


def test_deployments_by_the_command_line(peer: Peer, yard: Yard, ours: Place) -> None:
    name = "interop-yard/full"
    one = ours.ask("GET", f"/deployments/{yard.full}")["schedules"][0]["id"]
    listed, inspected, schedules, asked, _, paused, _, resumed = peer.cli(
        ours,
        "deployment ls",
        f"deployment inspect {name} --output json",
        f"deployment schedule ls {name}",
        f"deployment run {name} -p x=9 --start-in 10h",
        f"deployment schedule pause {name} {one}",
        f"deployment inspect {name} --output json",
        f"deployment schedule resume {name} {one}",
        f"deployment inspect {name} --output json",
    )
    assert name in listed and "cron: 15 3 * * *" in schedules and "Created flow run" in asked
    assert (json.loads(inspected)["name"], json.loads(inspected)["parameters"]) == ("full", {"x": 4})
    for text, active in ((paused, False), (resumed, True)):
        assert {s["id"]: s["active"] for s in json.loads(text)["schedules"]}[one] is active
    asked_for = [run for run in ours.runs(deployment_id={"any_": [yard.full]}) if run["parameters"] == {"x": 9}]
    assert len(asked_for) == 1 and not asked_for[0]["auto_scheduled"]
    ours.ask("DELETE", f"/flow_runs/{asked_for[0]['id']}")


# -- workers


def test_a_worker_runs_what_is_scheduled_and_what_is_asked_for_and_watched(peer: Peer, yard: Yard, ours: Place) -> None:
    every = {"interval": 30, "anchor_date": (datetime.now(UTC) + timedelta(seconds=2)).isoformat()}
    schedules = f"/deployments/{yard.ids['yard']}/schedules"
    (schedule,) = ours.ask("POST", schedules, [{"schedule": every, "parameters": {"x": 6}}], expected=201)
    watched = "deployment run interop-yard/plain -p x=5 --watch --watch-timeout 200"
    (said,) = peer.cli(ours, watched, seconds=240)
    assert "the yard got 5, and bare" in said and "Completed" in said, said
    by_hand = next(run for run in ours.runs(deployment_id={"any_": [yard.ids["yard"]]}) if run["id"] in said)
    assert by_hand["parameters"]["x"] == 5
    ended = ours.ended(by_hand["id"], otherwise=yard.said)
    assert (ended["state_name"], ended["work_pool_name"]) == ("Completed", POOL)
    assert ended["infrastructure_pid"] and ended["labels"]["prefect.worker.name"] == "real worker"
    peers.until(lambda: "the yard got 5, and bare" in ours.lines(by_hand["id"]), 60)
    names = [state["name"] for state in ours.ask("GET", f"/flow_run_states/?flow_run_id={by_hand['id']}")]
    assert names == ["Scheduled", "Pending", "Submitting", "Running", "Completed"]

    def fired() -> str | None:
        runs = ours.runs(deployment_id={"any_": [yard.ids["yard"]]})
        return next((r["id"] for r in runs if r["auto_scheduled"] and r["state_name"] != "Scheduled"), None)

    run = peers.until(fired, 90)
    ours.ask("DELETE", f"{schedules}/{schedule['id']}")
    assert ours.ended(run, otherwise=yard.said)["state_name"] == "Completed"


def test_the_worker_is_seen(yard: Yard, ours: Place) -> None:
    def seen() -> list[dict[str, Any]]:
        found = ours.ask("POST", f"/work_pools/{POOL}/workers/filter", {})
        return [worker for worker in found if worker["name"] == "real worker" and worker["status"] == "ONLINE"]

    assert peers.until(seen)
    assert ours.ask("GET", f"/work_pools/{POOL}")["status"] == "READY"
    # it says by its channel that it lives, and so does not say it by requests
    peers.until(lambda: yard.door.times("GET /work_pools/interop/workers/connect"))
    assert yard.door.times("POST /work_pools/interop/get_scheduled_flow_runs")
    assert not yard.door.times("workers/heartbeat")


def test_cancelling_ends_the_process(peer: Peer, yard: Yard, ours: Place, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    run = yard.ask("sleeper", parameters={"note": str(note)})
    pid = int(peers.until(lambda: note.exists() and note.read_text(), 60, yard.said))
    ours.reach(run, "Running")
    peer.cli(ours, f"flow-run cancel {run}")
    ours.reach(run, "Cancelled", otherwise=yard.said)
    peers.until(lambda: not peers.alive(pid), 60)


def test_a_suspended_run_of_a_real_worker_goes_on_when_it_is_resumed(yard: Yard, ours: Place, tmp_path: Path) -> None:
    run = yard.ask("suspends")
    ours.reach(run, "Suspended", otherwise=yard.said)
    pid = int(str(ours.run(run)["infrastructure_pid"]).rsplit(":", 1)[-1])
    peers.until(lambda: not peers.alive(pid), 60, yard.said)
    millrace(ours, tmp_path, "flow-run", "resume", run, "-p", "value=7")
    ended = ours.ended(run, otherwise=yard.said)
    assert ended["state_name"] == "Completed", (ended["state"], ours.lines(run))
    peers.until(lambda: "answered 7 after 2" in ours.lines(run), 60, lambda: ours.lines(run))
    names = [state["name"] for state in ours.ask("GET", f"/flow_run_states/?flow_run_id={run}")]
    assert names[names.index("Suspended") :] == [
        "Suspended",
        "Resuming",
        "Pending",
        "Submitting",
        "Running",
        "Completed",
    ]
    # the task before the suspension was not done again: its result was kept
    assert sorted(task["state_name"] for task in ours.task_runs(run)) == ["Cached", "Completed"]


def test_a_process_killed_by_sigkill_is_crashed(yard: Yard, ours: Place) -> None:
    ended = ours.ended(yard.ask("killed"), otherwise=yard.said)
    assert ended["state_name"] == "Crashed" and "SIGKILL" in ended["state"]["message"]


def test_run_deployment_from_a_script_and_a_flow(peer: Peer, yard: Yard, ours: Place) -> None:
    found = peer.play("ask", ours, "interop-yard/plain", seconds=200)
    for asked in (found, found["inside"]):
        assert (asked["waited"]["state"], asked["waited"]["final"]) == ("Completed", True)
        # these runs begin in ten hours: whoever has an answer now did not wait for their end
        assert asked["at_once"]["state"] == asked["gave_up"]["state"] == "Scheduled"
        assert asked["gave_up"]["seconds"] >= 1.5
    assert found["twice"][0] == found["twice"][1]
    assert found["waited"]["parent"] == found["inside"]["alone"]["parent"] == "None"
    for name, state in (("waited", "Completed"), ("at_once", "Scheduled"), ("gave_up", "Scheduled")):
        # a run is shown where it was asked for: its stand-in among the tasks of the asking flow follows it
        run, stand_in = found["inside"][name]["run"], found["inside"][name]["parent"]
        peers.until(lambda at=stand_in, is_=state: ours.ask("GET", f"/task_runs/{at}")["state_name"] == is_, 60)
        assert ours.ask("GET", f"/task_runs/{stand_in}")["state"]["state_details"]["child_flow_run_id"] == run


def test_a_worker_without_its_channel_polls(peer: Peer, yard: Yard, ours: Place) -> None:
    name = "interop-polling"
    with (
        gate.without(ours, "/workers/connect") as place,
        peer.worker(place, name, "--type", "process", "--name", "polling worker") as worker,
    ):
        worker.until(lambda: _known(ours, name) and ours.ask("POST", f"/work_pools/{name}/workers/filter", {}))
        same = ours.ask("GET", f"/deployments/{yard.ids['yard']}")
        fields = ("flow_id", "entrypoint", "path", "pull_steps", "parameter_openapi_schema", "job_variables")
        body = {"name": "polled", "work_pool_name": name, **{field: same[field] for field in fields}}
        id = ours.ask("POST", "/deployments/", body, expected=201)["id"]
        run = ours.ask("POST", f"/deployments/{id}/create_flow_run", {"state": {"type": "SCHEDULED"}})
        assert ours.ended(run["id"], 90, lambda: worker.said[-4000:])["state_name"] == "Completed"
        assert place.times(f"GET /work_pools/{name}/workers/connect")
        assert place.times(f"POST /work_pools/{name}/workers/heartbeat")
        assert place.times(f"POST /work_pools/{name}/get_scheduled_flow_runs")
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
        served.popen.send_signal(signal.SIGINT)
        served.wait(90)
    finally:
        served.stop()
    deployment = ours.ask("GET", "/deployments/name/interop-yard/served")
    assert deployment["paused"] or not any(s["active"] for s in deployment["schedules"])
    ours.ask("DELETE", f"/deployments/{deployment['id']}")
