"""Requests and answers of the wire table, without sending them: the part of a client that has no colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from millrace import errors, plugins, settings
from millrace.client import retry
from millrace.client.endpoint import Endpoint
from millrace.schema.fields import NAME_PATTERN, NO_NAME, new_id
from millrace.schema.flows import Page
from millrace.schema.limits import SlotsWanted
from millrace.schema.logs import LogCreate
from millrace.schema.operation import Operation
from millrace.schema.reading import read_json
from millrace.schema.run_operations import RUNS
from millrace.schema.runs import BeginRun, DeploymentFlowRunCreate, FlowRunCreate, TaskRunCreate
from millrace.schema.states import SetState, StateCreate

_RUNS = MappingProxyType({operation.name: operation for operation in RUNS})

_BY_STATUS: dict[int, type[errors.MillraceError]] = {
    400: errors.InvalidInput,
    401: errors.Unauthenticated,
    403: errors.NotAllowed,
    404: errors.NotFound,
    409: errors.Conflict,
    410: errors.SlotsLost,
    413: errors.TooLarge,
    422: errors.InvalidInput,
    423: errors.SlotsTaken,
    429: errors.Busy,
    503: errors.Busy,
}
# Their constructors want more than a text, or they speak of this side of the wire.
_NOT_BY_CODE = (errors.CellFailed, errors.ServerUnavailable, errors.PluginMissing)


@dataclass(frozen=True)
class Request:
    """One request, ready to be sent."""

    method: str
    path: str
    content: bytes | None = None
    query: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    timeout: float | httpx.Timeout = 30.0
    repeatable: bool = True

    @property
    def line(self) -> str:
        """Method and path, for messages."""
        return f"{self.method} /api{self.path}"


@lru_cache(maxsize=1)
def _table() -> dict[str, Operation]:
    # its models take a good part of the time of an import, which a process that only runs a flow need not spend
    return {operation.name: operation for operation in plugins.load("millrace.schema.operations:OPERATIONS")}


def _operation(name: str) -> Operation:
    return _RUNS.get(name) or _table()[name]


@lru_cache(maxsize=256)
def _adapter(name: str, part: str) -> TypeAdapter[Any]:
    return TypeAdapter(getattr(_operation(name), part))


def request(
    name: str,
    path: Sequence[Any],
    body: Any,
    fields: dict[str, Any],
    query: dict[str, Any],
    *,
    plain_logs: bool = False,
) -> Request:
    """The request of an operation.

    Args:
        name: of the operation.
        path: the path parameters in order.
        body: the body: a model, a list of models or a dict; None: it is made of `fields`.
        fields: fields of the body.
        query: the query parameters.
        plain_logs: send log lines without ids.

    Raises:
        InvalidInput: a field has a wrong value or is unknown.
    """
    operation = _operation(name)
    where = operation.path
    for parameter, value in zip(operation.path_parameters, path, strict=True):
        where = where.replace(f"{{{parameter}}}", quote(str(value), safe=""))
    content = None
    body = _body(operation, body, fields)
    if body is not None:
        body = _repeatable(body, plain_logs)
        update = operation.method == "PATCH"  # "only the fields that were sent are changed", so a null is a value there
        # A Prefect server refuses an `operator` in the conditions that have none there, even one that says nothing new.
        try:
            content = _adapter(name, "body").dump_json(
                body,
                by_alias=True,
                exclude_unset=update,
                exclude_none=not update,
                exclude_defaults=isinstance(body, Page),
                exclude=getattr(body, "unsaid", None),
            )
        except PydanticSerializationError as error:
            raise errors.InvalidInput(f"{name}: a value has no form in JSON: {error}") from None
    return Request(
        operation.method,
        where,
        content,
        {key: str(value) for key, value in query.items() if value is not None},
        {"Content-Type": "application/json"} if content is not None else {},
        settings.current().api_timeout + getattr(body, "wait_seconds", 0.0),
        name not in retry.ONCE,
    )


def _body(operation: Operation, body: Any, fields: dict[str, Any]) -> Any:
    if operation.body is None:
        return None
    if isinstance(body, StateCreate) and operation.body is SetState:
        return SetState(state=body, **fields)
    if body is None and not fields and operation.body_optional:
        return None
    given = body
    if isinstance(operation.body, type) and issubclass(operation.body, BaseModel):
        if isinstance(body, operation.body) and not fields:
            return body
        given = {**dict(body or {}), **fields}
        unknown = sorted(set(given) - set(operation.body.model_fields))
        if unknown:
            known = ", ".join(operation.body.model_fields)
            raise errors.InvalidInput(f"{operation.name} has no field {', '.join(unknown)}; it has {known}.")
    try:
        return _adapter(operation.name, "body").validate_python(given)
    except ValidationError as error:
        raise errors.InvalidInput(f"{operation.name}: {problems(error.errors())}") from None


def _repeatable(body: Any, plain_logs: bool) -> Any:
    """The body with the ids that make sending it twice harmless; see `retry`."""
    key = {"idempotency_key": f"request {new_id()}"}
    match body:
        case SetState() if body.state.state_details.transition_id is None:
            details = body.state.state_details.model_copy(update={"transition_id": new_id()})
            return body.model_copy(update={"state": body.state.model_copy(update={"state_details": details})})
        case BeginRun() if body.flow_run.idempotency_key is None:
            return body.model_copy(update={"flow_run": body.flow_run.model_copy(update=key)})
        case FlowRunCreate() | DeploymentFlowRunCreate() if body.idempotency_key is None:
            return body.model_copy(update=key)
        case SlotsWanted() if body.ticket is None:
            return body.model_copy(update={"ticket": new_id()})
        case TaskRunCreate() if body.id is None:
            return body.model_copy(update={"id": new_id()})
        case [LogCreate(), *_] if plain_logs:
            return [line.model_copy(update={"id": None}) for line in body]
        case [LogCreate(), *_]:
            return [line if line.id else line.model_copy(update={"id": new_id()}) for line in body]
    return body


def answer(name: str, sent: Request, response: httpx.Response, *, tries: int = 1) -> Any:
    """The typed answer of an operation.

    Args:
        name: of the operation.
        sent: the request.
        response: what came back, read to its end.
        tries: how often it was sent.

    Raises:
        MillraceError: what the server says, as the class it names.
    """
    if response.status_code == 404 and sent.method == "DELETE" and tries > 1:
        return None  # the first try did it and its answer was lost
    if not response.is_success:
        raise refusal(sent, response)
    if _operation(name).answer is None:
        return None
    if _operation(name).text:
        return response.text
    try:
        return read_json(_adapter(name, "answer"), response.content)
    except ValidationError as error:
        raise errors.MillraceError(
            f"the answer to {sent.line} is not what this version of Millrace understands: {problems(error.errors())}"
        ) from None


def refusal(sent: Request, response: httpx.Response) -> errors.MillraceError:
    """The error an answer speaks of."""
    try:
        said = response.json()
    except ValueError:
        said = None
    said = said if isinstance(said, dict) else {"detail": _foreign(response)}
    detail = said.get("detail") or said.get("exception_detail") or said.get("exception_message")
    text = _text(detail) or response.reason_phrase
    kind = getattr(errors, str(said.get("code")), None)
    if isinstance(kind, type) and issubclass(kind, errors.MillraceError) and not issubclass(kind, _NOT_BY_CODE):
        return kind(text, retry.retry_after(response.headers)) if issubclass(kind, errors.Busy) else kind(text)
    kind = _BY_STATUS.get(response.status_code)
    if kind is not None and issubclass(kind, errors.Busy):
        return kind(f"{sent.line}: {text}", retry.retry_after(response.headers))
    if kind is not None:
        return kind(f"{sent.line}: {text}")
    return errors.MillraceError(f"{sent.line} was answered {response.status_code}: {text}")


def _foreign(response: httpx.Response) -> str:
    """What to say of an answer that no Millrace server gives: on one line, and no page of a proxy."""
    text = " ".join(response.text[:500].split())
    if text.startswith("<") or not text:
        text = f"{response.reason_phrase}, and not in JSON"
    return f"{text}. Is {response.url.host}:{response.url.port or 80} a Millrace server?"


def unavailable(endpoint: Endpoint, sent: Request, error: Exception) -> errors.ServerUnavailable:
    """The error for a server that does not answer, with what to do about it."""
    if isinstance(error, httpx.ReadTimeout):
        limit = f" (MILLRACE_API_TIMEOUT={settings.current().api_timeout:g} s)"
        return errors.ServerUnavailable(f"The server at {endpoint.place} did not answer {sent.line} in time{limit}.")
    reason = str(error) or type(error).__name__
    return errors.ServerUnavailable(f"No Millrace server answers at {endpoint.place} ({reason}). {endpoint.remedy}")


def _text(detail: Any) -> str:
    if isinstance(detail, list):
        return problems(detail)
    return "" if detail is None else str(detail)


def problems(found: Sequence[Any]) -> str:
    """The errors of a validation as one line of text."""
    lines = []
    for problem in found:
        if not isinstance(problem, dict):
            lines.append(str(problem))
            continue
        place = ".".join(str(part) for part in problem.get("loc", ()) if part not in ("body", "__root__"))
        said = str(problem.get("msg", problem))
        if (problem.get("ctx") or {}).get("pattern") == NAME_PATTERN:
            said = f"{problem.get('input')!r} {NO_NAME}"
        lines.append(f"{place}: {said}" if place else said)
    return "; ".join(lines)
