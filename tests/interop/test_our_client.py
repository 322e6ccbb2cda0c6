"""Our client, kernel, deployments and worker at a real Prefect server, and a real Prefect worker with our runs."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import gate
import peers
import pytest
from peers import Output, Peer, Place
from shops import COMMAND, OUR_WORKER, OURS, REAL, Shop, check_book, check_cell


def test_a_cell_flow_called_in_a_kernel(shop: Shop, theirs: Place) -> None:
    found = re.search(r"RESULT (\w+) (\S+)", shop.shown[4])
    assert found and found[1] == "COMPLETED", shop.shown[4]
    run = theirs.run(found[2])
    assert (run["state_name"], run["parameters"]) == ("Completed", {"x": 4})

    def tasks() -> list[str]:
        return sorted(task["state_name"] for task in theirs.task_runs(run["id"]))

    peers.until(lambda: tasks() == ["Completed"] * 4, 60, tasks)
    peers.until(lambda: "the cell got 4" in theirs.lines(run["id"]), 60)


def test_deployments_as_the_real_command_line_shows_them(peer: Peer, shop: Shop) -> None:
    listed, cell, book = peer.cli(
        shop.place,
        "deployment ls",
        f"deployment inspect interop_cell/{REAL}-cell --output json",
        f"deployment inspect report/{REAL}-book --output json",
    )
    assert f"interop_cell/{OURS}-cell" in listed and f"report/{OURS}-book" in listed
    assert json.loads(cell)["job_variables"]["command"] == COMMAND
    assert json.loads(cell)["parameters"] == {"x": 3}
    schema = json.loads(book)["parameter_openapi_schema"]["properties"]
    assert schema["who"]["type"] == "string" and schema["n"]["type"] == "integer"


# -- our worker


def test_our_worker_runs_both_on_the_real_pool(peer: Peer, shop: Shop, worker: Output) -> None:
    place = shop.place
    often = {"interval": 20, "anchor_date": (datetime.now(UTC) + timedelta(seconds=5)).isoformat()}
    schedules = {}
    for name, parameters in (("cell", {"x": 1}), ("book", {"who": "a schedule"})):
        id = shop.ids[f"{OURS} {name}"]
        entry = {"schedule": often, "parameters": parameters}
        schedules[id] = place.ask("POST", f"/deployments/{id}/schedules", [entry], expected=201)[0]["id"]
    (asked,) = peer.cli(place, f"deployment run interop_cell/{OURS}-cell -p x=2 --start-in 1s")
    cell = str(re.search(r"UUID: (\S+)", asked)[1])  # type: ignore[index]
    book = shop.ask(f"{OURS} book", who="our worker")
    check_cell(place, cell, lambda: worker.said[-4000:], x=2)
    check_book(place, book, lambda: worker.said[-4000:], who="our worker")
    assert place.run(cell)["infrastructure_pid"]
    listed = place.ask("POST", f"/work_pools/{OURS}/workers/filter", {})
    assert (OUR_WORKER, "ONLINE") in [(found["name"], found["status"]) for found in listed]

    def fired(deployment: str) -> str | None:
        runs = place.runs(deployment_id={"any_": [deployment]})
        return next((r["id"] for r in runs if r["auto_scheduled"] and r["state_name"] != "Scheduled"), None)

    for deployment, schedule in schedules.items():
        run = peers.until(lambda id=deployment: fired(id), 90, lambda: worker.said[-4000:])
        if deployment == shop.ids[f"{OURS} cell"]:
            check_cell(place, run, lambda: worker.said[-4000:], x=1)
        else:
            check_book(place, run, lambda: worker.said[-4000:], who="a schedule")
        place.ask("DELETE", f"/deployments/{deployment}/schedules/{schedule}")
    check_as_the_real_command_line_shows_them(peer, place, cell, book)


def check_as_the_real_command_line_shows_them(peer: Peer, place: Place, cell: str, book: str) -> None:
    names = [place.run(run)["name"] for run in (cell, book)]
    task = place.task_runs(cell)[0]
    kept = place.ask("POST", "/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [book]}}})
    page = next(one for one in kept if one["type"] == "html")
    runs, inspected, logs, said, tasks, one, artifacts, shown = peer.cli(
        place,
        "flow-run ls --limit 200",
        f"flow-run inspect {book} --output json",
        f"flow-run logs {cell}",
        f"flow-run logs {book}",
        "task-run ls --limit 200",
        f"task-run inspect {task['id']} --output json",
        "artifact ls --limit 200",
        f"artifact inspect {page['key']} --output json",
    )
    lines = [next(line for line in runs.splitlines() if name in line) for name in names]
    assert all("COMPLETED" in line for line in lines), lines
    assert json.loads(inspected)["state"]["name"] == "Completed"
    assert "the cell got 2" in logs and "a report for our worker: 2" in said
    assert task["name"] in tasks and json.loads(one)["state"]["type"] == "COMPLETED"
    assert "report-notebook" in artifacts and "report-html" in artifacts
    (found,) = (artifact for artifact in json.loads(shown) if artifact["id"] == page["id"])
    assert found["flow_run_id"] == book and found["data"] == page["data"]


def process_of(place: Place, run: str) -> int:
    """The process that a worker started for a run."""
    return int(str(place.run(run)["infrastructure_pid"]).rsplit(":", 1)[-1])


def test_cancelling_a_run_of_our_worker(peer: Peer, shop: Shop, worker: Output) -> None:
    run = shop.ask(f"{OURS} nap")
    shop.place.reach(run, "Running", otherwise=lambda: worker.said[-4000:])
    pid = process_of(shop.place, run)
    peer.cli(shop.place, f"flow-run cancel {run}")
    shop.place.reach(run, "Cancelled", otherwise=lambda: worker.said[-4000:])
    peers.until(lambda: not peers.alive(pid), 60)


@pytest.mark.parametrize("named", ["PREFECT_API_URL", "MILLRACE_API_URL"])
def test_our_command_line_at_the_real_server(shop: Shop, worker: Output, named: str) -> None:
    place, shop = shop.place, replace(shop, named=named)
    run = json.loads(shop.cli("deployment", "run", f"interop_cell/{OURS}-cell", "-p", "x=1", "--output", "json"))
    id = run["id"] if "id" in run else run["flow_run"]["id"]
    check_cell(place, id, lambda: worker.said[-4000:], x=1)
    assert any(
        found["id"] == id
        for found in json.loads(shop.cli("flow-run", "ls", "--flow", "interop_cell", "--output", "json"))
    )
    assert json.loads(shop.cli("flow-run", "inspect", id, "--output", "json"))["state"]["name"] == "Completed"
    assert "the cell got 1" in shop.cli("flow-run", "logs", id)
    assert any(found["name"] == OURS for found in json.loads(shop.cli("work-pool", "ls", "--output", "json")))


# -- suspended runs, which give their process back and go on in another


def suspended(place: Place, run: str, said: Any) -> None:
    """The run is suspended, and its process is gone."""
    place.reach(run, "Suspended", 150, said)
    pid = process_of(place, run)
    peers.until(lambda: not peers.alive(pid), 60, said)


def check_resumed(place: Place, run: str, said: Any, answer: int) -> None:
    """It went on in another process, and ended well."""
    ended = place.ended(run, 150, said)
    assert ended["state_name"] == "Completed", (ended["state"], place.lines(run))
    peers.until(lambda: f"answered {answer}" in place.lines(run), 60, lambda: place.lines(run))
    names = [state["name"] for state in place.ask("GET", f"/flow_run_states/?flow_run_id={run}")]
    assert names[names.index("Suspended") :][:2] == ["Suspended", "Resuming"] and names.count("Running") == 2, names


def test_a_suspended_run_of_our_worker_is_resumed_by_the_real_client(peer: Peer, shop: Shop, worker: Output) -> None:
    run = shop.ask(f"{OURS} suspend")
    suspended(shop.place, run, lambda: worker.said[-4000:])
    answer = peer.play("resume", shop.place, run, json.dumps({"value": "x"}), json.dumps({"value": 7}))
    assert "value" in answer["refused"]
    check_resumed(shop.place, run, lambda: worker.said[-4000:], 7)


# -- the real worker


def test_a_real_worker_runs_both_and_what_suspends_through_the_command(peer: Peer, shop: Shop) -> None:
    with peer.worker(shop.place, REAL, "--name", "real worker") as program:
        cell, book = shop.ask(f"{REAL} cell", x=2), shop.ask(f"{REAL} book", who="the real worker")
        check_cell(shop.place, cell, lambda: program.said[-4000:], x=2)
        check_book(shop.place, book, lambda: program.said[-4000:], who="the real worker")
        assert shop.place.run(cell)["labels"]["prefect.worker.name"] == "real worker"
        run = shop.ask(f"{REAL} suspend")
        suspended(shop.place, run, lambda: program.said[-4000:])
        shop.cli("flow-run", "resume", run, "-p", "value=8")
        check_resumed(shop.place, run, lambda: program.said[-4000:], 8)


# -- several deployments in one call

MANY = """
from millrace import flow

