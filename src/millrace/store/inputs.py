"""Inputs of runs: what is handed to them."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import func, select

from millrace.errors import AlreadyExists, NotFound
from millrace.schema.fields import new_id
from millrace.schema.inputs import FlowRunInput, FlowRunInputCreate, FlowRunInputQuery, keyset
from millrace.store import flow_runs
from millrace.store.columns import clamp
from millrace.store.database import Transaction
from millrace.store.rows import LIMIT, model, values
from millrace.store.tables import flow_run_inputs

_c = flow_run_inputs.c


def create(tx: Transaction, flow_run_id: UUID, body: FlowRunInputCreate) -> FlowRunInput:
    """Stores an input.

    Raises:
        NotFound: there is no such run.
        AlreadyExists: the run has an input with this key.
    """
    flow_runs.row(tx, flow_run_id)
    if find(tx, flow_run_id, body.key) is not None:
        raise AlreadyExists(f"The run has an input {body.key!r} already. Delete it first, or use another key.")
    stored = FlowRunInput(**dict(body), flow_run_id=flow_run_id, id=new_id(), created=tx.now, updated=tx.now)
    tx.connection.execute(flow_run_inputs.insert().values(values(stored, flow_run_inputs)))
    return stored


def find(tx: Transaction, flow_run_id: UUID, key: str) -> FlowRunInput | None:
    """One input, or None."""
    one = (_c.flow_run_id == flow_run_id) & (_c.key == key)
    row = tx.connection.execute(select(flow_run_inputs).where(one)).first()
    return None if row is None else model(FlowRunInput, row)


def read(tx: Transaction, flow_run_id: UUID, key: str) -> FlowRunInput:
    """One input.

    Raises:
        NotFound: the run has none with this key.
    """
    found = find(tx, flow_run_id, key)
    if found is None:
        raise NotFound(f"The run {flow_run_id} has no input {key!r}.")
    return found


def query(tx: Transaction, flow_run_id: UUID, query: FlowRunInputQuery) -> list[FlowRunInput]:
    """The inputs of a run whose key begins so, the oldest first."""
    # not LIKE: for SQLite it would not tell capitals from small letters
    begins = func.substr(_c.key, 1, len(query.prefix)) == query.prefix
    wanted = (_c.flow_run_id == flow_run_id) & begins & _c.key.not_in(query.exclude_keys)
    limit = max(0, min(clamp(query.limit), LIMIT))
    ordered = select(flow_run_inputs).where(wanted).order_by(_c.created, _c.id).limit(limit)
    return [model(FlowRunInput, row) for row in tx.connection.execute(ordered)]


def delete(tx: Transaction, flow_run_id: UUID, key: str) -> None:
    """Forgets an input.

    Raises:
        NotFound: the run has none with this key.
    """
    read(tx, flow_run_id, key)
    forget(tx, flow_run_id, [key])


def forget(tx: Transaction, flow_run_id: UUID, keys: Iterable[str]) -> None:
    """Forgets the inputs that are there of these keys."""
    tx.connection.execute(flow_run_inputs.delete().where((_c.flow_run_id == flow_run_id) & _c.key.in_(list(keys))))


def forget_pauses(tx: Transaction, flow_run_id: UUID, pause_keys: Iterable[str]) -> None:
    """A run begins anew: what was answered at its pauses is asked again."""
    names = [key for pause in pause_keys for name in ("Paused", "Suspended") for key in keyset(name, pause).values()]
    if names:
        forget(tx, flow_run_id, names)
