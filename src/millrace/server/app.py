"""The application: one route for each line of the table, the streams, and the guard before all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from importlib import import_module

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from millrace.schema.operations import OPERATIONS, STREAMS
from millrace.server import streams
from millrace.server.answers import json_answer, unexpected_answer
from millrace.server.context import Context
from millrace.server.handlers import find_handlers
from millrace.server.loops import Loops
from millrace.server.routes import PREFIX, OperationRoute, not_served
from millrace.server.security import Guard, Policy

OPEN_OPERATIONS = frozenset({"health", "ready"})
"""What needs no token: it tells nobody more than that a server is there."""


def create_app(context: Context, policy: Policy, *, loops: bool = True) -> Starlette:
    """The application of one server.

    Args:
        context: its store and settings.
        policy: whom it answers.
        loops: run scheduler, reaper and automations.

    Raises:
        RuntimeError: the table and the handlers do not agree.
    """
    app = Starlette(
        routes=routes(context),
        lifespan=lambda app: lifespan(app, context, loops),
        exception_handlers={HTTPException: _refused, Exception: _broken},
    )
    app.router.redirect_slashes = False
    app.add_middleware(Guard, policy=policy, open_routes=lambda: open_routes(app))
    return app


def routes(context: Context) -> list[BaseRoute]:
    """Every route of the server: operations, streams, and two pages for machines."""
    handlers = find_handlers()
    operations = [OperationRoute(op, handlers[op.name], context) for op in OPERATIONS]
    found: list[BaseRoute] = [*operations]
    for stream in STREAMS:
        endpoint = streams.endpoint(stream.name, context)
        if stream.kind == "websocket":
            found.append(WebSocketRoute(PREFIX + stream.path, endpoint, name=stream.name))
        else:
            found.append(Route(PREFIX + stream.path, endpoint, methods=["GET"], name=stream.name))

    @lru_cache(maxsize=1)
    def page() -> Response:
        # FastAPI writes it, which takes longer to load than the rest of the server's routes
        return json_answer(import_module("millrace.server.described").page(operations), 200)

    found.append(Route(f"{PREFIX}/openapi.json", lambda request: page(), name="openapi"))
    found.append(Route(f"{PREFIX}/csrf-token", _csrf_token, name="csrf_token"))
    return found


def open_routes(app: Starlette) -> list[BaseRoute]:
    """The routes that need no token."""
    return [
        route
        for route in app.router.routes
        if isinstance(route, OperationRoute) and route.operation.name in OPEN_OPERATIONS
    ]


@asynccontextmanager
async def lifespan(app: Starlette, context: Context, run_loops: bool) -> AsyncIterator[None]:
    """Start what runs beside the requests, and end it."""
    context.bell.attach(asyncio.get_running_loop())
    context.database.on_commit(context.bell.ring)
    running = Loops(context.database, context.settings, context.vault) if run_loops else None
    if running is not None:
        context.replan = running.replan
        context.database.on_commit(running.committed)
        running.start()
    try:
        yield
    finally:
        context.bell.close()
        context.bell.detach()
        if running is not None:
            await asyncio.to_thread(running.stop)
        context.threads.shutdown(wait=False, cancel_futures=True)


def _csrf_token(request: Request) -> Response:
    text = "CSRF protection is disabled."
    return json_answer({"detail": text, "code": "InvalidInput"}, 422)


async def _refused(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    return not_served(request.scope, status)


async def _broken(request: Request, error: Exception) -> Response:
    return unexpected_answer(error)
