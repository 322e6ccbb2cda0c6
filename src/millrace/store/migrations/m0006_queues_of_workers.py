"""Which queues each worker takes runs of."""

from __future__ import annotations

from sqlalchemy import Connection


def up(connection: Connection) -> None:
    """Adds the column; NULL means all queues, which is what the workers before said nothing about."""
    connection.exec_driver_sql("ALTER TABLE workers ADD COLUMN queue_names TEXT")
