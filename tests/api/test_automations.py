"""Automations on a running server: what they refuse, and what they send to real servers of mail and HTTP."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from millrace.server import courier
from receivers import Calls, Letters, mail_server, web_server

from .conftest import Running, run_server


@pytest.fixture
def letters() -> Iterator[Letters]:
    with mail_server() as found:
        yield found


@pytest.fixture
def calls() -> Iterator[Calls]:
    with web_server() as found:
        yield found


@pytest.fixture
def mill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setattr(courier, "FIRST_DELAY", 0.05)
    with run_server(tmp_path) as found:
        yield found


def watch(mill: Running, *actions: dict[str, Any], expect: str = "order.arrived", **fields: Any) -> dict[str, Any]:
    body = {"name": "a", "trigger": {"type": "event", "expect": [expect]}, "actions": list(actions), **fields}
    answer = mill.client.post("/automations/", json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def happens(mill: Running, name: str = "order.arrived", **fields: Any) -> None:
    event = {"event": name, "resource": {"prefect.resource.id": "order.1"}, **fields}
    assert mill.client.post("/events", json=[event]).status_code == 204


def told(mill: Running, ending: str, at_least: int = 1) -> list[dict[str, Any]]:
    """The payloads of the events of actions, as soon as there are so many."""
    wanted = {"filter": {"event": {"name": [f"prefect.automation.action.{ending}"]}, "order": "ASC"}}

    def look() -> list[dict[str, Any]]:
        found = mill.client.post("/events/filter", json=wanted).json()["events"]
        return [one["payload"] for one in found]

    return soon(look, lambda found: len(found) >= at_least)


def soon(look: Callable[[], Any], enough: Callable[[Any], bool] = bool) -> Any:
    deadline = time.monotonic() + 30
    while not enough(found := look()):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def secret(mill: Running, name: str, value: str) -> None:
    kind = mill.client.get("/block_types/slug/secret").json()
    fields = {"block_type_slug": "secret", "secret_fields": ["value"], "properties": {"value": {"title": "Value"}}}
    schema = mill.client.post("/block_schemas/", json={"fields": fields, "block_type_id": kind["id"]}).json()
    body = {
        "name": name,
        "data": {"value": value},
        "block_schema_id": schema["id"],
        "block_type_id": kind["id"],
    }
    assert mill.client.post("/block_documents/", json=body).status_code == 201


def test_a_webhook_is_called_with_what_happened_and_secrets_by_name(mill: Running, calls: Calls) -> None:
    mill.client.post("/block_types/", json={"name": "Secret", "slug": "secret"})
    secret(mill, "hook-token", "s3cret")
    watch(
        mill,
        {
            "type": "call-webhook",
            "url": f"{calls.url}/hook?key={{{{ prefect.blocks.secret.hook-token }}}}",
            "headers": {"Authorization": "Bearer {{ prefect.blocks.secret.hook-token }}"},
            "payload": {"rows": "{{ event.payload.rows }}", "of": "{{ event.resource.id }}"},
        },
    )
    happens(mill, payload={"rows": 3})
    ((_, path, headers, body),) = soon(lambda: list(calls.received))
    assert (path, body) == ("/hook?key=s3cret", b'{"rows": 3, "of": "order.1"}')
    assert headers["authorization"] == "Bearer s3cret"
    (done,) = told(mill, "executed")
    assert (done["status_code"], done["invocation"]) == (200, headers["idempotency-key"])
    assert "s3cret" not in mill.client.post("/automations/filter").text


def test_a_webhook_that_fails_is_tried_again_and_then_given_up(mill: Running, calls: Calls) -> None:
    watch(mill, {"type": "call-webhook", "url": f"{calls.url}/hook", "payload": "{{ event.event }}"})
    calls.answers[:] = [503, 429]
    happens(mill)
    told(mill, "executed")
    assert [body for *_, body in calls.received] == [b"order.arrived"] * 3
    assert len({headers["idempotency-key"] for _, _, headers, _ in calls.received}) == 1
    calls.answers[:] = [500] * 10
    happens(mill)
    (failed,) = told(mill, "failed")
    assert (failed["reason"], failed["attempts"]) == ("127.0.0.1 answered 500.", courier.ATTEMPTS)


@pytest.mark.parametrize(("status", "why"), [(302, "redirects are not followed"), (404, "answered 404")])
def test_a_webhook_is_not_tried_again_where_that_is_no_use(mill: Running, calls: Calls, status: int, why: str) -> None:
    watch(mill, {"type": "call-webhook", "url": calls.url})
    calls.answers[:] = [status] * 10
    happens(mill)
    (failed,) = told(mill, "failed")
    assert why in failed["reason"]
    assert len(calls.received) == 1


def test_an_email_carries_the_page_of_the_run(mill: Running, letters: Letters) -> None:
    watch(
        mill,
        {
            "type": "send-notification",
            "email": {"to": ["ops@example.org", "me@example.org"], "server": letters.url, "sender": "mill@example.org"},
            "subject": "{{ flow.name }} {{ flow_run.state.name }}",
            "body": "{{ flow_run.name }}: {{ flow_run.state.message }}",
        },
        expect="prefect.flow-run.Failed",
    )
    run = mill.create_run(name="trout")
    directory = mill.context.settings.run_directory(run["id"])
    directory.mkdir(parents=True)
    (directory / "book.html").write_text("<h1>Größe</h1>")
    for kind in ("RUNNING", "FAILED"):
        state = {"state": {"type": kind, "message": "no bait\nleft"}}
        assert mill.client.post(f"/flow_runs/{run['id']}/set_state", json=state).status_code == 201
    (letter,) = soon(lambda: list(letters.received))
    assert (letter["Subject"], letter["To"]) == ("etl Failed", "ops@example.org, me@example.org")
    assert letter.get_body().get_content().split() == ["trout:", "no", "bait", "left"]
    (page,) = letter.iter_attachments()
    assert (page.get_filename(), page.get_content_type()) == ("book.html", "text/html")
    assert page.get_payload(decode=True) == "<h1>Größe</h1>".encode()
    (done,) = told(mill, "executed")
    assert (done["recipients"], done["attached"]) == (2, True)
    assert letters.recipients == ["<ops@example.org>", "<me@example.org>"]


def test_a_mail_server_that_is_busy_is_asked_again_and_one_that_refuses_is_not(mill: Running, letters: Letters) -> None:
    email = {"to": ["ops@example.org"], "server": letters.url}
    watch(mill, {"type": "send-notification", "email": email, "body": "{{ event.event }}"})
    letters.refusals[:] = [451]
    happens(mill)
    told(mill, "executed")
    (letter,) = letters.received
    assert letter["Subject"] == "Millrace: a"
    letters.refusals[:] = [550]
    happens(mill)
    (failed,) = told(mill, "failed")
    assert "550 not now" in failed["reason"]


def test_a_line_break_in_a_template_makes_no_header(mill: Running, letters: Letters) -> None:
    email = {"to": ["{{ event.payload.to }}"], "server": letters.url}
    action = {"type": "send-notification", "email": email, "subject": "{{ event.payload.what }}", "body": "x"}
    watch(mill, action)
    happens(mill, payload={"to": "a@example.org", "what": "one\r\nBcc: evil@example.org"})
    (letter,) = soon(lambda: list(letters.received))
    assert (letter["Subject"], letter["Bcc"]) == ("one Bcc: evil@example.org", None)
    happens(mill, payload={"to": "a@example.org\r\nBcc: evil@example.org", "what": "two"})
    told(mill, "failed")
    assert len(letters.received) == 1


def test_what_was_not_sent_when_the_server_ended_is_sent_by_the_next(tmp_path: Path, calls: Calls) -> None:
    with run_server(tmp_path) as mill:
        watch(mill, {"type": "call-webhook", "url": f"{calls.url}/hook"})
        calls.answers[:] = [503]
        happens(mill)
        soon(lambda: list(calls.received))
    with run_server(tmp_path) as mill:
        told(mill, "executed")
    assert len({headers["idempotency-key"] for _, _, headers, _ in calls.received}) == 1


def test_no_slow_receiver_holds_up_the_others(mill: Running, calls: Calls) -> None:
    with deaf() as port:
        for _ in range(courier.AT_ONCE - 1):
            watch(mill, {"type": "call-webhook", "url": f"http://127.0.0.1:{port}"}, expect="slow")
        watch(mill, {"type": "call-webhook", "url": calls.url})
        happens(mill, "slow")
        happens(mill)
        soon(lambda: list(calls.received))


@contextmanager
def deaf() -> Iterator[int]:
    """A port that takes connections and never says anything."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        found.listen(50)
        yield found.getsockname()[1]


