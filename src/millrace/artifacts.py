"""Artifacts: what runs leave behind for people. Tables, texts, links, images, and progress that moves.

Each belongs to the task run and the flow run in which it is created, or to none. In a notebook it is shown in the cell;
the monitor of a run lists those of the run, and `RunHandle.artifacts()` gives them.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any
from uuid import UUID

from millrace import plugins
from millrace.client import locate
from millrace.client.handle import Id
from millrace.engine import artifact_data as data
from millrace.engine.context import FlowRunContext, TaskRunContext, run_of_process
from millrace.engine.secrecy import masked, masked_value
from millrace.errors import InvalidInput
from millrace.schema.artifacts import Artifact, ArtifactCreate, ArtifactUpdate

if TYPE_CHECKING:
    from millrace.client.synchronous import Client

__all__ = [
    "acreate_image_artifact",
    "acreate_link_artifact",
    "acreate_markdown_artifact",
    "acreate_progress_artifact",
    "acreate_table_artifact",
    "aupdate_progress_artifact",
    "create_image_artifact",
    "create_link_artifact",
    "create_markdown_artifact",
    "create_progress_artifact",
    "create_table_artifact",
    "update_progress_artifact",
]


def _client(given: Client | None) -> Client:
    here = FlowRunContext.get()
    return given or (here.client if here is not None else locate.connect())


def _flow_run_id() -> UUID | None:
    here = FlowRunContext.get()
    if here is not None:
        return here.flow_run.id
    # A cell of a notebook flow, or a program of a run: its run is that of the process that started it.
    return run_of_process()


def _in_kernel() -> bool:
    return "ipykernel" in sys.modules


def _create(kind: str, content: Any, key: str | None, description: str | None, client: Client | None = None) -> Id:
    task = TaskRunContext.get()
    body = ArtifactCreate(
        key=data.artifact_key(key),
        type=kind,
        description=masked(description) if description else description,
        data=masked_value(content),
        flow_run_id=_flow_run_id(),
        task_run_id=task.id if task is not None else None,
    )
    made = _client(client).create_artifact(body)
    _show(made)
    return Id(made.id)


def _show(artifact: Artifact) -> None:
    if _in_kernel():
        plugins.load("millrace.jupyter.artifacts:show")(artifact)


def create_table_artifact(table: Any, key: str | None = None, description: str | None = None) -> Id:
    """Leaves a table behind.

    Args:
        table: a list of dicts, a dict of lists, a list of lists or a pandas DataFrame; what is not a number (NaN) is
            shown as nothing.
        key: names it over many runs: lowercase letters, digits and dashes.
        description: what people read above it, in markdown.

    Returns:
        Its id.

    Raises:
        InvalidInput: the table is none of these, or the key cannot be one.

    Example:
        >>> create_table_artifact([{"name": "Ada", "rows": 3}], key="daily-rows")  # doctest: +SKIP
    """
    return _create("table", data.table_text(table), key, description)


def create_markdown_artifact(markdown: str, key: str | None = None, description: str | None = None) -> Id:
    """Leaves a text in markdown behind; HTML in it is shown as text.

    Args:
        markdown: the text.
        key: names it over many runs: lowercase letters, digits and dashes.
        description: what people read above it, in markdown.

    Returns:
        Its id.

    Raises:
        InvalidInput: it is no text, or the key cannot be one.

    Example:
        >>> create_markdown_artifact("# Report\\n\\n3 rows", key="report")  # doctest: +SKIP
    """
    if not isinstance(markdown, str):
        raise InvalidInput(f"A markdown artifact takes a text, not a {type(markdown).__name__}.")
    return _create("markdown", markdown, key, description)


def create_link_artifact(
    link: str,
    link_text: str | None = None,
    key: str | None = None,
    description: str | None = None,
    client: Client | None = None,
) -> Id:
    """Leaves a link behind. It can be followed if it is one of http or https; any other is shown as text.

    Args:
        link: where it leads.
        link_text: what people read; None: the link itself.
        key: names it over many runs: lowercase letters, digits and dashes.
        description: what people read above it, in markdown.
        client: the server; None: that of this run or process.

    Returns:
        Its id.

    Raises:
        InvalidInput: the link is empty, or the key cannot be one.

    Example:
        >>> create_link_artifact("https://example.org/report", "the report")  # doctest: +SKIP
    """
    return _create("markdown", data.link_text(link, link_text), key, description, client)


def create_image_artifact(image_url: Any, key: str | None = None, description: str | None = None) -> Id:
    """Leaves an image behind.

    Args:
        image_url: a URL of http or https; or an image that is stored with the artifact, of at most two mebibytes: a
            path, bytes, a data URL, a matplotlib figure or a PIL image.
        key: names it over many runs: lowercase letters, digits and dashes.
        description: what people read above it, in markdown.

    Returns:
        Its id.

    Raises:
        InvalidInput: it is no image (PNG, JPEG, GIF, WebP) or too large, or the key cannot be one.

    Example:
        >>> create_image_artifact(figure, key="rows-per-day")  # doctest: +SKIP
    """
    return _create("image", data.image_url(image_url), key, description)


def create_progress_artifact(progress: float, key: str | None = None, description: str | None = None) -> Id:
    """Shows how far something is; `update_progress_artifact` moves it.

    Args:
        progress: from 0 to 100.
        key: names it over many runs: lowercase letters, digits and dashes.
        description: what people read above it, in markdown.

    Returns:
        Its id.

    Raises:
        InvalidInput: the progress is no number, or the key cannot be one.

    Example:
        >>> bar = create_progress_artifact(0, description="rows read")  # doctest: +SKIP
        >>> update_progress_artifact(bar, 50)  # doctest: +SKIP
    """
    return _create("progress", data.progress_value(progress), key, description)


def update_progress_artifact(
    artifact_id: UUID, progress: float, description: str | None = None, client: Client | None = None
) -> Id:
    """Moves a progress, wherever it is shown.

    Args:
        artifact_id: what `create_progress_artifact` gave.
        progress: from 0 to 100.
        description: another text; None: as it was.
        client: the server; None: that of this run or process.

    Returns:
        The id.

    Raises:
        InvalidInput: the progress is no number, or the id is none.
        NotFound: there is no such artifact.
    """
    id, value = data.artifact_id(artifact_id), data.progress_value(progress)
    change = ArtifactUpdate(data=value)
    if description:
        change = ArtifactUpdate(data=value, description=masked(description))
    _client(client).update_artifact(id, change)
    if _in_kernel():
        plugins.load("millrace.jupyter.artifacts:show_progress")(id, value, change.description)
    return Id(id)


# -- the same for async code


async def acreate_table_artifact(table: Any, key: str | None = None, description: str | None = None) -> UUID:
    """`create_table_artifact` for async code."""
    return await asyncio.to_thread(create_table_artifact, table, key, description)


async def acreate_markdown_artifact(markdown: str, key: str | None = None, description: str | None = None) -> UUID:
    """`create_markdown_artifact` for async code."""
    return await asyncio.to_thread(create_markdown_artifact, markdown, key, description)


async def acreate_link_artifact(
    link: str,
    link_text: str | None = None,
    key: str | None = None,
    description: str | None = None,
    client: Client | None = None,
) -> UUID:
    """`create_link_artifact` for async code."""
    return await asyncio.to_thread(create_link_artifact, link, link_text, key, description, client)


async def acreate_image_artifact(image_url: Any, key: str | None = None, description: str | None = None) -> UUID:
    """`create_image_artifact` for async code."""
    return await asyncio.to_thread(create_image_artifact, image_url, key, description)


async def acreate_progress_artifact(progress: float, key: str | None = None, description: str | None = None) -> UUID:
    """`create_progress_artifact` for async code."""
    return await asyncio.to_thread(create_progress_artifact, progress, key, description)


async def aupdate_progress_artifact(
    artifact_id: UUID, progress: float, description: str | None = None, client: Client | None = None
) -> UUID:
    """`update_progress_artifact` for async code."""
    return await asyncio.to_thread(update_progress_artifact, artifact_id, progress, description, client)
