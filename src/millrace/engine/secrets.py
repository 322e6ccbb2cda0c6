"""Secret values: kept encrypted by the server, loaded by name, masked in everything that is written."""

from __future__ import annotations

import asyncio
import json
import shlex
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
from pydantic import Secret as Wrapped
from pydantic_core import CoreSchema, core_schema

from millrace.client import locate
from millrace.engine import secrecy
from millrace.engine.context import FlowRunContext
from millrace.errors import AlreadyExists, Conflict, InvalidInput, MissingSecret, NotFound
from millrace.schema import blocks
from millrace.schema.blocks import MASK, SECRET, BlockDocument, BlockType
from millrace.schema.flows import IdCondition, TextCondition
from millrace.schema.secret_places import PATTERN
from millrace.schema.secret_places import SCHEME as SCHEME

if TYPE_CHECKING:
    from millrace.client.synchronous import Client

_FIELDS = {
    "title": "Secret",
    "description": "One secret value.",
    "type": "object",
    "properties": {
        "value": {"title": "Value", "description": "Any JSON value.", "writeOnly": True, "format": "password"}
    },
    "required": ["value"],
    "secret_fields": ["value"],
    "block_type_slug": SECRET,
    "block_schema_references": {},
}
_NEVER: Any = object()


def _client() -> Client:
    here = FlowRunContext.get()
    return here.client if here is not None else locate.connect()


class Secret:
    """A value that is shown nowhere.

    `save` keeps it on the server, encrypted; `load` brings it back by its name. Its text, its repr and its JSON are a
    mask. As a parameter of a flow it travels as `secret:NAME` and is loaded by the process that runs.

    Args:
        value: any JSON value: a text, or a dict of several.

    Raises:
        InvalidInput: the value is no JSON value.

    Example:
        >>> Secret("hunter22")
        Secret('********')
        >>> Secret("hunter22").get()
        'hunter22'
    """

    __slots__ = ("_name", "_value")

    def __init__(self, value: Any) -> None:
        if isinstance(value, Secret):
            value = value.get()
        elif hasattr(value, "get_secret_value"):
            value = value.get_secret_value()
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            raise InvalidInput(
                f"A secret must be a JSON value (text, number, list, dict); a {type(value).__name__} like this is not."
            ) from None
        self._name: str | None = None
        self._value = value
        secrecy.keep_out(value)

    @classmethod
    def named(cls, name: str) -> Secret:
        """The secret of a name, loaded when its value is first asked for.

        Args:
            name: of the secret.

        Example:
            >>> Secret.named("db-password")
            Secret('********', name='db-password')
        """
        found = cls.__new__(cls)
        found._name, found._value = name, _NEVER
        return found

    @property
    def name(self) -> str | None:
        """The name it is kept under; None until it is saved."""
        return self._name

    @property
    def value(self) -> Wrapped[Any]:
        """The value in pydantic's wrapper, whose `get_secret_value()` gives it."""
        return Wrapped[Any](self.get())

    def get(self) -> Any:
        """The value itself, as it was given.

        Raises:
            MissingSecret: it is known by its name, and no secret has that name any more.
        """
        if self._value is _NEVER:
            self._value = Secret.load(str(self._name))._value
        return self._value

    # -- kept by the server

    def save(self, name: str | None = None, overwrite: bool = False) -> UUID:
        """Keeps the value on the server, encrypted, under a name.

        Args:
            name: by custom lowercase letters, digits and dashes; None: the name it was loaded by.
            overwrite: replace the secret of this name.

        Returns:
            The id of the stored document.

        Raises:
            AlreadyExists: there is a secret of this name, and `overwrite` is False.
            InvalidInput: there is no name, or it has one of `/ % & > <`.
        """
        wanted = name or self._name
        if not wanted:
            raise InvalidInput("A secret needs a name to be saved under: Secret(value).save('NAME').")
        if not isinstance(wanted, str) or not set(wanted).isdisjoint("/%&><"):
            raise InvalidInput(f"{wanted!r} cannot be the name of a secret: it is a text with none of / % & > <.")
        client, data = _client(), {"value": self.get()}
        kind = _type(client)
        schema = _schema(client, kind)
        try:
            made = client.create_block_document(
                name=wanted, data=data, block_schema_id=schema, block_type_id=kind.id, is_anonymous=False
            )
        except Conflict:
            known = _document(client, wanted, secrets=False)
            if known is None:
                raise
            if not overwrite:
                raise AlreadyExists(
                    f"There is a secret named {wanted!r}. Choose another name, or replace it with overwrite=True."
                ) from None
            client.update_block_document(
                known.id, data=data, block_schema_id=known.block_schema_id, merge_existing_data=False
            )
            made = known
        self._name = wanted
        return made.id

    async def asave(self, name: str | None = None, overwrite: bool = False) -> UUID:
        """`save` for async code."""
        return await asyncio.to_thread(self.save, name, overwrite)

    @classmethod
    def load(cls, name: str) -> Secret:
        """The secret of a name.

        Args:
            name: it was saved under.

        Raises:
            MissingSecret: there is none.
            Conflict: the server has lost the key it was encrypted under.

        Example:
            >>> Secret.load("db-password").get()  # doctest: +SKIP
            'hunter22'
        """
        found = _document(_client(), name, secrets=True)
        if found is None or "value" not in found.data:
            raise MissingSecret(
                f"No secret is named {name!r}. Save it with Secret(value).save({name!r}), or in a terminal: "
                f"millrace secret set {shlex.quote(name)}"
            )
        secret = cls(found.data["value"])
        secret._name = name
        return secret

    @classmethod
    async def aload(cls, name: str) -> Secret:
        """`load` for async code."""
        return await asyncio.to_thread(cls.load, name)

    @staticmethod
    def delete(name: str) -> None:
        """Forgets the secret of a name.

        Args:
            name: it was saved under.

        Raises:
            MissingSecret: there is none.
        """
        client = _client()
        found = _document(client, name, secrets=False)
        if found is None:
            raise MissingSecret(f"No secret is named {name!r}.")
        client.delete_block_document(found.id)

    @staticmethod
    async def adelete(name: str) -> None:
        """`delete` for async code."""
        await asyncio.to_thread(Secret.delete, name)

    # -- shown nowhere

    def __repr__(self) -> str:
        return f"Secret({MASK!r})" if self._name is None else f"Secret({MASK!r}, name={self._name!r})"

    def __str__(self) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.get() == other.get()

    __hash__ = None  # type: ignore[assignment]

    def __copy__(self) -> Secret:
        return self  # nothing in it changes; and pydantic copies defaults

    def __deepcopy__(self, known: Any) -> Secret:
        return self

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        if self._name is None:
            raise InvalidInput(
                "A secret that was not saved does not leave its process. Save it first: secret.save('NAME')."
            )
        return _named, (self._name,)

    @property
    def reference(self) -> str:
        """What stands for it in JSON: `secret:NAME`, or a mask if it was not saved."""
        return MASK if self._name is None else f"{SCHEME}{self._name}"

    @classmethod
    def _read(cls, value: Any) -> Secret:
        if isinstance(value, Secret):
            return value
        if isinstance(value, str) and value.startswith(SCHEME) and len(value) > len(SCHEME):
            return cls.named(value.removeprefix(SCHEME))
        secrecy.keep_out(value if isinstance(value, str | dict | list) else None)  # the error will show it
        raise ValueError(
            f"give a Secret, or {SCHEME}NAME to have one loaded: a plain value would be stored with the run"
        )

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        shown = core_schema.plain_serializer_function_ser_schema(lambda secret: secret.reference, when_used="json")
        return core_schema.no_info_plain_validator_function(cls._read, serialization=shown)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "title": "Secret", "pattern": PATTERN, "description": f"{SCHEME}NAME"}


