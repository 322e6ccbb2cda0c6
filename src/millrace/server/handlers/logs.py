"""Log lines."""

from __future__ import annotations

from millrace.schema.logs import Log, LogCreate, LogQuery
from millrace.server.context import Call
from millrace.store import logs


def create_logs(call: Call, body: list[LogCreate]) -> None:
    """Store lines; one that is known by its id is not stored again."""
    call.write(logs.append, body)


def read_logs(call: Call, body: LogQuery) -> list[Log]:
    """Lines that match."""
    return call.read(logs.query, body)
