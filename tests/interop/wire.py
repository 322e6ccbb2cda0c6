"""Requests made of the original's own schema, and answers checked against it.

`wire/operations.json` has the parameters, bodies and answers of every operation of the original as JSON Schema.
"""

from __future__ import annotations

import json
import random
import re
import string
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import UUID

from jsonschema import Draft202012Validator, FormatChecker

FILE = Path(__file__).parent / "wire" / "operations.json"
REF = "#/components/schemas/"
DEPTH = 5
LETTERS = string.ascii_letters + string.digits + " -_.:äß水🌊'\""

# What stands for a thing of the world in which a request is sent; see `world.py`.
KNOWN: dict[str, str] = {
    "flow_id": "@flow",
    "deployment_id": "@deployment",
    "flow_run_id": "@flow_run",
    "parent_task_run_id": "@task_run",
    "task_run_id": "@task_run",
    "work_pool_name": "@pool",
    "work_queue_name": "@queue",
    "lease_id": "@lease_id",
    "block_type_id": "@block_type_id",
    "block_schema_id": "@block_schema_id",
}
WORDS: dict[str, list[Any]] = {
    "cron": ["0 3 * * *", "*/5 * * * *", "15 10 * * 1-5", "@daily", "0 0 1 1 *"],
    "rrule": ["FREQ=DAILY", "FREQ=WEEKLY;BYDAY=MO;BYHOUR=9", "DTSTART:20260101T000000\nFREQ=HOURLY;INTERVAL=2"],
    "timezone": ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"],
    "interval": [1.0, 60, 3600.5],
    "parameter_openapi_schema": [{}, {"type": "object", "properties": {"x": {"type": "integer"}}}],
    "base_job_template": [{}, {"job_configuration": {}, "variables": {"type": "object", "properties": {}}}],
    # documents of blocks, and limits: things that only a server with blocks could know
    "infrastructure_document_id": [None],
    "storage_document_id": [None],
    "global_concurrency_limit_id": [None],
    "default_queue_id": [None],
    "pull_steps": [[], None, [{"prefect.deployments.steps.set_working_directory": {"directory": "/tmp"}}]],
    "next_page": [None],
    # nothing that happens on these servers: an automation that was made up must not act on what other tests do
    "match": [{"prefect.resource.id": "interop.nothing.*"}, {"prefect.resource.id": ["interop.nothing", "!*"]}],
    "within": [0, 10.0, 90, "PT30S"],  # seconds are what the client sends, whatever the schema says
    "require": ["any", "all", 1],
}
ALWAYS = {"match"}
# The queries of operations; what is not here is left out.
QUERIES: dict[str, list[str]] = {
    "flow_run_id": ["@flow_run"],
    "client": ["me"],
    "version": ["non-versioned", "7.7"],
    "include_secrets": ["true", "false"],
}


@dataclass(frozen=True)
class Wanted:
    """One operation of the original."""

    method: str
    path: str
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def body(self) -> dict[str, Any] | None:
        """The schema of the body."""
        content = self.facts.get("requestBody", {}).get("content", {})
        found: dict[str, Any] | None = content.get("application/json", {}).get("schema")
        return found

    @property
    def queries(self) -> list[dict[str, str]]:
        """What stands behind the `?`: the least, then each value that an optional one can have."""
        found = [part for part in self.facts.get("parameters", []) if part["in"] == "query"]
        least = {part["name"]: QUERIES[part["name"]][0] for part in found if part.get("required")}
        more = [part["name"] for part in found if not part.get("required")]
        return [least, *({**least, name: value} for name in more for value in QUERIES[name])]

    def answer(self, status: int) -> dict[str, Any] | None:
        """The schema of the answer of a success, whatever number it bears."""
        responses = self.facts["responses"]
        found = responses.get(str(status)) or next((v for k, v in responses.items() if k.startswith("2")), {})
        schema: dict[str, Any] | None = found.get("content", {}).get("application/json", {}).get("schema")
        return schema


@lru_cache(maxsize=1)
def document() -> dict[str, Any]:
    """The original's operations and schemas."""
    return dict(json.loads(FILE.read_text()))


def operations() -> list[Wanted]:
    """All of the original's operations."""
    return [
        Wanted(method.upper(), path, facts)
        for path, methods in document()["paths"].items()
        for method, facts in methods.items()
    ]


