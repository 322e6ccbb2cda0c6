"""Pages of executed notebooks."""

from __future__ import annotations

from uuid import UUID

from millrace.schema.pages import RunPage
from millrace.server.context import Call
from millrace.store import pages


def keep_page(call: Call, id: UUID, body: RunPage) -> None:
    """Keep the page of a run that another machine executed."""
    call.write(pages.keep, id, body)


def read_page(call: Call, id: UUID) -> RunPage:
    """The page that is kept of a run."""
    return call.read(pages.read, id)
