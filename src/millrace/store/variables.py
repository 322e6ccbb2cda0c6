"""Variables."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, select

from millrace.errors import AlreadyExists, NotFound
from millrace.schema.fields import new_id
from millrace.schema.variables import (
    Variable,
    VariableCount,
    VariableCreate,
    VariableFilter,
    VariableQuery,
    VariableSort,
    VariableUpdate,
)
from millrace.store.conditions import Condition, all_of, combined, ids, tags, text
from millrace.store.database import Transaction
from millrace.store.rows import model, page, suggested, values
from millrace.store.value_tables import variables

_c = variables.c
_ORDERS: dict[VariableSort, Any] = {
    VariableSort.CREATED_DESC: _c.created.desc(),
    VariableSort.UPDATED_DESC: _c.updated.desc(),
    VariableSort.NAME_DESC: _c.name.desc(),
    VariableSort.NAME_ASC: _c.name.asc(),
}


def create(tx: Transaction, body: VariableCreate) -> Variable:
    """Stores a variable.

    Raises:
        AlreadyExists: there is one of this name.
    """
    _free(tx, body.name)
    fields = {**dict(body), "tags": body.tags or []}
    variable = Variable(**fields, id=new_id(), created=tx.now, updated=tx.now)
    tx.connection.execute(variables.insert().values(values(variable, variables)))
    return variable


def _free(tx: Transaction, name: str) -> None:
    if tx.connection.scalar(select(_c.id).where(_c.name == name)) is not None:
        raise AlreadyExists(f"There is a variable named {name!r}.")


def _one(tx: Transaction, condition: ColumnElement[bool], said: str, name: str | None = None) -> Variable:
    row = tx.connection.execute(select(variables).where(condition)).first()
    if row is None:
        hint = "" if name is None else suggested(tx, _c.name, name)
        raise NotFound(f"No variable {said}.{hint}")
    return model(Variable, row)


def read(tx: Transaction, id: UUID) -> Variable:
    """One variable.

    Raises:
        NotFound: there is none with this id.
    """
    return _one(tx, _c.id == id, f"has the id {id}")


def by_name(tx: Transaction, name: str) -> Variable:
    """The variable of a name.

    Raises:
        NotFound: there is none.
    """
    return _one(tx, _c.name == name, f"is named {name!r}", name)


def _matching(filter: VariableFilter | None) -> Condition:
    return combined(
        [
            all_of(
                filter,
                lambda f: ids(_c.id, f.id),
                lambda f: text(_c.name, f.name),
                lambda f: tags(_c.tags, f.tags),
            )
        ]
    )


def query(tx: Transaction, query: VariableQuery) -> list[Variable]:
    """The variables that match."""
    order = _ORDERS[query.sort or VariableSort.NAME_ASC]
    statement = select(variables).where(_matching(query.variables)).order_by(order, _c.id)
    return [model(Variable, row) for row in tx.connection.execute(page(statement, query))]


def count(tx: Transaction, query: VariableCount) -> int:
    """How many variables match."""
    return tx.connection.scalar(select(func.count()).select_from(variables).where(_matching(query.variables))) or 0


def update(tx: Transaction, variable: Variable, body: VariableUpdate) -> None:
    """Changes what was sent.

    Args:
        tx: the transaction.
        variable: as it is stored.
        body: the changes; a name or tags of null are no change, a value of null is one.

    Raises:
        AlreadyExists: another variable has the new name.
    """
    changes = values(body, variables, only=body.model_fields_set)
    for field in ("name", "tags"):
        if changes.get(field, ...) is None:
            del changes[field]
    if changes.get("name", variable.name) != variable.name:
        _free(tx, changes["name"])
    tx.connection.execute(variables.update().where(_c.id == variable.id).values(**changes, updated=tx.now))


def update_by_id(tx: Transaction, id: UUID, body: VariableUpdate) -> None:
    """`update`, of the variable with an id."""
    update(tx, read(tx, id), body)


def update_by_name(tx: Transaction, name: str, body: VariableUpdate) -> None:
    """`update`, of the variable of a name."""
    update(tx, by_name(tx, name), body)


def delete(tx: Transaction, id: UUID) -> None:
    """Forgets a variable.

    Raises:
        NotFound: there is none with this id.
    """
    read(tx, id)
    tx.connection.execute(variables.delete().where(_c.id == id))


def delete_by_name(tx: Transaction, name: str) -> None:
    """Forgets the variable of a name.

    Raises:
        NotFound: there is none.
    """
    tx.connection.execute(variables.delete().where(_c.id == by_name(tx, name).id))
