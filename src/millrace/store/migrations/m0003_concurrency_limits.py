"""Concurrency limits, and the leases of their slots."""

from __future__ import annotations

from sqlalchemy import Connection

_ID = {"sqlite": "CHAR(32)", "postgresql": "UUID"}
_DOUBLE = {"sqlite": "FLOAT", "postgresql": "DOUBLE PRECISION"}

STATEMENTS = (
    """
    CREATE TABLE concurrency_limits (
        id {id} NOT NULL,
        created BIGINT NOT NULL,
        updated BIGINT NOT NULL,
        name TEXT NOT NULL,
        active BOOLEAN NOT NULL,
        "limit" BIGINT NOT NULL,
        active_slots {double} NOT NULL,
        denied_slots {double} NOT NULL,
        slot_decay_per_second {double} NOT NULL,
        avg_slot_occupancy_seconds {double} NOT NULL,
        counted BIGINT NOT NULL,
        PRIMARY KEY (id),
        UNIQUE (name)
    )
    """,
    """
    CREATE TABLE slot_leases (
        id {id} NOT NULL,
        created BIGINT NOT NULL,
        updated BIGINT NOT NULL,
        slots BIGINT NOT NULL,
        expires BIGINT NOT NULL,
        holder_type TEXT,
        holder_id {id},
        flow_run_id {id},
        attempt BIGINT,
        PRIMARY KEY (id)
    )
    """,
    "CREATE INDEX ix_slot_leases_expires ON slot_leases (expires)",
    "CREATE INDEX ix_slot_leases_holder_id ON slot_leases (holder_id)",
    """
    CREATE TABLE leased_limits (
        lease_id {id} NOT NULL,
        limit_id {id} NOT NULL,
        PRIMARY KEY (lease_id, limit_id),
        FOREIGN KEY(lease_id) REFERENCES slot_leases (id) ON DELETE CASCADE,
        FOREIGN KEY(limit_id) REFERENCES concurrency_limits (id) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX ix_leased_limits_limit_id ON leased_limits (limit_id)",
)


def up(connection: Connection) -> None:
    """Creates them."""
    dialect = connection.dialect.name
    for statement in STATEMENTS:
        text = statement.replace("{id}", _ID[dialect]).replace("{double}", _DOUBLE[dialect])
        connection.exec_driver_sql(text)
