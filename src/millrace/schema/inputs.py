"""Inputs of runs: what a person or another run hands to a run that runs or waits. Values are JSON, stored as text."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field

from millrace.schema.fields import JsonObject, Model
from millrace.schema.flows import Stored

KEY_CHARACTERS = "letters, digits and dashes"


def checked_key(key: str) -> str:
    """A key of an input, as the wire allows it.

    Args:
        key: the key.

    Raises:
        ValueError: it holds other characters than letters, digits and dashes.
    """
    if not key or not all((one.isascii() and one.isalnum()) or one == "-" for one in key):
        raise ValueError(f"a key of an input has only {KEY_CHARACTERS}; got {key!r}")
    return key


InputKey = Annotated[str, AfterValidator(checked_key)]


class FlowRunInputCreate(Model):
    """An input to store; a key is given once."""

    key: InputKey
    value: str = Field(description="JSON, as text.")
    sender: str | None = Field(None, description="Who sent it: `prefect.flow-run.<id>` for a run.")


class FlowRunInput(FlowRunInputCreate, Stored):
    """An input as stored."""

    flow_run_id: UUID


class FlowRunInputQuery(Model):
    """Which inputs to read: those whose key begins so, the oldest first."""

    prefix: str
    limit: int = 1
    exclude_keys: list[str] = Field(default_factory=list)


class RunResume(Model):
    """The body of resume."""

    run_input: JsonObject | None = None


def keyset(state_name: str, pause_key: str) -> dict[str, str]:
    """The keys of the inputs of one pause: the schema of what is asked, a text about it, and the response.

    Args:
        state_name: Paused or Suspended.
        pause_key: what tells this pause from the run's others.

    Example:
        >>> keyset("Paused", "1")["schema"]
        'paused-1-schema'
    """
    return {part: f"{state_name.lower()}-{pause_key}-{part}" for part in ("description", "response", "schema")}
