"""The two drivers: they perform what a conversation asks for, and throw back what goes wrong.

`drive` is for `def` functions, `adrive` for `async def` ones. Neither knows what a run is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from millrace.engine.effects import Conversation, Effect


def drive(conversation: Conversation, perform: Callable[[Effect], Any]) -> Any:
    """Performs a conversation to its end and gives its value.

    Args:
        conversation: a generator of effects.
        perform: does what an effect says and gives the answer.
    """
    answer: Any = None
    error: BaseException | None = None
    while True:
        try:
            effect = conversation.send(answer) if error is None else conversation.throw(error)
        except StopIteration as end:
            return end.value
        try:
            answer, error = perform(effect), None
        except BaseException as raised:
            answer, error = None, raised


async def adrive(conversation: Conversation, perform: Callable[[Effect], Awaitable[Any]]) -> Any:
    """The same for `async def` functions: the effects are awaited."""
    answer: Any = None
    error: BaseException | None = None
    while True:
        try:
            effect = conversation.send(answer) if error is None else conversation.throw(error)
        except StopIteration as end:
            return end.value
        try:
            answer, error = await perform(effect), None
        except BaseException as raised:
            answer, error = None, raised
