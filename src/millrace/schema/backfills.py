"""Backfills: runs for the fires that a schedule had, or would have had, in a time that has passed. Ours."""

from __future__ import annotations

from uuid import UUID

from pydantic import Field

from millrace.schema.fields import DateTime, JsonObject, Model

MOST_FIRES = 1000
"""Fires that one request looks at."""

LOGICAL_TIME = "logical_time"
"""A parameter of this name is given the nominal time of a scheduled or backfilled run, unless it has a value."""


class BackfillCreate(Model):
    """What to fill: every fire at or after `start` and before `end`, the oldest first."""

    start: DateTime
    end: DateTime
    schedule: str | None = Field(None, description="The id or slug of one schedule; null: all of the deployment.")
    limit: int | None = Field(None, ge=1, description="Make at most this many runs; null: all that are missing.")
    dry_run: bool = Field(False, description="Say what would be made, and make nothing.")
    parameters: JsonObject = Field(default_factory=dict, description="Over those of the schedule.")
    tags: list[str] = Field(default_factory=list)
    work_queue_name: str | None = Field(None, description="A queue other than the deployment's.")


class BackfilledFire(Model):
    """One fire in the range."""

    schedule_id: UUID
    nominal_time: DateTime
    flow_run_id: UUID | None = Field(None, description="Its run; null if a dry run found none.")
    created: bool = Field(description="The run was made now (or would be, in a dry run); else there was one.")


class Backfill(Model):
    """What became of the fires that this request looked at."""

    fires: list[BackfilledFire] = Field(default_factory=list)
    next_start: DateTime | None = Field(
        None, description="There are more fires: ask again from here. Null: that was all, or the limit is reached."
    )
