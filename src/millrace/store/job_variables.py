"""Job variables against the schema of the pool they are for."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import select

from millrace.errors import ParameterError
from millrace.schema.fields import JsonObject
from millrace.schema.job_variables import has_placeholder, merge
from millrace.store import parameters
from millrace.store.database import Transaction
from millrace.store.tables import work_pools


def check(tx: Transaction, pool_id: UUID | None, *layers: Mapping[str, Any] | None, complete: bool) -> None:
    """That job variables fit the pool whose workers take them.

    Values with a placeholder, such as `{{ secrets.token }}`, are known only to the worker and pass.

    Args:
        tx: the transaction.
        pool_id: the pool; without one nothing is known of them.
        layers: those of the deployment, then those of the run.
        complete: nothing comes after these: what the pool requires and has no default must be there.

    Raises:
        ParameterError: one is missing or of the wrong type; the message names it and the pool.
    """
    if pool_id is None or not (complete or any(layers)):
        return
    columns = (work_pools.c.name, work_pools.c.base_job_template)
    found = tx.connection.execute(select(*columns).where(work_pools.c.id == pool_id)).first()
    schema = _schema(found.base_job_template) if found is not None else None
    if found is None or schema is None:
        return
    defaults = {name: entry["default"] for name, entry in schema["properties"].items() if "default" in entry}
    given = merge(defaults, *layers) if complete else merge(*layers)
    known = {name: value for name, value in given.items() if not has_placeholder(value)}
    required = [name for name in schema["required"] if name not in given]
    try:
        parameters.check(known, {**schema, "required": required}, complete=complete, noun="Job variable")
    except ParameterError as error:
        raise ParameterError(
            f"{error} See what the work pool takes: millrace work-pool inspect {shlex.quote(found.name)}"
        ) from None


def _schema(template: JsonObject) -> JsonObject | None:
    """The schema of the variables in a template; None where it has none that could be checked by."""
    variables = template.get("variables")
    if not isinstance(variables, dict) or not isinstance(variables.get("properties"), dict):
        return None
    if parameters.what_is_wrong(variables) is not None:
        return None
    entries = {name: entry for name, entry in variables["properties"].items() if isinstance(entry, dict)}
    required = [name for name in variables.get("required") or [] if isinstance(name, str)]
    parts = {**(variables.get("definitions") or {}), **(variables.get("$defs") or {})}
    closed = variables.get("additionalProperties", True)
    return {
        **variables,
        "properties": entries,
        "required": required,
        "$defs": parts,
        "definitions": parts,
        "additionalProperties": closed,
    }
