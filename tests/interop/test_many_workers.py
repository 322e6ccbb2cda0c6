"""Several workers at one pool of a real Prefect server, and workers that are killed there."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import gate
import peers
from peers import Peer, Place, Program
from shops import RACE, Shop, our_worker


def ask_many(shop: Shop, name: str, folder: Path, count: int) -> dict[str, Path]:
    """Runs that each write down when they begin and end, and where."""
    notes = [folder / f"{number}.txt" for number in range(count)]
    return {shop.ask(name, note=str(note), seconds=2): note for note in notes}


def check_once(place: Place, runs: dict[str, Path], said: Any) -> None:
    """Each run was executed, and by one worker only."""
    for run, note in runs.items():
        ended = place.ended(run, 150, said)
        assert (ended["state_name"], ended["run_count"]) == ("Completed", 1), ended["state"]
        written = note.read_text().splitlines()
        assert [line.split()[0] for line in written] == ["begin", "end"], written
        states = [state["type"] for state in place.ask("GET", f"/flow_run_states/?flow_run_id={run}")]
        assert states.count("RUNNING") == 1 and states.count("COMPLETED") == 1, states


RUSH = """
import json, threading
from millrace.client.endpoint import Endpoint
from millrace.client.synchronous import Client
from millrace.workers.claims import Polled
start, taken = threading.Barrier(4), [[] for _ in range(4)]

def poll(mine):
    with Client(Endpoint(URL)) as client:
        pollers = Polled(client, POOL, None)
        start.wait()
        mine += [str(claimed.flow_run.id) for claimed in pollers.take(50)]

threads = [threading.Thread(target=poll, args=(mine,)) for mine in taken]
for thread in threads: thread.start()
for thread in threads: thread.join()
print("RESULT " + json.dumps(taken))
"""


def test_pollers_that_ask_at_the_same_moment_get_each_run_once(shop: Shop, tmp_path: Path) -> None:
    runs = ask_many(shop, f"{RACE} ours", tmp_path, 16)
    taken = shop.run(f"URL, POOL = {shop.place.url!r}, {RACE!r}\n{RUSH}")
    found = [run for mine in taken for run in mine]
    assert sorted(found) == sorted(runs), taken
    for run in runs:
        assert shop.place.run(run)["state_name"] == "Pending"
        shop.place.ask("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLED"}, "force": True})


def test_two_workers_of_ours_execute_each_run_once(shop: Shop, tmp_path: Path) -> None:
    with (
        gate.without(shop.place) as door,
        our_worker(shop, door, RACE, "first", "--limit", "3") as first,
        our_worker(shop, shop.place, RACE, "second", "--limit", "3") as second,
    ):
        for worker in (first, second):
            worker.until(lambda worker=worker: "polling" in worker.said, 90)
        runs = ask_many(shop, f"{RACE} ours", tmp_path, 12)
        check_once(shop.place, runs, lambda: first.said[-3000:] + second.said[-3000:])
        above = [note.read_text().split() for note in runs.values()]
        taken = [sum(str(worker.popen.pid) in pids for pids in above) for worker in (first, second)]
        assert sum(taken) == len(runs) and all(taken), taken
    # what it asked for: a claim with a lease once, which that server does not know, then the operations of Prefect
    assert door.times(f"POST /millrace/work_pools/{RACE}/claim") == 1
    polled = door.first(f"POST /work_pools/{RACE}/get_scheduled_flow_runs")
    assert door.first("POST /millrace/work_pools") < polled < door.first("POST /flow_runs/.*/set_state")
    assert door.times(f"POST /work_pools/{RACE}/workers/heartbeat")


def test_a_worker_of_ours_beside_a_real_one_executes_each_run_once(peer: Peer, shop: Shop, tmp_path: Path) -> None:
    with (
        our_worker(shop, shop.place, RACE, "beside", "--limit", "2") as mine,
        peer.worker(shop.place, RACE, "--name", "real beside", "--limit", "2") as real,
    ):
        mine.until(lambda: "polling" in mine.said, 90)
        peers.until(lambda: seen(shop.place, "real beside"), 90, lambda: real.said[-3000:])
        runs = ask_many(shop, f"{RACE} both", tmp_path, 8)
        check_once(shop.place, runs, lambda: mine.said[-3000:] + real.said[-3000:])
        by_real = [run for run in runs if shop.place.run(run)["labels"].get("prefect.worker.name") == "real beside"]
        assert 0 < len(by_real) < len(runs), by_real


def seen(place: Place, name: str) -> bool:
    found = place.ask("POST", f"/work_pools/{RACE}/workers/filter", {})
    return any(worker["name"] == name and worker["status"] == "ONLINE" for worker in found)


# -- killed workers: a server without leases takes no run back, the next worker on the machine does


def begun(shop: Shop, worker: Program, note: Path, seconds: float) -> str:
    """A run of this worker that has begun and goes on for some seconds."""
    run = shop.ask(f"{RACE} ours", note=str(note), seconds=seconds)
    peers.until(lambda: note.exists() and "begin" in note.read_text(), 90, lambda: worker.said[-4000:])
    shop.place.reach(run, "Running", otherwise=lambda: worker.said[-4000:])
    return run


def test_a_run_outlives_its_killed_worker_and_the_next_one_watches_it(shop: Shop, tmp_path: Path) -> None:
    with our_worker(shop, shop.place, RACE, "short-lived") as worker:
        run = begun(shop, worker, tmp_path / "note", 300)
        worker.popen.kill()
        worker.wait(60)
        pid = int((tmp_path / "note").read_text().split()[1])
        assert shop.place.run(run)["state_name"] == "Running" and peers.alive(pid)
        with our_worker(shop, shop.place, RACE, "successor") as successor:
            successor.until(lambda: "Taking over" in successor.said, 90)
            body = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
            shop.place.ask("POST", f"/flow_runs/{run}/set_state", body)
            shop.place.reach(run, "Cancelled", 150, lambda: successor.said[-4000:])
            peers.until(lambda: not peers.alive(pid), 60)
    assert (tmp_path / "note").read_text().count("begin") == 1


def test_a_run_killed_with_its_worker_reads_crashed_when_a_worker_is_back(shop: Shop, tmp_path: Path) -> None:
    with our_worker(shop, shop.place, RACE, "struck") as worker:
        run = begun(shop, worker, tmp_path / "note", 300)
        pid = int((tmp_path / "note").read_text().split()[1])
        worker.popen.kill()
        os.kill(pid, signal.SIGKILL)
        worker.wait(60)
    # nobody there holds a lease: until somebody of this machine says otherwise, it reads Running
    assert shop.place.run(run)["state_name"] == "Running"
    with our_worker(shop, shop.place, RACE, "returned") as returned:
        ended = shop.place.ended(run, 150, lambda: returned.said[-4000:])
    assert ended["state_type"] == "CRASHED", ended["state"]
    assert json.dumps(ended["state"]["message"]) and ended["state"]["message"]
    assert (tmp_path / "note").read_text().splitlines()[1:] == []