@flow(log_prints=True)
def count(n: int = 1):
    print("many counted", n)

@flow
def weigh(name: str = "trout"):
    pass
"""
DEPLOY_MANY = """
import contextlib, io, json, os
import millrace
from millrace.deployments.deployment import RunnerDeployment
from millrace.errors import MillraceError
from millrace.events import DeploymentEventTrigger
from millrace.client.locate import connect

def made(entrypoint, name, **options):
    return RunnerDeployment.from_storage(os.getcwd(), entrypoint, name, **options)

many = [
    made("many.py:count", "many-cron", cron="15 3 * * *", parameters={"n": 2}, tags=["many"], version="v1"),
    made("many.py:count", "many-limit", concurrency_limit=3, description="at most three", paused=True),
    made("many.py:weigh", "many-refused", job_variables={"env": "no mapping"}),
    made("many.py:weigh", "many-trigger", triggers=[DeploymentEventTrigger(expect={"many.caught"})]),
    made("many.py:weigh", "many-queue", work_queue_name="many-queue", interval=3600),
]
printed = io.StringIO()
with contextlib.redirect_stdout(printed):
    ids = millrace.deploy(*many, work_pool_name=POOL)
try:
    alone = str(millrace.deploy(many[2], work_pool_name=POOL, print_next_steps_message=False))
