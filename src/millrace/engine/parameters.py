"""Parameters of flows: from a call to a dict, checked and coerced by the annotations, and as a JSON schema."""

from __future__ import annotations

import difflib
import inspect
import typing
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from inspect import Parameter as P
from types import SimpleNamespace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaWarningKind
from pydantic_core import CoreSchema

from millrace.engine.docstrings import described
from millrace.engine.secret_parameters import default_of, keep_values_out, loaded, may_be_secret
from millrace.engine.sent_values import PLAIN, noted_only
from millrace.errors import ParameterError
from millrace.schema.secret_places import REFERENCE, by_reference, holds_secret

RESERVED = ("return_state", "wait_for")
_MISSING: Any = inspect.Parameter.empty


class _Schema(GenerateJsonSchema):
    """Types and defaults that JSON does not know are left open instead of failing."""

    def handle_invalid_for_json_schema(self, schema: CoreSchema, error_info: str) -> dict[str, Any]:
        return {}

    def emit_warning(self, kind: JsonSchemaWarningKind, detail: str) -> None:
        return

    def json_or_python_schema(self, schema: Any) -> dict[str, Any]:
        shown = schema.get("serialization", {}).get("function")
        # pydantic.Secret[T] says of itself what T is; only how it is written tells that it is hidden.
        if getattr(shown, "__module__", "") == "pydantic.types" and "secret" in getattr(shown, "__name__", ""):
            return dict(REFERENCE)
        return super().json_or_python_schema(schema)


def doc_of(fn: Callable[..., Any]) -> str | None:
    """The docstring of a function, without its indentation."""
    # not inspect.getdoc: of a method without one it asks the class for the flow, which binds it again, and so on
    return inspect.cleandoc(fn.__doc__) if fn.__doc__ else None


