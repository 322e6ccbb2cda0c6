"""Deployments, pools, queues, and claims: what is due reaches exactly one worker, at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from promises import Promise

from .conftest import Running


def make_deployment(running: Running, pool: str, **fields: Any) -> dict[str, Any]:
    client = running.client
    client.post("/work_pools/", json={"name": pool, "type": "process"})
    body = {"name": f"for {pool}", "flow_id": running.create_flow(f"in {pool}"), "work_pool_name": pool, **fields}
    answer = client.post("/deployments/", json=body)
    assert answer.status_code in (200, 201), answer.text
    return dict(answer.json())


def claim(running: Running, pool: str, wait: float = 0.0, limit: int = 1, name: str = "w") -> list[dict[str, Any]]:
    body = {"worker_name": name, "wait_seconds": wait, "limit": limit}
    answer = running.client.post(f"/millrace/work_pools/{pool}/claim", json=body)
    assert answer.status_code == 200, answer.text
    return list(answer.json())


def test_deployments_and_schedules(running: Running) -> None:
    client = running.client
    schedule = {"schedule": {"interval": 3600, "timezone": "UTC"}, "active": True}
    made = make_deployment(running, "pool-a", schedules=[schedule], parameters={"x": 1}, labels={"k": "v"})
    assert len(made["schedules"]) == 1
    path = f"/deployments/{made['id']}"
    assert client.get(path).json()["parameters"] == {"x": 1}
    by_name = client.get("/deployments/name/in pool-a/for pool-a")
    assert by_name.json()["id"] == made["id"]
    again = make_deployment(running, "pool-a", schedules=[schedule], parameters={"x": 2})
    assert (again["id"], again["parameters"]) == (made["id"], {"x": 2})
    assert client.patch(path, json={"description": "d", "schedules": None}).status_code == 204
    added = client.post(f"{path}/schedules", json=[{"schedule": {"cron": "0 6 * * *"}, "active": False}])
    assert added.status_code == 201
    one = added.json()[0]["id"]
    assert client.patch(f"{path}/schedules/{one}", json={"active": True}).status_code == 204
    assert len(client.get(f"{path}/schedules").json()) == 2
    assert client.delete(f"{path}/schedules/{one}").status_code == 204
    assert client.post(f"{path}/pause_deployment").status_code == 200
    assert client.get(path).json()["paused"] is True
    assert client.post(f"{path}/resume_deployment").status_code == 200
    assert client.get(f"/millrace{path}/skipped").json() == []
    assert client.post("/deployments/count", json={"deployments": {"id": {"any_": [made["id"]]}}}).json() == 1
    due = {"deployment_ids": [made["id"]], "scheduled_before": (datetime.now(UTC) + timedelta(hours=2)).isoformat()}
    runs = until(lambda: client.post("/deployments/get_scheduled_flow_runs", json=due).json())
    assert runs[0]["auto_scheduled"] is True
    bad = client.post(f"{path}/schedules", json=[{"schedule": {"cron": "61 * * * *"}}])
    assert bad.status_code == 422
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404


def test_a_new_schedule_fires_without_waiting_for_the_loop(running: Running) -> None:
    """The scheduler is told, it does not poll: a schedule of a second fires within two."""
    soon = {"interval": 1, "anchor_date": datetime.now(UTC).isoformat(), "timezone": "UTC"}
    made = make_deployment(running, "pool-fast", schedules=[{"schedule": soon}])
    soon = Promise(2.5)
    claimed = claim(running, "pool-fast", wait=5)
    assert claimed[0]["flow_run"]["deployment_id"] == made["id"]
    assert claimed[0]["flow_run"]["state_type"] == "PENDING"
    soon.kept()
    assert running.client.delete(f"/deployments/{made['id']}").status_code == 204


def test_a_waiting_claim_hears_of_a_new_run(running: Running) -> None:
    made = make_deployment(running, "pool-b")
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(claim, running, "pool-b", 10)
        time.sleep(0.3)
        assert not waiting.done()
        at_once = Promise(1)
        run = running.client.post(f"/deployments/{made['id']}/create_flow_run", json={"idempotency_key": "k"})
        assert run.status_code == 201
        claimed = waiting.result(15)
        at_once.kept()
    assert claimed[0]["flow_run"]["id"] == run.json()["id"]
    assert claimed[0]["lease"]["attempt"] == 1
    assert claimed[0]["deployment"]["id"] == made["id"]
    again = running.client.post(f"/deployments/{made['id']}/create_flow_run", json={"idempotency_key": "k"})
    assert again.status_code == 200
    released = {"flow_run_id": run.json()["id"], "attempt": 1}
    assert running.client.post("/millrace/leases/release", json=released).status_code == 204
    assert claim(running, "pool-b")[0]["lease"]["attempt"] == 2
    counted = running.client.post("/work_pools/pool-b/concurrency_status").json()
    assert counted["active_slots"] == 1


def test_a_waiting_claim_wakes_when_a_run_is_due(running: Running) -> None:
    made = make_deployment(running, "pool-due")
    at = datetime.now(UTC) + timedelta(seconds=1)
    state = {"type": "SCHEDULED", "state_details": {"scheduled_time": at.isoformat()}}
    running.client.post(f"/deployments/{made['id']}/create_flow_run", json={"state": state})
    claimed = claim(running, "pool-due", wait=20)
    assert claimed
    assert timedelta(0) <= datetime.now(UTC) - at < timedelta(seconds=5)


def test_two_workers_never_get_one_run(running: Running) -> None:
    made = make_deployment(running, "pool-c")
    for _ in range(20):
        running.client.post(f"/deployments/{made['id']}/create_flow_run", json={})
    got: list[str] = []
    with ThreadPoolExecutor(8) as threads:
        for claimed in threads.map(lambda n: claim(running, "pool-c", limit=4, name=f"w{n}"), range(16)):
            got += [c["flow_run"]["id"] for c in claimed]
    assert len(got) == len(set(got)) == 20


def test_a_worker_that_died_while_it_waited_is_granted_nothing(running: Running) -> None:
    deployment = make_deployment(running, "pool-died")
    with ThreadPoolExecutor(1) as pool:
        body = {"worker_name": "dead", "wait_seconds": 20, "limit": 1}
        headers = dict(running.client.headers)

        def wait_and_die() -> None:
            with httpx.Client(base_url=running.client.base_url, headers=headers, timeout=0.5) as dying:
                dying.post("/millrace/work_pools/pool-died/claim", json=body)

        with pytest.raises(httpx.ReadTimeout):
            pool.submit(wait_and_die).result()
    time.sleep(1)  # the server sees that the connection is gone
    made = running.client.post(f"/deployments/{deployment['id']}/create_flow_run", json={}).json()
    time.sleep(0.3)
    assert running.client.get(f"/flow_runs/{made['id']}").json()["state_name"] == "Scheduled"
    assert [one["flow_run"]["id"] for one in claim(running, "pool-died", wait=2, name="living")] == [made["id"]]


def test_waiting_claims_hold_no_threads(running: Running) -> None:
    running.client.post("/work_pools/", json={"name": "pool-d", "type": "process"})
    with ThreadPoolExecutor(50) as threads:
        waiting = [threads.submit(claim, running, "pool-d", 1.5, 1, f"w{n}") for n in range(50)]
        time.sleep(0.5)
        at_once = Promise(0.5)
        assert running.client.get("/millrace/counters").status_code == 200
        at_once.kept()
        assert [w.result() for w in waiting] == [[]] * 50


def test_pools_queues_and_workers(running: Running) -> None:
    client = running.client
    pool = client.post("/work_pools/", json={"name": "pool-e", "type": "process", "description": None}).json()
    assert pool["default_queue_id"]
    assert client.patch("/work_pools/pool-e", json={"is_paused": True, "concurrency_limit": 3}).status_code == 204
    assert client.get("/work_pools/pool-e").json()["concurrency_limit"] == 3
    assert "pool-e" in [p["name"] for p in client.post("/work_pools/filter").json()]
    queue = client.post("/work_pools/pool-e/queues", json={"name": "high", "priority": 1}).json()
    assert client.get("/work_pools/pool-e/queues/high").json()["id"] == queue["id"]
    assert client.patch(f"/work_queues/{queue['id']}", json={"concurrency_limit": 1}).status_code == 204
    assert client.get(f"/work_queues/{queue['id']}").json()["concurrency_limit"] == 1
    assert client.get(f"/work_queues/{queue['id']}/status").status_code == 200
    assert len(client.post("/work_pools/pool-e/queues/filter", json={}).json()) == 2
    assert client.delete(f"/work_queues/{queue['id']}").status_code == 204
    beat = {"name": "w1", "heartbeat_interval_seconds": 30}
    assert client.post("/work_pools/pool-e/workers/heartbeat", json=beat).status_code == 204
    assert client.post("/work_pools/pool-e/workers/filter").json()[0]["status"] == "ONLINE"
    assert client.delete("/work_pools/pool-e/workers/w1").status_code == 204
    assert client.post("/work_pools/pool-e/get_scheduled_flow_runs", json={"limit": 5}).json() == []
    assert client.delete("/work_pools/pool-e").status_code == 204
    assert client.get("/work_pools/pool-e").status_code == 404


def until(found: Callable[[], Any], timeout: float = 5) -> Any:
    deadline = time.monotonic() + timeout
    while not (value := found()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return value
