"""Parameters that are secrets: what their defaults are, and the values that references stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import is_dataclass
from functools import partial
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, SecretBytes, SecretStr, TypeAdapter
from pydantic import Secret as Wrapped

from millrace import plugins
from millrace.engine.secrecy import keep_out
from millrace.errors import ParameterError
from millrace.schema.secret_places import PATTERN, SCHEME, changed

_HIDING = (SecretStr, SecretBytes, Wrapped)
_SHOWN = str(SecretStr("shown"))
"""What pydantic puts in the place of a value when it writes JSON."""

_OURS = ("millrace.engine.secrets", "Secret")


def may_be_secret(annotation: Any) -> bool:
    """Whether an annotation, which may still be a text, speaks of a secret.

    Args:
        annotation: of a parameter.
    """
    return "Secret" in (annotation if isinstance(annotation, str) else repr(annotation))


def _members(annotation: Any) -> Iterator[Any]:
    """The alternatives of an annotation."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    inner = get_args(annotation)
    if inner and not isinstance(get_origin(annotation), type):  # `X | None` and Optional[X]
        for one in inner:
            yield from _members(one)
        return
    if inner and type(annotation).__name__ == "UnionType":
        for one in inner:
            yield from _members(one)
        return
    yield annotation


def default_of(annotation: Any, default: Any, what: str) -> Callable[[], Any] | None:
    """What gives the default of a secret parameter where it is written as a text; None: it is taken as it is.

    Args:
        annotation: of the parameter.
        default: as it is written.
        what: the parameter, for messages.

    Raises:
        ParameterError: the text itself would be the secret.
    """
    members = list(_members(annotation))
    if not isinstance(default, str) or str in members or Any in members:
        return None
    if any((getattr(one, "__module__", ""), getattr(one, "__name__", "")) == _OURS for one in members):
        if default.startswith(SCHEME) and default != SCHEME:
            return partial(_secrets().named, default.removeprefix(SCHEME))
        raise ParameterError(
            f"{what}: the default of a Secret is {SCHEME}NAME, a Secret, or None: a text would stand in the code and "
            "in every deployment. `millrace secret set NAME` or Secret(value).save('NAME') keeps one."
        )
    hiding = next((one for one in members if _hides(one)), None)
    if hiding is None:
        return None
    adapter: TypeAdapter[Any] = TypeAdapter(hiding)
    if default.startswith(SCHEME):
        return lambda: adapter.validate_python(_value(default))
    return lambda: adapter.validate_python(default)


def _hides(kind: Any) -> bool:
    found = get_origin(kind) or kind
    return isinstance(found, type) and issubclass(found, _HIDING)


def _secrets() -> Any:
    return plugins.load(":".join(_OURS))


def _value(reference: str) -> Any:
    return _secrets().load(reference.removeprefix(SCHEME)).get()


def loaded(values: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters in which references that stand where pydantic wants a `SecretStr` are the values themselves.

    Args:
        values: by name.
        schema: of all of them.

    Raises:
        MissingSecret: there is no secret of that name.
        ParameterError: what was stored is a mask.
    """
    known = schema.get("properties", {})
    return {name: changed(value, known.get(name), schema, _loaded, (name,)) for name, value in values.items()}


def _loaded(value: Any, schema: Mapping[str, Any], at: tuple[str | int, ...]) -> Any:
    if schema.get("pattern") != PATTERN or not schema.get("writeOnly") or not isinstance(value, str):
        return value
    if value == _SHOWN:
        raise ParameterError(
            f"The secret {at[0]!r} was not stored with the run, which shows a mask only. Give it by reference, as "
            f"{SCHEME}NAME: `millrace secret set NAME` or Secret(value).save('NAME') keeps one."
        )
    return _value(value) if value.startswith(SCHEME) else value


def keep_values_out(values: Any) -> None:
    """From now on what pydantic hides in these values appears in nothing that this process writes.

    Args:
        values: as a function gets them; models, dataclasses, dicts and lists are looked into.
    """
    for value in _hidden_in(values, set()):
        keep_out(value.decode(errors="replace") if isinstance(value, bytes) else value)


def _hidden_in(value: Any, seen: set[int]) -> Iterator[Any]:
    if isinstance(value, _HIDING):
        yield value.get_secret_value()
        return
    if isinstance(value, Mapping):
        inner = list(value.values())
    elif isinstance(value, list | tuple | set | frozenset):
        inner = list(value)
    elif isinstance(value, BaseModel):
        inner = [*vars(value).values(), *(value.model_extra or {}).values()]
    elif is_dataclass(value) and hasattr(value, "__dict__"):
        inner = list(vars(value).values())
    else:
        return
    if id(value) not in seen:
        seen.add(id(value))
        for one in inner:
            yield from _hidden_in(one, seen)
