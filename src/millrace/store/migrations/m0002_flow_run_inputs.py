"""What is handed to runs. Frozen: what changes later is a migration of its own."""

from __future__ import annotations

from sqlalchemy import Connection

_IDS = {"sqlite": "CHAR(32)", "postgresql": "UUID"}

STATEMENT = """
    CREATE TABLE flow_run_inputs (
        id {id} NOT NULL,
        created BIGINT NOT NULL,
        updated BIGINT NOT NULL,
        flow_run_id {id} NOT NULL,
        "key" TEXT NOT NULL,
        value TEXT NOT NULL,
        sender TEXT,
        PRIMARY KEY (id),
        UNIQUE (flow_run_id, "key"),
        FOREIGN KEY(flow_run_id) REFERENCES flow_runs (id) ON DELETE CASCADE
    )
"""


def up(connection: Connection) -> None:
    """Creates the table."""
    connection.exec_driver_sql(STATEMENT.replace("{id}", _IDS[connection.dialect.name]))
