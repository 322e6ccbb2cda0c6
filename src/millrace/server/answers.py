"""Answers as JSON: values through their models' own serialisers, errors in one shape."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_json
from starlette.responses import Response

from millrace.errors import Busy, InvalidInput, MillraceError, SlotsTaken, Unauthenticated
from millrace.schema.fields import new_id

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """A value with a status other than the table's.

    Args:
        value: the value.
        status: the HTTP status.
    """

    value: Any
    status: int


def created_or_known(pair: tuple[Any, bool]) -> Answer:
    """201 for a new thing, 200 for one that was known.

    Args:
        pair: the thing and whether it was created.
    """
    value, created = pair
    return Answer(value, 201 if created else 200)


class JSONAnswer(Response):
    """A response of bytes that are JSON already."""

    media_type = "application/json"


def json_answer(value: Any, status: int, headers: dict[str, str] | None = None) -> JSONAnswer:
    """A response of a plain value."""
    return JSONAnswer(to_json(value, fallback=str), status, headers)


def error_answer(error: MillraceError) -> JSONAnswer:
    """The response of an error of ours: its text and the name of its class, never a traceback."""
    headers: dict[str, str] = {}
    if isinstance(error, Busy):
        headers["Retry-After"] = _seconds(error)
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="millrace"'
    body: dict[str, Any] = {"detail": error.message, "code": type(error).__name__}
    if error.status == 422:
        body["exception_detail"] = [{"type": type(error).__name__, "loc": ["body"], "msg": error.message}]
    return json_answer(body, error.status, headers)


def _seconds(error: Busy) -> str:
    # Slots of a limit may be free in a moment, and the clients that wait for them read fractions.
    return f"{error.retry_after:.3f}" if isinstance(error, SlotsTaken) else str(max(1, math.ceil(error.retry_after)))


def validation_answer(error: ValidationError, where: tuple[str, ...] = ("body",)) -> JSONAnswer:
    """The response to a body that its model refuses. Values are not repeated: they may be secrets."""
    problems: list[dict[str, Any]] = [
        {"type": e["type"], "loc": [*where, *e["loc"]], "msg": e["msg"]}
        for e in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    return json_answer(
        {
            "detail": problems,
            "exception_message": "Invalid request received.",
            "exception_detail": problems,
            "code": InvalidInput.__name__,
        },
        422,
    )


def unexpected_answer(error: BaseException) -> JSONAnswer:
    """The response to a mistake of ours: an id to look for in the log."""
    number = new_id()
    logger.error("internal error %s", number, exc_info=error)
    return json_answer({"detail": "internal error", "id": str(number), "code": MillraceError.__name__}, 500)


def answer_to(error: Exception) -> JSONAnswer:
    """The response to whatever a handler raised."""
    if isinstance(error, MillraceError):
        return error_answer(error)
    if isinstance(error, OverflowError | UnicodeEncodeError):
        return error_answer(InvalidInput(f"A value cannot be stored: {error}."))
    return unexpected_answer(error)
