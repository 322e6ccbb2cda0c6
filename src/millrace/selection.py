"""One flow of several."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from millrace.errors import InvalidInput, MissingFlow, UnspecifiedFlow
from millrace.flows import Flow


def select_flow(
    flows: Iterable[Flow[Any, Any]], flow_name: str | None = None, from_message: str | None = None
) -> Flow[Any, Any]:
    """The only flow of several, or the one of a name.

    Args:
        flows: where to choose from.
        flow_name: its name.
        from_message: where the flows come from, for messages: "in script 'etl.py'".

    Raises:
        MissingFlow: there are none, or none of this name.
        UnspecifiedFlow: there are several that fit.

    Example:
        >>> select_flow([])
        Traceback (most recent call last):
        millrace.errors.MissingFlow: No flow was found. Decorate a function with @flow.
    """
    checked_name(flow_name)
    if isinstance(flows, Flow) or not isinstance(flows, Iterable):
        raise InvalidInput(f"select_flow chooses from a list of flows, not from {shown(flows)}.")
    found = list({id(one): one for one in flows}.values())
    for one in found:
        if not isinstance(one, Flow):
            raise InvalidInput(f"select_flow chooses from flows; {shown(one)} is none. Decorate a function with @flow.")
    where = f" {from_message}" if from_message else ""
    names = ", ".join(repr(name) for name in sorted({one.name for one in found}))
    if not found:
        raise MissingFlow(f"No flow was found{where}. Decorate a function with @flow.")
    chosen = [one for one in found if one.name == flow_name] if flow_name else found
    if not chosen:
        raise MissingFlow(f"No flow {flow_name!r} was found{where}. There is: {names}.")
    if len(chosen) > 1:
        remedy = f"Several are called {flow_name!r}" if flow_name else f"Give the name of one of them: {names}"
        raise UnspecifiedFlow(f"{len(chosen)} flows were found{where}. {remedy}.")
    return chosen[0]


def shown(given: Any) -> str:
    """A value that is none of what was wanted, for messages."""
    return f"{given!r:.80} ({type(given).__name__})"


def checked_name(name: Any) -> None:
    """Refuses a name that is no text."""
    if name is not None and not isinstance(name, str):
        raise InvalidInput(f"The name of a flow is a text, not {shown(name)}.")
