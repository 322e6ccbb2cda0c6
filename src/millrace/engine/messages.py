"""Values that runs send each other while they run."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

from millrace.engine.receivers import Receiver, prefix_of, send
from millrace.engine.run_inputs import AutomaticRunInput, as_input, run_input_subclass_from_type
from millrace.schema.inputs import FlowRunInput


def send_input(
    run_input: Any, flow_run_id: UUID | str, sender: str | None = None, key_prefix: str | None = None
) -> None:
    """Sends a value to a run, which receives it with `receive_input`.

    Args:
        run_input: a `RunInput` or any value with a form in JSON.
        flow_run_id: the run.
        sender: who sends; None: the current run.
        key_prefix: what its key begins with; None: the name of its type.

    Example:
        >>> send_input(3, run.id)  # doctest: +SKIP
    """
    send(flow_run_id, as_input(run_input), sender, key_prefix)


async def asend_input(
    run_input: Any, flow_run_id: UUID | str, sender: str | None = None, key_prefix: str | None = None
) -> None:
    """`send_input` for `async` code.

    Args:
        run_input: a `RunInput` or any value with a form in JSON.
        flow_run_id: the run.
        sender: who sends; None: the current run.
        key_prefix: what its key begins with; None: the name of its type.
    """
    await asyncio.to_thread(send_input, run_input, flow_run_id, sender, key_prefix)


def receive_input(
    input_type: Any,
    timeout: float | None = 3600,
    poll_interval: float = 10,
    raise_timeout_error: bool = False,
    exclude_keys: set[str] | None = None,
    key_prefix: str | None = None,
    flow_run_id: UUID | str | None = None,
    with_metadata: bool = False,
) -> Receiver[Any]:
    """The values of a type that come to a run; loop over them with `for` or `async for`.

    Args:
        input_type: a `RunInput`, another pydantic model, or a type.
        timeout: seconds to wait for one; None: for ever.
        poll_interval: seconds between two looks, at most.
        raise_timeout_error: a loop that waited too long raises; otherwise it ends.
        exclude_keys: keys of messages to leave out.
        key_prefix: what their keys begin with; None: the name of the type.
        flow_run_id: the run; None: the current one.
        with_metadata: give the input, whose `metadata` names the sender, instead of the plain value.

    Example:
        >>> @flow
        ... def adder():
        ...     return sum(receive_input(int, timeout=5))
    """
    kind = run_input_subclass_from_type(input_type)
    plain = issubclass(kind, AutomaticRunInput) and not with_metadata

    def make(stored: FlowRunInput) -> Any:
        found: Any = kind.load_from_flow_run_input(stored)
        return found.value if plain else found

    prefix = key_prefix or prefix_of(kind.__name__)
    return Receiver(make, prefix, timeout, poll_interval, raise_timeout_error, exclude_keys, flow_run_id)
