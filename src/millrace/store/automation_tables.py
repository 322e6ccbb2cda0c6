"""The tables of automations: what they are, what they have counted, and what is still to do."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, PrimaryKeyConstraint, Table, Uuid

from millrace.store.columns import Json, Moment, Searched, Whole, Words
from millrace.store.tables import metadata


def _of_automation() -> Column[Any]:
    return Column("automation_id", Uuid, ForeignKey("automations.id", ondelete="CASCADE"), nullable=False)


# `active_after` is the last event before it was made or enabled: those up to it are none of its business.
automations = Table(
    "automations",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("created", Moment, nullable=False),
    Column("updated", Moment, nullable=False),
    Column("name", Words, nullable=False),
    Column("description", Words, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("tags", Searched, nullable=False),
    Column("trigger", Json, nullable=False),
    Column("actions", Json, nullable=False),
    Column("actions_on_trigger", Json, nullable=False),
    Column("actions_on_resolve", Json, nullable=False),
    Column("owner_resource", Words),
    Column("active_after", Whole, nullable=False),
    Index("ix_automations_name", "name"),
    Index("ix_automations_owner_resource", "owner_resource"),
)

automation_windows = Table(
    "automation_windows",
    metadata,
    _of_automation(),
    Column("trigger_id", Uuid, nullable=False),
    Column("labels", Words, nullable=False),
    Column("start", Moment, nullable=False),
    Column("end", Moment, nullable=False),
    Column("count", Integer, nullable=False),
    Column("event", Json),
    Column("wake", Moment),
    PrimaryKeyConstraint("automation_id", "trigger_id", "labels"),
    Index("ix_automation_windows_wake", "wake"),
)

automation_firings = Table(
    "automation_firings",
    metadata,
    _of_automation(),
    Column("parent_id", Uuid, nullable=False),
    Column("firings", Json, nullable=False),
    PrimaryKeyConstraint("automation_id", "parent_id"),
)

automation_actions = Table(
    "automation_actions",
    metadata,
    Column("id", Uuid, primary_key=True),
    _of_automation(),
    Column("created", Moment, nullable=False),
    Column("due", Moment, nullable=False),
    Column("invocation", Json, nullable=False),
    Index("ix_automation_actions_due", "due"),
    Index("ix_automation_actions_automation_id", "automation_id"),
)