REFUSED = [
    ({"actions": [{"type": "run-deployment", "source": "selected"}]}, "deployment_id is required"),
    (
        {"actions": [{"type": "run-deployment", "source": "inferred", "parameters": {"n": "{{ 1 + 1 }}"}}]},
        "is not a plain name",
    ),
    (
        {"actions": [{"type": "run-deployment", "source": "inferred", "parameters": {"n": "{% if x %}"}}]},
        "filled in, not run",
    ),
    (
        {"actions": [{"type": "run-deployment", "source": "inferred", "parameters": {"n": ["{{ os.environ }}"]}}]},
        "begins with none of",
    ),
    (
        {"actions": [{"type": "send-notification", "email": {"to": ["a"]}, "body": "{{ prefect.blocks.secret.x }}"}]},
        "begins with none of",
    ),
    ({"actions": [{"type": "call-webhook"}]}, "block_document_id or url"),
    ({"actions": [{"type": "declare-incident"}]}, "declare-incident"),
    ({"trigger": {"type": "event", "posture": "Proactive", "within": 5}}, "at least 10 seconds"),
    ({"trigger": {"type": "compound", "require": 3, "triggers": [{"type": "event"}]}}, "require must be between 1"),
    (
        {"trigger": {"type": "metric", "metric": {"name": "duration", "threshold": 1, "operator": ">"}}},
        "metric triggers are not supported",
    ),
    (
        {
            "trigger": {"type": "event", "expect": ["prefect.flow-run.Running"]},
            "actions": [{"type": "run-deployment", "source": "inferred"}],
        },
        "would never end",
    ),
]


@pytest.mark.parametrize(("fields", "why"), REFUSED, ids=[why for _, why in REFUSED])
def test_what_cannot_work_is_refused(running: Running, fields: dict[str, Any], why: str) -> None:
    body = {"name": "a", "trigger": {"type": "event", "expect": ["x"]}, "actions": [], **fields}
    answer = running.client.post("/automations/", json=body)
    assert answer.status_code == 422
    assert why in answer.text


def test_automations_go_with_the_deployment_that_owns_them(running: Running) -> None:
    flow = running.create_flow()
    made = running.client.post("/deployments/", json={"name": "d", "flow_id": flow}).json()
    owner = f"prefect.deployment.{made['id']}"
    owned = watch(running, {"type": "do-nothing"}, owner_resource=owner)
    acting = watch(running, {"type": "pause-deployment", "deployment_id": made["id"]})
    found = running.client.get(f"/automations/related-to/{owner}").json()
    assert {one["id"] for one in found} == {owned["id"], acting["id"]}
    running.client.delete(f"/deployments/{made['id']}")
    assert running.client.get(f"/automations/{owned['id']}").status_code == 404
    assert running.client.get(f"/automations/{acting['id']}").status_code == 200
