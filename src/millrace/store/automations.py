"""Automations: stored, found, enabled, and gone with what they belong to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from sqlalchemy import Text, cast, func, or_, select

from millrace.errors import NotFound
from millrace.schema.actions import RunDeployment
from millrace.schema.automations import (
    Automation,
    AutomationCreate,
    AutomationFilter,
    AutomationPatch,
    AutomationQuery,
    AutomationSort,
    AutomationUpdate,
)
from millrace.schema.fields import new_id
from millrace.store import events, schedules
from millrace.store.automation_tables import (
    automation_actions,
    automation_firings,
    automation_windows,
    automations,
)
from millrace.store.columns import contains
from millrace.store.conditions import Condition, all_of, combined, ids, moment, tags, text
from millrace.store.database import Transaction
from millrace.store.rows import model, page

_c = automations.c
_ORDERS: dict[AutomationSort, Any] = {
    AutomationSort.CREATED_DESC: _c.created.desc(),
    AutomationSort.UPDATED_DESC: _c.updated.desc(),
    AutomationSort.NAME_DESC: _c.name.desc(),
    AutomationSort.NAME_ASC: _c.name.asc(),
}


def create(tx: Transaction, body: AutomationCreate) -> Automation:
    """Stores an automation. It looks at events from now on.

    Raises:
        ParameterError: a parameter of an action is the value of a secret.
    """
    _refuse_secrets(tx, body)
    fields = _columns(body) | {"owner_resource": body.owner_resource}
    id = new_id()
    times = {"created": tx.now, "updated": tx.now, "active_after": events.last(tx)}
    tx.connection.execute(automations.insert().values(id=id, **times, **fields))
    return read(tx, id)


def _refuse_secrets(tx: Transaction, body: AutomationUpdate) -> None:
    for action in (*body.actions, *body.actions_on_trigger, *body.actions_on_resolve):
        if isinstance(action, RunDeployment) and action.deployment_id is not None:
            schedules.refuse_secrets(tx, action.deployment_id, action.parameters)


def _columns(body: AutomationUpdate) -> dict[str, Any]:
    given = body.model_copy(update={"trigger": body.trigger.anew()}).model_dump(mode="json")
    return {name: given[name] for name in AutomationUpdate.model_fields}


def read(tx: Transaction, id: UUID) -> Automation:
    """One automation.

    Raises:
        NotFound: there is none with this id.
    """
    row = tx.connection.execute(select(automations).where(_c.id == id)).first()
    if row is None:
        raise NotFound(f"No automation has the id {id}.")
    return model(Automation, row)


def _matching(filter: AutomationFilter | None) -> Condition:
    return combined(
        [
            all_of(
                filter,
                lambda f: ids(_c.id, f.id),
                lambda f: text(_c.name, f.name),
                lambda f: moment(_c.created, f.created),
                lambda f: tags(_c.tags, f.tags),
            )
        ]
    )


def query(tx: Transaction, query: AutomationQuery) -> list[Automation]:
    """Automations that match."""
    order = _ORDERS[query.sort or AutomationSort.NAME_ASC]
    statement = select(automations).where(_matching(query.automations)).order_by(order, _c.id)
    return [model(Automation, row) for row in tx.connection.execute(page(statement, query))]


def count(tx: Transaction, filter: AutomationFilter | None) -> int:
    """How many match."""
    return tx.connection.scalar(select(func.count()).select_from(automations).where(_matching(filter))) or 0


def update(tx: Transaction, id: UUID, body: AutomationUpdate) -> None:
    """Puts another automation in the place of one; it begins to count anew.

    Raises:
        NotFound: there is none with this id.
    """
    read(tx, id)
    _refuse_secrets(tx, body)
    _change(tx, id, **_columns(body), active_after=events.last(tx))
    _forget_counts(tx, id)


def patch(tx: Transaction, id: UUID, body: AutomationPatch) -> None:
    """Enables or disables; what was counted before is forgotten.

    Raises:
        NotFound: there is none with this id.
        InvalidInput: it must not be enabled.
    """
    set_enabled(tx, id, body.enabled)


def set_enabled(tx: Transaction, id: UUID, enabled: bool) -> None:
    """Enables or disables an automation."""
    known = read(tx, id)
    if known.enabled == enabled:
        return
    _change(tx, id, enabled=enabled, active_after=events.last(tx))
    _forget_counts(tx, id)


def _change(tx: Transaction, id: UUID, **columns: Any) -> None:
    tx.connection.execute(automations.update().where(_c.id == id).values(**columns, updated=tx.now))


def _forget_counts(tx: Transaction, id: UUID) -> None:
    for table in (automation_windows, automation_firings):
        tx.connection.execute(table.delete().where(table.c.automation_id == id))


def delete(tx: Transaction, id: UUID) -> None:
    """Forgets an automation, with what it has counted and what it still had to do.

    Raises:
        NotFound: there is none with this id.
    """
    read(tx, id)
    _delete(tx, [id])


def _delete(tx: Transaction, ids: Iterable[UUID]) -> None:
    gone = list(ids)
    for table in (automation_windows, automation_firings, automation_actions):
        tx.connection.execute(table.delete().where(table.c.automation_id.in_(gone)))
    tx.connection.execute(automations.delete().where(_c.id.in_(gone)))


def delete_owned(tx: Transaction, resource_id: str) -> None:
    """Forgets the automations that belong to a thing."""
    _delete(tx, tx.connection.scalars(select(_c.id).where(_c.owner_resource == resource_id)))


def related(tx: Transaction, resource_id: str) -> list[Automation]:
    """The automations that belong to a thing, act on it, or wait for its events."""
    id = resource_id.rpartition(".")[2]
    columns = [cast(column, Text) for column in (_c.actions, _c.actions_on_trigger, _c.trigger)]
    concerned = or_(_c.owner_resource == resource_id, *(contains(column, f'"{id}"') for column in columns[:2]))
    concerned = or_(concerned, contains(columns[2], f'"{resource_id}"'))
    statement = select(automations).where(concerned).order_by(_c.name, _c.id)
    return [model(Automation, row) for row in tx.connection.execute(statement)]
