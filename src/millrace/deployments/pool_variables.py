"""Job variables of a deployment beside what its pool takes, looked at before anything is made."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from referencing import Registry
from referencing.exceptions import Unresolvable

from millrace.schema.job_variables import expand, has_placeholder
from millrace.schema.pools import WorkPool


def unknown(variables: Mapping[str, Any], pool: WorkPool) -> str | None:
    """A sentence about variables that the pool does not take: they have no effect.

    Args:
        variables: of a deployment; `env.KEY` is a part of `env`.
        pool: its pool.

    Example:
        >>> unknown({"imagee": "x"}, boxes)  # doctest: +SKIP
        "The pool 'boxes' takes no job variable 'imagee' (did you mean 'image'?): it has no effect. It takes: …"
    """
    known = _schema(pool).get("properties")
    if not known:
        return None
    names = dict.fromkeys(name.partition(".")[0] for name in variables)
    if not (strange := [name for name in names if name not in known]):
        return None
    told = []
    for name in strange:
        close = difflib.get_close_matches(name, known, n=1)
        told.append(f"{name!r} (did you mean {close[0]!r}?)" if close else repr(name))
    effect = "they have no effect" if len(told) > 1 else "it has no effect"
    return f"The pool {pool.name!r} takes no job variable {', '.join(told)}: {effect}. It takes: {', '.join(known)}."


def wrong(variables: Mapping[str, Any], pool: WorkPool) -> dict[str, str]:
    """What is wrong with the values of variables, by name. Values with a placeholder are known only later.

    Args:
        variables: of a deployment.
        pool: its pool.
    """
    schema = _schema(pool)
    known = schema.get("properties") or {}
    given = {
        name: value for name, value in expand(variables).items() if value is not None and not has_placeholder(value)
    }
    parts = {name: schema[name] for name in ("definitions", "$defs") if name in schema}
    found = {}
    for name, value in given.items():
        if not isinstance(known.get(name), dict):
            continue
        try:
            problem = next(Draft202012Validator({**parts, **known[name]}, registry=Registry()).iter_errors(value), None)
        except (Unresolvable, RecursionError):  # a template that nothing can be checked by
            continue
        if problem is not None:
            inside = "".join(f"[{part!r}]" for part in problem.path)
            found[name] = f"the job variable {name!r}{inside} of the pool {pool.name!r}: {problem.message[:500]}"
    return found


def _schema(pool: WorkPool) -> dict[str, Any]:
    found = pool.base_job_template.get("variables")
    return found if isinstance(found, dict) and isinstance(found.get("properties"), dict) else {}
