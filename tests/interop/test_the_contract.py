"""Every operation of the original that we serve: it takes what the original takes, and answers what its schema says.

The same generated requests go to both servers. A refusal that the original does not give, another kind of success, an
error of ours, or an answer that the original's schema does not allow is a failure, unless `exceptions.py` lists it.
What this stores is odd: deployments and automations are removed after each test, so that none acts by itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import exceptions
import pytest
import wire
from peers import Place
from wire import Wanted
from world import World

from millrace.schema.operations import OPERATIONS

COUNT = int(os.environ.get("MILLRACE_INTEROP_REQUESTS", "12"))
SEED = int(os.environ.get("MILLRACE_INTEROP_SEED", "9"))


def shape(path: str) -> str:
    return re.sub(r"{\w+}", "{}", path).rstrip("/")


SERVED = {(operation.method, shape(operation.path)) for operation in OPERATIONS} | {("GET", "/csrf-token")}
SHARED = [wanted for wanted in wire.operations() if (wanted.method, shape(wanted.path)) in SERVED]


@pytest.fixture
def label(request: pytest.FixtureRequest) -> str:
    return str(crc32(request.node.name.encode()))


@dataclass(frozen=True)
class Request:
    """What is sent to an operation.

    Args:
        body: its body.
        said: whether there is one.
        query: what stands behind the `?`.
    """

    body: Any
    said: bool
    query: dict[str, str]


def requests(wanted: Wanted) -> Iterator[Request]:
    """The generated requests to an operation."""
    optional = not wanted.facts.get("requestBody", {}).get("required", False)
    for number, body in enumerate(wire.bodies(wanted, COUNT, SEED)):
        said = wanted.body is not None and not (number == 0 and optional)
        for query in wanted.queries:
            yield Request(body, said, query)


@pytest.mark.parametrize("wanted", SHARED, ids=[wanted.name for wanted in SHARED])
def test_what_the_original_takes_we_take(wanted: Wanted, ours: Place, theirs: Place, label: str) -> None:
    differences: list[str] = []
    taken = 0
    with World(ours, label) as here, World(theirs, label) as there:
        for sent in requests(wanted):
            expected, _ = there.send(wanted.method, wanted.path, sent.body, sent.said, sent.query)
            status, answer = here.send(wanted.method, wanted.path, sent.body, sent.said, sent.query)
            taken += expected < 300 and status < 300
            found: list[str] = []
            if status >= 500:
                found.append(f"ours fails with {status}: {str(answer)[:300]}")
            elif expected < 300 and status != expected:
                found.append(f"{status} for {expected}: {str(answer)[:400]}")
            if 200 <= status < 300 and (schema := wanted.answer(status)) is not None:
                found += [f"not in the schema: {text}" for text in wire.problems(schema, answer)]
            differences += [f"{text}\n    {sent}" for text in found if not exceptions.allowed(wanted.name, text)]
            if wanted.method in ("DELETE", "PATCH") or wanted.path.endswith("set_state"):
                here.forget()
                there.forget()
    assert taken or wanted.name in exceptions.NEVER_TAKEN, (
        "the original took none of the requests: nothing was compared"
    )
    assert not differences, f"{len(differences)} differences\n" + "\n".join(differences[:6])


@pytest.mark.parametrize("meant", exceptions.ALLOWED, ids=[meant.operation for meant in exceptions.ALLOWED])
def test_each_difference_is_one(meant: exceptions.Meant, ours: Place, theirs: Place, label: str) -> None:
    with World(ours, label) as here, World(theirs, label) as there:
        *before, last = meant.example
        for world in (there, here):
            for method, path, body in before:
                assert world.send(method, path, body, True)[0] < 300
        expected, _ = there.send(*last, True)
        status, answer = here.send(*last, True)
    assert expected < 300
    assert re.search(meant.sign, f"{status} for {expected}: {answer}"), answer
