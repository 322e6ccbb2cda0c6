"""Log lines."""

from __future__ import annotations

import shlex
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, select

from millrace.schema.fields import new_id
from millrace.schema.logs import Log, LogCreate, LogFilter, LogQuery, LogSort, LogText
from millrace.store.columns import clamp, contains, insert
from millrace.store.conditions import Condition, all_of, combined, ids, moment, number
from millrace.store.database import Transaction
from millrace.store.rows import page
from millrace.store.tables import logs

_c = logs.c


def append(tx: Transaction, lines: list[LogCreate]) -> None:
    """Stores lines; one that is known by its id is not stored again.

    Args:
        lines: in the order they were written.
    """
    if not lines:
        return
    rows = [
        {
            "id": line.id or new_id(),
            "created": tx.now,
            "name": line.name,
            "level": line.level,
            "message": line.message,
            "timestamp": line.timestamp,
            "flow_run_id": line.flow_run_id,
            "task_run_id": line.task_run_id,
        }
        for line in lines
    ]
    tx.connection.execute(insert(tx.connection, logs).on_conflict_do_nothing(index_elements=[_c.id]), rows)


def query(tx: Transaction, query: LogQuery) -> list[Log]:
    """The lines that match; lines of one moment in the order they came."""
    statement = select(logs).where(_condition(query.logs))
    if query.sort is LogSort.TIMESTAMP_DESC:
        statement = statement.order_by(_c.timestamp.desc(), _c.sequence.desc())
    else:
        statement = statement.order_by(_c.timestamp, _c.sequence)
    return [_log(row) for row in tx.connection.execute(page(statement, query))]


def after(tx: Transaction, sequence: int, *, flow_run_id: UUID | None, limit: int) -> list[tuple[int, Log]]:
    """The lines beyond a place in the log, in order, each with its place.

    Args:
        sequence: the last one known.
        flow_run_id: only those of this run; None for all.
        limit: how many at most.
    """
    statement = select(logs).where(_c.sequence > clamp(sequence)).order_by(_c.sequence).limit(limit)
    if flow_run_id is not None:
        statement = statement.where(_c.flow_run_id == flow_run_id)
    return [(row.sequence, _log(row)) for row in tx.connection.execute(statement)]


def last(tx: Transaction) -> int:
    """The sequence of the newest line; 0 without any."""
    return tx.connection.scalar(select(func.max(_c.sequence))) or 0


def _log(row: Row[Any]) -> Log:
    return Log.model_construct(
        id=row.id,
        created=row.created,
        updated=row.created,
        name=row.name,
        level=row.level,
        message=row.message,
        timestamp=row.timestamp,
        flow_run_id=row.flow_run_id,
        task_run_id=row.task_run_id,
    )


def _condition(filter: LogFilter | None) -> Condition:
    condition = all_of(
        filter,
        lambda f: number(_c.level, f.level),
        lambda f: moment(_c.timestamp, f.timestamp),
        lambda f: ids(_c.flow_run_id, f.flow_run_id),
        lambda f: ids(_c.task_run_id, f.task_run_id),
        lambda f: _words(f.text),
    )
    return combined([condition])


def _words(condition: LogText | None) -> Condition | None:
    """Every word is in the line, none that begins with a minus; quotes keep words together."""
    if condition is None:
        return None
    try:
        words = shlex.split(condition.query)
    except ValueError:  # a quote that nobody closed
        words = condition.query.split()
    barred = [~contains(_c.message, word[1:]) for word in words if len(word) > 1 and word[0] in "-!"]
    wanted = [contains(_c.message, word) for word in words if word[0:1] not in ("-", "!") and word]
    return combined([*wanted, *barred])
