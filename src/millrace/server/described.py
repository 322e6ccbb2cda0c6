"""The page of the API: what FastAPI says of each operation. Loaded when somebody asks for the page, which few do."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable

from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.responses import PlainTextResponse

from millrace.schema.fields import JsonObject
from millrace.schema.operations import Operation
from millrace.server.answers import JSONAnswer
from millrace.server.handlers import Handler
from millrace.server.routes import OperationRoute, path_of
from millrace.server.version import millrace_version


def page(routes: Iterable[OperationRoute]) -> JsonObject:
    """The page, as OpenAPI has it.

    Args:
        routes: of all operations.
    """
    with warnings.catch_warnings():
        # FastAPI gives pydantic an alias that has no effect where a body is a list
        warnings.simplefilter("ignore")
        described = [_described(route.operation, route.handler) for route in routes]
        return get_openapi(title="Millrace", version=millrace_version(), routes=described)


def _described(operation: Operation, handler: Handler) -> APIRoute:
    return APIRoute(
        path_of(operation),
        _documented(operation, handler),
        methods=[operation.method],
        name=operation.name,
        operation_id=operation.name,
        response_model=operation.answer,
        status_code=operation.status,
        response_class=PlainTextResponse if operation.text else JSONAnswer,
    )


def signature_of(operation: Operation) -> inspect.Signature:
    """What the page of the API says of an operation's arguments."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter(name, keyword, annotation=kind)
        for name, kind in (operation.path_parameters | operation.query).items()
    ]
    if operation.body is not None:
        default = None if operation.body_optional else inspect.Parameter.empty
        parameters.append(inspect.Parameter("body", keyword, annotation=operation.body, default=default))
    return inspect.Signature(parameters)


def _documented(operation: Operation, handler: Handler) -> Handler:
    def described() -> None: ...

    described.__name__ = operation.name
    described.__doc__ = operation.doc or handler.__doc__
    described.__signature__ = signature_of(operation)  # type: ignore[attr-defined]
    return described