except MillraceError as error:
    alone = f"{type(error).__name__}: {error}"
print("RESULT " + json.dumps({"ids": [str(id) for id in ids], "printed": printed.getvalue(), "alone": alone}))
"""


def test_several_deployments_in_one_call_of_which_one_is_refused(shop: Shop, worker: Output) -> None:
    place, program = shop.place, f"POOL = {OURS!r}\n{DEPLOY_MANY}"
    (shop.folder / "many.py").write_text(MANY)
    with gate.without(place) as door:
        said = shop.run(program, door)
    # asked for them together once, which the real server does not know; from then on for one after the other
    assert door.times("POST /millrace/deployments$") == 1, door.asked
    assert "many-refused" in said["printed"] and said["printed"].count("applied") == 4, said["printed"]
    assert "env" in said["alone"] and "no mapping" in said["alone"], said["alone"]
    names = ["many-cron", "many-limit", "many-trigger", "many-queue"]
    found = [place.ask("GET", f"/deployments/{id}") for id in said["ids"]]
    assert [one["name"] for one in found] == names
    cron, limit, trigger, queue = found
    assert (cron["parameters"], cron["tags"], cron["version"]) == ({"n": 2}, ["many"], "v1")
    assert [one["schedule"]["cron"] for one in cron["schedules"]] == ["15 3 * * *"]
    assert (limit["global_concurrency_limit"]["limit"], limit["paused"]) == (3, True)
    assert limit["description"] == "at most three"
    assert (queue["work_queue_name"], queue["schedules"][0]["schedule"]["interval"]) == ("many-queue", 3600)
    assert {one["work_pool_name"] for one in found} == {OURS}
    assert cron["flow_id"] == limit["flow_id"] != trigger["flow_id"] == queue["flow_id"]
    place.ask("GET", "/deployments/name/weigh/many-refused", expected=404)
    rules = {"automations": {"name": {"any_": ["many-trigger__automation_1"]}}}
    (rule,) = place.ask("POST", "/automations/filter", rules)
    assert (rule["trigger"]["expect"], rule["actions"][0]["deployment_id"]) == (["many.caught"], trigger["id"])

    assert shop.run(program)["ids"] == said["ids"], "the same once more replaces them"
    again = [place.ask("GET", f"/deployments/{id}") for id in said["ids"]]
    for before, after in zip(found, again, strict=True):
        assert [one["schedule"] for one in after["schedules"]] == [one["schedule"] for one in before["schedules"]]
    assert len(place.ask("POST", "/automations/filter", rules)) == 1
    run = place.ask("POST", f"/deployments/{cron['id']}/create_flow_run", {"state": {"type": "SCHEDULED"}})["id"]
    assert place.ended(run, 150, lambda: worker.said[-4000:])["state_name"] == "Completed"
    peers.until(lambda: "many counted 2" in place.lines(run), 60)
    for id in said["ids"]:
        place.ask("DELETE", f"/deployments/{id}")


RESTING = """
import json, sys
from pathlib import Path
from millrace import flow
from millrace.deployments.deployment import RunnerDeployment
from millrace.schedules import Cron

