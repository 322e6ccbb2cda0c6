"""Our client, kernel, deployments and worker at a real Prefect server, and a real Prefect worker with our runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import peers
from peers import Peer, Place, Program
from shops import COMMAND, OURS, REAL, Shop, check_book, check_cell


def test_a_cell_flow_called_in_a_kernel(shop: Shop, theirs: Place) -> None:
    found = re.search(r"RESULT (\w+) (\S+)", shop.shown[4])
    assert found and found[1] == "COMPLETED", shop.shown[4]
    run = theirs.run(found[2])
    assert (run["state_name"], run["parameters"]) == ("Completed", {"x": 4})

    def tasks() -> list[str]:
        return sorted(task["state_name"] for task in theirs.task_runs(run["id"]))

    peers.until(lambda: tasks() == ["Completed"] * 4, 15, tasks)
    peers.until(lambda: "the cell got 4" in theirs.lines(run["id"]), 15)


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


def test_our_worker_runs_both_on_the_real_pool(peer: Peer, shop: Shop, worker: Program) -> None:
    place = shop.place
    cells = shop.ids[f"{OURS} cell"]
    often = {"schedule": {"interval": 12, "anchor_date": "2026-01-01T00:00:00Z"}, "parameters": {"x": 1}}
    (schedule,) = place.ask("POST", f"/deployments/{cells}/schedules", [often], expected=201)
    (asked,) = peer.cli(place, f"deployment run interop_cell/{OURS}-cell -p x=2 --start-in 1s")
    cell = str(re.search(r"UUID: (\S+)", asked)[1])  # type: ignore[index]
    book = shop.ask(f"{OURS} book", who="our worker")
    check_cell(place, cell, lambda: worker.said[-4000:], x=2)
    check_book(place, book, lambda: worker.said[-4000:], who="our worker")
    assert place.run(cell)["infrastructure_pid"]
    listed = place.ask("POST", f"/work_pools/{OURS}/workers/filter", {})
    assert ("our worker", "ONLINE") in [(found["name"], found["status"]) for found in listed]

    def fired() -> str | None:
        runs = place.runs(deployment_id={"any_": [cells]})
        return next((r["id"] for r in runs if r["auto_scheduled"] and r["state_name"] != "Scheduled"), None)

    check_cell(place, peers.until(fired, 60), lambda: worker.said[-4000:], x=1)
    place.ask("DELETE", f"/deployments/{cells}/schedules/{schedule['id']}")
    logs, inspected, artifacts = peer.cli(
        place, f"flow-run logs {cell}", f"flow-run inspect {book} --output json", "artifact ls"
    )
    assert "the cell got 2" in logs and json.loads(inspected)["state"]["name"] == "Completed"
    assert "report-notebook" in artifacts and "report-html" in artifacts


def test_cancelling_a_run_of_our_worker(peer: Peer, shop: Shop, worker: Program) -> None:
    run = shop.ask(f"{OURS} nap")
    shop.place.reach(run, "Running", otherwise=lambda: worker.said[-4000:])
    pid = shop.place.run(run)["infrastructure_pid"]
    peer.cli(shop.place, f"flow-run cancel {run}")
    shop.place.reach(run, "Cancelled", otherwise=lambda: worker.said[-4000:])
    peers.until(lambda: not Path(f"/proc/{pid}").exists(), 10)


def test_our_command_line_at_the_real_server(shop: Shop, worker: Program) -> None:
    place = shop.place
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


# -- the real worker


def test_a_real_worker_runs_both_through_the_command(peer: Peer, shop: Shop) -> None:
    with peer.worker(shop.place, REAL, "--name", "real worker") as program:
        cell, book = shop.ask(f"{REAL} cell", x=2), shop.ask(f"{REAL} book", who="the real worker")
        check_cell(shop.place, cell, lambda: program.said[-4000:], x=2)
        check_book(shop.place, book, lambda: program.said[-4000:], who="the real worker")
        assert shop.place.run(cell)["labels"]["prefect.worker.name"] == "real worker"


# -- what the real server lacks


def test_what_the_real_server_lacks_is_not_needed(shop: Shop) -> None:
    for method, path in (
        ("GET", "/admin/millrace"),
        ("POST", "/millrace/flow_runs/begin"),
        ("POST", f"/millrace/work_pools/{OURS}/claim"),
        ("GET", "/millrace/events"),
    ):
        # 404 is what our client and worker take as "fall back to the operations of Prefect"
        shop.place.ask(method, path, {} if method == "POST" else None, expected=404)
