"""Our client, kernel, deployments and worker at a real Prefect server, and a real Prefect worker with our runs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import books
import gate
import peers
import pytest
from peers import Peer, Place, Program

OURS, REAL = "interop-millrace", "interop-prefect"
COMMAND = f"{sys.executable} -m millrace.workers.child"


@dataclass
class Shop:
    """What was made in a kernel at the real server.

    Args:
        folder: where the notebooks are.
        home: our data directory.
        shown: what the cells showed.
        ids: of the deployments.
    """

    place: Place
    folder: Path
    home: Path
    shown: list[str]
    ids: dict[str, str]

    def environment(self, place: Place | None = None) -> dict[str, str]:
        return ours_at(place or self.place, self.home)

    def ask(self, name: str, **parameters: Any) -> str:
        body = {"state": {"type": "SCHEDULED"}, "parameters": parameters}
        return str(self.place.ask("POST", f"/deployments/{self.ids[name]}/create_flow_run", body)["id"])

    def run(self, script: str, place: Place | None = None) -> Any:
        """What one of our scripts found out."""
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=self.environment(place),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return json.loads(done.stdout.rsplit(peers.MARK, 1)[1])

    def cli(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "millrace", *arguments],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout


def ours_at(place: Place, home: Path) -> dict[str, str]:
    """The environment of our programs: the real server by the name that Prefect's own client reads."""
    return {**peers.clean(), "PREFECT_API_URL": place.url, "MILLRACE_HOME": str(home), "MILLRACE_AUTOSTART": "false"}


DEPLOY = """
import millrace
made = {}
interval = {"interval": 3600, "anchor_date": __import__("datetime").datetime.now(__import__("datetime").UTC)}
for pool, job in ((OURS, {}), (REAL, {"command": COMMAND, "env": {"MILLRACE_HOME": HOME}})):
    options = dict(work_pool_name=pool, job_variables=job, print_next_steps=False, ignore_warnings=True)
    made[pool + " cell"] = interop_cell.deploy(pool + "-cell", parameters={"x": 3}, tags=["ours"], **options)
    made[pool + " book"] = millrace.deploy_notebook(
        "report.ipynb", pool + "-book", parameters={"who": "the peer"}, **options
    )
    made[pool + " nap"] = interop_nap.deploy(pool + "-nap", **options)
import json
print("RESULT " + json.dumps({name: str(id) for name, id in made.items()}))
"""


@pytest.fixture(scope="module")
def shop(peer: Peer, theirs: Place, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder, home = tmp_path_factory.mktemp("books"), tmp_path_factory.mktemp("millrace")
    books.write(folder / "report.ipynb", books.REPORT)
    peer.cli(theirs, f"work-pool create {OURS} --type process", f"work-pool create {REAL} --type process")
    named = f"OURS, REAL, COMMAND, HOME = {(OURS, REAL, COMMAND, str(home))!r}\n"
    cells = [
        "%load_ext millrace",
        "FACTOR = 10",
        books.FLOW,
        "state = interop_cell(4, return_state=True)",
        "print('RESULT', state.type.value, state.state_details.flow_run_id)",
        books.SLEEPER,
        named + DEPLOY,
    ]
    shown = books.execute(folder, cells, ours_at(theirs, home))
    return Shop(theirs, folder, home, shown, json.loads(shown[-1].split(peers.MARK, 1)[1]))


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


@contextmanager
def our_worker(shop: Shop, place: Place, pool: str) -> Iterator[Program]:
    out = shop.folder / "worker.txt"
    with out.open("ab") as file:
        popen = subprocess.Popen(
            [sys.executable, "-m", "millrace", "worker", "start", "--pool", pool, "--name", "our worker"],
            env=shop.environment(place),
            cwd=shop.folder,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    program = Program(popen, out)
    try:
        yield program
    finally:
        program.stop()


@pytest.fixture(scope="module")
def worker(shop: Shop, theirs: Place) -> Iterator[Program]:
    with our_worker(shop, theirs, OURS) as program:
        yield program


def check_cell(place: Place, run: str, said: Any, *, x: int) -> None:
    """A run of the cell flow is what it should be."""
    ended = place.ended(run, 60, said)
    assert ended["state_name"] == "Completed", (ended["state"], place.lines(run))
    peers.until(lambda: f"the cell got {x}" in place.lines(run), 15, lambda: place.lines(run))
    peers.until(lambda: [t["state_name"] for t in place.task_runs(run)] == ["Completed"] * x, 15)


def check_book(place: Place, run: str, said: Any, *, who: str) -> None:
    """A run of the notebook is what it should be, and its artifacts are there."""
    ended = place.ended(run, 60, said)
    assert ended["state_name"] == "Completed", (ended["state"], place.lines(run))
    peers.until(lambda: any(f"a report for {who}: 2" in line for line in place.lines(run)), 15)
    kept = place.ask("POST", "/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}}})
    assert {"notebook", "html"} <= {artifact["type"] for artifact in kept}, kept


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
    assert any(found["id"] == id for found in json.loads(shop.cli("flow-run", "ls", "--output", "json")))
    assert json.loads(shop.cli("flow-run", "inspect", id, "--output", "json"))["state"]["name"] == "Completed"
    assert "the cell got 1" in shop.cli("flow-run", "logs", id)
    assert any(found["name"] == OURS for found in json.loads(shop.cli("work-pool", "ls", "--output", "json")))


ASK = """
import json, time
from millrace import run_deployment
from millrace.client.locate import connect
from millrace.client.follow import follow
started = time.monotonic()
at_once = run_deployment(NAME, timeout=0, parameters={"x": 2})
soon = time.monotonic() - started
waited = run_deployment(NAME, parameters={"x": 3}, poll_interval=0.5)
names, lines = [], []
client = connect()
for message in follow(client, waited.id):
    if isinstance(message, list):
        lines += [line.message for line in message]
    else:
        names.append(message.event)
print("RESULT " + json.dumps({
    "soon": soon, "at_once": str(at_once.id), "waited": str(waited.id),
    "state": client.read_flow_run(waited.id).state_name, "names": names, "lines": lines,
}))
"""


def test_run_deployment_and_following_by_polling(shop: Shop, worker: Program) -> None:
    found = shop.run(f"NAME = 'interop_cell/{OURS}-cell'\n{ASK}")
    assert found["soon"] < 5 and found["state"] == "Completed"
    assert "prefect.flow-run.Completed" in found["names"]
    assert found["names"].count("prefect.task-run.Completed") == 3
    assert "the cell got 3" in found["lines"]


def test_following_where_the_streams_are_refused(shop: Shop, worker: Program) -> None:
    run = shop.ask(f"{OURS} cell", x=2)
    with gate.without(shop.place, "/millrace", "/events", "/logs/out") as place:
        script = f"""
import json
from uuid import UUID
from millrace.client.locate import connect
from millrace.client.follow import follow
told = [m for m in follow(connect(), UUID({run!r}), poll=0.2)]
events = [m.event for m in told if not isinstance(m, list)]
lines = [line.message for m in told if isinstance(m, list) for line in m]
print("RESULT " + json.dumps([events, lines]))
"""
        events, lines = shop.run(script, place)
    assert "prefect.flow-run.Completed" in events
    assert "the cell got 2" in lines


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
