"""The part of the wire's table that is about automations."""

from __future__ import annotations

from millrace.schema import automations
from millrace.schema.operation import Operation as Op

RESOURCE = {"resource_id": str}

OPERATIONS: tuple[Op, ...] = (
    Op("create_automation", "POST", "/automations/", automations.Automation, automations.AutomationCreate, 201),
    Op(
        "read_automations",
        "POST",
        "/automations/filter",
        list[automations.Automation],
        automations.AutomationQuery,
        body_optional=True,
    ),
    Op("count_automations", "POST", "/automations/count", int, automations.AutomationCount, body_optional=True),
    Op("read_automation", "GET", "/automations/{id}", automations.Automation),
    Op(
        "update_automation",
        "PUT",
        "/automations/{id}",
        body=automations.AutomationUpdate,
        status=204,
        doc="put another in its place; it begins to count anew",
    ),
    Op("patch_automation", "PATCH", "/automations/{id}", body=automations.AutomationPatch, status=204),
    Op("delete_automation", "DELETE", "/automations/{id}", status=204),
    Op(
        "read_related_automations",
        "GET",
        "/automations/related-to/{resource_id}",
        list[automations.Automation],
        paths=RESOURCE,
        doc="those that belong to a thing, act on it, or wait for its events",
    ),
    Op(
        "delete_owned_automations",
        "DELETE",
        "/automations/owned-by/{resource_id}",
        status=202,
        paths=RESOURCE,
        doc="those that belong to a thing, such as the triggers of a deployment",
    ),
)
