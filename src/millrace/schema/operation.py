"""One line of the wire's table: an operation, or a connection that stays open."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID


@dataclass(frozen=True)
class Operation:
    """One operation of the API.

    Args:
        name: the name of the handler and of the method of both clients.
        method: the HTTP method.
        path: below `/api`; names in braces are parameters.
        answer: the type of the answer's JSON; None: no body.
        body: the type of the request's JSON; None: no body.
        query: the query parameters and their types.
        status: the status of success. Where the original answers 200 for a thing that existed and 201 for a new one,
            the handler says which.
        paths: the types of the path parameters that are not UUIDs.
        body_optional: an absent body is an empty one.
        text: the answer is the text itself and not JSON.
        doc: one line for people.
    """

    name: str
    method: Literal["GET", "POST", "PATCH", "PUT", "DELETE"]
    path: str
    answer: Any = None
    body: Any = None
    status: int = 200
    query: dict[str, Any] = field(default_factory=dict)
    paths: dict[str, Any] = field(default_factory=dict)
    body_optional: bool = False
    text: bool = False
    doc: str = ""

    @property
    def path_parameters(self) -> dict[str, Any]:
        """The names in the path and their types, in order."""
        return {name: self.paths.get(name, UUID) for name in re.findall(r"{(\w+)}", self.path)}

    @property
    def ours(self) -> bool:
        """Whether Prefect does not have it."""
        return "/millrace" in self.path


@dataclass(frozen=True)
class Stream:
    """A connection that stays open.

    Args:
        name: the name of its handler in `server/streams.py`.
        kind: websocket, or server-sent events.
        path: below `/api`.
        doc: one line for people.
    """

    name: str
    kind: Literal["websocket", "sse"]
    path: str
    doc: str = ""
