"""Artifacts, variables and blocks, by real requests; what is secret, in the database and in answers."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from millrace.store.vault import Vault

from .conftest import Running, run_server

CANARY = "canary-7f3a9c-hunter22"
FIELDS = {
    "title": "Secret",
    "type": "object",
    "properties": {"value": {"title": "Value"}, "nested": {"type": "object"}, "user": {"type": "string"}},
    "secret_fields": ["value", "nested.*"],
    "block_type_slug": "secret",
    "block_schema_references": {},
}


def posted(running: Running, path: str, body: Any, status: int = 201) -> Any:
    answer = running.client.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


# -- variables


def test_variables(running: Running) -> None:
    client = running.client
    name = f"batch_size-{uuid4().hex}"
    made = posted(running, "/variables/", {"name": name, "value": {"rows": [1, 2.5, None, True]}, "tags": ["a"]})
    assert (made["name"], made["value"], made["tags"]) == (name, {"rows": [1, 2.5, None, True]}, ["a"])
    assert client.get(f"/variables/name/{name}").json() == client.get(f"/variables/{made['id']}").json() == made
    again = client.post("/variables/", json={"name": name, "value": 1})
    assert (again.status_code, again.json()["code"]) == (409, "AlreadyExists")
    assert client.patch(f"/variables/name/{name}", json={"value": None}).status_code == 204
    changed = client.get(f"/variables/name/{name}").json()
    assert (changed["value"], changed["tags"]) == (None, ["a"])
    assert client.patch(f"/variables/{made['id']}", json={"name": f"{name}-2", "tags": ["b"]}).status_code == 204
    wanted = {"variables": {"name": {"like_": "batch_size"}, "tags": {"all_": ["b"]}}}
    assert [found["name"] for found in posted(running, "/variables/filter", wanted, 200)] == [f"{name}-2"]
    assert posted(running, "/variables/count", wanted, 200) == 1
    assert client.delete(f"/variables/name/{name}-2").status_code == 204
    assert client.get(f"/variables/{made['id']}").status_code == 404
    assert client.delete(f"/variables/{made['id']}").status_code == 404


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"name": "Big Name", "value": 1}, "lowercase letters, digits, dashes and underscores"),
        ({"name": "a" * 256, "value": 1}, "at most 255"),
        ({"name": "large", "value": "x" * 5000}, "5,002 bytes"),
    ],
)
def test_variables_that_are_refused(running: Running, body: Any, said: str) -> None:
    answer = running.client.post("/variables/", json=body)
    assert answer.status_code == 422
    assert said in answer.text


# -- artifacts


def test_the_newest_artifact_of_a_key(running: Running) -> None:
    client = running.client
    key = f"rows-{uuid4().hex}"
    first, second = (posted(running, "/artifacts/", {"key": key, "type": "markdown", "data": d}) for d in "12")
    assert client.get(f"/artifacts/{key}/latest").json()["id"] == second["id"]
    assert client.get(f"/artifacts/{first['id']}").json()["data"] == "1"
    of_key = {"artifacts": {"key": {"any_": [key]}}}
    assert posted(running, "/artifacts/count", of_key, 200) == 2
    assert posted(running, "/artifacts/latest/count", of_key, 200) == 1
    assert client.delete(f"/artifacts/{second['id']}").status_code == 204
    assert client.get(f"/artifacts/{key}/latest").json()["id"] == first["id"]
    assert client.delete(f"/artifacts/{first['id']}").status_code == 204
    assert client.get(f"/artifacts/{key}/latest").status_code == 404
    assert posted(running, "/artifacts/latest/count", of_key, 200) == 0


# -- blocks


def kept(running: Running, name: str, data: Any) -> dict[str, Any]:
    """A document of a type of its own."""
    kind = posted(running, "/block_types/", {"name": f"Kind {uuid4()}", "slug": f"kind-{uuid4()}"})
    schema = posted(
        running, "/block_schemas/", {"fields": {**FIELDS, "block_type_slug": kind["slug"]}, "block_type_id": kind["id"]}
    )
    body = {"name": name, "data": data, "block_schema_id": schema["id"], "block_type_id": kind["id"]}
    made: dict[str, Any] = posted(running, "/block_documents/", body)
    return made


def test_a_secret_is_masked_unless_it_is_asked_for(running: Running) -> None:
    client = running.client
    data = {"value": CANARY, "nested": {"a": CANARY, "b": None}, "user": "me"}
    masked = {"value": "********", "nested": {"a": "********", "b": None}, "user": "me"}
    made = kept(running, "mine", data)
    assert made["data"] == masked
    slug = made["block_type"]["slug"]
    for path in (f"/block_documents/{made['id']}", f"/block_types/slug/{slug}/block_documents/name/mine"):
        assert client.get(path).json()["data"] == masked
        assert client.get(path, params={"include_secrets": True}).json()["data"] == data
    listed = f"/block_types/slug/{slug}/block_documents"
    assert [one["data"] for one in client.get(listed).json()] == [masked]
    query = {"block_types": {"slug": {"any_": [slug]}}}
    assert [one["data"] for one in posted(running, "/block_documents/filter", query, 200)] == [masked]
    asked = posted(running, "/block_documents/filter", {**query, "include_secrets": True}, 200)
    assert [one["data"] for one in asked] == [data]
    assert posted(running, "/block_documents/count", query, 200) == 1


def test_a_masked_secret_that_comes_back_stays_as_it_was(running: Running) -> None:
    made = kept(running, "kept", {"value": CANARY, "user": "me"})
    path = f"/block_documents/{made['id']}"
    assert running.client.patch(path, json={"data": {"value": "********", "user": "you"}}).status_code == 204
    assert running.client.get(path, params={"include_secrets": True}).json()["data"] == {"value": CANARY, "user": "you"}
    assert running.client.patch(path, json={"data": {"value": "new"}}).status_code == 204
    assert running.client.get(path, params={"include_secrets": True}).json()["data"] == {"value": "new", "user": "you"}
    whole = {"data": {"value": "newer"}, "merge_existing_data": False}
    assert running.client.patch(path, json=whole).status_code == 204
    assert running.client.get(path, params={"include_secrets": True}).json()["data"] == {"value": "newer"}


def test_a_schema_is_known_by_its_fields(running: Running) -> None:
    kind = posted(running, "/block_types/", {"name": "Known", "slug": "known"})
    body = {"fields": {**FIELDS, "title": "Known"}, "block_type_id": kind["id"], "version": "1"}
    first = posted(running, "/block_schemas/", body)
    again = posted(running, "/block_schemas/", {**body, "fields": {**body["fields"], "secret_fields": []}}, 200)  # type: ignore[dict-item]
    assert again["id"] == first["id"]
    found = running.client.get(f"/block_schemas/checksum/{first['checksum']}", params={"version": "1"}).json()
    assert (found["id"], found["block_type"]["slug"]) == (first["id"], "known")
    assert running.client.get(f"/block_schemas/checksum/{first['checksum']}?version=2").status_code == 404
    assert running.client.delete(f"/block_types/{kind['id']}").status_code == 204
    assert running.client.get(f"/block_schemas/{first['id']}").status_code == 404


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"name": None}, 422, "needs a name"),
        ({"block_type_id": str(uuid4())}, 404, "No block type"),
        ({"block_schema_id": str(uuid4())}, 404, "No block schema"),
        (
            {"name": "o", "data": {"other": {"$ref": {"block_document_id": str(uuid4())}}}},
            422,
            "refers to another block",
        ),
        ({}, 409, "There is a block"),
    ],
)
def test_documents_that_are_refused(running: Running, change: Any, status: int, said: str) -> None:
    made = kept(running, "there", {"value": CANARY})
    body = {key: made[key] for key in ("name", "block_type_id", "block_schema_id")} | {"data": {"value": CANARY}}
    answer = running.client.post("/block_documents/", json=body | change)
    assert (answer.status_code, said in answer.text) == (status, True), answer.text
    assert CANARY not in answer.text


# -- at rest


def files_with(directory: Path, text: str) -> list[str]:
    return [str(p) for p in directory.rglob("*") if p.is_file() and text.encode() in p.read_bytes()]


def test_the_database_and_its_log_hold_no_secret(tmp_path: Path) -> None:
    with run_server(tmp_path) as running:
        made = kept(running, "at rest", {"value": CANARY, "user": "visible user"})
        running.client.patch(f"/block_documents/{made['id']}", json={"data": {"value": CANARY + "2"}})
        home = running.context.settings.home
        held = [p.name for p in home.rglob("*") if p.is_file()]
        assert any(name.endswith("-wal") for name in held), held
        assert files_with(home, "visible user")
        assert not files_with(home, CANARY)
        events = posted(running, "/events/filter", {}, 200)
        assert CANARY not in json.dumps(events)
        key = running.context.settings.key_file
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert not files_with(tmp_path, CANARY)


def test_a_lost_or_wrong_key_is_told_and_never_replaced(tmp_path: Path) -> None:
    with run_server(tmp_path) as running:
        made = kept(running, "mine", {"value": CANARY})
        key = running.context.settings.key_file
    right = key.read_text()
    path = f"/block_documents/{made['id']}"
    for wrong, said in ((None, "is gone"), (Vault.fresh_key(), "another key"), ("short", "malformed")):
        key.unlink(missing_ok=True)
        if wrong is not None:
            key.write_text(wrong)
        with run_server(tmp_path) as running:
            assert running.client.get(path).json()["data"] == {"value": "********"}
            answer = running.client.get(path, params={"include_secrets": True})
            assert answer.status_code in (409, 422)
            assert said in answer.text
            other = {"name": "o", "data": {}, **{k: made[k] for k in ("block_type_id", "block_schema_id")}}
            refused = running.client.post("/block_documents/", json=other)
            assert refused.status_code in (409, 422)
            assert said in refused.text
        assert key.exists() == (wrong is not None)
    key.write_text(right)
    with run_server(tmp_path) as running:
        assert running.client.get(path, params={"include_secrets": True}).json()["data"] == {"value": CANARY}
    os.unlink(key)
    with run_server(tmp_path) as running:
        assert running.client.delete(path).status_code == 204
        kept(running, "under a new key", {"value": CANARY})
