"""Automations: when this happens, do that; kept and carried out by the server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Self
from uuid import UUID

from millrace.client import locate
from millrace.engine.context import FlowRunContext
from millrace.errors import Ambiguous, InvalidInput, NotFound
from millrace.schema.actions import (
    CallWebhook,
    CancelFlowRun,
    ChangeFlowRunState,
    DeleteFlowRun,
    DoNothing,
    Email,
    PauseAutomation,
    PauseDeployment,
    PauseWorkPool,
    PauseWorkQueue,
    ResumeAutomation,
    ResumeDeployment,
    ResumeFlowRun,
    ResumeWorkPool,
    ResumeWorkQueue,
    RunDeployment,
    SendNotification,
    SuspendFlowRun,
)
from millrace.schema.automations import AutomationCore, AutomationCreate, AutomationFilter, AutomationQuery
from millrace.schema.automations import AutomationUpdate as _Update
from millrace.schema.flows import TextCondition
from millrace.schema.triggers import CompoundTrigger, EventTrigger, MetricTrigger, Posture, SequenceTrigger

if TYPE_CHECKING:
    from millrace.client.synchronous import Client

__all__ = [
    "Automation",
    "AutomationCore",
    "CallWebhook",
    "CancelFlowRun",
    "ChangeFlowRunState",
    "CompoundTrigger",
    "DeleteFlowRun",
    "DoNothing",
    "Email",
    "EventTrigger",
    "MetricTrigger",
    "PauseAutomation",
    "PauseDeployment",
    "PauseWorkPool",
    "PauseWorkQueue",
    "Posture",
    "ResumeAutomation",
    "ResumeDeployment",
    "ResumeFlowRun",
    "ResumeWorkPool",
    "ResumeWorkQueue",
    "RunDeployment",
    "SendNotification",
    "SequenceTrigger",
    "SuspendFlowRun",
]


def _client() -> Client:
    here = FlowRunContext.get()
    return here.client if here is not None else locate.connect()


class Automation(AutomationCore):
    """When its trigger fires, the server does its actions.

    Args:
        name: for people.
        trigger: what must happen, or fail to happen.
        actions: what to do then.
        enabled: whether it looks.
        tags: for finding it.

    Example:
        >>> Automation(  # doctest: +SKIP
        ...     name="rerun",
        ...     trigger=EventTrigger(expect={"prefect.flow-run.Crashed"}),
        ...     actions=[RunDeployment(source="inferred")],
        ... ).create()
    """

    id: UUID | None = None

    def create(self) -> Self:
        """Stores it; it looks at events from now on.

        Raises:
            InvalidInput: the server does not take it; the message says why.
        """
        stored = _client().create_automation(AutomationCreate.model_validate(self.model_dump(exclude={"id"})))
        self.id, self.trigger = stored.id, stored.trigger
        return self

    @classmethod
    def read(cls, id: UUID | None = None, name: str | None = None) -> Self:
        """The stored one.

        Args:
            id: its id, or
            name: its name.

        Raises:
            InvalidInput: both or none are given.
            NotFound: there is none.
            Ambiguous: several have the name.
        """
        if (id is None) == (name is None):
            raise InvalidInput("Give an id or a name of the automation.")
        if id is not None:
            return cls.model_validate(_client().read_automation(UUID(str(id))).model_dump())
        named = AutomationFilter(name=TextCondition(any_=[str(name)]))
        found = _client().read_automations(AutomationQuery(automations=named))
        if not found:
            raise NotFound(f"No automation is named {name!r}.")
        if len(found) > 1:
            raise Ambiguous(f"{len(found)} automations are named {name!r}: say which by its id.")
        return cls.model_validate(found[0].model_dump())

    def update(self) -> None:
        """Puts it, as it is here, in the place of the stored one; it begins to count anew.

        Raises:
            InvalidInput: it was never stored, or the server does not take it.
            NotFound: it is gone.
        """
        _client().update_automation(self._stored(), _Update.model_validate(self.model_dump(exclude={"id"})))

    def delete(self) -> bool:
        """Forgets it.

        Returns:
            Whether it was there.
        """
        return self._whether(lambda client, id: client.delete_automation(id))

    def enable(self) -> bool:
        """Lets it look at events from now on.

        Returns:
            Whether it is there.
        """
        self.enabled = True
        return self._whether(lambda client, id: client.patch_automation(id, enabled=True))

    def disable(self) -> bool:
        """Lets it rest; what it counted is forgotten.

        Returns:
            Whether it is there.
        """
        self.enabled = False
        return self._whether(lambda client, id: client.patch_automation(id, enabled=False))

    async def acreate(self) -> Self:
        """`create` for async code."""
        return await asyncio.to_thread(self.create)

    @classmethod
    async def aread(cls, id: UUID | None = None, name: str | None = None) -> Self:
        """`read` for async code."""
        return await asyncio.to_thread(cls.read, id, name)

    async def aupdate(self) -> None:
        """`update` for async code."""
        await asyncio.to_thread(self.update)

    async def adelete(self) -> bool:
        """`delete` for async code."""
        return await asyncio.to_thread(self.delete)

    async def aenable(self) -> bool:
        """`enable` for async code."""
        return await asyncio.to_thread(self.enable)

    async def adisable(self) -> bool:
        """`disable` for async code."""
        return await asyncio.to_thread(self.disable)

    def _stored(self) -> UUID:
        if self.id is None:
            raise InvalidInput(f"The automation {self.name!r} was not stored yet: create() it first.")
        return self.id

    def _whether(self, do: Callable[[Client, UUID], None]) -> bool:
        try:
            do(_client(), self._stored())
        except NotFound:
            return False
        return True
