"""Streams: events and logs as they are stored, with resume, and never silent."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from millrace.schema.events import Event, EventFilter, ReceivedEvent
from millrace.schema.logs import Log, LogFilter
from millrace.server.matching import event_matches, log_matches
from millrace.server.streams import in_order, parse_cursor
from promises import Promise

from .conftest import TOKEN, Running, run_server


def event(name: str = "test.happened", resource: str = "test.thing.1", **fields: Any) -> dict[str, Any]:
    return {
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": name,
        "resource": {"prefect.resource.id": resource},
        "related": [],
        "payload": {},
        **fields,
    }


def line(run: str, message: str, level: int = 20) -> dict[str, Any]:
    moment = datetime.now(UTC).isoformat()
    return {"name": "test", "level": level, "message": message, "timestamp": moment, "flow_run_id": run}


@contextmanager
def socket(running: Running, path: str) -> Iterator[ClientConnection]:
    with connect(
        running.websocket_url + path,
        subprotocols=["prefect"],  # type: ignore[list-item]
        proxy=None,
    ) as connection:
        connection.send(json.dumps({"type": "auth", "token": TOKEN}))
        assert json.loads(connection.recv(timeout=5)) == {"type": "auth_success"}
        yield connection


def heard(connection: ClientConnection, act: Callable[[], object]) -> Any:
    """The first message of what is done, again and again: when the server has begun to listen, nobody is told."""
    for _ in range(50):
        act()
        with suppress(TimeoutError):
            return json.loads(connection.recv(timeout=0.2))
    raise AssertionError("nothing was heard in ten seconds")


class Reader:
    """Reads server-sent events in a thread."""

    def __init__(self, running: Running, **query: Any) -> None:
        self.messages: list[dict[str, Any]] = []
        self.comments = 0
        self._arrived = threading.Condition()
        self._client = httpx.Client(headers=running.client.headers, timeout=None, trust_env=False)
        headers = {"Last-Event-ID": query.pop("last_event_id")} if "last_event_id" in query else {}
        self._request = self._client.stream("GET", running.url + "/millrace/events", params=query, headers=headers)
        self._response = self._request.__enter__()
        assert self._response.status_code == 200
        assert self._response.headers["content-type"].startswith("text/event-stream")
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        current: dict[str, Any] = {}
        try:
            for text in self._response.iter_lines():
                if text.startswith(":"):
                    self.comments += 1
                elif text:
                    name, _, value = text.partition(": ")
                    current[name] = json.loads(value) if name == "data" else value
                elif current:
                    with self._arrived:
                        self.messages.append(current)
                        self._arrived.notify_all()
                    current = {}
        except (httpx.HTTPError, OSError):
            pass

    def wait(self, enough: Callable[[list[dict[str, Any]]], Any], timeout: float = 5) -> list[dict[str, Any]]:
        with self._arrived:
            assert self._arrived.wait_for(lambda: enough(self.messages), timeout), self.messages
            return list(self.messages)

    def names(self) -> list[str]:
        return [m["data"]["event"] for m in self.messages if m["event"] == "event"]

    def close(self) -> None:
        self._client.close()


def test_a_run_is_followed_live_with_its_logs_in_order(running: Running) -> None:
    begun = running.begin("followed")["flow_run"]
    reader = Reader(running, flow_run_id=begun["id"], logs="true")
    reader.wait(lambda ms: any(m["event"] == "event" for m in ms))
    other = running.begin("other")["flow_run"]
    running.client.post("/logs/", json=[line(begun["id"], f"line {i}") for i in range(3)])
    running.client.post("/logs/", json=[line(other["id"], "not mine")])
    done = {"state": {"type": "COMPLETED"}}
    at_once = Promise(2)
    assert running.client.post(f"/flow_runs/{begun['id']}/set_state", json=done).json()["status"] == "ACCEPT"
    messages = reader.wait(lambda ms: ms[-1]["event"] == "event" and "Completed" in ms[-1]["data"]["event"])
    at_once.kept()
    reader.close()
    lines = [text["message"] for m in messages if m["event"] == "logs" for text in m["data"]]
    assert lines == ["line 0", "line 1", "line 2"]
    assert reader.names()[-1] == "prefect.flow-run.Completed"
    assert all(m["data"]["sequence"] for m in messages if m["event"] == "event")


def test_what_is_found_together_is_told_as_it_happened() -> None:
    began = datetime(2026, 3, 1, tzinfo=UTC)

    def happened(second: float, name: str, state: str = "RUNNING") -> ReceivedEvent:
        labels = {"prefect.resource.id": f"prefect.flow-run.{uuid4()}", "prefect.state-type": state}
        at = began + timedelta(seconds=second)
        return ReceivedEvent(occurred=at, event=name, resource=labels, received=at)

    def said(number: int, second: float) -> tuple[int, Log]:
        at = began + timedelta(seconds=second)
        return number, Log(id=uuid4(), name="x", level=20, message=str(number), timestamp=at)

    lines = [said(1, 0.5), said(2, 2.5), said(3, 2.0), said(4, 9.0)]
    events = [happened(1, "Running"), happened(2.6, "Paused", "PAUSED"), happened(3, "Completed", "COMPLETED")]
    told = [
        one.event if isinstance(one, ReceivedEvent) else [number for number, _ in one]
        for one in in_order(lines, events)
    ]
    assert told == [[1], "Running", [2, 3], "Paused", [4], "Completed"]
    assert list(in_order(lines[:1], [])) == [lines[:1]] and list(in_order([], events)) == events


def test_a_stream_resumes_where_it_was(running: Running) -> None:
    run = running.begin("resumed")["flow_run"]["id"]
    running.client.post("/logs/", json=[line(run, f"line {i}") for i in range(1200)])
    for state in ("COMPLETED",):
        running.client.post(f"/flow_runs/{run}/set_state", json={"state": {"type": state}})
    whole = Reader(running, flow_run_id=run, logs="true")
    messages = whole.wait(lambda ms: "prefect.flow-run.Completed" in whole.names(), 10)
    whole.close()
    texts = [text["message"] for m in messages if m["event"] == "logs" for text in m["data"]]
    assert texts == [f"line {i}" for i in range(1200)]
    for cut, message in enumerate(messages[:-1]):
        for how in ("after", "last_event_id"):
            again = Reader(running, flow_run_id=run, logs="true", **{how: message["id"]})
            rest = again.wait(lambda ms, want=len(messages) - cut - 1: len(ms) >= want)
            again.close()
            assert [m["id"] for m in rest] == [m["id"] for m in messages[cut + 1 :]]


def test_without_a_run_everything_from_now_on(running: Running) -> None:
    running.client.post("/events", json=[event("test.before")])
    reader = Reader(running)
    running.client.post("/events", json=[event("test.after")])
    reader.wait(lambda ms: ms)
    reader.close()
    assert reader.names() == ["test.after"]


@pytest.mark.parametrize("query", [{"after": "x"}, {"after": "1.2.3"}, {"after": "9" * 30}, {"flow_run_id": "me"}])
def test_a_wrong_cursor_is_an_error(running: Running, query: dict[str, str]) -> None:
    answer = running.client.get("/millrace/events", params=query)
    assert answer.status_code == 422
    assert answer.json()["code"] == "InvalidInput"


def test_events_in_are_stored_once(running: Running) -> None:
    sent = [event(f"test.in.{i}") for i in range(50)]
    with socket(running, "/events/in") as connection:
        for one in sent + sent[:10]:
            connection.send(json.dumps(one))
    until(lambda: len(stored(running, "test.in.")) >= 50)
    assert sorted(e["event"] for e in stored(running, "test.in.")) == sorted(e["event"] for e in sent)


def test_events_in_says_what_it_cannot_read(running: Running) -> None:
    for text in ("nonsense", '{"event": 1}'):
        with socket(running, "/events/in") as connection:
            connection.send(text)
            with pytest.raises(ConnectionClosed) as closed:
                connection.recv(timeout=5)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1007


def test_events_out_sends_the_last_minutes_and_what_comes(running: Running) -> None:
    running.client.post("/events", json=[event("test.out.known"), event("other.known")])
    old = event("test.out.old", occurred=(datetime.now(UTC) - timedelta(hours=2)).isoformat())
    running.client.post("/events", json=[old])
    # as Prefect's client sends it: until the moment it made the filter, and no ids
    until_now = {"since": "2026-01-01T00:00:00Z", "until": datetime.now(UTC).isoformat()}
    wanted = {"event": {"prefix": ["test.out."]}, "occurred": until_now, "id": {"id": []}}
    with socket(running, "/events/out") as connection:
        connection.send(json.dumps({"type": "filter", "filter": wanted}))
        first = json.loads(connection.recv(timeout=5))
        assert (first["type"], first["event"]["event"]) == ("event", "test.out.known")
        running.client.post("/events", json=[event("other.live"), event("test.out.live")])
        assert json.loads(connection.recv(timeout=5))["event"]["event"] == "test.out.live"
    with socket(running, "/events/out") as connection:
        connection.send(json.dumps({"type": "filter", "backfill": False, "filter": wanted}))
        later = heard(connection, lambda: running.client.post("/events", json=[event("test.out.later")]))
        assert later["event"]["event"] == "test.out.later"


def test_logs_out_sends_what_comes(running: Running) -> None:
    run = running.begin("talks")["flow_run"]["id"]
    running.client.post("/logs/", json=[line(run, "before")])
    with socket(running, "/logs/out") as connection:
        connection.send(
            json.dumps({"type": "filter", "filter": {"level": {"ge_": 30}, "flow_run_id": {"any_": [run]}}})
        )
        message = heard(
            connection, lambda: running.client.post("/logs/", json=[line(run, "quiet"), line(run, "loud", 40)])
        )
    assert (message["type"], message["log"]["message"]) == ("log", "loud")


def test_a_stream_that_gets_no_filter_ends(running: Running) -> None:
    for path in ("/events/out", "/logs/out"):
        with socket(running, path) as connection:
            connection.send(json.dumps({"type": "hello"}))
            with pytest.raises(ConnectionClosed) as closed:
                connection.recv(timeout=5)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1002


def test_streams_end_when_the_server_stops(tmp_path: Path) -> None:
    with run_server(tmp_path, loops=False) as running:
        reader = Reader(running)
        with socket(running, "/events/out") as connection:
            connection.send(json.dumps({"type": "filter", "filter": {}}))
            time.sleep(0.2)
            soon = Promise(2.5)
            running.server.should_exit = True
            with pytest.raises(ConnectionClosed):
                connection.recv(timeout=soon.ceiling)
            reader._thread.join(soon.ceiling)
            soon.kept()
    reader.close()


def test_many_followers_hold_no_threads(running: Running) -> None:
    readers = [Reader(running) for _ in range(60)]
    soon = Promise(2)
    assert running.client.get("/millrace/counters").status_code == 200
    soon.kept()
    running.client.post("/events", json=[event("test.many")])
    for reader in readers:
        reader.wait(lambda ms: ms, 10)
        reader.close()


def stored(running: Running, prefix: str) -> list[dict[str, Any]]:
    query = {"filter": {"event": {"prefix": [prefix]}}, "limit": 50}
    return list(running.client.post("/events/filter", json=query).json()["events"])


def until(true: Callable[[], bool], timeout: float = 5) -> None:
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def hello(**fields: Any) -> str:
    payload = {
        "consumer_id": str(uuid4()),
        "worker_name": "polls",
        "worker_type": "process",
        "heartbeat_interval_seconds": 30,
        "supported_channel_versions": ["work_pool_worker_channel.v1"],
        "requested_capabilities": ["worker_heartbeat.v1", "work_pool_snapshot.v1", "cleanup_delivery.v1"],
        **fields,
    }
    frame = {"type": "worker.hello.v1", "id": str(uuid4()), "sent_at": datetime.now(UTC).isoformat()}
    return json.dumps(frame | {"payload": payload})


def test_a_polling_worker_is_served(running: Running) -> None:
    template = {"job_configuration": {}, "variables": {}}
    with socket(running, "/work_pools/channel/workers/connect") as connection:
        connection.send(hello(create_pool_if_not_found=True, default_base_job_template=template))
        ready = json.loads(connection.recv(timeout=5))
        assert ready["type"] == "worker.ready.v1"
        payload = ready["payload"]
        assert payload["accepted_capabilities"] == ["worker_heartbeat.v1", "work_pool_snapshot.v1"]
        assert payload["rejected_capabilities"] == ["cleanup_delivery.v1"]
        assert payload["initial_snapshot"]["work_pool"]["base_job_template"] == template
        workers = running.client.post("/work_pools/channel/workers/filter").json()
        assert [(w["name"], w["status"]) for w in workers] == [("polls", "ONLINE")]
        connection.send(json.dumps({"type": "worker.heartbeat.v1", "payload": {}}))
        running.client.patch("/work_pools/channel", json={"is_paused": True})
        changed = json.loads(connection.recv(timeout=5))
        assert (changed["type"], changed["payload"]["snapshot_sequence"]) == ("work_pool.snapshot.v1", 2)
        assert changed["payload"]["work_pool"]["is_paused"] is True


@pytest.mark.parametrize(
    ("first", "code"),
    [("nonsense", 1002), (hello(), 1002), (hello(supported_channel_versions=["work_pool_worker_channel.v9"]), 1008)],
)
def test_a_polling_worker_is_refused_clearly(running: Running, first: str, code: int) -> None:
    with socket(running, "/work_pools/unknown/workers/connect") as connection:
        connection.send(first)
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(timeout=5)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == code


# -- the filters themselves

RELATED = [
    {"prefect.resource.id": "prefect.flow.1", "prefect.resource.role": "flow", "team": "data"},
    {"prefect.resource.id": "prefect.tag.a", "prefect.resource.role": "tag"},
]


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        ({}, True),
        ({"event": {"prefix": ["prefect.flow-run."]}}, True),
        ({"event": {"prefix": ["prefect.task-run."]}}, False),
        ({"event": {"exclude_prefix": ["prefect."]}}, False),
        ({"event": {"name": ["prefect.flow-run.Running"]}}, True),
        ({"event": {"exclude_name": ["prefect.flow-run.Running"]}}, False),
        ({"resource": {"id": ["prefect.flow-run.9"]}}, True),
        ({"resource": {"id": ["prefect.flow-run.8"]}}, False),
        ({"resource": {"id_prefix": ["prefect.flow-run."]}}, True),
        ({"resource": {"labels": {"prefect.resource.name": "my *"}}}, True),
        ({"resource": {"labels": {"prefect.resource.name": ["!my *"]}}}, False),
        ({"resource": {"labels": {"unknown": ["*"]}}}, False),
        ({"related": {"role": ["flow"], "id": ["prefect.flow.1"]}}, True),
        ({"related": {"role": ["tag"], "id": ["prefect.flow.1"]}}, False),
        ({"related": [{"role": ["tag"]}, {"labels": {"team": "data"}}]}, True),
        ({"related": {"resources_in_roles": [["prefect.tag.a", "tag"]]}}, True),
        ({"any_resource": {"id": ["prefect.tag.a"]}}, True),
        ({"any_resource": {"id": ["prefect.tag.b"]}}, False),
        ({"any_resource": [{"id_prefix": ["prefect.flow-run"]}, {"id_prefix": ["prefect.tag"]}]}, True),
        ({"occurred": {"since": "2100-01-01T00:00:00Z"}}, False),
        ({"occurred": {"until": "2000-01-01T00:00:00Z", "since": "1999-01-01T00:00:00Z"}}, False),
        ({"text": {"query": "MY RUN"}}, True),
        ({"id": {"id": [str(uuid4())]}}, False),
    ],
)
def test_event_filters(wanted: dict[str, Any], fits: bool) -> None:
    happened = Event(
        event="prefect.flow-run.Running",
        resource={"prefect.resource.id": "prefect.flow-run.9", "prefect.resource.name": "my run"},
        related=RELATED,
    )
    assert event_matches(happened, EventFilter.model_validate(wanted)) is fits


def test_log_filters() -> None:
    run, task = uuid4(), uuid4()
    log = Log(id=uuid4(), name="n", level=20, message="m", timestamp=datetime(2026, 1, 1), flow_run_id=run)
    for wanted, fits in [
        ({}, True),
        ({"level": {"ge_": 20, "le_": 20}}, True),
        ({"level": {"ge_": 30}}, False),
        ({"flow_run_id": {"any_": [run]}}, True),
        ({"flow_run_id": {"any_": [task]}}, False),
        ({"task_run_id": {"is_null_": True}}, True),
        ({"task_run_id": {"is_null_": False}}, False),
        ({"timestamp": {"after_": "2026-01-02T00:00:00Z"}}, False),
        ({"timestamp": {"before_": "2026-01-02T00:00:00Z"}}, True),
    ]:
        assert log_matches(log, LogFilter.model_validate(wanted)) is fits, wanted


def test_cursors() -> None:
    assert parse_cursor("3.4") == (3, 4)
    assert parse_cursor(None) is None
