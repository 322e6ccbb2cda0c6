"""Log lines of runs."""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

from pydantic import Field

from millrace.schema.fields import DateTime, Model
from millrace.schema.flows import Filter, IdCondition, NumberCondition, Page, Stored, TimeCondition


class LogCreate(Model):
    """One log line."""

    name: str = Field(description="The logger: millrace.flow_runs, millrace.task_runs, millrace.output …")
    level: int = Field(description="As in Python's logging: 10 debug, 20 info, 30 warning, 40 error.")
    message: str
    timestamp: DateTime
    flow_run_id: UUID | None = None
    task_run_id: UUID | None = None
    id: UUID | None = Field(None, description="Ours: made by the sender, so that a batch sent twice is stored once.")


class Log(LogCreate, Stored):
    """A stored log line."""

    id: UUID


class LogSort(StrEnum):
    """Orders of log lines."""

    TIMESTAMP_ASC = "TIMESTAMP_ASC"
    TIMESTAMP_DESC = "TIMESTAMP_DESC"


class LogText(Model):
    """Words a line must hold; `-word` excludes, quotes keep words together."""

    query: str = Field(max_length=200)


class LogFilter(Filter):
    """Over log lines."""

    level: NumberCondition | None = None
    timestamp: TimeCondition | None = None
    flow_run_id: IdCondition | None = None
    task_run_id: IdCondition | None = None
    text: LogText | None = None


class LogQuery(Page):
    """The body of logs/filter."""

    logs: LogFilter | None = None
    sort: LogSort | None = LogSort.TIMESTAMP_ASC