@dataclass(frozen=True)
class Signature:
    """The parameters of a function.

    Args:
        fn: the function.
        name: what to call it in messages.
        bound: whether the first parameter is an instance that is already given (a flow as a method).
    """

    fn: Callable[..., Any]
    name: str
    bound: bool = False

    def __reduce__(self) -> Any:
        return Signature, (self.fn, self.name, self.bound)  # what is derived is derived again

    @cached_property
    def parameters(self) -> dict[str, P]:
        """The parameters by name, without a bound first one."""
        found = dict(inspect.signature(self.fn).parameters)
        if self.bound:
            found.pop(next(iter(found)), None)
        return found

    @cached_property
    def hints(self) -> dict[str, Any]:
        """The annotations, those written as text resolved; one that cannot be is Any."""
        fn = inspect.unwrap(self.fn)
        with suppress(Exception):
            return typing.get_type_hints(fn, include_extras=True)
        found: dict[str, Any] = {}
        names = {**getattr(fn, "__globals__", {}), **_enclosed(fn)}
        for name, one in self.parameters.items():
            with suppress(Exception):  # one that is not known yet says nothing of the others
                alone = SimpleNamespace(__annotations__={name: one.annotation})
                found[name] = typing.get_type_hints(alone, globalns=names, include_extras=True)[name]
        return {name: kind for name, kind in found.items() if kind is not _MISSING}

    @cached_property
    def model(self) -> type[BaseModel]:
        """A model with one field a parameter. The fields are numbered, the names are aliases: any name will do.

        Raises:
            ParameterError: pydantic cannot make a type of an annotation.
        """
        fields: dict[str, Any] = {}
        for number, (name, one) in enumerate(self.parameters.items()):
            kind: Any = self.hints.get(name, Any)
            default: Any = ... if one.default is _MISSING else one.default
            if one.kind is P.VAR_POSITIONAL:
                kind, default = list[kind], []
            elif one.kind is P.VAR_KEYWORD:
                kind, default = dict[str, kind], {}
            text = self.descriptions.get(name)
            fields[f"p{number}"] = (kind, Field(default, alias=name, title=name, description=text))
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("error", "Mixing V1 models")
                return create_model(
                    "Parameters", __config__=ConfigDict(arbitrary_types_allowed=True, protected_namespaces=()), **fields
                )
        except UserWarning:
            raise ParameterError(
                f"{self.name} has a parameter of a pydantic.v1 model, which cannot be checked: derive the model from "
                "pydantic.BaseModel, or set validate_parameters=False"
            ) from None
        except (PydanticUserError, TypeError, RuntimeError) as error:
            first = str(error).splitlines()[0].rstrip(".")
            raise ParameterError(
                f"{self.name} has an annotation that cannot be checked: {first}. "
                "Change the annotation, or set validate_parameters=False"
            ) from None

    @cached_property
    def descriptions(self) -> dict[str, str]:
        """What the docstring says of each parameter."""
        return described(doc_of(self.fn) or "", self.parameters)

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The parameters as the wire shows them: a JSON schema with titles, positions, defaults and descriptions."""
        mode: JsonSchemaMode = "validation"
        whole = self.model.model_json_schema(
            by_alias=True, ref_template="#/definitions/{model}", schema_generator=_Schema, mode=mode
        )
        properties: dict[str, Any] = {}
        for position, name in enumerate(self.parameters):
            found = dict(whole.get("properties", {}).get(name, {}))
            properties[name] = {"title": name, "position": position, **found}
        found = {
            "title": "Parameters",
            "type": "object",
            "properties": properties,
            "required": whole.get("required", []),
            "definitions": whole.get("$defs", {}),
        }
        return by_reference(found)

    @cached_property
    def secret_defaults(self) -> dict[str, Callable[[], Any]]:
        """What gives the defaults of secret parameters that are written as texts.

        Raises:
            ParameterError: such a text is the secret itself.
        """
        found = {}
        for name, one in self.parameters.items():
            if isinstance(one.default, str) and may_be_secret(one.annotation):
                given = default_of(self.hints.get(name, Any), one.default, f"{self.name}: {name}")
                if given is not None:
                    found[name] = given
        return found

    @cached_property
    def hides(self) -> bool:
        """Whether secrets may be among the values, however deep."""
        open_to_it = any(kind not in _OPEN for kind in self.hints.values())
        return open_to_it and holds_secret({"properties": self.schema["properties"]}, self.schema)

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, typed: bool = False) -> dict[str, Any]:
        """The arguments of a call by parameter name; `*args` and `**kwargs` stand under their own names.

        Args:
            args: by position.
            kwargs: by name.
            typed: where one is unknown or missing, say of the others which are of the wrong type.

        Raises:
            ParameterError: arguments are unknown, missing, given twice or too many.
        """
        problems: list[str] = []
        found: dict[str, Any] = {}
        positional = [
            one for one in self.parameters.values() if one.kind in (P.POSITIONAL_ONLY, P.POSITIONAL_OR_KEYWORD)
        ]
        for one, value in zip(positional, args, strict=False):
            found[one.name] = value
        rest = args[len(positional) :]
        star = next((one.name for one in self.parameters.values() if one.kind is P.VAR_POSITIONAL), None)
        stars = next((one.name for one in self.parameters.values() if one.kind is P.VAR_KEYWORD), None)
        if star:
            found[star] = tuple(rest)
        elif rest:
            problems.append(f"takes {len(positional)} positional argument(s), {len(args)} were given")
        extra: dict[str, Any] = {}
        for name, value in kwargs.items():
            known = self.parameters.get(name)
            if known is None or known.kind in (P.POSITIONAL_ONLY, P.VAR_POSITIONAL, P.VAR_KEYWORD):
                if stars is None:
                    problems.append(self._unknown(name))
                extra[name] = value
            elif name in found:
                problems.append(f"{name}: given twice, by position and by name")
            else:
                found[name] = value
        if stars:
            found[stars] = extra
        problems += self._missing(found)
        self._refuse(problems + self._wrong(found) if problems and typed else problems)
        return found

    def complete(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters by name, as a deployment or a form gives them, checked for unknown and missing names.

        Raises:
            ParameterError: with one line a problem.
        """
        self._refuse([self._unknown(name) for name in given if name not in self.parameters] + self._missing(given))
        return dict(given)

    def with_defaults(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The same with the defaults of those that were not given, in the order of the signature."""
        found: dict[str, Any] = {}
        for name, one in self.parameters.items():
            if name in given:
                found[name] = given[name]
            elif one.kind is P.VAR_POSITIONAL:
                found[name] = ()
            elif one.kind is P.VAR_KEYWORD:
                found[name] = {}
            elif name in self.secret_defaults:
                found[name] = self.secret_defaults[name]()
            elif one.default is not _MISSING:
                found[name] = one.default
        return found

    def validated(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The values coerced to the annotated types. Defaults are taken as they are written.

        Raises:
            ParameterError: with one line for each value of the wrong type, and the value.
        """
        problems = [self._unknown(name) for name in given if name not in self.parameters] + self._missing(given)
        self._refuse(problems + self._wrong(given) if problems else [])
        if not given:
            return {}
        self._refuse(
            [
                f"{name}: the run's record has only {value!r} of what it was called with; give the bytes again"
                for name, value in given.items()
                if noted_only(self.hints.get(name), value)
            ]
        )
        if self.hides:
            given = loaded(given, self.schema)
        try:
            model = self.model.model_validate(given)
        except ValidationError as error:
            self._refuse([self._problem(one) for one in error.errors(include_url=False)])
            raise
        names = list(self.parameters)
        values = {names[int(field[1:])]: getattr(model, field) for field in model.model_fields_set}
        if self.hides:
            keep_values_out(values)
        return {name: values[name] for name in names if name in values}

    def arguments(self, values: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Positional and keyword arguments that pass the values to the function."""
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        spread = any(one.kind is P.VAR_POSITIONAL and values.get(name) for name, one in self.parameters.items())
        for name, one in self.parameters.items():
            if name not in values:
                continue
            if one.kind is P.VAR_POSITIONAL:
                args.extend(values[name])
            elif one.kind is P.VAR_KEYWORD:
                kwargs.update(values[name])
            elif one.kind is P.POSITIONAL_ONLY or (spread and one.kind is P.POSITIONAL_OR_KEYWORD):
                args.append(values[name])
            else:
                kwargs[name] = values[name]
        return args, kwargs

    def _unknown(self, name: str) -> str:
        known = self.parameters.get(name)
        if known is not None and known.kind is P.POSITIONAL_ONLY:
            return f"{name}: is given by its position, not by its name"
        close = difflib.get_close_matches(name, self.parameters, 1)
        if close:
            return f"{name}: there is no such parameter; did you mean {close[0]!r}?"
        return f"{name}: there is no such parameter; there {_listed(self.parameters)}"

    def _missing(self, given: Iterable[str]) -> list[str]:
        have = set(given)
        return [
            f"{name}: missing, and it has no default"
            for name, one in self.parameters.items()
            if name not in have and one.default is _MISSING and one.kind not in (P.VAR_POSITIONAL, P.VAR_KEYWORD)
        ]

    def _wrong(self, given: Mapping[str, Any]) -> list[str]:
        """What is wrong with the values beside other problems: told where it is certain, not of futures or secrets."""
        if self.hides:
            return []
        try:
            self.model.model_validate({name: value for name, value in given.items() if name in self.parameters})
        except ValidationError as error:
            found = error.errors(include_url=False)
            return [self._problem(one) for one in found if one["type"] != "missing" and type(one["input"]) in PLAIN]
        return []

    def _problem(self, error: Any) -> str:
        where, whole = error["loc"], self.schema
        if self.hides and holds_secret(whole["properties"].get(where[0]), whole):
            named = ".".join(map(str, where))
            return f"{named}: {error['msg']}; what was given is not shown, because secrets belong there"
        return _problem(error)

    def _refuse(self, problems: list[str]) -> None:
        if len(problems) == 1:
            raise ParameterError(f"{self.name}: {problems[0]}")
        if problems:
            raise ParameterError("\n  ".join([f"{self.name}: {len(problems)} things to fix", *problems]))


def _enclosed(fn: Any) -> dict[str, Any]:
    """The variables of an enclosing function that the function uses."""
    names = getattr(getattr(fn, "__code__", None), "co_freevars", ())
    found = {}
    for name, cell in zip(names, getattr(fn, "__closure__", None) or (), strict=False):
        with suppress(ValueError):  # not set yet
            found[name] = cell.cell_contents
    return found


def _listed(names: Iterable[str]) -> str:
    known = list(names)
    if not known:
        return "are no parameters"
    return f"is only {known[0]!r}" if len(known) == 1 else f"are {', '.join(known)}"


def _problem(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    shown = repr(error["input"])
    shown = shown if len(shown) <= 80 else f"{shown[:77]}…"
    return f"{where}: {error['msg']}; got {shown} ({type(error['input']).__name__})"


_OPEN = {Any, object, str, int, float, bool, bytes, type(None)}
"""Kinds that hold no secret."""
