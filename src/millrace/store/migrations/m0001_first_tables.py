"""The first tables. Frozen: what changes later is a migration of its own."""

from __future__ import annotations

from sqlalchemy import Connection

_TYPES = {
    "sqlite": {"id": "CHAR(32)", "sequence": "INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT"},
    "postgresql": {"id": "UUID", "sequence": "BIGSERIAL NOT NULL PRIMARY KEY"},
}

STATEMENTS = (
    """
    CREATE TABLE artifact_collections (
        id {id} NOT NULL,
        "key" TEXT NOT NULL,
        latest_id {id} NOT NULL,
        PRIMARY KEY (id),
        UNIQUE ("key")
    )
    """,
    "CREATE INDEX ix_artifact_collections_latest_id ON artifact_collections (latest_id)",
    """
    CREATE TABLE artifacts (
        id {id} NOT NULL,
        created BIGINT NOT NULL,
        updated BIGINT NOT NULL,
        "key" TEXT,
        type TEXT,
        description TEXT,
        data TEXT,
        metadata_ TEXT,
        flow_run_id {id},
        task_run_id {id},
        PRIMARY KEY (id)
    )
    """,
    "CREATE INDEX ix_artifacts_flow_run ON artifacts (flow_run_id)",
    'CREATE INDEX ix_artifacts_key ON artifacts ("key", created)',
    "CREATE INDEX ix_artifacts_task_run ON artifacts (task_run_id)",
    """
    CREATE TABLE events (
        sequence {sequence},
        id {id} NOT NULL,
        occurred BIGINT NOT NULL,
        received BIGINT NOT NULL,
        event TEXT NOT NULL,
        resource_id TEXT NOT NULL,
        flow_run_id {id},
        resource TEXT NOT NULL,
        related TEXT NOT NULL,
        payload TEXT NOT NULL,
        follows {id},
        UNIQUE (id)
    )
    """,
    "CREATE INDEX ix_events_flow_run ON events (flow_run_id, sequence)",
    "CREATE INDEX ix_events_name ON events (event, occurred)",
    "CREATE INDEX ix_events_occurred ON events (occurred)",
    "CREATE INDEX ix_events_resource ON events (resource_id, occurred)",
    """
    CREATE TABLE flows (
        id {id} NOT NULL,
        created BIGINT NOT NULL,
        updated BIGINT NOT NULL,
        name TEXT NOT NULL,
        tags TEXT NOT NULL,
        labels TEXT NOT NULL,
        PRIMARY KEY (id),
        UNIQUE (name)
    )
    """,
    """
    CREATE TABLE logs (
        sequence {sequence},
        id {id} NOT NULL,
        created BIGINT NOT NULL,
        name TEXT NOT NULL,
        level BIGINT NOT NULL,
        message TEXT NOT NULL,
        timestamp BIGINT NOT NULL,
        flow_run_id {id},
        task_run_id {id},
        UNIQUE (id)
    )
    """,
    "CREATE INDEX ix_logs_flow_run ON logs (flow_run_id, sequence)",
    "CREATE INDEX ix_logs_flow_run_time ON logs (flow_run_id, timestamp, sequence)",
    "CREATE INDEX ix_logs_task_run ON logs (task_run_id, timestamp) WHERE task_run_id IS NOT NULL",
    "CREATE INDEX ix_logs_time ON logs (timestamp)",
    """
    CREATE TABLE memory (
        name TEXT NOT NULL,
        value TEXT,
        PRIMARY KEY (name)
    )
    """,
    """
    CREATE TABLE migrations (
        number INTEGER NOT NULL,
        name TEXT NOT NULL,
        applied BIGINT NOT NULL,
        PRIMARY KEY (number)
    )
    """,
    """
    CREATE TABLE task_runs (
        id {id} NOT NULL,
        created BIGINT NOT NULL,
        updated BIGINT NOT NULL,
        name TEXT NOT NULL,
        flow_run_id {id},
        task_key TEXT NOT NULL,
        dynamic_key TEXT NOT NULL,
        cache_key TEXT,
        cache_expiration BIGINT,
        task_version TEXT,
        empirical_policy TEXT NOT NULL,
        tags TEXT NOT NULL,
        labels TEXT NOT NULL,
        task_inputs TEXT NOT NULL,
        state TEXT,
        state_id {id},
        state_type TEXT,
        state_name TEXT,
        state_timestamp BIGINT,
        run_count BIGINT NOT NULL,
        flow_run_run_count BIGINT NOT NULL,
        expected_start_time BIGINT,
        next_scheduled_start_time BIGINT,
        start_time BIGINT,
        end_time BIGINT,
        total_run_time FLOAT NOT NULL,
        PRIMARY KEY (id)
    )
    """,
    "CREATE INDEX ix_task_runs_end ON task_runs (end_time)",
    "CREATE INDEX ix_task_runs_expected ON task_runs (expected_start_time)",
    "CREATE INDEX ix_task_runs_flow_run ON task_runs (flow_run_id, id)",
    "CREATE INDEX ix_task_runs_state ON task_runs (state_type)",
    """
    CREATE TABLE work_pools (
        id {id} NOT NULL,
        created BIGINT NOT NULL,
        updated BIGINT NOT NULL,
        name TEXT NOT NULL,
        description TEXT,
        type TEXT NOT NULL,
        base_job_template TEXT NOT NULL,
        is_paused BOOLEAN NOT NULL,
        concurrency_limit BIGINT,
        storage_configuration TEXT NOT NULL,
        default_queue_id {id},
        PRIMARY KEY (id),
        UNIQUE (name)
    )
    """,
    """
    CREATE TABLE deployments (
        id {id} NOT NULL,
        created BIGINT NOT NULL,
        updated BIGINT NOT NULL,
        name TEXT NOT NULL,
        flow_id {id} NOT NULL,
        paused BOOLEAN NOT NULL,
        declared_paused BOOLEAN NOT NULL,
        concurrency_limit BIGINT,
        concurrency_options TEXT,
        global_concurrency_limit_id {id},
        enforce_parameter_schema BOOLEAN NOT NULL,
        parameter_openapi_schema TEXT,
        parameters TEXT NOT NULL,
        tags TEXT NOT NULL,
        labels TEXT NOT NULL,
        pull_steps TEXT,
        work_pool_id {id},
        work_queue_id {id},
        storage_document_id {id},
        infrastructure_document_id {id},
        description TEXT,
        path TEXT,
        version TEXT,
        entrypoint TEXT,
        job_variables TEXT NOT NULL,
        version_info TEXT,
        last_polled BIGINT,
        created_by TEXT,
        updated_by TEXT,
        PRIMARY KEY (id),
        UNIQUE (flow_id, name),
        FOREIGN KEY(flow_id) REFERENCES flows (id) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX ix_deployments_limit ON deployments (concurrency_limit)",
    "CREATE INDEX ix_deployments_work_pool_id ON deployments (work_pool_id)",
    "CREATE INDEX ix_deployments_work_queue_id ON deployments (work_queue_id)",
    """
    CREATE TABLE flow_runs (
        id {id} NOT NULL,
        created BIGINT NOT NULL,
        updated BIGINT NOT NULL,
        name TEXT NOT NULL,
        flow_id {id} NOT NULL,
        flow_version TEXT,
        parameters TEXT NOT NULL,
        context TEXT NOT NULL,
        parent_task_run_id {id},
        infrastructure_document_id {id},
        empirical_policy TEXT NOT NULL,
        tags TEXT NOT NULL,
        labels TEXT NOT NULL,
        idempotency_key TEXT,
        job_variables TEXT,
        deployment_id {id},
        deployment_version TEXT,
        work_queue_id {id},
        work_pool_id {id},
        state TEXT,
        state_id {id},
        state_type TEXT,
        state_name TEXT,
        state_timestamp BIGINT,
        run_count BIGINT NOT NULL,
        expected_start_time BIGINT,
        next_scheduled_start_time BIGINT,
        start_time BIGINT,
        end_time BIGINT,
        total_run_time FLOAT NOT NULL,
        auto_scheduled BOOLEAN NOT NULL,
        infrastructure_pid TEXT,
        created_by TEXT,
        schedule_id {id},
        nominal_time BIGINT,
        attempt BIGINT NOT NULL,
        lease_holder TEXT,
        lease_expires BIGINT,
        in_process BOOLEAN NOT NULL,
        slot BOOLEAN NOT NULL,
        PRIMARY KEY (id),
        UNIQUE (flow_id, idempotency_key),
        UNIQUE (deployment_id, schedule_id, nominal_time),
        FOREIGN KEY(flow_id) REFERENCES flows (id) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX ix_flow_runs_claim ON flow_runs (work_queue_id, next_scheduled_start_time)",
    "CREATE INDEX ix_flow_runs_deployment ON flow_runs (deployment_id, expected_start_time)",
    "CREATE INDEX ix_flow_runs_end ON flow_runs (end_time)",
    "CREATE INDEX ix_flow_runs_expected ON flow_runs (expected_start_time)",
    "CREATE INDEX ix_flow_runs_late ON flow_runs (state_name, next_scheduled_start_time)",
    "CREATE INDEX ix_flow_runs_lease ON flow_runs (lease_expires)",
    "CREATE INDEX ix_flow_runs_parent ON flow_runs (parent_task_run_id)",
    "CREATE INDEX ix_flow_runs_slot ON flow_runs (work_pool_id, work_queue_id, deployment_id) WHERE slot",
    "CREATE INDEX ix_flow_runs_start ON flow_runs (start_time)",
    "CREATE INDEX ix_flow_runs_state ON flow_runs (state_type, expected_start_time)",
    "CREATE INDEX ix_flow_runs_waiting ON flow_runs (schedule_id, next_scheduled_start_time)",
    """
    CREATE TABLE work_queues (
        id {id} NOT NULL,
        created BIGINT NOT NULL,
        updated BIGINT NOT NULL,
        work_pool_id {id} NOT NULL,
        name TEXT NOT NULL,
        description TEXT,
        is_paused BOOLEAN NOT NULL,
        concurrency_limit BIGINT,
        priority BIGINT NOT NULL,
        filter TEXT,
        last_polled BIGINT,
        PRIMARY KEY (id),
        UNIQUE (work_pool_id, name),
        FOREIGN KEY(work_pool_id) REFERENCES work_pools (id) ON DELETE CASCADE
    )
    """,
    """
    CREATE TABLE workers (
        id {id} NOT NULL,
        created BIGINT NOT NULL,
        updated BIGINT NOT NULL,
        work_pool_id {id} NOT NULL,
        name TEXT NOT NULL,
        last_heartbeat_time BIGINT,
        heartbeat_interval_seconds BIGINT,
        PRIMARY KEY (id),
        UNIQUE (work_pool_id, name),
        FOREIGN KEY(work_pool_id) REFERENCES work_pools (id) ON DELETE CASCADE
    )
    """,
    """
    CREATE TABLE deployment_schedules (
        id {id} NOT NULL,
        created BIGINT NOT NULL,
        updated BIGINT NOT NULL,
        deployment_id {id} NOT NULL,
        position BIGINT NOT NULL,
        schedule TEXT NOT NULL,
        active BOOLEAN NOT NULL,
        declared_active BOOLEAN,
        max_scheduled_runs BIGINT,
        parameters TEXT NOT NULL,
        slug TEXT,
        replaces TEXT,
        since BIGINT NOT NULL,
        last_made BIGINT,
        next_fire BIGINT,
        wake BIGINT,
        PRIMARY KEY (id),
        FOREIGN KEY(deployment_id) REFERENCES deployments (id) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX ix_deployment_schedules_deployment_id ON deployment_schedules (deployment_id)",
    "CREATE INDEX ix_deployment_schedules_wake ON deployment_schedules (wake)",
    """
    CREATE TABLE flow_run_states (
        sequence {sequence},
        id {id} NOT NULL,
        flow_run_id {id} NOT NULL,
        attempt BIGINT NOT NULL,
        type TEXT NOT NULL,
        name TEXT NOT NULL,
        timestamp BIGINT NOT NULL,
        message TEXT,
        data TEXT,
        state_details TEXT NOT NULL,
        UNIQUE (id),
        FOREIGN KEY(flow_run_id) REFERENCES flow_runs (id) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX ix_flow_run_states_run ON flow_run_states (flow_run_id, sequence)",
    """
    CREATE TABLE skipped_fires (
        deployment_id {id} NOT NULL,
        schedule_id {id} NOT NULL,
        nominal_time BIGINT NOT NULL,
        recorded BIGINT NOT NULL,
        reason TEXT NOT NULL,
        PRIMARY KEY (deployment_id, schedule_id, nominal_time),
        FOREIGN KEY(deployment_id) REFERENCES deployments (id) ON DELETE CASCADE
    )
    """,
)


def up(connection: Connection) -> None:
    """Creates them."""
    types = _TYPES[connection.dialect.name]
    for statement in STATEMENTS:
        for name, type in types.items():
            statement = statement.replace(f"{{{name}}}", type)
        connection.exec_driver_sql(statement)
