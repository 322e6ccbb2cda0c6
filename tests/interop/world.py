"""The things that a generated request is about, made on each server when a request first names them."""

from __future__ import annotations

import re
import time
from typing import Any
from urllib.parse import quote, urlencode
from uuid import uuid4

import httpx
from peers import PLAIN, Place

_NOUNS = {
    "flows": "flow",
    "flow_runs": "flow_run",
    "task_runs": "task_run",
    "deployments": "deployment",
    "work_queues": "queue_id",
    "concurrency_limits": "tag_limit",
    "artifacts": "artifact",
    "variables": "variable_id",
    "block_types": "block_type_id",
    "block_schemas": "block_schema_id",
    "block_documents": "block_document",
    "automations": "automation",
}
API_VERSION = "0.8.4"


class World:
    """One server's things.

    Args:
        place: the server.
        label: makes the names its own; the same on both servers.
    """

    def __init__(self, place: Place, label: str) -> None:
        self.place = place
        self.label = label
        self._known: dict[str, str] = {}
        self._acting: set[str] = set()
        self._client = httpx.Client(base_url=place.url, timeout=60, follow_redirects=True, **PLAIN)
        self._client.headers["X-PREFECT-API-VERSION"] = API_VERSION

    def __enter__(self) -> World:
        return self

    def __exit__(self, *exc: object) -> None:
        self._tidy()
        self._client.close()

    def _tidy(self) -> None:
        while self._acting:
            self._answer("DELETE", self._acting.pop())

    def forget(self) -> None:
        """The next request is about new things."""
        self._tidy()
        self._known.clear()
        self.label += "'"

    def send(self, method: str, path: str, body: Any, said: bool, query: Any = None) -> tuple[int, Any]:
        """Sends a request, with every @name in it put right; the status and what was answered."""
        url = self.path(path) + (f"?{urlencode(self.fill(query))}" if query else "")
        answer = self._answer(method, url, **({"json": self.fill(body)} if said else {}))
        try:
            found = answer.json() if answer.content else None
        except ValueError:
            found = answer.text
        if answer.is_success:
            self._note(method, path, found)
        return answer.status_code, found

    def _note(self, method: str, path: str, made: Any) -> None:
        """Remembers what must not stay: others use these servers, now and later."""
        if method == "POST" and path in ("/deployments/", "/automations/"):
            # odd schedules and triggers would go on by themselves
            self._acting.add(f"{path}{made['id']}")
        if path == "/flow_runs/{id}/labels":
            # the original takes any label, and then fails with 500 whenever a list of runs has this one
            self._acting.add(f"/flow_runs/{self['flow_run']}")

    def path(self, path: str) -> str:
        """A path with its parameters filled in."""
        noun = _NOUNS.get(path.split("/")[1], "flow")

        def part(found: re.Match[str]) -> str:
            name = found[1]
            if name == "id":
                return self["queue_id" if noun == "queue_id" else noun]
            if path.startswith("/variables/name/"):
                return quote(self["variable"])
            if name == "name" and "/queues/" in path:
                return quote(self["queue"])
            names = {
                "name": "pool",
                "work_pool_name": "pool",
                "flow_name": "flow_name",
                "deployment_name": "deployment_name",
                "slug": "slug",
                "block_document_name": "block_document_name",
                "checksum": "checksum",
            }
            if name == "resource_id":
                return f"prefect.deployment.{self['deployment']}"
            if name == "view":
                return "aggregate-worker-metadata"
            return quote(self[names.get(name, name)])

        return re.sub(r"{(\w+)}", part, path)

    def fill(self, value: Any) -> Any:
        """A body with every @name replaced."""
        if isinstance(value, dict):
            return {key: self.fill(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [self.fill(entry) for entry in value]
        return self[value[1:]] if isinstance(value, str) and re.fullmatch(r"@[a-z_]+", value) else value

    def __getitem__(self, name: str) -> str:
        if name == "daily":
            return "@daily"
        if name not in self._known:
            self._known[name] = getattr(self, f"_{name}")()
        return self._known[name]

    def _answer(self, method: str, url: str, **body: Any) -> httpx.Response:
        # busy is not a refusal: the original says 503 while its database is locked, and sometimes hangs up
        for attempt in range(8):
            try:
                answer = self._client.request(method, url, **body)
            except httpx.TransportError:
                if attempt == 7:
                    raise
            else:
                if answer.status_code != 503 or attempt == 7:
                    return answer
            time.sleep(0.2 * attempt)
        raise AssertionError("not reached")

    def _make(self, path: str, body: Any) -> dict[str, Any]:
        answer = self._answer("POST", path, json=body)
        assert answer.is_success, f"{self.place.name}: POST {path}: {answer.status_code} {answer.text[:500]}"
        found = answer.json()
        self._note("POST", path, found)
        return dict(found[0] if isinstance(found, list) else found)

    def _flow_name(self) -> str:
        return f"flow of {self.label}"

    def _flow(self) -> str:
        return str(self._make("/flows/", {"name": self["flow_name"]})["id"])

    def _key(self) -> str:
        body = {"key": "interop-key", "value": '{"n": 1}'}
        answer = self._answer("POST", f"/flow_runs/{self['flow_run']}/input", json=body)
        assert answer.is_success, answer.text[:500]
        return "interop-key"

    def _deployment_name(self) -> str:
        self["deployment"]
        return f"deployment of {self.label}"

    def _deployment(self) -> str:
        body = {"name": f"deployment of {self.label}", "flow_id": self["flow"], "work_pool_name": self["pool"]}
        return str(self._make("/deployments/", body)["id"])

    def _schedule_id(self) -> str:
        body = [{"schedule": {"interval": 36000, "anchor_date": "2026-01-01T00:00:00Z"}, "active": False}]
        return str(self._make(f"/deployments/{self['deployment']}/schedules", body)["id"])

    def _flow_run(self) -> str:
        return str(self._make("/flow_runs/", {"flow_id": self["flow"], "state": {"type": "PENDING"}})["id"])

    def _task_run(self) -> str:
        body = {"flow_run_id": self["flow_run"], "task_key": "t", "dynamic_key": str(uuid4())}
        return str(self._make("/task_runs/", body)["id"])

    def _pool(self) -> str:
        name = f"pool of {self.label}"
        self._make("/work_pools/", {"name": name, "type": "process"})
        return name

    def _queue(self) -> str:
        name = f"queue of {self.label}"
        self._known["queue_id"] = str(self._make(f"/work_pools/{quote(self['pool'])}/queues", {"name": name})["id"])
        return name

    def _queue_id(self) -> str:
        self["queue"]
        return self._known["queue_id"]

    def _artifact(self) -> str:
        return str(self._make("/artifacts/", {"key": "k", "type": "table", "data": "[]"})["id"])

    def _id_or_name(self) -> str:
        name = f"limit of {self.label}"
        self._make("/v2/concurrency_limits/", {"name": name, "limit": 100})
        return name

    def _tag(self) -> str:
        tag = f"tag of {self.label}"
        made = self._make("/concurrency_limits/", {"tag": tag, "concurrency_limit": 100})
        self._known["tag_limit"] = str(made["id"])
        return tag

    def _tag_limit(self) -> str:
        self["tag"]
        return self._known["tag_limit"]

    def _variable(self) -> str:
        name = re.sub(r"[^a-z0-9]", "_", self.label)
        self._known["variable_id"] = str(self._make("/variables/", {"name": name, "value": 1})["id"])
        return name

    def _variable_id(self) -> str:
        self["variable"]
        return self._known["variable_id"]

    def _slug(self) -> str:
        slug = f"kind-of-{self.label}"
        body = {"name": f"Kind of {self.label}", "slug": slug}
        self._known["block_type_id"] = str(self._make("/block_types/", body)["id"])
        return slug

    def _block_type_id(self) -> str:
        self["slug"]
        return self._known["block_type_id"]

    def _checksum(self) -> str:
        fields = {"title": self.label, "type": "object", "properties": {}, "block_type_slug": self["slug"]}
        body = {"fields": fields | {"secret_fields": ["value"]}, "block_type_id": self["block_type_id"]}
        made = self._make("/block_schemas/", body)
        self._known["block_schema_id"] = str(made["id"])
        return str(made["checksum"])

    def _block_schema_id(self) -> str:
        self["checksum"]
        return self._known["block_schema_id"]

    def _block_document_name(self) -> str:
        name = f"document-of-{self.label}"
        body = {
            "name": name,
            "data": {"value": "x"},
            "block_schema_id": self["block_schema_id"],
            "block_type_id": self["block_type_id"],
        }
        self._known["block_document"] = str(self._make("/block_documents/", body)["id"])
        return name

    def _block_document(self) -> str:
        self["block_document_name"]
        return self._known["block_document"]

    def _automation(self) -> str:
        trigger = {"type": "event", "posture": "Reactive", "match": {"prefect.resource.id": "interop.nothing"}}
        actions = [{"type": "do-nothing"}]
        return str(self._make("/automations/", {"name": self.label, "trigger": trigger, "actions": actions})["id"])

    def _lease_id(self) -> str:
        body = {"names": [self["id_or_name"]], "slots": 1}
        return str(self._make("/v2/concurrency_limits/increment-with-lease", body)["lease_id"])
