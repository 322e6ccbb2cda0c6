"""One deployment of a specification file: its fields."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from millrace.deployments.given import limits
from millrace.schema.deployments import CatchUp

Steps = list[dict[str, Any]]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True, arbitrary_types_allowed=True)


class PoolSection(_Section):
    """The pool that runs a deployment.

    Attributes:
        name: the pool.
        work_queue_name: a queue of it.
        job_variables: settings of its jobs, over the pool's.
    """

    name: str | None = None
    work_queue_name: str | None = None
    job_variables: dict[str, Any] = Field(default_factory=dict)


class Entry(_Section):
    """One deployment of a specification file.

    Attributes:
        name: its name; the flow's when not given.
        entrypoint: where the flow is, relative to the file.
        flow_location: the file that holds the flow, in the old form.
        flow_name: the flow's name; needed with `flow_location` where the file holds several.
        description, version, tags, parameters, paused, enforce_parameter_schema, catch_up, labels, triggers: see
            `RunnerDeployment`.
        schedule, schedules: when it runs: `{cron: …}`, `{interval: seconds}` or `{rrule: …}`, with the options of each.
        concurrency_limit: a number, or `limit`, `collision_strategy` and `grace_period_seconds`.
        work_pool: the pool that runs it.
        build, push, pull: its steps, in place of the file's.
        version_type, sla: of Prefect's cloud; they are read over.
    """

    name: str | None = None
    entrypoint: str | None = None
    flow_location: str | None = None
    flow_name: str | None = None
    description: str | None = None
    version: str | None = None
    tags: list[str] | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    schedule: Any = None
    schedules: list[Any] | None = None
    paused: bool | None = None
    concurrency_limit: Any = None
    enforce_parameter_schema: bool = True
    work_pool: PoolSection = Field(default_factory=PoolSection)
    triggers: list[dict[str, Any]] = Field(default_factory=list)
    catch_up: CatchUp | None = None
    labels: dict[str, bool | int | float | str] = Field(default_factory=dict)
    build: Steps | None = None
    push: Steps | None = None
    pull: Steps | None = None
    version_type: str | None = None
    sla: Any = None

    @field_validator("tags", mode="before")
    @classmethod
    def _one_tag(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("version", mode="before")
    @classmethod
    def _as_written(cls, value: Any) -> Any:
        if isinstance(value, float):
            raise ValueError(
                f"YAML reads it as the number {value}, which may not be what is written. Put it in quotes."
            )
        return value

    @field_validator("work_pool", mode="before")
    @classmethod
    def _a_mapping(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError(f"it is a mapping; write work_pool: {{name: {value}}}.")
        return value

    @field_validator("schedules", mode="before")
    @classmethod
    def _a_list(cls, value: Any) -> Any:
        if isinstance(value, dict):
            raise ValueError("it is a list: begin it with a dash, or write `schedule` for a single one.")
        return value

    @field_validator("concurrency_limit")
    @classmethod
    def _a_limit(cls, value: Any) -> Any:
        limits(value)
        return value

    @field_validator("work_pool", "parameters", "labels", "triggers", mode="before")
    @classmethod
    def _nothing(cls, value: Any, info: Any) -> Any:
        return cls.model_fields[info.field_name].get_default(call_default_factory=True) if value is None else value
