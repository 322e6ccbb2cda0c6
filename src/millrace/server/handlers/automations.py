"""Automations."""

from __future__ import annotations

from uuid import UUID

from millrace.schema.automations import (
    Automation,
    AutomationCount,
    AutomationCreate,
    AutomationPatch,
    AutomationQuery,
    AutomationUpdate,
)
from millrace.server.context import Call
from millrace.store import automations


def create_automation(call: Call, body: AutomationCreate) -> Automation:
    """Store an automation; it looks at events from now on."""
    return call.write(automations.create, body)


def read_automations(call: Call, body: AutomationQuery) -> list[Automation]:
    """Automations that match."""
    return call.read(automations.query, body)


def count_automations(call: Call, body: AutomationCount) -> int:
    """How many match."""
    return call.read(automations.count, body.automations)


def read_automation(call: Call, id: UUID) -> Automation:
    """One automation."""
    return call.read(automations.read, id)


def update_automation(call: Call, id: UUID, body: AutomationUpdate) -> None:
    """Put another in its place."""
    call.write(automations.update, id, body)


def patch_automation(call: Call, id: UUID, body: AutomationPatch) -> None:
    """Enable or disable."""
    call.write(automations.patch, id, body)


def delete_automation(call: Call, id: UUID) -> None:
    """Forget an automation."""
    call.write(automations.delete, id)


def read_related_automations(call: Call, resource_id: str) -> list[Automation]:
    """Those that concern a thing."""
    return call.read(automations.related, resource_id)


def delete_owned_automations(call: Call, resource_id: str) -> None:
    """Forget those that belong to a thing."""
    call.write(automations.delete_owned, resource_id)
