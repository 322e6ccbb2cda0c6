"""Where our answers differ from the original's on purpose. Each entry was looked at, and says why."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Meant:
    """A difference that is meant.

    Args:
        operation: method and path; "*" for all.
        sign: a piece of the report of the difference.
        reason: for people.
    """

    operation: str
    sign: str
    reason: str


ALLOWED: tuple[Meant, ...] = (
    Meant(
        "POST /automations/",
        "422 for 201: ",
        "An automation that can never fire, or an action without a type: the original stores what has no effect.",
    ),
    Meant(
        "POST /flow_runs/{id}/set_state",
        "200 for 201: {'state': {'type': 'PENDING'",
        "Pending states only go forward: Pending, Submitting, InfrastructurePending. Under the original any name but "
        "Pending passes, back and forth, so that a second submitter could start the run once more.",
    ),
    Meant(
        "PATCH /deployments/{id}",
        "The deployment has no schedule with the slug",
        "A change of a schedule that is not there: the original says yes, drops it, and with it the schedules that are "
        "there and not in the list. We say that there is none.",
    ),
    Meant(
        "POST /flow_runs/",
        "'code': 'MissingDeployment'",
        "A run of a deployment that nobody knows: the original stores it; nobody could ever load its code.",
    ),
    Meant(
        "*",
        "is unknown to the flow. It takes:",
        "A parameter that the flow does not have: the original takes it and the run fails when it begins. A schema "
        "with `additionalProperties` takes any.",
    ),
)


def allowed(operation: str, text: str) -> bool:
    """Whether a difference is meant."""
    return any(e.operation in ("*", operation) and e.sign in text for e in ALLOWED)


# Operations of which no request succeeds at both servers here, and why.
NEVER_TAKEN = {
    "GET /csrf-token": "both say 422: the protection is not used",
    "GET /collections/views/{view}": "the original fetches it from the internet",
    **{
        name: "a trigger made up at random is seldom a whole one; test_automations.py has real ones"
        for name in (
            "POST /automations/",
            "PUT /automations/{id}",
            "PATCH /automations/{id}",
            "DELETE /automations/{id}",
        )
    },
}
