# Generated from reactions.py by scripts/generate_client.py: change that file, then run the script.
"""The part of the client that is about automations."""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from millrace.client.blocking import Connection

if TYPE_CHECKING:
    from millrace.schema.automations import (
        Automation,
        AutomationCount,
        AutomationCreate,
        AutomationPatch,
        AutomationQuery,
        AutomationUpdate,
    )


class Reactions(Connection):
    """Calls about automations."""

    def create_automation(self, body: AutomationCreate | None = None, **fields: Any) -> Automation:
        """Store an automation; it looks at events from now on."""
        return self._call("create_automation", body=body, fields=fields)

    def read_automations(self, body: AutomationQuery | None = None, **fields: Any) -> list[Automation]:
        """Automations that match."""
        return self._call("read_automations", body=body, fields=fields)

    def count_automations(self, body: AutomationCount | None = None, **fields: Any) -> int:
        """How many automations match."""
        return self._call("count_automations", body=body, fields=fields)

    def read_automation(self, id: UUID) -> Automation:
        """One automation."""
        return self._call("read_automation", id)

    def update_automation(self, id: UUID, body: AutomationUpdate | None = None, **fields: Any) -> None:
        """Put another in its place; it begins to count anew."""
        self._call("update_automation", id, body=body, fields=fields)

    def patch_automation(self, id: UUID, body: AutomationPatch | None = None, **fields: Any) -> None:
        """Enable or disable."""
        self._call("patch_automation", id, body=body, fields=fields)

    def delete_automation(self, id: UUID) -> None:
        """Forget an automation."""
        self._call("delete_automation", id)

    def read_related_automations(self, resource_id: str) -> list[Automation]:
        """Those that belong to a thing, act on it, or wait for its events."""
        return self._call("read_related_automations", resource_id)

    def delete_owned_automations(self, resource_id: str) -> None:
        """Forget the automations that belong to a thing."""
        self._call("delete_owned_automations", resource_id)
