"""Where a JSON schema has secrets, and which values of it stand there.

A secret travels as `secret:NAME` (that of a notebook also as `env:NAME`), wherever in a value it stands: in the field
of a model, in a list. The values themselves are never stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from millrace.errors import ParameterError

SCHEME = "secret:"
PATTERN = f"^{SCHEME}.+"
ANYWHERE = "^(env|secret):.+"
"""The pattern of a secret of a notebook, which may also come from the environment."""

REFERENCE = {"type": "string", "format": "password", "writeOnly": True, "pattern": PATTERN}
"""The schema of a secret that pydantic hides: a reference, which is all that is ever sent."""

_DEEPEST = 50
Path = tuple[str | int, ...]


def is_secret(schema: Any) -> bool:
    """Whether a schema itself is that of a secret.

    Args:
        schema: of one value.

    Example:
        >>> is_secret(REFERENCE), is_secret({"type": "string"})
        (True, False)
    """
    if not isinstance(schema, Mapping):
        return False
    return schema.get("pattern") in (PATTERN, ANYWHERE) or _hidden(schema)


def _hidden(schema: Mapping[str, Any]) -> bool:
    return bool(schema.get("writeOnly")) and schema.get("format") == "password"


def by_reference(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema that pydantic made, in which every secret is a reference and no default shows one.

    Args:
        schema: with its `$defs`; it is changed and given back.
    """
    for node in _nodes(schema):
        if _hidden(node):
            node.update(REFERENCE)
            node.pop("default", None) if not _harmless(node.get("default")) else None
    for node in _nodes(schema):
        for entry in (node.get("properties") or {}).values():
            if "default" in entry and not _harmless(entry["default"]) and holds_secret(entry, schema):
                del entry["default"]
    return schema


def _harmless(default: Any) -> bool:
    return default is None or default in ([], {}) or (isinstance(default, str) and default.startswith(SCHEME))


def _nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """The schemas in a schema; what a default or an example holds is none."""
    if isinstance(schema, dict):
        yield schema
        for key, inner in schema.items():
            if key in ("properties", "$defs", "definitions", "patternProperties"):
                for entry in inner.values():
                    yield from _nodes(entry)
            elif key not in ("default", "const", "enum", "examples"):
                yield from _nodes(inner)
    elif isinstance(schema, list):
        for entry in schema:
            yield from _nodes(entry)


def holds_secret(schema: Any, root: Mapping[str, Any]) -> bool:
    """Whether a value of this schema may hold a secret, however deep.

    Args:
        schema: of one value.
        root: the whole, which has the definitions.
    """
    known: set[str] = set()
    waiting = [schema]
    while waiting:
        for node in _nodes(waiting.pop()):
            if is_secret(node):
                return True
            reference = node.get("$ref")
            if isinstance(reference, str) and reference not in known:
                known.add(reference)
                waiting.append(_target(reference, root))
    return False


def _target(reference: str, root: Mapping[str, Any]) -> Any:
    found: Any = root
    for step in reference.removeprefix("#/").split("/"):
        found = found.get(step, {}) if isinstance(found, Mapping) else {}
    return found


def changed(
    value: Any, schema: Any, root: Mapping[str, Any], change: Callable[[Any, Any, Path], Any], at: Path = ()
) -> Any:
    """A value in which those that stand for secrets are replaced.

    Args:
        value: a JSON value.
        schema: its schema.
        root: the whole schema.
        change: given a value that stands for a secret, its schema and its place, it gives what is put there.
        at: the place of the value.
    """
    if not isinstance(schema, Mapping) or len(at) > _DEEPEST:
        return value
    if is_secret(schema):
        return value if value is None else change(value, schema, at)
    for one in _alternatives(value, schema, root):
        value = changed(value, one, root, change, at)
    if isinstance(value, dict):
        return {key: changed(entry, _of_key(schema, key), root, change, (*at, key)) for key, entry in value.items()}
    if type(value) in (list, tuple):
        return type(value)(
            changed(entry, _of_item(schema, number), root, change, (*at, number)) for number, entry in enumerate(value)
        )
    return value


_JOINTS = ("anyOf", "oneOf", "allOf", "$ref")
_TYPES: dict[str, Any] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "object": dict,
    "array": (list, tuple),
}


def _alternatives(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> list[Any]:
    """The schemas that speak of the same value, references followed. Where another one takes it, it is no secret."""
    found: list[Any] = []
    known: set[str] = set()
    waiting: list[Any] = [schema]
    while waiting:
        node = waiting.pop()
        for key in _JOINTS[:3]:
            waiting.extend(one for one in node.get(key) or () if isinstance(one, Mapping))
        reference = node.get("$ref")
        if isinstance(reference, str) and reference not in known:
            known.add(reference)
            target = _target(reference, root)
            waiting.extend([target] if isinstance(target, Mapping) else [])
        if node is not schema and not any(key in node for key in _JOINTS):
            found.append(node)
    if not (isinstance(value, str) and value.startswith(SCHEME)) and any(_takes(one, value) for one in found):
        return [one for one in found if not is_secret(one)]
    return found


def _takes(schema: Mapping[str, Any], value: Any) -> bool:
    kinds = _TYPES.get(str(schema.get("type")), object)
    return not is_secret(schema) and schema.get("type") != "null" and isinstance(value, kinds)


def _of_key(schema: Mapping[str, Any], key: str) -> Any:
    known = (schema.get("properties") or {}).get(key)
    return schema.get("additionalProperties") if known is None else known


def _of_item(schema: Mapping[str, Any], number: int) -> Any:
    first = schema.get("prefixItems") or []
    return first[number] if number < len(first) else schema.get("items")


def refuse_values(parameters: Mapping[str, Any], schema: Mapping[str, Any] | None) -> None:
    """Lets no secret stand among parameters that are to be stored, only references.

    Args:
        parameters: JSON values, by name.
        schema: of all of them.

    Raises:
        ParameterError: a secret is given by its value, which is not shown.
    """
    known = (schema or {}).get("properties")
    if not isinstance(known, Mapping):
        return
    for name, value in parameters.items():
        changed(value, known.get(name), schema or {}, _refused, (name,))


def _refused(value: Any, schema: Mapping[str, Any], at: Path) -> Any:
    environment = schema.get("pattern") == ANYWHERE
    if schema.get("pattern") not in (PATTERN, ANYWHERE):
        return value  # a schema of somebody else, who does not know of references
    if isinstance(value, str) and value.startswith((SCHEME, "env:") if environment else SCHEME):
        return value
    name = "".join(f"[{step!r}]" for step in at[1:])
    forms = "env:NAME or secret:NAME" if environment else "secret:NAME"
    raise ParameterError(
        f"The secret {at[0]!r}{name} must be given by reference, as {forms}: a value would be stored with the run. "
        "`millrace secret set NAME` or Secret(value).save('NAME') keeps one."
    )
