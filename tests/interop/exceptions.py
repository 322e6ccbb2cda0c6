"""Where our answers differ from the original's on purpose. Each entry was looked at, and says why.

`test_each_difference_is_one` sends the example of each to both servers: one that is a difference no longer goes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Meant:
    """A difference that is meant.

    Args:
        operation: method and path.
        sign: what the report of the difference matches.
        reason: for people.
        example: requests to one thing, method, path and body each. The original takes them all; we refuse the last.
    """

    operation: str
    sign: str
    reason: str
    example: tuple[tuple[str, str, Any], ...]


_SET_STATE = "/flow_runs/{id}/set_state"
_EVERY_HOUR = {"schedule": {"interval": 3600, "anchor_date": "2026-01-01T00:00:00Z"}, "active": False}
_NEVER = {"type": "event", "posture": "Reactive", "match": {"prefect.resource.id": "interop.nothing"}}

ALLOWED: tuple[Meant, ...] = (
    Meant(
        "POST /flow_runs/{id}/set_state",
        r"200 for 201: .*'type': 'PENDING'",
        "A pending run does not go back to Submitting or InfrastructurePending. Under the original a second submitter "
        "could so start a run once more that is being started.",
        (
            ("POST", _SET_STATE, {"state": {"type": "PENDING", "name": "InfrastructurePending"}}),
            ("POST", _SET_STATE, {"state": {"type": "PENDING", "name": "Submitting"}}),
        ),
    ),
    Meant(
        "PATCH /deployments/{id}",
        r"404 for 204: .*has no schedule with the slug",
        "A change of a schedule that is not among those of the deployment. Where those have no slugs, the original "
        "says yes, changes nothing, and forgets them all.",
        (
            ("POST", "/deployments/{id}/schedules", [_EVERY_HOUR]),
            ("PATCH", "/deployments/{id}", {"schedules": [{"slug": "nope", "active": True}]}),
        ),
    ),
    Meant(
        "POST /automations/",
        r"422 for 201: .*(plain name|filled in, not run|begins with none of)",
        "A template that calculates. Ours are filled in and never run; the original's are Jinja in a sandbox.",
        (
            (
                "POST",
                "/automations/",
                {
                    "name": "a template that calculates",
                    "trigger": _NEVER,
                    "actions": [
                        {"type": "run-deployment", "source": "inferred", "parameters": {"n": "{{ 1 + 1 }}"}},
                    ],
                },
            ),
        ),
    ),
    Meant(
        "POST /automations/",
        r"422 for 201: .*require must be between 1 and the number of triggers",
        "A compound trigger that wants more triggers than it has, and does not say its type: the original takes it for "
        "a sequence.",
        (
            (
                "POST",
                "/automations/",
                {"name": "impossible", "trigger": {"triggers": [], "within": 90, "require": 1}, "actions": []},
            ),
        ),
    ),
)


def allowed(operation: str, text: str) -> bool:
    """Whether a difference is meant."""
    return any(e.operation == operation and re.search(e.sign, text, re.DOTALL) for e in ALLOWED)


# Operations of which no request succeeds at both servers here, and why.
NEVER_TAKEN = {
    "GET /csrf-token": "both say 422: the protection is not used",
    "GET /collections/views/{view}": "the original fetches it from the internet",
}
