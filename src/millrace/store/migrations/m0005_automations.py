"""Automations, what they have counted, and what they still have to do."""

from __future__ import annotations

from sqlalchemy import Connection

_ID = {"sqlite": "CHAR(32)", "postgresql": "UUID"}

STATEMENTS = (
    """
    CREATE TABLE automations (
        id {id} NOT NULL,
        created BIGINT NOT NULL,
        updated BIGINT NOT NULL,
        name TEXT NOT NULL,
        description TEXT NOT NULL,
        enabled BOOLEAN NOT NULL,
        tags TEXT NOT NULL,
        "trigger" TEXT NOT NULL,
        actions TEXT NOT NULL,
        actions_on_trigger TEXT NOT NULL,
        actions_on_resolve TEXT NOT NULL,
        owner_resource TEXT,
        active_after BIGINT NOT NULL,
        PRIMARY KEY (id)
    )
    """,
    "CREATE INDEX ix_automations_name ON automations (name)",
    "CREATE INDEX ix_automations_owner_resource ON automations (owner_resource)",
    """
    CREATE TABLE automation_windows (
        automation_id {id} NOT NULL,
        trigger_id {id} NOT NULL,
        labels TEXT NOT NULL,
        start BIGINT NOT NULL,
        "end" BIGINT NOT NULL,
        count INTEGER NOT NULL,
        event TEXT,
        wake BIGINT,
        PRIMARY KEY (automation_id, trigger_id, labels),
        FOREIGN KEY(automation_id) REFERENCES automations (id) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX ix_automation_windows_wake ON automation_windows (wake)",
    """
    CREATE TABLE automation_firings (
        automation_id {id} NOT NULL,
        parent_id {id} NOT NULL,
        firings TEXT NOT NULL,
        PRIMARY KEY (automation_id, parent_id),
        FOREIGN KEY(automation_id) REFERENCES automations (id) ON DELETE CASCADE
    )
    """,
    """
    CREATE TABLE automation_actions (
        id {id} NOT NULL,
        automation_id {id} NOT NULL,
        created BIGINT NOT NULL,
        due BIGINT NOT NULL,
        invocation TEXT NOT NULL,
        PRIMARY KEY (id),
        FOREIGN KEY(automation_id) REFERENCES automations (id) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX ix_automation_actions_due ON automation_actions (due)",
    "CREATE INDEX ix_automation_actions_automation_id ON automation_actions (automation_id)",
)


def up(connection: Connection) -> None:
    """Makes the tables and their indexes."""
    kind = _ID[connection.dialect.name]
    for statement in STATEMENTS:
        connection.exec_driver_sql(statement.replace("{id}", kind))
