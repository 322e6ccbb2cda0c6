"""Flows."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Row, select

from millrace.errors import NotFound
from millrace.schema.fields import new_id
from millrace.schema.flows import Flow, FlowCreate, FlowSort
from millrace.schema.queries import FlowQuery
from millrace.store import filters
from millrace.store.database import Transaction
from millrace.store.rows import model, page, suggested, values
from millrace.store.tables import deployments, flow_runs, flows

_ORDERS = {
    FlowSort.CREATED_DESC: flows.c.created.desc(),
    FlowSort.UPDATED_DESC: flows.c.updated.desc(),
    FlowSort.NAME_ASC: flows.c.name.asc(),
    FlowSort.NAME_DESC: flows.c.name.desc(),
}


def create(tx: Transaction, body: FlowCreate) -> tuple[Flow, bool]:
    """Registers a flow.

    Returns:
        The flow, and whether it is new; a known name answers the known flow.
    """
    row = _by_name(tx, body.name)
    if row is not None:
        return model(Flow, row), False
    flow = Flow(**body.model_dump(), id=new_id(), created=tx.now, updated=tx.now)
    tx.connection.execute(flows.insert().values(values(flow, flows)))
    return flow, True


def _by_name(tx: Transaction, name: str) -> Row[Any] | None:
    return tx.connection.execute(select(flows).where(flows.c.name == name)).first()


def read(tx: Transaction, id: UUID) -> Flow:
    """One flow.

    Raises:
        NotFound: there is none with this id.
    """
    row = tx.connection.execute(select(flows).where(flows.c.id == id)).first()
    if row is None:
        raise NotFound(f"No flow has the id {id}.")
    return model(Flow, row)


def by_name(tx: Transaction, name: str) -> Flow:
    """The flow of this name.

    Raises:
        NotFound: there is none.
    """
    row = _by_name(tx, name)
    if row is None:
        raise NotFound(f"No flow is named {name!r}.{suggested(tx, flows.c.name, name)}")
    return model(Flow, row)


def query(tx: Transaction, query: FlowQuery) -> list[Flow]:
    """The flows that match."""
    order = _ORDERS[query.sort or FlowSort.NAME_ASC]
    statement = select(flows).where(filters.flows_of(query)).order_by(order, flows.c.id)
    return [model(Flow, row) for row in tx.connection.execute(page(statement, query))]


def delete(tx: Transaction, id: UUID) -> None:
    """Forgets a flow, its deployments and its runs.

    Raises:
        NotFound: there is none with this id.
    """
    read(tx, id)
    tx.connection.execute(deployments.delete().where(deployments.c.flow_id == id))
    tx.connection.execute(flow_runs.delete().where(flow_runs.c.flow_id == id))
    tx.connection.execute(flows.delete().where(flows.c.id == id))
