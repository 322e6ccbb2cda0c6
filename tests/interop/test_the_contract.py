"""Every operation of the original that we serve: it takes what the original takes, and answers what its schema says.

The same generated requests go to both servers. A refusal that the original does not give, another kind of success, an
error of ours, or an answer that the original's schema does not allow is a failure, unless `exceptions.py` lists it.
What this stores is odd: its deployments are removed at the end, so that no schedule of theirs keeps the servers busy.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from zlib import crc32

import exceptions
import pytest
import wire
from peers import Place
from wire import Wanted
from world import World

from millrace.schema.operations import OPERATIONS

COUNT = int(os.environ.get("MILLRACE_INTEROP_REQUESTS", "12"))


def deployments(place: Place) -> set[str]:
    found: set[str] = set()
    while True:
        page = place.ask("POST", "/deployments/filter", {"limit": 200, "offset": len(found)})
        found |= {deployment["id"] for deployment in page}
        if len(page) < 200:
            return found


@pytest.fixture(scope="module", autouse=True)
def tidy(ours: Place, theirs: Place) -> Iterator[None]:
    before = {place.name: deployments(place) for place in (ours, theirs)}
    yield
    for place in (ours, theirs):
        for id in deployments(place) - before[place.name]:
            place.ask("DELETE", f"/deployments/{id}")


def shape(path: str) -> str:
    return re.sub(r"{\w+}", "{}", path).rstrip("/")


SERVED = {(operation.method, shape(operation.path)) for operation in OPERATIONS} | {("GET", "/csrf-token")}
SHARED = [wanted for wanted in wire.operations() if (wanted.method, shape(wanted.path)) in SERVED]


@pytest.fixture
def label(request: pytest.FixtureRequest) -> str:
    return str(crc32(request.node.name.encode()))


def requests(wanted: Wanted) -> Iterator[tuple[str, object, bool]]:
    """Path, body, and whether there is one."""
    path = wanted.path
    if path == "/flow_run_states/":
        path += "?flow_run_id={flow_run}"
    if path == "/csrf-token":
        path += "?client=me"
    optional = not wanted.facts.get("requestBody", {}).get("required", False)
    for number, body in enumerate(wire.bodies(wanted, COUNT)):
        yield path, body, wanted.body is not None and not (number == 0 and optional)


@pytest.mark.parametrize("wanted", SHARED, ids=[wanted.name for wanted in SHARED])
def test_what_the_original_takes_we_take(wanted: Wanted, ours: Place, theirs: Place, label: str) -> None:
    differences: list[str] = []
    taken = 0
    with World(ours, label) as here, World(theirs, label) as there:
        for path, body, said in requests(wanted):
            expected, _ = there.send(wanted.method, path, body, said)
            status, answer = here.send(wanted.method, path, body, said)
            taken += expected < 300 and status < 300
            sent = f"{wanted.name} {json.dumps(body)[:1500] if said else ''}"
            found: list[str] = []
            if status >= 500:
                found.append(f"ours fails with {status}: {str(answer)[:300]}")
            elif expected < 300 and status != expected:
                found.append(f"{status} for {expected}: {str(answer)[:400]}")
            if 200 <= status < 300 and (schema := wanted.answer(status)) is not None:
                found += [f"not in the schema: {text}" for text in wire.problems(schema, answer)]
            differences += [f"{text}\n    {sent}" for text in found if not exceptions.allowed(wanted.name, text)]
            if wanted.method in ("DELETE", "PATCH") or path.endswith("set_state"):
                here.forget()
                there.forget()
    assert taken or wanted.name in exceptions.NEVER_TAKEN, (
        "the original took none of the requests: nothing was compared"
    )
    assert not differences, f"{len(differences)} differences\n" + "\n".join(differences[:6])
