"""Variables: small named JSON values that flows share, kept by the server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from millrace.client import locate
from millrace.engine.context import FlowRunContext
from millrace.errors import AlreadyExists, Conflict, InvalidInput, LeaseLost, NotFound
from millrace.schema.fields import Model
from millrace.schema.variables import VariableCreate

if TYPE_CHECKING:
    from millrace.client.synchronous import Client

__all__ = ["Variable"]


def _client() -> Client:
    here = FlowRunContext.get()
    return here.client if here is not None else locate.connect()


class Variable(Model):
    """A variable: a name and a JSON value that every flow can read.

    Args:
        name: lowercase letters, digits, dashes and underscores, at most 255.
        value: any JSON value of at most 5,000 bytes.
        tags: for finding it.

    Example:
        >>> Variable.set("batch_size", 500)  # doctest: +SKIP
        Variable(name='batch_size', value=500, tags=[])
        >>> Variable.get("batch_size")  # doctest: +SKIP
        500
    """

    name: str
    value: Any = None
    tags: list[str] | None = None

    @classmethod
    def get(cls, name: str, default: Any = None) -> Any:
        """The value of a variable.

        Args:
            name: of the variable.
            default: what to give when there is none.
        """
        try:
            return _client().read_variable_by_name(name).value
        except NotFound:
            return default

    @classmethod
    def set(cls, name: str, value: Any, tags: list[str] | None = None, overwrite: bool = False) -> Variable:
        """Stores a variable.

        Args:
            name: of the variable.
            value: any JSON value of at most 5,000 bytes.
            tags: for finding it; of a variable that is overwritten they replace the old ones.
            overwrite: change the variable of this name, if there is one.

        Returns:
            The variable as it is stored.

        Raises:
            AlreadyExists: there is a variable of this name, and `overwrite` is False.
            InvalidInput: the name or the value cannot be taken; the message says why.
        """
        if not name:
            raise InvalidInput("A variable needs a name: Variable.set('NAME', value).")
        try:
            body = VariableCreate(name=name, value=value, tags=tags or [])
        except ValidationError as error:
            problems = "; ".join(str(one["msg"]).removeprefix("Value error, ") for one in error.errors())
            raise InvalidInput(f"The variable cannot be set: {problems}.") from None
        client = _client()
        try:
            stored = client.create_variable(body)
        except Conflict as error:
            if isinstance(error, LeaseLost):
                raise
            if not overwrite:
                raise AlreadyExists(
                    f"There is a variable named {name!r}. Choose another name, or change it with overwrite=True."
                ) from None
            client.update_variable_by_name(name, value=value, tags=tags or [])
            stored = client.read_variable_by_name(name)
        return cls(name=stored.name, value=stored.value, tags=stored.tags)

    @classmethod
    def unset(cls, name: str) -> bool:
        """Forgets a variable.

        Args:
            name: of the variable.

        Returns:
            Whether there was one.
        """
        try:
            _client().delete_variable_by_name(name)
        except NotFound:
            return False
        return True

    @classmethod
    async def aget(cls, name: str, default: Any = None) -> Any:
        """`get` for async code."""
        return await asyncio.to_thread(cls.get, name, default)

    @classmethod
    async def aset(cls, name: str, value: Any, tags: list[str] | None = None, overwrite: bool = False) -> Variable:
        """`set` for async code."""
        return await asyncio.to_thread(cls.set, name, value, tags, overwrite)

    @classmethod
    async def aunset(cls, name: str) -> bool:
        """`unset` for async code."""
        return await asyncio.to_thread(cls.unset, name)