def made(*schedules):
    return RunnerDeployment.from_entrypoint("many.py:weigh", name="rests", schedules=list(schedules))

def times():
    from millrace.client.locate import connect
    return connect().read_deployment_by_name("weigh", "rests")

made(Cron("0 3 * * *"), Cron("0 5 * * *", slug="five"), Cron("0 7 * * *")).apply(work_pool_name=POOL)
before = times()
from millrace.client.locate import connect
for one in before.schedules:
    if one.schedule.cron != "0 7 * * *":
        connect().update_deployment_schedule(before.id, one.id, active=False)
connect().pause_deployment(before.id)
made(Cron("0 4 * * *"), Cron("0 6 * * *", slug="five"), Cron("0 7 * * *")).apply(work_pool_name=POOL)
first = {one.schedule.cron: one.active for one in times().schedules}
rests = times().paused
said = {"cron": "0 4 * * *", "active": True}
made(said, Cron("0 6 * * *", slug="five"), Cron("0 7 * * *")).apply(work_pool_name=POOL)
second = {one.schedule.cron: one.active for one in times().schedules}
connect().delete_deployment(before.id)
print("RESULT " + json.dumps([first, second, rests]))
"""


def test_what_was_paused_rests_on_when_its_deployment_is_made_again_at_the_real_server(shop: Shop) -> None:
    (shop.folder / "many.py").write_text(MANY)
    first, second, rests = shop.run(f"POOL = {OURS!r}\n{RESTING}", shop.place)
    assert rests, "nothing was said of the whole deployment"
    assert first == {"0 4 * * *": False, "0 6 * * *": False, "0 7 * * *": True}
    assert second == {"0 4 * * *": True, "0 6 * * *": False, "0 7 * * *": True}


# -- what the real server lacks

NAMES = Path(__file__).parent / "wire" / "names.json"
TWICE = """
import json
from millrace import flow, task

@task
def double(x):
    return 2 * x

@flow
def falls_back(x: int):
    return double(x)

ids = [str(falls_back(x, return_state=True).state_details.flow_run_id) for x in (1, 2)]
print("RESULT " + json.dumps(ids))
"""


def test_runs_begin_by_the_operations_of_prefect_where_ours_are_not(shop: Shop) -> None:
    with gate.without(shop.place) as door:
        ids = shop.run(TWICE, door)
    begun = "POST /millrace/flow_runs/begin"
    made = [r"POST /flows/$", "POST /flow_runs/$", f"POST /flow_runs/{ids[0]}/set_state"]
    places = [door.first(pattern) for pattern in (begun, *made)]
    assert places == sorted(places), door.asked
    # asked once: the second run knows already
    assert (door.times(begun), door.times("POST /flow_runs/$"), door.times("lease")) == (1, 2, 0), door.asked
    for id in ids:
        run = shop.place.run(id)
        assert (run["state_name"], run["run_count"]) == ("Completed", 1)
        peers.until(lambda id=id: [t["state_name"] for t in shop.place.task_runs(id)] == ["Completed"], 60)


def test_the_real_server_has_none_of_our_operations(shop: Shop) -> None:
    page = shop.place.ask("GET", "/openapi.json")["paths"]
    offered = {
        path.removeprefix("/api"): sorted(method.upper() for method in methods) for path, methods in page.items()
    }
    assert offered == json.loads(NAMES.read_text())
    for method, path in (
        ("GET", "/admin/millrace"),
        ("POST", "/millrace/flow_runs/begin"),
        ("POST", f"/millrace/work_pools/{OURS}/claim"),
        ("GET", "/millrace/events"),
    ):
        # 404 is what our client and worker take as "fall back to the operations of Prefect"
        shop.place.ask(method, path, {} if method == "POST" else None, expected=404)
