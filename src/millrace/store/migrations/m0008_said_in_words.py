"""Whether the last deployment said in words that a schedule is active, or rests."""

from __future__ import annotations

from sqlalchemy import Connection


def up(connection: Connection) -> None:
    """Adds the column. Of the deployments before nobody knows: theirs counts as said, so that none wakes what rests."""
    connection.exec_driver_sql("ALTER TABLE deployment_schedules ADD COLUMN active_said BOOLEAN")
    said = "UPDATE deployment_schedules SET active_said = TRUE WHERE declared_active IS NOT NULL"
    connection.exec_driver_sql(said)
