"""The part of the client that is about automations.

Written by hand; `plain_reactions.py` is made from it by `scripts/generate_client.py`.
"""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from millrace.client.connection import AsyncConnection

if TYPE_CHECKING:
    from millrace.schema.automations import (
        Automation,
        AutomationCount,
        AutomationCreate,
        AutomationPatch,
        AutomationQuery,
        AutomationUpdate,
    )


class AsyncReactions(AsyncConnection):
    """Calls about automations."""

    async def create_automation(self, body: AutomationCreate | None = None, **fields: Any) -> Automation:
        """Store an automation; it looks at events from now on."""
        return await self._call("create_automation", body=body, fields=fields)

    async def read_automations(self, body: AutomationQuery | None = None, **fields: Any) -> list[Automation]:
        """Automations that match."""
        return await self._call("read_automations", body=body, fields=fields)

    async def count_automations(self, body: AutomationCount | None = None, **fields: Any) -> int:
        """How many automations match."""
        return await self._call("count_automations", body=body, fields=fields)

    async def read_automation(self, id: UUID) -> Automation:
        """One automation."""
        return await self._call("read_automation", id)

    async def update_automation(self, id: UUID, body: AutomationUpdate | None = None, **fields: Any) -> None:
        """Put another in its place; it begins to count anew."""
        await self._call("update_automation", id, body=body, fields=fields)

    async def patch_automation(self, id: UUID, body: AutomationPatch | None = None, **fields: Any) -> None:
        """Enable or disable."""
        await self._call("patch_automation", id, body=body, fields=fields)

    async def delete_automation(self, id: UUID) -> None:
        """Forget an automation."""
        await self._call("delete_automation", id)

    async def read_related_automations(self, resource_id: str) -> list[Automation]:
        """Those that belong to a thing, act on it, or wait for its events."""
        return await self._call("read_related_automations", resource_id)

    async def delete_owned_automations(self, resource_id: str) -> None:
        """Forget the automations that belong to a thing."""
        await self._call("delete_owned_automations", resource_id)
