"""Variables."""

from __future__ import annotations

from uuid import UUID

from millrace.schema.variables import Variable, VariableCount, VariableCreate, VariableQuery, VariableUpdate
from millrace.server.context import Call
from millrace.store import variables


def create_variable(call: Call, body: VariableCreate) -> Variable:
    """Store a variable."""
    return call.write(variables.create, body)


def read_variables(call: Call, body: VariableQuery) -> list[Variable]:
    """Variables that match."""
    return call.read(variables.query, body)


def count_variables(call: Call, body: VariableCount) -> int:
    """How many variables match."""
    return call.read(variables.count, body)


def read_variable_by_name(call: Call, name: str) -> Variable:
    """The variable of a name."""
    return call.read(variables.by_name, name)


def update_variable_by_name(call: Call, name: str, body: VariableUpdate) -> None:
    """Change what was sent."""
    call.write(variables.update_by_name, name, body)


def delete_variable_by_name(call: Call, name: str) -> None:
    """Forget a variable."""
    call.write(variables.delete_by_name, name)


def read_variable(call: Call, id: UUID) -> Variable:
    """One variable."""
    return call.read(variables.read, id)


def update_variable(call: Call, id: UUID, body: VariableUpdate) -> None:
    """Change what was sent."""
    call.write(variables.update_by_id, id, body)


def delete_variable(call: Call, id: UUID) -> None:
    """Forget a variable."""
    call.write(variables.delete, id)
