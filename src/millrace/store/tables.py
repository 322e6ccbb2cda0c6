"""The tables. A column bears the name of the field it keeps; what no field has is said in `OURS`, what is worked out on
reading in `DERIVED`. Change a table here and add a migration; a test compares the two."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, Column, Float, ForeignKey, Index, Integer, MetaData, Table, UniqueConstraint, Uuid, text

from millrace.store.columns import Json, Moment, Searched, Whole, Words

metadata = MetaData()


def _id() -> Column[Any]:
    return Column("id", Uuid, primary_key=True)


def _dates() -> list[Column[Any]]:
    return [Column("created", Moment, nullable=False), Column("updated", Moment, nullable=False)]


def _sequence() -> Column[Any]:
    # SQLite counts only in a column of type INTEGER; AUTOINCREMENT never gives a number twice, so cursors stay true.
    return Column("sequence", Whole().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True)


def _to(column: str) -> list[Any]:
    return [ForeignKey(column, ondelete="CASCADE")]


migrations = Table(
    "migrations",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("name", Words, nullable=False),
    Column("applied", Moment, nullable=False),
)

memory = Table(
    "memory",
    metadata,
    Column("name", Words, primary_key=True),
    Column("value", Json),
)

flows = Table(
    "flows",
    metadata,
    _id(),
    *_dates(),
    Column("name", Words, nullable=False, unique=True),
    Column("tags", Searched, nullable=False),
    Column("labels", Json, nullable=False),
)

flow_runs = Table(
    "flow_runs",
    metadata,
    _id(),
    *_dates(),
    Column("name", Words, nullable=False),
    Column("flow_id", Uuid, *_to("flows.id"), nullable=False),
    Column("flow_version", Words),
    Column("parameters", Json, nullable=False),
    Column("context", Json, nullable=False),
    Column("parent_task_run_id", Uuid),
    Column("infrastructure_document_id", Uuid),
    Column("empirical_policy", Json, nullable=False),
    Column("tags", Searched, nullable=False),
    Column("labels", Json, nullable=False),
    Column("idempotency_key", Words),
    Column("job_variables", Json),
    Column("deployment_id", Uuid),
    Column("deployment_version", Words),
    Column("work_queue_id", Uuid),
    Column("work_pool_id", Uuid),
    Column("state", Json),
    Column("state_id", Uuid),
    Column("state_type", Words),
    Column("state_name", Words),
    Column("state_timestamp", Moment),
    Column("run_count", Whole, nullable=False),
    Column("expected_start_time", Moment),
    Column("next_scheduled_start_time", Moment),
    Column("start_time", Moment),
    Column("end_time", Moment),
    Column("total_run_time", Float, nullable=False),
    Column("auto_scheduled", Boolean, nullable=False),
    Column("infrastructure_pid", Words),
    Column("created_by", Searched),
    Column("schedule_id", Uuid),
    Column("nominal_time", Moment),
    Column("attempt", Whole, nullable=False),
    Column("lease_holder", Words),
    Column("lease_expires", Moment),
    Column("in_process", Boolean, nullable=False),
    Column("slot", Boolean, nullable=False),
    UniqueConstraint("flow_id", "idempotency_key"),
    UniqueConstraint("deployment_id", "schedule_id", "nominal_time"),
    Index("ix_flow_runs_claim", "work_queue_id", "next_scheduled_start_time"),
    Index("ix_flow_runs_late", "state_name", "next_scheduled_start_time"),
    Index("ix_flow_runs_state", "state_type", "expected_start_time"),
    Index("ix_flow_runs_deployment", "deployment_id", "expected_start_time"),
    Index("ix_flow_runs_expected", "expected_start_time"),
    Index("ix_flow_runs_start", "start_time"),
    Index("ix_flow_runs_end", "end_time"),
    Index("ix_flow_runs_parent", "parent_task_run_id"),
    Index("ix_flow_runs_waiting", "schedule_id", "next_scheduled_start_time"),
    Index("ix_flow_runs_lease", "lease_expires"),
    Index(
        "ix_flow_runs_slot",
        "work_pool_id",
        "work_queue_id",
        "deployment_id",
        sqlite_where=text("slot"),
        postgresql_where=text("slot"),
    ),
)

flow_run_states = Table(
    "flow_run_states",
    metadata,
    _sequence(),
    Column("id", Uuid, nullable=False, unique=True),
    Column("flow_run_id", Uuid, *_to("flow_runs.id"), nullable=False),
    Column("attempt", Whole, nullable=False),
    Column("type", Words, nullable=False),
    Column("name", Words, nullable=False),
    Column("timestamp", Moment, nullable=False),
    Column("message", Words),
    Column("data", Json),
    Column("state_details", Json, nullable=False),
    Index("ix_flow_run_states_run", "flow_run_id", "sequence"),
    sqlite_autoincrement=True,
)

flow_run_inputs = Table(
    "flow_run_inputs",
    metadata,
    _id(),
    *_dates(),
    Column("flow_run_id", Uuid, *_to("flow_runs.id"), nullable=False),
    Column("key", Words, nullable=False),
    Column("value", Words, nullable=False),
    Column("sender", Words),
    UniqueConstraint("flow_run_id", "key"),
)

task_runs = Table(
    "task_runs",
    metadata,
    _id(),
    *_dates(),
    Column("name", Words, nullable=False),
    Column("flow_run_id", Uuid),
    Column("task_key", Words, nullable=False),
    Column("dynamic_key", Words, nullable=False),
    Column("cache_key", Words),
    Column("cache_expiration", Moment),
    Column("task_version", Words),
    Column("empirical_policy", Json, nullable=False),
    Column("tags", Searched, nullable=False),
    Column("labels", Json, nullable=False),
    Column("task_inputs", Json, nullable=False),
    Column("state", Json),
    Column("state_id", Uuid),
    Column("state_type", Words),
    Column("state_name", Words),
    Column("state_timestamp", Moment),
    Column("run_count", Whole, nullable=False),
    Column("flow_run_run_count", Whole, nullable=False),
    Column("expected_start_time", Moment),
    Column("next_scheduled_start_time", Moment),
    Column("start_time", Moment),
    Column("end_time", Moment),
    Column("total_run_time", Float, nullable=False),
    Index("ix_task_runs_flow_run", "flow_run_id", "id"),
    Index("ix_task_runs_expected", "expected_start_time"),
    Index("ix_task_runs_end", "end_time"),
    Index("ix_task_runs_state", "state_type"),
)

events = Table(
    "events",
    metadata,
    _sequence(),
    Column("id", Uuid, nullable=False, unique=True),
    Column("occurred", Moment, nullable=False),
    Column("received", Moment, nullable=False),
    Column("event", Words, nullable=False),
    Column("resource_id", Words, nullable=False),
    Column("flow_run_id", Uuid),
    Column("resource", Searched, nullable=False),
    Column("related", Searched, nullable=False),
    Column("payload", Json, nullable=False),
    Column("follows", Uuid),
    Index("ix_events_flow_run", "flow_run_id", "sequence"),
    Index("ix_events_occurred", "occurred"),
    Index("ix_events_resource", "resource_id", "occurred"),
    Index("ix_events_name", "event", "occurred"),
    sqlite_autoincrement=True,
)

logs = Table(
    "logs",
    metadata,
    _sequence(),
    Column("id", Uuid, nullable=False, unique=True),
    Column("created", Moment, nullable=False),
    Column("name", Words, nullable=False),
    Column("level", Whole, nullable=False),
    Column("message", Words, nullable=False),
    Column("timestamp", Moment, nullable=False),
    Column("flow_run_id", Uuid),
    Column("task_run_id", Uuid),
    Index("ix_logs_flow_run", "flow_run_id", "sequence"),
    Index("ix_logs_flow_run_time", "flow_run_id", "timestamp", "sequence"),
    Index(
        "ix_logs_task_run",
        "task_run_id",
        "timestamp",
        sqlite_where=text("task_run_id IS NOT NULL"),
        postgresql_where=text("task_run_id IS NOT NULL"),
    ),
    Index("ix_logs_time", "timestamp"),
    sqlite_autoincrement=True,
)

artifacts = Table(
    "artifacts",
    metadata,
    _id(),
    *_dates(),
    Column("key", Words),
    Column("type", Words),
    Column("description", Words),
    Column("data", Json),
    Column("metadata_", Json),
    Column("flow_run_id", Uuid),
    Column("task_run_id", Uuid),
    Index("ix_artifacts_key", "key", "created"),
    Index("ix_artifacts_flow_run", "flow_run_id"),
    Index("ix_artifacts_task_run", "task_run_id"),
)

artifact_collections = Table(
    "artifact_collections",
    metadata,
    _id(),
    Column("key", Words, nullable=False, unique=True),
    Column("latest_id", Uuid, nullable=False, index=True),
)

deployments = Table(
    "deployments",
    metadata,
    _id(),
    *_dates(),
    Column("name", Words, nullable=False),
    Column("flow_id", Uuid, *_to("flows.id"), nullable=False),
    Column("paused", Boolean, nullable=False),
    Column("declared_paused", Boolean, nullable=False),
    Column("concurrency_limit", Whole),
    Column("concurrency_options", Json),
    Column("global_concurrency_limit_id", Uuid),
    Column("enforce_parameter_schema", Boolean, nullable=False),
    Column("parameter_openapi_schema", Json),
    Column("parameters", Json, nullable=False),
    Column("tags", Searched, nullable=False),
    Column("labels", Json, nullable=False),
    Column("pull_steps", Json),
    Column("work_pool_id", Uuid, index=True),
    Column("work_queue_id", Uuid, index=True),
    Column("storage_document_id", Uuid),
    Column("infrastructure_document_id", Uuid),
    Column("description", Words),
    Column("path", Words),
    Column("version", Words),
    Column("entrypoint", Words),
    Column("job_variables", Json, nullable=False),
    Column("version_info", Json),
    Column("last_polled", Moment),
    Column("created_by", Searched),
    Column("updated_by", Json),
    UniqueConstraint("flow_id", "name"),
    Index("ix_deployments_limit", "concurrency_limit"),
)

deployment_schedules = Table(
    "deployment_schedules",
    metadata,
    _id(),
    *_dates(),
    Column("deployment_id", Uuid, *_to("deployments.id"), nullable=False, index=True),
    Column("position", Whole, nullable=False),
    Column("schedule", Json, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("declared_active", Boolean),
    Column("active_said", Boolean),
    Column("max_scheduled_runs", Whole),
    Column("parameters", Json, nullable=False),
    Column("slug", Words),
    Column("replaces", Words),
    Column("since", Moment, nullable=False),
    Column("last_made", Moment),
    Column("next_fire", Moment),
    Column("wake", Moment),
    Index("ix_deployment_schedules_wake", "wake"),
)

skipped_fires = Table(
    "skipped_fires",
    metadata,
    Column("deployment_id", Uuid, *_to("deployments.id"), primary_key=True),
    Column("schedule_id", Uuid, primary_key=True),
    Column("nominal_time", Moment, primary_key=True),
    Column("recorded", Moment, nullable=False),
    Column("reason", Words, nullable=False),
)

work_pools = Table(
    "work_pools",
    metadata,
    _id(),
    *_dates(),
    Column("name", Words, nullable=False, unique=True),
    Column("description", Words),
    Column("type", Words, nullable=False),
    Column("base_job_template", Json, nullable=False),
    Column("is_paused", Boolean, nullable=False),
    Column("concurrency_limit", Whole),
    Column("storage_configuration", Json, nullable=False),
    Column("default_queue_id", Uuid),
)

work_queues = Table(
    "work_queues",
    metadata,
    _id(),
    *_dates(),
    Column("work_pool_id", Uuid, *_to("work_pools.id"), nullable=False),
    Column("name", Words, nullable=False),
    Column("description", Words),
    Column("is_paused", Boolean, nullable=False),
    Column("concurrency_limit", Whole),
    Column("priority", Whole, nullable=False),
    Column("filter", Json),
    Column("last_polled", Moment),
    UniqueConstraint("work_pool_id", "name"),
)

workers = Table(
    "workers",
    metadata,
    _id(),
    *_dates(),
    Column("work_pool_id", Uuid, *_to("work_pools.id"), nullable=False),
    Column("name", Words, nullable=False),
    Column("last_heartbeat_time", Moment),
    Column("heartbeat_interval_seconds", Whole),
    Column("queue_names", Json),
    UniqueConstraint("work_pool_id", "name"),
)

concurrency_limits = Table(
    "concurrency_limits",
    metadata,
    _id(),
    *_dates(),
    Column("name", Words, nullable=False, unique=True),
    Column("active", Boolean, nullable=False),
    Column("limit", Whole, nullable=False),
    Column("active_slots", Float, nullable=False),
    Column("denied_slots", Float, nullable=False),
    Column("slot_decay_per_second", Float, nullable=False),
    Column("avg_slot_occupancy_seconds", Float, nullable=False),
    Column("counted", Moment, nullable=False),
)

slot_leases = Table(
    "slot_leases",
    metadata,
    _id(),
    *_dates(),
    Column("slots", Whole, nullable=False),
    Column("expires", Moment, nullable=False, index=True),
    Column("holder_type", Words),
    Column("holder_id", Uuid, index=True),
    Column("flow_run_id", Uuid),
    Column("attempt", Whole),
)

leased_limits = Table(
    "leased_limits",
    metadata,
    Column("lease_id", Uuid, *_to("slot_leases.id"), primary_key=True),
    Column("limit_id", Uuid, *_to("concurrency_limits.id"), primary_key=True, index=True),
)
