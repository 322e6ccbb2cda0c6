"""Secret parameters: what deployments, forms and the wire see of them, and what the function gets."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretBytes, SecretStr

from millrace import Secret, flow, task
from millrace.engine.secrecy import masked, refuse_values
from millrace.errors import ParameterError
from millrace.jupyter.fields import fields, shown
from millrace.jupyter.inputs import Input
from millrace.schema.secret_places import REFERENCE, by_reference, changed, holds_secret
from millrace.schema.secret_places import refuse_values as refuse
from millrace.store.parameters import check

CANARY = "canary-7a31"


class Login(BaseModel):
    user: str
    password: SecretStr
    pin: pydantic.Secret[int] = pydantic.Secret[int](1)


class Pair(BaseModel):
    first: Login
    others: dict[str, Login] = {}


def every(  # type: ignore[no-untyped-def]
    saved: Secret,
    hidden: SecretStr,
    raw: SecretBytes,
    number: pydantic.Secret[int],
    maybe: SecretStr | None,
    noted: Annotated[SecretStr, "a note"],
    several: list[SecretStr],
    login: Login,
    pair: Pair,
): ...


made = flow(every)


@flow
def worded(word: Any) -> None: ...


PLAIN: list[tuple[str, Any]] = [
    ("saved", CANARY),
    ("hidden", CANARY),
    ("raw", CANARY),
    ("number", 71117111),
    ("maybe", CANARY),
    ("noted", CANARY),
    ("several", ["secret:a", CANARY]),
    ("login", {"user": "u", "password": CANARY}),
    ("login", {"user": "u", "password": "secret:a", "pin": 71117111}),
    ("pair", {"first": {"user": "u", "password": CANARY}}),
    ("pair", {"first": {"user": "u", "password": "secret:a"}, "others": {"x": {"user": "u", "password": CANARY}}}),
]


@pytest.mark.parametrize(("name", "value"), PLAIN)
def test_a_value_is_refused_wherever_it_would_be_stored_and_is_not_shown(name: str, value: Any) -> None:
    said = []
    with pytest.raises(ParameterError) as caught:
        made.to_deployment("d", parameters={name: value})
    said.append(str(caught.value))
    with pytest.raises(ParameterError) as caught:  # the server, for other clients
        check({name: value}, made.parameters, complete=False)
    said.append(str(caught.value))
    with pytest.raises(ParameterError) as caught:  # and where a deployment does not enforce its schema
        refuse({name: value}, made.parameters)
    said.append(str(caught.value))
    for text in said:
        assert "secret:NAME" in text and repr(name) in text
        assert CANARY not in text and "71117111" not in text


GOOD: dict[str, Any] = {
    "saved": "secret:a",
    "hidden": "secret:a",
    "raw": "secret:a",
    "number": "secret:a",
    "maybe": None,
    "noted": "secret:a",
    "several": ["secret:a", "secret:b"],
    "login": {"user": CANARY, "password": "secret:a", "pin": "secret:b"},
    "pair": {"first": {"user": "u", "password": "secret:a"}},
}


def test_references_are_taken() -> None:
    assert made.to_deployment("d", parameters=GOOD).parameters == GOOD
    check(GOOD, made.parameters, complete=False)


@pytest.mark.parametrize(
    "value",
    [SecretStr(CANARY), [SecretStr(CANARY)], {"a": SecretBytes(CANARY.encode())}, pydantic.Secret[int](5)],
    ids=str,
)
def test_what_pydantic_hides_is_no_parameter_of_a_deployment(value: Any) -> None:
    with pytest.raises(ParameterError, match="of which only a mask would arrive"):
        refuse_values({"word": value})
    with pytest.raises(ParameterError, match="only a mask would arrive"):
        worded.to_deployment("d", parameters={"word": value})
    with pytest.raises(ParameterError, match="secret:NAME"):
        made.to_deployment("d", parameters={"login": Login(user="u", password=SecretStr(CANARY))})


def test_the_schema_shows_no_secret_and_says_how_to_give_one() -> None:
    @flow
    def job(
        plain: SecretStr = "canary-1",  # type: ignore[assignment]
        wrapped: SecretStr = SecretStr("canary-2"),
        number: pydantic.Secret[int] = pydantic.Secret[int](71117111),
        login: Login = Login(user="u", password=SecretStr("canary-3")),
        unsaved: Secret = Secret("canary-4"),
        named: Secret = "secret:db",  # type: ignore[assignment]
        maybe: SecretStr | None = None,
    ) -> None: ...

    text = json.dumps(job.parameters)
    assert "canary" not in text and "71117111" not in text and "***" not in text
    properties = job.parameters["properties"]
    for name in ("plain", "wrapped", "number"):
        assert {key: properties[name][key] for key in REFERENCE} == REFERENCE
    assert properties["named"]["default"] == "secret:db" and properties["maybe"]["default"] is None
    assert job.parameters["required"] == []
    kinds = {field.name: field.kind for field in fields(job.parameters)}
    assert kinds["plain"] == kinds["maybe"] == "password"


@pytest.mark.parametrize(("name", "value"), [one for one in PLAIN if one[0] not in ("saved", "number")])
def test_a_form_takes_references_and_shows_no_value(name: str, value: Any) -> None:
    schema = flow(every).parameters
    form = Input.of(next(spec for spec in fields(schema) if spec.name == name))
    for entered, good in ((value, False), (GOOD[name], True)):
        form.control.value = shown(form.spec, entered)
        assert form.check(schema)[0] is good, (entered, form.note.widget.value)
        assert CANARY not in form.note.widget.value and "71117111" not in form.note.widget.value


def test_defaults_that_are_texts_are_secrets() -> None:
    def use(
        named: Secret = "secret:db",  # type: ignore[assignment]
        maybe: Secret | None = "secret:other",  # type: ignore[assignment]
        hidden: SecretStr = "plain",  # type: ignore[assignment]
        text: SecretStr | str = "plain",
        nothing: Secret | None = None,
        wrapped: Secret = Secret(CANARY),
    ) -> Any:
        return named, maybe, hidden, text, nothing, wrapped

    made = flow(use)
    values = made.signature.with_defaults(made.validate_parameters({"nothing": None}))
    named, maybe, hidden = values["named"], values["maybe"], values["hidden"]
    assert isinstance(named, Secret) and named.name == "db"
    assert isinstance(maybe, Secret) and maybe.name == "other"
    assert isinstance(hidden, SecretStr) and hidden.get_secret_value() == "plain"
    assert (values["text"], values["nothing"], values["wrapped"].get()) == ("plain", None, CANARY)
    assert made.serialize_parameters(values)["named"] == "secret:db"


@pytest.mark.parametrize("make", [flow, task])
def test_a_secret_written_into_the_code_is_an_error_where_it_stands(make: Any) -> None:
    def use(pw: Secret = "hunter22") -> None: ...  # type: ignore[assignment]

    with pytest.raises(ParameterError, match="the default of a Secret is secret:NAME") as caught:
        make(use)
    assert "hunter22" not in str(caught.value)


def test_a_wrong_value_among_secrets_is_not_shown() -> None:
    with pytest.raises(ParameterError) as caught:
        made.validate_parameters(
            {
                **{name: [CANARY] for name in ("saved", "hidden", "raw", "number", "maybe", "noted")},
                "several": CANARY,
                "login": {"user": [CANARY], "password": [CANARY]},
                "pair": CANARY,
            }
        )
    assert CANARY not in str(caught.value) and "login.user" in str(caught.value)


def test_the_mask_of_a_value_that_was_not_stored_is_no_value() -> None:
    shown = made.serialize_parameters({"hidden": SecretStr(CANARY)})
    with pytest.raises(ParameterError, match="'hidden' was not stored with the run"):
        made.signature.validated({**dict.fromkeys(made.signature.parameters), **shown})


def test_a_choice_between_a_secret_and_something_else_is_free() -> None:
    def use(a: SecretStr | int = 1, b: SecretStr | str = "", c: Login | None = None) -> None: ...

    schema = flow(use).parameters
    refuse({"a": 5, "b": "any text", "c": None}, schema)
    with pytest.raises(ParameterError):
        refuse({"a": "text"}, schema)


def test_schemas_of_others_are_left_as_they_are() -> None:
    theirs = {"properties": {"pw": {"type": "string", "writeOnly": True, "format": "password"}}}
    refuse({"pw": "a value"}, theirs)
    refuse({"pw": "a value"}, None)


DEEP = by_reference(
    {
        "properties": {"tree": {"$ref": "#/definitions/Tree"}},
        "definitions": {
            "Tree": {
                "properties": {
                    "key": {"writeOnly": True, "format": "password", "default": CANARY},
                    "rest": {"type": "array", "items": {"anyOf": [{"$ref": "#/definitions/Tree"}, {"type": "null"}]}},
                }
            }
        },
    }
)
TREES = st.recursive(
    st.fixed_dictionaries({"key": st.text()}),
    lambda inner: st.fixed_dictionaries({"key": st.text(), "rest": st.lists(inner | st.none(), max_size=3)}),
    max_leaves=8,
)


def keys_of(tree: Any) -> list[str]:
    return [] if tree is None else [tree["key"], *(key for one in tree.get("rest", ()) for key in keys_of(one))]


@given(TREES)
def test_every_secret_of_a_tree_is_found_once(tree: Any) -> None:
    found: list[str] = []

    def note(value: Any, schema: Any, at: Any) -> Any:
        found.append(value)
        return f"<{value}>"

    made = changed(tree, DEEP["properties"]["tree"], DEEP, note)
    assert sorted(found) == sorted(keys_of(tree))
    assert sorted(keys_of(made)) == sorted(f"<{key}>" for key in found)
    assert holds_secret(DEEP["properties"]["tree"], DEEP) and CANARY not in json.dumps(DEEP)


@dataclass
class Account:
    owner: str
    token: SecretStr


def test_values_given_where_a_secret_belongs_are_masked_from_then_on() -> None:
    @flow
    def job(
        hidden: SecretStr, raw: SecretBytes, number: pydantic.Secret[int], several: list[Login], account: Account
    ) -> None: ...

    job.validate_parameters(
        {
            "hidden": "hidden-7b2c",
            "raw": b"raw-7b2c",
            "number": 81117110,
            "several": [{"user": "plainly", "password": "inner-7b2c"}],
            "account": {"owner": "somebody", "token": "token-7b2c"},
        }
    )
    assert masked("hidden-7b2c raw-7b2c 81117110 inner-7b2c token-7b2c") == " ".join(["********"] * 5)
    assert masked("plainly somebody") == "plainly somebody"