# With it a secret is its reference in any JSON that pydantic writes, whatever the field says.
Secret.__pydantic_serializer__ = TypeAdapter(Secret).serializer  # type: ignore[attr-defined]


def _type(client: Client) -> BlockType:
    try:
        return client.read_block_type_by_slug(SECRET)
    except NotFound:
        try:
            return client.create_block_type(name="Secret", slug=SECRET, description="One secret value.")
        except Conflict:  # somebody else was faster
            return client.read_block_type_by_slug(SECRET)


def _schema(client: Client, kind: BlockType) -> UUID:
    """A schema of the type in which the value is secret: whoever made it, we write by it."""
    only = blocks.BlockSchemaFilter(block_type_id=IdCondition(any_=[kind.id]))
    for known in client.read_block_schemas(blocks.BlockSchemaQuery(block_schemas=only)):
        if "value" in known.fields.get("secret_fields", []):
            return known.id
    return client.create_block_schema(fields=_FIELDS, block_type_id=kind.id).id


def _document(client: Client, name: str, *, secrets: bool) -> BlockDocument | None:
    try:
        return client.read_block_document_by_name(SECRET, name, include_secrets=secrets)
    except NotFound:
        return None


def saved(client: Client) -> list[BlockDocument]:
    """The secrets a server keeps, masked, by name.

    Args:
        client: the server.
    """
    only = blocks.BlockTypeFilter(slug=TextCondition(any_=[SECRET]))
    found: list[BlockDocument] = []
    while True:
        page = client.read_block_documents(blocks.BlockDocumentQuery(block_types=only, offset=len(found), limit=200))
        found += page
        if len(page) < 200:
            return found


def _named(name: str) -> Secret:
    # what is pickled must be a function of a module: of a method of the class cloudpickle sends a copy
    return Secret.named(name)
