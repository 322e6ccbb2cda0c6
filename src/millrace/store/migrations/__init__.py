"""The steps by which the tables came to be, in order. Each runs in a transaction together with its record."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, inspect, select

from millrace.errors import Conflict
from millrace.store.migrations import (
    m0001_first_tables,
    m0002_flow_run_inputs,
    m0003_concurrency_limits,
    m0004_variables_and_blocks,
    m0005_automations,
    m0006_queues_of_workers,
    m0007_run_pages,
    m0008_said_in_words,
)
from millrace.store.tables import migrations


class Migration(NamedTuple):
    """One step.

    Attributes:
        number: its place, from 1.
        name: what it did; a database with another name under this number is not ours.
        up: does it.
    """

    number: int
    name: str
    up: Callable[[Connection], None]


MIGRATIONS: tuple[Migration, ...] = (
    Migration(1, "first tables", m0001_first_tables.up),
    Migration(2, "flow run inputs", m0002_flow_run_inputs.up),
    Migration(3, "concurrency limits", m0003_concurrency_limits.up),
    Migration(4, "variables and blocks", m0004_variables_and_blocks.up),
    Migration(5, "automations", m0005_automations.up),
    Migration(6, "queues of workers", m0006_queues_of_workers.up),
    Migration(7, "pages of runs", m0007_run_pages.up),
    Migration(8, "said in words", m0008_said_in_words.up),
)


def migrate(connection: Connection, now: datetime, where: object) -> None:
    """Brings a database to the schema of this program.

    Args:
        connection: one that may write.
        now: recorded with each step.
        where: the database, for messages.

    Raises:
        Conflict: the database is newer than this program, or not a database of Millrace.
    """
    with connection.begin():
        known = set(inspect(connection).get_table_names())
    applied: dict[int, str] = {}
    if migrations.name in known:
        with connection.begin():
            applied = {row.number: row.name for row in connection.execute(select(migrations))}
    elif known:
        raise Conflict(
            f"{where} holds tables ({', '.join(sorted(known)[:3])} …) that Millrace did not make. "
            "Name another database with --database-url, or another data directory in MILLRACE_HOME."
        )
    _refuse_unknown(applied, where)
    for migration in MIGRATIONS:
        if migration.number not in applied:
            with connection.begin():
                migration.up(connection)
                record = {"number": migration.number, "name": migration.name, "applied": now}
                connection.execute(migrations.insert().values(record))


def _refuse_unknown(applied: dict[int, str], where: object) -> None:
    newest = MIGRATIONS[-1].number
    if applied and max(applied) > newest:
        raise Conflict(
            f"{where} was written by a newer Millrace: it has schema {max(applied)}, this program knows {newest}. "
            "Upgrade with pip install -U millrace, or name another data directory in MILLRACE_HOME."
        )
    ours = {migration.number: migration.name for migration in MIGRATIONS}
    strange = {number: name for number, name in applied.items() if ours[number] != name}
    gaps = sorted(number for number in ours if number < max(applied, default=0) and number not in applied)
    if strange or gaps:
        raise Conflict(
            f"{where} has a schema this Millrace does not know ({strange or f'step {gaps[0]} is missing'}). "
            "It was made by a version under development: move the file away and start anew, or use that version."
        )
