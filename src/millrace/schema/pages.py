"""Pages of executed notebooks, kept by the server for those who were not there."""

from __future__ import annotations

from pydantic import Field

from millrace.schema.fields import Model

LARGEST_PAGE = 10 * 1024 * 1024
"""Bytes of a page that is kept or attached to an e-mail; mail servers refuse much larger ones."""


class RunPage(Model):
    """Ours: the page of a run whose notebook was executed on another machine than the server's.

    Attributes:
        place: where the file lies.
        size: of the file, in bytes.
        text: the page; None: it is larger than what is kept.
    """

    place: str = Field(max_length=4096)
    size: int = Field(ge=0)
    text: str | None = Field(None, max_length=LARGEST_PAGE)
