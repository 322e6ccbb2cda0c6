# Generated from concurrency.py by scripts/generate_client.py: change that file, then run the script.
"""The part of the client that is about concurrency limits and their slots."""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from millrace.client.blocking import Connection

if TYPE_CHECKING:
    from millrace.schema.limits import (
        GiveSlots,
        GlobalLimit,
        LeaseSlots,
        Limit,
        LimitCreate,
        LimitQuery,
        LimitTaken,
        LimitUpdate,
        RenewSlots,
        ReturnSlots,
        SlotLease,
        TagLimit,
        TagLimitCreate,
        TagLimitReset,
        TagSlots,
        TakeSlots,
    )


class Limits(Connection):
    """Calls about concurrency limits."""

    def create_limit(self, body: LimitCreate | None = None, **fields: Any) -> Limit:
        """Create a global limit."""
        return self._call("create_limit", body=body, fields=fields)

    def read_limits(self, body: LimitQuery | None = None, **fields: Any) -> list[GlobalLimit]:
        """All limits, by name."""
        return self._call("read_limits", body=body, fields=fields)

    def read_limit(self, id_or_name: str) -> GlobalLimit:
        """The limit of an id or name."""
        return self._call("read_limit", id_or_name)

    def update_limit(self, id_or_name: str, body: LimitUpdate | None = None, **fields: Any) -> None:
        """Change the fields that are given."""
        self._call("update_limit", id_or_name, body=body, fields=fields)

    def delete_limit(self, id_or_name: str) -> None:
        """Forget a limit: nobody is held up any more."""
        self._call("delete_limit", id_or_name)

    def take_slots(self, body: TakeSlots | None = None, **fields: Any) -> list[LimitTaken]:
        """Take slots of limits."""
        return self._call("take_slots", body=body, fields=fields)

    def give_slots(self, body: GiveSlots | None = None, **fields: Any) -> list[LimitTaken]:
        """Put slots back that were taken without a lease."""
        return self._call("give_slots", body=body, fields=fields)

    def lease_slots(self, body: LeaseSlots | None = None, **fields: Any) -> SlotLease:
        """Take slots of limits for as long as somebody says that they are needed."""
        return self._call("lease_slots", body=body, fields=fields)

    def renew_slots(self, lease_id: UUID, body: RenewSlots | None = None, **fields: Any) -> None:
        """Say that leased slots are needed on."""
        self._call("renew_slots", lease_id, body=body, fields=fields)

    def return_slots(self, body: ReturnSlots | None = None, **fields: Any) -> None:
        """Give leased slots back."""
        self._call("return_slots", body=body, fields=fields)

    def create_tag_limit(self, body: TagLimitCreate | None = None, **fields: Any) -> TagLimit:
        """Limit the runs of tasks with a tag, or change that limit."""
        return self._call("create_tag_limit", body=body, fields=fields)

    def read_tag_limits(self, body: LimitQuery | None = None, **fields: Any) -> list[TagLimit]:
        """The limits of all tags."""
        return self._call("read_tag_limits", body=body, fields=fields)

    def read_tag_limit(self, tag: str) -> TagLimit:
        """The limit of a tag, and who holds its slots."""
        return self._call("read_tag_limit", tag)

    def read_tag_limit_by_id(self, id: UUID) -> TagLimit:
        """The limit of a tag, by its id."""
        return self._call("read_tag_limit_by_id", id)

    def reset_tag_limit(self, tag: str, body: TagLimitReset | None = None, **fields: Any) -> None:
        """Say who holds the slots of a tag: nobody, if nobody is named."""
        self._call("reset_tag_limit", tag, body=body, fields=fields)

    def delete_tag_limit(self, tag: str) -> None:
        """Let the runs of a tag go."""
        self._call("delete_tag_limit", tag)

    def delete_tag_limit_by_id(self, id: UUID) -> None:
        """Forget a limit by its id."""
        self._call("delete_tag_limit_by_id", id)

    def take_tag_slots(self, body: TagSlots | None = None, **fields: Any) -> list[LimitTaken]:
        """Take a slot of each tag for a task run, as older clients do."""
        return self._call("take_tag_slots", body=body, fields=fields)

    def give_tag_slots(self, body: TagSlots | None = None, **fields: Any) -> list[LimitTaken]:
        """Put the slots of a task run back."""
        return self._call("give_tag_slots", body=body, fields=fields)
