"""A route for each line of the table: the body validated by its model, the answer written by its model.

What the models need to validate and write is made when an operation is first asked for: a server starts without it.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from dataclasses import replace
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs

from pydantic import TypeAdapter, ValidationError
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Match, compile_path
from starlette.types import Receive, Scope, Send

from millrace.errors import TooLarge
from millrace.schema.operations import Operation
from millrace.schema.reading import read_json
from millrace.schema.refusals import NOT_YET
from millrace.schema.runs import LEASE_HEADER
from millrace.server.answers import Answer, JSONAnswer, answer_to, json_answer, validation_answer
from millrace.server.context import Call, Context, parse_lease
from millrace.server.handlers import Handler

PREFIX = "/api"
QUIET = frozenset({"health", "ready", "claim_flow_runs", "extend_leases", "worker_heartbeat", "counters"})
"""Operations that a server's own worker, or one who only looks, uses all the time: they do not keep it from idling."""

DRAIN_FACTOR = 4


class Gone(Exception):
    """The client closed the connection before its body was complete."""


def path_of(operation: Operation) -> str:
    """The path of an operation, with the kinds of its parts, as Starlette writes it.

    Args:
        operation: the line of the table.
    """
    path = operation.path
    for name, kind in operation.path_parameters.items():
        if kind is not str:
            path = path.replace(f"{{{name}}}", f"{{{name}:uuid}}")
    return PREFIX + path


class OperationRoute(BaseRoute):
    """One operation.

    Args:
        operation: the line of the table.
        handler: the function of its name.
        context: the server.
    """

    def __init__(self, operation: Operation, handler: Handler, context: Context) -> None:
        pattern, _, self._convertors = compile_path(path_of(operation))
        self.path_regex = re.compile(pattern.pattern.removesuffix("$").removesuffix("/") + "/?$")
        self.operation, self.name = operation, operation.name
        self.handler = handler
        self._context = context
        self._is_async = inspect.iscoroutinefunction(handler)
        self._noisy = operation.name not in QUIET

    @cached_property
    def _body(self) -> TypeAdapter[Any] | None:
        return TypeAdapter(self.operation.body) if self.operation.body is not None else None

    @cached_property
    def _answer(self) -> TypeAdapter[Any] | None:
        return TypeAdapter(self.operation.answer) if self.operation.answer is not None else None

    @cached_property
    def _query(self) -> dict[str, TypeAdapter[Any]]:
        return {name: TypeAdapter(kind) for name, kind in self.operation.query.items()}

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http":
            return Match.NONE, {}
        found = self.path_regex.match(scope["path"])
        if found is None:
            return Match.NONE, {}
        values = {name: self._convertors[name].convert(text) for name, text in found.groupdict().items()}
        return (Match.FULL if scope["method"] == self.operation.method else Match.PARTIAL), {"path_params": values}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != self.operation.method:
            response: Response = not_served(scope, 405)
        else:
            try:
                response = await self._respond(scope, receive)
            except Gone:
                return
            except Exception as error:
                response = answer_to(error)
        await response(scope, receive, send)

    async def _respond(self, scope: Scope, receive: Receive) -> Response:
        if self._noisy:
            self._context.used()
        headers: dict[str, str] = scope["millrace.headers"]
        call = Call(self._context, parse_lease(headers.get(LEASE_HEADER.lower())))
        body = await read_body(headers, receive, self._context.settings.max_body_bytes)
        arguments: list[Any] = list(scope["path_params"].values())
        try:
            if self._body is not None:
                arguments.append(self._parse(body))
            options = self._parse_query(scope) if self._query else {}
        except ValidationError as error:
            return validation_answer(error)
        if self._is_async:
            hung_up = asyncio.ensure_future(receive())  # after the body, all that can come
            try:
                return self._render(await self.handler(replace(call, gone=hung_up.done), *arguments, **options))
            finally:
                hung_up.cancel()
        return await self._context.in_thread(lambda: self._render(self.handler(call, *arguments, **options)))

    def _parse(self, body: bytes) -> Any:
        assert self._body is not None
        if self.operation.body_optional and body.strip() in (b"", b"null"):
            body = b"{}"
        return read_json(self._body, body)

    def _parse_query(self, scope: Scope) -> dict[str, Any]:
        sent = parse_qs(scope["query_string"].decode("latin-1"))
        return {name: kind.validate_python(sent.get(name, [None])[-1]) for name, kind in self._query.items()}

    def _render(self, answer: Any) -> Response:
        status = self.operation.status
        if self.operation.text:
            return PlainTextResponse(answer, status)
        if isinstance(answer, Answer):
            answer, status = answer.value, answer.status
        if status == 204:
            return JSONAnswer(None, status)
        return JSONAnswer(b"null" if self._answer is None else self._answer.dump_json(answer, by_alias=True), status)


def not_served(scope: Scope, status: int) -> JSONAnswer:
    """The response to what is not in the table."""
    path: str = scope["path"][:500]
    about = next((what for pattern, what in _REFUSED if pattern.match(path)), None)
    if status == 404 and about is not None:
        text = f"This version of Millrace does not have {about} ({scope['method']} {path})."
        return json_answer({"detail": text, "code": "NotServed"}, 501)
    return json_answer({"detail": f"Millrace does not serve {scope['method']} {path}", "code": "NotFound"}, status)


def _beginning(path: str) -> re.Pattern[str]:
    return re.compile(PREFIX + re.sub(r"{\w+}", "[^/]+", path) + r"(/|$)")


_REFUSED = [(_beginning(path), what) for path, what in NOT_YET]


async def read_body(headers: dict[str, str], receive: Receive, limit: int) -> bytes:
    """The request's body.

    Args:
        headers: of the request.
        receive: of the request.
        limit: the most bytes.

    Raises:
        TooLarge: it is, or says it is, longer. What comes of it is read a while longer, so that the client, still
            sending, can hear the answer.
    """
    said = headers.get("content-length", "")
    announced = int(said) if said.isdigit() else 0
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        too_large = max(size, announced) > limit
        if not too_large:
            chunks.append(chunk)
        more = message.get("more_body", False)
        if too_large and (not more or size > DRAIN_FACTOR * limit):
            raise TooLarge(
                f"The body has {max(size, announced):,} bytes; at most {limit:,} are taken (MILLRACE_MAX_BODY_BYTES)."
            )
        if not more:
            return b"".join(chunks)
