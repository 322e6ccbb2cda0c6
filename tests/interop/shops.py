"""What our programs made at a real Prefect server: notebooks, deployments and workers of ours, shared by the tests."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import books
import peers
from peers import Peer, Place, Program

OURS, REAL, RACE = "interop-millrace", "interop-prefect", "interop-race"
OUR_WORKER = "our worker"
COMMAND = f"{sys.executable} -m millrace.workers.child"


@dataclass
class Shop:
    """What was made in a kernel at the real server.

    Args:
        folder: where the notebooks are.
        home: our data directory.
        shown: what the cells showed.
        ids: of the deployments.
        named: the variable by which our programs are told where the server is.
    """

    place: Place
    folder: Path
    home: Path
    shown: list[str]
    ids: dict[str, str]
    named: str = "PREFECT_API_URL"

    @property
    def command(self) -> list[str]:
        """Our command line."""
        return [sys.executable, "-m", "millrace"]

    def environment(self, place: Place | None = None) -> dict[str, str]:
        return ours_at(place or self.place, self.home, self.named)

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
            timeout=200,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return json.loads(done.stdout.rsplit(peers.MARK, 1)[1])

    def cli(self, *arguments: str) -> str:
        for pause in (1, 2, 0):
            done = subprocess.run(
                [*self.command, *arguments], env=self.environment(), capture_output=True, text=True, timeout=200
            )
            # the original stumbles over a run that changes while it is read
            if not (done.returncode and "was answered 500" in done.stderr and {"ls", "inspect"} & set(arguments)):
                break
            time.sleep(pause)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout


def ours_at(place: Place, home: Path, named: str = "PREFECT_API_URL") -> dict[str, str]:
    """The environment of our programs: the real server by the name that Prefect's own client reads, or by ours."""
    return {**peers.clean(), named: place.url, "MILLRACE_HOME": str(home), "MILLRACE_AUTOSTART": "false"}


def millrace(place: Place, home: Path, *words: str, code: int = 0) -> str:
    """What our command line says at a server."""
    command = [sys.executable, "-m", "millrace", *words]
    done = subprocess.run(command, env=ours_at(place, home), capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


DEPLOY = """
import millrace
made = {}
by_command = {"command": COMMAND, "env": {"MILLRACE_HOME": HOME}}
for pool, job in ((OURS, {}), (REAL, by_command)):
    options = dict(work_pool_name=pool, job_variables=job, print_next_steps=False, ignore_warnings=True)
    made[pool + " cell"] = interop_cell.deploy(pool + "-cell", parameters={"x": 3}, tags=["ours"], **options)
    made[pool + " book"] = millrace.deploy_notebook(
        "report.ipynb", pool + "-book", parameters={"who": "the peer"}, **options
    )
    made[pool + " nap"] = interop_nap.deploy(pool + "-nap", **options)
    made[pool + " suspend"] = interop_suspend.deploy(pool + "-suspend", **options)
options = dict(work_pool_name=RACE, print_next_steps=False, ignore_warnings=True)
made[RACE + " ours"] = interop_note.deploy(RACE + "-ours", **options)
made[RACE + " both"] = interop_note.deploy(RACE + "-both", job_variables=by_command, **options)
import json
print("RESULT " + json.dumps({name: str(id) for name, id in made.items()}))
"""


def furnish(peer: Peer, theirs: Place, place: Path) -> dict[str, Any]:
    """Define flows in a kernel, call one and deploy them all, at a real server; the fields of a `Shop`."""
    folder, home = place / "books", place / "millrace"
    for made in (folder, home):
        made.mkdir()
    books.write(folder / "report.ipynb", books.REPORT)
    peer.cli(theirs, *(f"work-pool create {pool} --type process" for pool in (OURS, REAL, RACE)))
    named = f"OURS, REAL, RACE, COMMAND, HOME = {(OURS, REAL, RACE, COMMAND, str(home))!r}\n"
    cells = [
        "%load_ext millrace",
        "FACTOR = 10",
        books.FLOW,
        "state = interop_cell(4, return_state=True)",
        "print('RESULT', state.type.value, state.state_details.flow_run_id)",
        books.SLEEPER,
        books.NOTER,
        books.SUSPENDER,
        named + DEPLOY,
    ]
    shown = books.execute(folder, cells, ours_at(theirs, home))
    ids = json.loads(shown[-1].split(peers.MARK, 1)[1])
    return {"folder": str(folder), "home": str(home), "shown": shown, "ids": ids}


def of_worker(shop: Shop, place: Place, pool: str, name: str, *options: str) -> tuple[list[str], dict[str, str]]:
    """What starts a worker of ours, and its environment."""
    command = [*shop.command, "worker", "start", "--pool", pool, "--name", name, *options]
    return command, shop.environment(place)


@contextmanager
def our_worker(shop: Shop, place: Place, pool: str, name: str, *options: str) -> Iterator[Program]:
    """A worker of ours at the real server while the block lasts."""
    command, env = of_worker(shop, place, pool, name, *options)
    program = peers.started(command, shop.folder / f"{name}.txt", env, shop.folder)
    try:
        yield program
    finally:
        program.stop()


def check_cell(place: Place, run: str, said: Any, *, x: int) -> None:
    """A run of the cell flow is what it should be."""
    ended = place.ended(run, 150, said)
    assert ended["state_name"] == "Completed", (ended["state"], place.lines(run))
    peers.until(lambda: f"the cell got {x}" in place.lines(run), 60, lambda: place.lines(run))
    peers.until(lambda: [t["state_name"] for t in place.task_runs(run)] == ["Completed"] * x, 60)


def check_book(place: Place, run: str, said: Any, *, who: str) -> None:
    """A run of the notebook is what it should be, and its artifacts are there."""
    ended = place.ended(run, 150, said)
    assert ended["state_name"] == "Completed", (ended["state"], place.lines(run))
    peers.until(lambda: any(f"a report for {who}: 2" in line for line in place.lines(run)), 60)
    assert not any("did not take the page" in line for line in place.lines(run))
    kept = place.ask("POST", "/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}}})
    assert {"notebook", "html"} <= {artifact["type"] for artifact in kept}, kept
