"""What a run asks of people and other runs, with types: models whose schema is saved and whose values are loaded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar, cast
from uuid import UUID

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError, create_model

from millrace.client.synchronous import Client
from millrace.engine.receivers import Receiver, prefix_of, receiver_and_client, send, sender_run
from millrace.errors import Conflict, InvalidInput, NotFound, ParameterError
from millrace.schema.inputs import FlowRunInput, checked_key, keyset
from millrace.schema.states import State

T = TypeVar("T")
Keyset = dict[str, str]
Part = Literal["description", "response", "schema"]


def keyset_from_base_key(base_key: str) -> Keyset:
    """The keys of the three inputs that belong together.

    Args:
        base_key: what they begin with.
    """
    return {part: f"{base_key}-{part}" for part in ("description", "response", "schema")}


def keyset_from_paused_state(state: State) -> Keyset:
    """The keys of the inputs of one pause.

    Args:
        state: Paused or Suspended, with its key.

    Raises:
        InvalidInput: it is another state.
    """
    if not state.is_paused():
        raise InvalidInput(f"{state.name} is no pause: only Paused and Suspended wait for an input.")
    return keyset(state.name or "Paused", str(state.state_details.pause_key))


class RunInputMetadata(BaseModel):
    """Where an input came from.

    Attributes:
        key: under which it is stored.
        sender: `prefect.flow-run.<id>` for a run; None for a person.
        receiver: the run it was for.
    """

    key: str
    sender: str | None = None
    receiver: UUID


class BaseRunInput(BaseModel):
    """What `RunInput` and inputs of plain types share."""

    model_config = ConfigDict(extra="forbid")

    _description: ClassVar[str | None] = None
    _metadata: RunInputMetadata = PrivateAttr()

    @property
    def metadata(self) -> RunInputMetadata:
        """Where it came from."""
        return self._metadata

    @classmethod
    def keyset_from_type(cls) -> Keyset:
        """The keys of an input that is told by its class."""
        return keyset_from_base_key(cls.__name__.lower())

    @classmethod
    def save(cls, keyset: Keyset, flow_run_id: UUID | None = None) -> None:
        """Tells the server what is asked: the schema and the description.

        Args:
            keyset: the keys.
            flow_run_id: the run that asks; None: the current one.
        """
        run, client = receiver_and_client(flow_run_id)
        _store(client, run, keyset["schema"], cls.model_json_schema(by_alias=True))
        if cls._description:
            _store(client, run, keyset["description"], cls._description)

    @classmethod
    def read_response(cls, keyset: Keyset, flow_run_id: UUID | None = None) -> Self:
        """The response, checked; the defaults where none was given.

        Args:
            keyset: the keys.
            flow_run_id: the run that asked; None: the current one.

        Raises:
            ParameterError: the response does not fit, or none was given and a field has no default.
        """
        run, client = receiver_and_client(flow_run_id)
        try:
            value = json.loads(client.read_flow_run_input(run, keyset["response"]))
        except NotFound:
            value = {}
        try:
            found = cls(**(value or {}))
        except ValidationError as error:
            raise ParameterError(f"the run was resumed without the input it asked for: {error}") from None
        found._metadata = RunInputMetadata(key=keyset["response"], receiver=run)
        return found

    @classmethod
    def load(cls, keyset: Keyset, flow_run_id: UUID | None = None) -> Any:
        """What code gets for the response: the model itself, or the plain value of a plain type.

        Args:
            keyset: the keys.
            flow_run_id: the run that asked; None: the current one.
        """
        return cls.read_response(keyset, flow_run_id)

    @classmethod
    def load_from_flow_run_input(cls, flow_run_input: FlowRunInput) -> Self:
        """The model in a stored input.

        Args:
            flow_run_input: as the server has it.
        """
        found = cls(**json.loads(flow_run_input.value))
        found._metadata = RunInputMetadata(
            key=flow_run_input.key, sender=flow_run_input.sender, receiver=flow_run_input.flow_run_id
        )
        return found

    @classmethod
    def with_initial_data(cls, description: str | None = None, **kwargs: Any) -> type[Self]:
        """The same model with other defaults: what the form shows before anybody typed.

        Args:
            description: a text for whoever resumes the run.
            kwargs: the defaults, by field.

        Example:
            >>> class Order(RunInput):
            ...     rows: int
            >>> Order.with_initial_data(rows=3)().rows
            3
        """
        fields: dict[str, Any] = {}
        for name, value in kwargs.items():
            known = cls.model_fields.get(name)
            fields[name] = (known.annotation if known else type(value), value)
        made = create_model(cls.__name__, __base__=cls, **fields)
        if description is not None:
            made._description = description
        return made

    # -- messages

    def send_to(self, flow_run_id: UUID | str, sender: str | None = None, key_prefix: str | None = None) -> None:
        """Sends it to a run, which receives it with `receive`.

        Args:
            flow_run_id: the run.
            sender: who sends; None: the current run.
            key_prefix: what its key begins with; None: the name of its class.
        """
        send(flow_run_id, self, sender, key_prefix)

    async def asend_to(self, flow_run_id: UUID | str, sender: str | None = None, key_prefix: str | None = None) -> None:
        """`send_to` for `async` code.

        Args:
            flow_run_id: the run.
            sender: who sends; None: the current run.
            key_prefix: what its key begins with; None: the name of its class.
        """
        await asyncio.to_thread(send, flow_run_id, self, sender, key_prefix)

    def respond(self, run_input: Any, sender: str | None = None, key_prefix: str | None = None) -> None:
        """Answers the run that sent it.

        Args:
            run_input: the answer: an input or a plain value.
            sender: who sends; None: the current run.
            key_prefix: what its key begins with; None: the name of its class.

        Raises:
            InvalidInput: no run sent it.
        """
        send(sender_run(self.metadata.sender), as_input(run_input), sender, key_prefix)

    async def arespond(self, run_input: Any, sender: str | None = None, key_prefix: str | None = None) -> None:
        """`respond` for `async` code.

        Args:
            run_input: the answer: an input or a plain value.
            sender: who sends; None: the current run.
            key_prefix: what its key begins with; None: the name of its class.
        """
        await asyncio.to_thread(self.respond, run_input, sender, key_prefix)


def _store(client: Client, run: UUID, key: str, value: Any) -> None:
    text = json.dumps(value)
    try:
        client.create_flow_run_input(run, key=key, value=text)
    except Conflict:  # of an earlier try: what is asked now counts
        client.delete_flow_run_input(run, key)
        client.create_flow_run_input(run, key=key, value=text)


class RunInput(BaseRunInput):
    """The base of what a flow asks for when it pauses, and of messages between runs.

    Example:
        >>> class Approval(RunInput):
        ...     approved: bool
        ...     remark: str = ""
        >>> @flow
        ... def publish():
        ...     if pause_flow_run(wait_for_input=Approval).approved:
        ...         print("published")
    """

    @classmethod
    def receive(
        cls,
        timeout: float | None = 3600,
        poll_interval: float = 10,
        raise_timeout_error: bool = False,
        exclude_keys: set[str] | None = None,
        key_prefix: str | None = None,
        flow_run_id: UUID | str | None = None,
    ) -> Receiver[Self]:
        """The messages of this class that come to a run; loop over them with `for` or `async for`.

        Args:
            timeout: seconds to wait for one; None: for ever.
            poll_interval: seconds between two looks, at most.
            raise_timeout_error: a loop that waited too long raises; otherwise it ends.
            exclude_keys: keys of messages to leave out.
            key_prefix: what their keys begin with; None: the name of the class.
            flow_run_id: the run; None: the current one.
        """
        prefix = key_prefix or prefix_of(cls.__name__)
        return Receiver(
            cls.load_from_flow_run_input,
            prefix,
            timeout,
            poll_interval,
            raise_timeout_error,
            exclude_keys,
            flow_run_id,
        )

    @classmethod
    def subclass_from_base_model_type(cls, model_cls: type[BaseModel]) -> type[RunInput]:
        """An input with the fields of any pydantic model.

        Args:
            model_cls: the model.
        """
        return cast(type[RunInput], type(f"{model_cls.__name__}RunInput", (RunInput, model_cls), {}))


class AutomaticRunInput(BaseRunInput, Generic[T]):
    """An input of a plain type, such as `int` or `list[str]`: its only field is `value`."""

    value: T

    @classmethod
    def load(cls, keyset: Keyset, flow_run_id: UUID | None = None) -> Any:
        """The plain value of the response."""
        return cls.read_response(keyset, flow_run_id).value

    @classmethod
    def subclass_from_type(cls, _type: Any) -> type[AutomaticRunInput[Any]]:
        """An input for a type; its name begins with the type's, so that what is sent finds who receives.

        Args:
            _type: anything pydantic can check.
        """
        name = str(getattr(_type, "__name__", getattr(_type, "_name", None)) or "").lower()
        made: type[AutomaticRunInput[Any]] = create_model(
            f"{name}AutomaticRunInput", __base__=AutomaticRunInput, value=(_type, ...)
        )
        return made


def run_input_subclass_from_type(_type: Any) -> type[RunInput] | type[AutomaticRunInput[Any]]:
    """The input class for whatever a flow says it waits for.

    Args:
        _type: a `RunInput`, any other pydantic model, or a type such as `int`, `dict[str, int]`.

    Raises:
        InvalidInput: pydantic cannot check it.
    """
    if isinstance(_type, type) and issubclass(_type, BaseRunInput):
        return cast(type[RunInput], _type)
    if isinstance(_type, type) and issubclass(_type, BaseModel):
        return RunInput.subclass_from_base_model_type(_type)
    make: Callable[[Any], type[AutomaticRunInput[Any]]] = AutomaticRunInput.subclass_from_type
    try:
        made = make(_type)
        made.model_json_schema()
    except Exception as error:
        why = str(error).partition("\n")[0].partition(". Set `arbitrary")[0].rstrip(".")  # pydantic goes on for a page
        raise InvalidInput(
            f"wait_for_input={_type!r:.80} is no type that can be asked for. Take a RunInput, a pydantic model, or "
            f"a type such as int or list[str]. ({why:.200})"
        ) from None
    return made


def checked_pause_key(key: str) -> str:
    """The key of a pause that asks for an input, which becomes part of the keys of inputs.

    Args:
        key: the key.

    Raises:
        InvalidInput: it holds other characters than those have.
    """
    try:
        return checked_key(key)
    except ValueError as error:
        raise InvalidInput(f"key={key!r} cannot be used with wait_for_input: {error}") from None


def as_input(value: Any) -> BaseRunInput:
    """A value as the input that carries it.

    Args:
        value: an input, another model, or a value of a plain type.
    """
    if isinstance(value, BaseRunInput):
        return value
    fields = dict(value) if isinstance(value, BaseModel) else {"value": value}
    return run_input_subclass_from_type(type(value))(**fields)