def resolve(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema with its reference followed."""
    while "$ref" in schema:
        schema = document()["schemas"][schema["$ref"].removeprefix(REF)]
    return schema


_formats = FormatChecker(formats=())


@_formats.checks("uuid", raises=ValueError)
def _uuid(value: object) -> bool:
    return not isinstance(value, str) or bool(UUID(value))


@_formats.checks("date-time", raises=ValueError)
def _moment(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


def problems(schema: dict[str, Any], value: Any) -> list[str]:
    """What of a value does not fit a schema of the original."""
    root = {**schema, "components": {"schemas": document()["schemas"]}}
    found = Draft202012Validator(root, format_checker=_formats).iter_errors(value)
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message[:300]}" for error in found]


def bodies(wanted: Wanted, count: int, seed: int = 9) -> Iterator[Any]:
    """Bodies that the original's schema accepts: the least, the most, nulls, unknown fields, and a mixture."""
    if wanted.body is None:
        yield from [None]
        return
    for number in range(count):
        yield Maker(random.Random(f"{seed} {wanted.name} {number}"), number).make(wanted.body)


class Maker:
    """Makes values of a schema.

    Args:
        chance: decides.
        number: 0 leaves out what need not be there, 1 sets all, 2 nulls what may be null; the rest mixes.
    """

    def __init__(self, chance: random.Random, number: int) -> None:
        self.chance = chance
        self.all = {0: 0.0, 1: 1.0, 2: 1.0}.get(number, chance.choice([0.15, 0.4, 0.8]))
        self.null = {0: 0.0, 1: 0.0, 2: 1.0}.get(number, 0.2)
        self.unknown = number >= 3 and chance.random() < 0.3

    def make(self, schema: dict[str, Any], name: str = "", depth: int = 0) -> Any:
        schema = resolve(schema)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self.chance.choice(schema["enum"])
        if "anyOf" in schema:
            return self._any_of(schema["anyOf"], name, depth)
        if name in WORDS:
            return self.chance.choice(WORDS[name])
        if name in KNOWN and schema.get("type") == "string" and self.chance.random() < 0.9:
            return KNOWN[name]
        kinds = {
            "object": self._object,
            "array": self._array,
            "string": self._string,
            "integer": self._number,
            "number": self._number,
            "boolean": lambda *_: self.chance.random() < 0.5,
            "null": lambda *_: None,
        }
        kind = schema.get("type")
        return kinds[kind](schema, name, depth) if kind else self._anything(depth)

    def _any_of(self, choices: list[dict[str, Any]], name: str, depth: int) -> Any:
        nullable = any(choice.get("type") == "null" for choice in choices)
        others = [choice for choice in choices if choice.get("type") != "null"]
        if nullable and (not others or depth > DEPTH or self.chance.random() < self.null):
            return None
        return self.make(self.chance.choice(others), name, depth)

    def _object(self, schema: dict[str, Any], name: str, depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        required = set(schema.get("required", []))
        for key, part in schema.get("properties", {}).items():
            deep = depth > DEPTH and key not in required
            if key in ALWAYS or (not deep and (key in required or self.chance.random() < self.all)):
                made[key] = self.make(part, key, depth + 1)
        more = schema.get("additionalProperties", True)
        if "properties" not in schema and isinstance(more, dict):
            made = {self._word(): self.make(more, "", depth + 1) for _ in range(self.chance.randint(0, 2))}
        elif "properties" not in schema and more:
            made = {self._word(): self._anything(depth + 1) for _ in range(self.chance.randint(0, 2))}
        elif more is not False and self.unknown:
            made["said_by_a_newer_client"] = self._anything(depth + 1)
        return made

    def _array(self, schema: dict[str, Any], name: str, depth: int) -> list[Any]:
        if "prefixItems" in schema:
            return [self.make(part, "", depth + 1) for part in schema["prefixItems"]]
        least = schema.get("minItems", 0)
        count = max(least, self.chance.randint(0, 0 if depth > DEPTH else 2))
        values = [self.make(schema.get("items", {}), "", depth + 1) for _ in range(count)]
        return [v for i, v in enumerate(values) if v not in values[:i]] if schema.get("uniqueItems") else values

    def _string(self, schema: dict[str, Any], name: str, depth: int) -> str:
        form = schema.get("format")
        if form == "uuid":
            return str(UUID(int=self.chance.getrandbits(128), version=4))
        if form == "date-time":
            moment = datetime.now(UTC) + timedelta(seconds=self.chance.randint(-86400, 86400))
            return self.chance.choice([moment.isoformat(), moment.strftime("%Y-%m-%dT%H:%M:%SZ")])
        if form == "duration":
            return self.chance.choice(["PT30S", "P1DT2H"])
        if form == "uri":
            return "https://example.org/a"
        text = self._word()
        if "pattern" in schema and not re.search(schema["pattern"], text):
            text = "plain"
        text = text.ljust(schema.get("minLength", 0), "x")
        return text[: schema.get("maxLength", len(text))]

    def _number(self, schema: dict[str, Any], name: str, depth: int) -> float:
        low = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1 if "exclusiveMinimum" in schema else -3)
        high = min(schema.get("maximum", low + 50), low + 50)
        whole = self.chance.randint(int(low), int(high))
        return whole if schema["type"] == "integer" or self.chance.random() < 0.5 else float(whole)

    def _word(self) -> str:
        return "".join(self.chance.choices(LETTERS, k=self.chance.randint(1, 12))).strip() or "w"

    def _anything(self, depth: int) -> Any:
        made = [None, True, 7, 1.5, self._word(), ["a", 1], {"deep": {"er": [1]}}]
        return self.chance.choice(made)
