"""Flows."""

from __future__ import annotations

from uuid import UUID

from millrace.schema.flows import Flow, FlowCreate
from millrace.schema.queries import FlowQuery
from millrace.server.answers import Answer, created_or_known
from millrace.server.context import Call
from millrace.store import flows


def create_flow(call: Call, body: FlowCreate) -> Answer:
    """Register a flow."""
    return created_or_known(call.write(flows.create, body))


def read_flows(call: Call, body: FlowQuery) -> list[Flow]:
    """Flows that match."""
    return call.read(flows.query, body)


def read_flow_by_name(call: Call, name: str) -> Flow:
    """The flow of a name."""
    return call.read(flows.by_name, name)


def read_flow(call: Call, id: UUID) -> Flow:
    """One flow."""
    return call.read(flows.read, id)


def delete_flow(call: Call, id: UUID) -> None:
    """Forget a flow, its runs and deployments."""
    call.write_plan(flows.delete, id)
