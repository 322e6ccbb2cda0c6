"""Every operation of the table, by real requests."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from starlette.routing import Match

from millrace.errors import SettingsError
from millrace.schema.operations import OPERATIONS
from millrace.server import handlers
from millrace.server.listening import listen_tcp
from millrace.server.routes import OperationRoute

from .conftest import TOKEN, Running, run_server
from .test_security import concrete

PREFECT = Path(__file__).parents[1] / "interop" / "wire" / "names.json"
UNKNOWN = "00000000-0000-0000-0000-000000000001"


# -- the table


def test_each_line_is_a_route_with_and_without_slash(running: Running) -> None:
    routes = [route for route in running.app.router.routes if isinstance(route, OperationRoute)]
    assert [route.operation for route in routes] == list(OPERATIONS)
    for operation in OPERATIONS:
        for path in (concrete(operation.path).rstrip("/"), concrete(operation.path).rstrip("/") + "/"):
            scope = {"type": "http", "method": operation.method, "path": "/api" + path}
            first = next(route for route in routes if route.matches(scope)[0] is Match.FULL)
            assert first.operation is operation, path


def test_a_missing_or_extra_handler_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "OPERATIONS", OPERATIONS[1:])
    with pytest.raises(RuntimeError, match="health"):
        handlers.find_handlers()
    monkeypatch.setattr(handlers, "OPERATIONS", (*OPERATIONS, SimpleNamespace(name="brew_coffee")))
    with pytest.raises(RuntimeError, match="brew_coffee"):
        handlers.find_handlers()


def test_the_page_of_the_api_has_every_line(running: Running) -> None:
    page = running.client.get("/openapi.json").json()
    found = {entry["operationId"] for methods in page["paths"].values() for entry in methods.values()}
    assert found == {operation.name for operation in OPERATIONS}
    assert "/api/flows/{id}" in page["paths"]


def test_what_prefect_offers_and_we_do_not_is_refused_clearly(running: Running) -> None:
    ours = {(operation.method, concrete(operation.path).rstrip("/")) for operation in OPERATIONS}
    refused = 0
    for path, methods in json.loads(PREFECT.read_text()).items():
        for method in methods:
            if (method, concrete(path).rstrip("/")) in ours or path == "/csrf-token":
                continue
            answer = running.client.request(method, concrete(path), json={} if method != "GET" else None)
            # a path that one of ours takes too, with a name in the place of a word, finds nothing of that name
            assert answer.status_code in (404, 405, 422, 501), (method, path, answer.text)
            found = answer.json()
            assert found["detail"] and found["code"], (method, path)
            refused += 1
    assert refused > 40


def test_every_operation_answers_without_a_server_error(running: Running) -> None:
    """Nothing there, empty bodies, wrong bodies: always an answer of the API, never a 5xx, never a traceback."""
    for operation in OPERATIONS:
        for content in (None, b"", b"null", b"{}", b"[]", b'{"name": 1e999}', b"\xff", b'"\\ud800"', b"[" * 5000):
            if operation.name == "claim_flow_runs" and content is None:
                continue
            answer = running.client.request(
                operation.method,
                concrete(operation.path),
                content=content,
                headers={"Content-Type": "application/json"} if content else {},
            )
            assert answer.status_code < 500, (operation.name, content, answer.text)
            assert "Traceback" not in answer.text
            if answer.status_code != 204:
                answer.json()
            if answer.status_code >= 400:
                assert answer.json()["code"]


# -- errors


def test_errors_have_one_shape(running: Running) -> None:
    client = running.client
    missing = client.get(f"/flows/{UNKNOWN}")
    assert (missing.status_code, missing.json()["code"]) == (404, "NotFound")
    unknown = client.get("/brew/coffee")
    assert unknown.status_code == 404
    assert unknown.json()["detail"] == "Millrace does not serve GET /api/brew/coffee"
    assert client.put("/flows/").status_code == 405
    wrong = client.post("/flows/", json={"name": "a/b", "tags": [1]})
    assert wrong.status_code == 422
    assert [problem["loc"] for problem in wrong.json()["exception_detail"]] == [["body", "name"], ["body", "tags", 0]]
    assert wrong.json()["detail"] == wrong.json()["exception_detail"]
    assert "a/b" not in wrong.text
    assert client.get("/csrf-token", params={"client": "x"}).json()["detail"] == "CSRF protection is disabled."
    assert client.get("/csrf-token").status_code == 422
    assert client.get("/flow_run_states/").status_code == 422
    assert client.get("/flow_run_states/", params={"flow_run_id": "me"}).status_code == 422
    taken = {"name": "twice", "type": "process"}
    assert client.post("/work_pools/", json=taken).status_code == 201
    again = client.post("/work_pools/", json=taken)
    assert (again.status_code, again.json()["code"]) == (409, "AlreadyExists")


def test_a_mistake_of_ours_shows_no_traceback(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    route = next(r for r in running.app.router.routes if r.name == "server_storage")

    def broken(call: Any) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(route, "handler", broken)
    answer = running.client.get("/admin/storage")
    assert answer.status_code == 500
    assert answer.json()["detail"] == "internal error"
    assert answer.json()["id"]
    assert "secret" not in answer.text


def test_a_body_over_the_limit(running: Running) -> None:
    limit = running.context.settings.max_body_bytes
    body = json.dumps({"name": "x" * limit}).encode()
    headers = {"Content-Type": "application/json"}
    known = running.client.post("/flows/", content=body, headers=headers)
    chunks = (body[i : i + 4096] for i in range(0, len(body), 4096))
    streamed = running.client.post("/flows/", content=chunks, headers=headers)
    for answer in (known, streamed):
        assert (answer.status_code, answer.json()["code"]) == (413, "TooLarge")
        assert f"{limit:,}" in answer.json()["detail"]
    assert f"{len(body):,}" in known.json()["detail"]


def test_numbers_beyond_64_bits(running: Running) -> None:
    pool = {"name": "huge", "concurrency_limit": 2**70}
    assert running.client.post("/work_pools/", json=pool).status_code < 500
    after = {"leases": [[UNKNOWN, 2**70]]}
    assert running.client.post("/millrace/leases/extend", json=after).json()["lost"] == [UNKNOWN]
    run = running.create_run(parameters={"x": 2**200, "y": 1e308})
    assert running.client.get(f"/flow_runs/{run['id']}").json()["parameters"] == {"x": 2**200, "y": 1e308}


# -- flows, runs, states


def test_flows(running: Running) -> None:
    client = running.client
    first = client.post("/flows/", json={"name": "known", "tags": ["a"], "unknown": 1})
    again = client.post("/flows", json={"name": "known"})
    assert (first.status_code, again.status_code) == (201, 200)
    flow = first.json()
    assert again.json()["id"] == flow["id"]
    assert client.get(f"/flows/{flow['id']}").json() == client.get("/flows/name/known").json()
    found = client.post("/flows/filter", json={"flows": {"name": {"any_": ["known"]}}, "limit": None, "offset": None})
    assert [f["id"] for f in found.json()] == [flow["id"]]
    assert client.post("/flows/filter").status_code == 200
    spaced = client.post("/flows/", json={"name": "naïve flow #1"}).json()
    assert client.get("/flows/name/na%C3%AFve flow %231").json()["id"] == spaced["id"]
    assert client.delete(f"/flows/{flow['id']}").status_code == 204
    assert client.get(f"/flows/{flow['id']}").status_code == 404


def test_a_run_from_begin_to_end(running: Running) -> None:
    client = running.client
    begun = running.begin("whole", parameters={"x": 1}, tags=["first"])
    run, lease = begun["flow_run"], begun["lease"]
    assert (run["state_type"], run["tags"], lease["attempt"]) == ("RUNNING", ["first"], 1)
    header = {"Millrace-Lease": f"{run['id']}/{lease['attempt']}"}
    extended = client.post("/millrace/leases/extend", json={"leases": [[run["id"], 1], [UNKNOWN, 1]]}).json()
    assert (extended["extended"], extended["lost"]) == ([run["id"]], [UNKNOWN])
    assert client.patch(f"/flow_runs/{run['id']}", json={"tags": ["t"]}, headers=header).status_code == 204
    assert client.patch(f"/flow_runs/{run['id']}/labels", json={"k": "v"}, headers=header).status_code == 204
    answer = client.post(
        f"/flow_runs/{run['id']}/set_state", json={"state": {"type": "COMPLETED", "data": None}}, headers=header
    )
    assert answer.status_code == 201
    assert answer.json()["status"] == "ACCEPT"
    read = client.get(f"/flow_runs/{run['id']}").json()
    assert (read["state_type"], read["tags"], read["labels"]["k"], read["run_count"]) == ("COMPLETED", ["t"], "v", 1)
    history = client.get("/flow_run_states/", params={"flow_run_id": run["id"]}).json()
    assert [s["type"] for s in history][-2:] == ["RUNNING", "COMPLETED"]
    again = client.post(f"/flow_runs/{run['id']}/set_state", json={"state": {"type": "RUNNING"}})
    assert again.status_code == 200
    assert again.json()["status"] in ("ABORT", "REJECT")
    assert client.post("/flow_runs/count", json={"flow_runs": {"id": {"any_": [run["id"]]}}}).json() == 1
    assert client.delete(f"/flow_runs/{run['id']}").status_code == 204


def test_a_lost_lease_fences_every_write(running: Running) -> None:
    client = running.client
    run = running.begin("fenced")["flow_run"]["id"]
    wrong = {"Millrace-Lease": f"{run}/7"}
    moment = datetime.now(UTC).isoformat()
    log = {"name": "n", "level": 20, "message": "ghost", "timestamp": moment, "flow_run_id": run}
    for method, path, body in [
        ("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "COMPLETED"}}),
        ("PATCH", f"/flow_runs/{run}", {"name": "ghost"}),
        ("POST", "/logs/", [log]),
        ("POST", "/events", [{"event": "ghost", "resource": {"prefect.resource.id": "x"}}]),
        ("POST", "/artifacts/", {"key": "ghost", "flow_run_id": run}),
        ("POST", "/flows/", {"name": "ghost"}),
    ]:
        answer = client.request(method, path, json=body, headers=wrong)
        assert (answer.status_code, answer.json()["code"]) == (409, "LeaseLost"), path
    assert client.get(f"/flow_runs/{run}").json()["name"] != "ghost"
    assert client.post("/logs/filter", json={"logs": {"flow_run_id": {"any_": [run]}}}).json() == []
    assert client.get("/flows/name/ghost").status_code == 404
    odd = client.post("/flows/", json={"name": "x"}, headers={"Millrace-Lease": "nonsense"})
    assert (odd.status_code, odd.json()["code"]) == (422, "InvalidInput")


def test_idempotency_keys(running: Running) -> None:
    flow = running.create_flow()
    body = {"flow_id": flow, "idempotency_key": "one", "state": None, "job_variables": None}
    first, again = (running.client.post("/flow_runs/", json=body) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]


def test_task_runs_come_as_events(running: Running) -> None:
    run = running.begin("with tasks")["flow_run"]["id"]
    task = str(uuid4())
    moment = datetime.now(UTC).isoformat()
    happened = {
        "id": str(uuid4()),
        "occurred": moment,
        "event": "prefect.task-run.Completed",
        "resource": {
            "prefect.resource.id": f"prefect.task-run.{task}",
            "prefect.resource.name": "add-0",
            "prefect.run-count": "1",
            "prefect.state-message": "",
            "prefect.state-type": "COMPLETED",
            "prefect.state-name": "Completed",
            "prefect.state-timestamp": moment,
        },
        "related": [{"prefect.resource.id": f"prefect.flow-run.{run}", "prefect.resource.role": "flow-run"}],
        "payload": {
            "intended": {"from": "RUNNING", "to": "COMPLETED"},
            "initial_state": {"type": "RUNNING", "name": "Running", "message": "", "state_details": {}},
            "validated_state": {
                "type": "COMPLETED",
                "name": "Completed",
                "message": "",
                "state_details": {},
                "data": None,
            },
            "task_run": {
                "task_key": "add",
                "dynamic_key": "0",
                "name": "add-0",
                "flow_run_id": run,
                "empirical_policy": {"max_retries": 0, "retry_delay_seconds": 0.0},
                "tags": [],
                "task_inputs": {},
                "run_count": 1,
                "start_time": moment,
                "end_time": moment,
            },
        },
    }
    assert running.client.post("/events", json=[happened, happened]).status_code == 204
    read = running.client.get(f"/task_runs/{task}").json()
    assert (read["name"], read["state_type"], read["flow_run_id"]) == ("add-0", "COMPLETED", run)
    found = running.client.post("/task_runs/filter", json={"task_runs": {"flow_run_id": {"any_": [run]}}}).json()
    assert [t["id"] for t in found] == [task]
    dummy = {"flow_run_id": run, "task_key": "child", "dynamic_key": "1", "state": {"type": "PENDING"}}
    assert running.client.post("/task_runs/", json=dummy).status_code == 201
    assert running.client.post("/task_runs/count", json={"flow_runs": {"id": {"any_": [run]}}}).json() == 2


def test_artifacts(running: Running) -> None:
    run = running.begin("leaves things")["flow_run"]["id"]
    body = {"key": "report", "type": "markdown", "data": "# one", "flow_run_id": run, "metadata_": {"a": "b"}}
    made = running.client.post("/artifacts/", json=body)
    assert made.status_code == 201
    second = running.client.post("/artifacts/", json=body | {"data": "# two"}).json()
    changed = running.client.patch(f"/artifacts/{second['id']}", json={"data": "# three"})
    assert changed.status_code == 204
    found = running.client.post("/artifacts/filter", json={"artifacts": {"key": {"any_": ["report"]}}}).json()
    assert sorted(a["data"] for a in found) == ["# one", "# three"]
    latest = running.client.post("/artifacts/latest/filter", json={"artifacts": {"key": {"any_": ["report"]}}}).json()
    assert [a["latest_id"] for a in latest] == [second["id"]]


def test_the_server_says_what_it_is(running: Running) -> None:
    client = running.client
    assert client.get("/admin/version").json().startswith("3.8.8+millrace")
    info = client.get("/admin/millrace", headers={"X-PREFECT-API-VERSION": "0.8.4"}).json()
    assert (info["embedded"], info["home"], info["api_version"]) == (False, None, "0.8.4")
    assert "claim" in info["features"]
    assert client.get("/ready").json() is True
    assert client.get("/admin/storage").json() == {"default_result_storage_block_id": None}
    assert client.delete("/automations/owned-by/prefect.deployment.x").status_code == 202


# -- durability, and what the machine does


def test_what_was_acknowledged_is_there_after_a_restart(tmp_path: Path) -> None:
    with run_server(tmp_path) as running:
        run = running.begin("kept")["flow_run"]
    with run_server(tmp_path) as running:
        read = running.client.get(f"/flow_runs/{run['id']}").json()
        assert (read["state_type"], read["attempt"]) == ("RUNNING", 1)
        extended = running.client.post("/millrace/leases/extend", json={"leases": [[run["id"], 1]]}).json()
        assert extended["extended"] == [run["id"]]


def test_a_port_in_use_is_said_clearly() -> None:
    with listen_tcp("127.0.0.1", 0) as taken, pytest.raises(SettingsError, match="in use"):
        listen_tcp("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(SettingsError, match="Cannot listen"):
        listen_tcp("127.0.0.1", 70000)


def test_a_client_that_goes_away_harms_nobody(running: Running) -> None:
    host, port = running.host.split(":")
    head = f"POST /api/flows/ HTTP/1.1\r\nHost: {running.host}\r\nAuthorization: Bearer {TOKEN}\r\n"
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall((head + "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{").encode())
    time.sleep(0.1)
    assert running.client.get("/health").json() is True


def test_requests_are_quick(running: Running) -> None:
    """Loose bounds, for a shared machine: what was measured on a quiet one is in the benchmarks."""
    running.begin("quick")
    assert median(lambda: running.client.get("/admin/version")) < 0.1
    assert median(lambda: running.begin("quick"), 10) < 0.5
    assert threading.active_count() < 60


def median(call: Callable[[], Any], times: int = 30) -> float:
    spans = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        spans.append(time.perf_counter() - started)
    return sorted(spans)[len(spans) // 2]


def test_inputs_of_runs_and_resuming(running: Running) -> None:
    client, run = running.client, running.begin("asks")["flow_run"]
    place = f"/flow_runs/{run['id']}"
    keys = {part: f"paused-1-{part}" for part in ("schema", "description", "response")}
    details = {"pause_key": "1", "run_input_keyset": keys}
    paused = client.post(f"{place}/set_state", json={"state": {"type": "PAUSED", "state_details": details}})
    assert paused.json()["status"] == "ACCEPT"
    schema = json.dumps({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]})
    assert client.post(f"{place}/input", json={"key": keys["schema"], "value": schema}).status_code == 201
    assert client.post(f"{place}/input", json={"key": keys["schema"], "value": "{}"}).status_code == 409
    assert client.post(f"{place}/input", json={"key": "a_b", "value": "{}"}).status_code == 422
    told = client.get(f"{place}/input/{keys['schema']}")
    assert (told.status_code, told.text, told.headers["content-type"]) == (200, schema, "text/plain; charset=utf-8")
    wrong = client.post(f"{place}/resume", json={"run_input": {"n": "x"}})
    assert (wrong.status_code, wrong.json()["status"], wrong.json()["state"]["type"]) == (200, "REJECT", "PAUSED")
    assert "'n'" in wrong.json()["details"]["reason"]
    right = client.post(f"{place}/resume", json={"run_input": {"n": 1}})
    assert (right.status_code, right.json()["state"]["type"]) == (201, "RUNNING")
    assert client.get(f"{place}/input/{keys['response']}").json() == {"n": 1}
    [found] = client.post(f"{place}/input/filter", json={"prefix": "paused-1-resp"}).json()
    assert (found["key"], json.loads(found["value"]), found["sender"]) == (keys["response"], {"n": 1}, None)
    again = client.post(f"{place}/resume")
    assert (again.status_code, again.json()["status"], again.json()["state"]) == (200, "ABORT", None)
    assert client.delete(f"{place}/input/{keys['response']}").status_code == 204
    assert client.get(f"{place}/input/{keys['response']}").status_code == 404
    assert client.post(f"/flow_runs/{UNKNOWN}/resume").status_code == 404
