"""Pages of runs that other machines executed. Frozen: what changes later is a migration of its own."""

from __future__ import annotations

from sqlalchemy import Connection

_KINDS = {"sqlite": ("CHAR(32)", "BLOB"), "postgresql": ("UUID", "BYTEA")}

STATEMENT = """
    CREATE TABLE run_pages (
        flow_run_id {id} NOT NULL,
        place TEXT NOT NULL,
        size BIGINT NOT NULL,
        packed {bytes},
        PRIMARY KEY (flow_run_id),
        FOREIGN KEY(flow_run_id) REFERENCES flow_runs (id) ON DELETE CASCADE
    )
"""


def up(connection: Connection) -> None:
    """Creates the table."""
    id, data = _KINDS[connection.dialect.name]
    connection.exec_driver_sql(STATEMENT.replace("{id}", id).replace("{bytes}", data))
