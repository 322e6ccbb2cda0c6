"""The pages of runs that other machines executed; each goes with its run."""

from __future__ import annotations

import zlib
from uuid import UUID

from sqlalchemy import select

from millrace.errors import NotFound
from millrace.schema.pages import RunPage
from millrace.store import flow_runs
from millrace.store.columns import insert
from millrace.store.database import Transaction
from millrace.store.value_tables import run_pages

_c = run_pages.c


def keep(tx: Transaction, flow_run_id: UUID, body: RunPage) -> None:
    """Keeps the page of a run, in place of an earlier one.

    Raises:
        NotFound: there is no such run.
    """
    flow_runs.row(tx, flow_run_id)
    packed = None if body.text is None else zlib.compress(body.text.encode())
    kept = {"place": body.place, "size": body.size, "packed": packed}
    statement = insert(tx.connection, run_pages).values(flow_run_id=flow_run_id, **kept)
    tx.connection.execute(statement.on_conflict_do_update(index_elements=[_c.flow_run_id], set_=kept))


def find(tx: Transaction, flow_run_id: UUID) -> RunPage | None:
    """The page of a run, or None."""
    row = tx.connection.execute(select(run_pages).where(_c.flow_run_id == flow_run_id)).first()
    if row is None:
        return None
    text = None if row.packed is None else zlib.decompress(row.packed).decode()
    return RunPage(place=row.place, size=row.size, text=text)


def read(tx: Transaction, flow_run_id: UUID) -> RunPage:
    """The page of a run.

    Raises:
        NotFound: none is kept.
    """
    found = find(tx, flow_run_id)
    if found is None:
        raise NotFound(
            f"No page is kept of the run {flow_run_id}. It has one where it executed a notebook on another machine "
            "than the server's; else look for its artifact of the type html."
        )
    return found
