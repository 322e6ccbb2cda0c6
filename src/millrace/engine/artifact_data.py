"""What artifacts hold on the wire: tables, texts, links, images and progress as JSON values."""

from __future__ import annotations

import base64
import binascii
import io
import json
import logging
import math
import re
from datetime import date, datetime, time
from pathlib import Path
from typing import Any
from uuid import UUID

from millrace.errors import InvalidInput

MAX_IMAGE_BYTES = 2 * 1024 * 1024
"""How large an embedded image may be."""

_KEY = re.compile(r"[a-z0-9-]*")
_URL = re.compile(r"https?://", re.IGNORECASE)
_DATA_URL = re.compile(r"data:image/(png|jpeg|gif|webp);base64,", re.IGNORECASE)
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
)
_log = logging.getLogger("millrace.artifacts")


def artifact_key(key: str | None) -> str | None:
    """The key, if it can be one.

    Raises:
        InvalidInput: it has other characters than lowercase letters, digits and dashes.

    Example:
        >>> artifact_key("daily-rows")
        'daily-rows'
    """
    if key is not None and not (isinstance(key, str) and _KEY.fullmatch(key)):
        raise InvalidInput(f"The artifact key {key!r} may have only lowercase letters, digits and dashes.")
    return key


def progress_value(progress: float) -> float:
    """A share of a hundred; what lies outside of 0 to 100 is taken as the nearer end, with a warning.

    Raises:
        InvalidInput: it is no number.
    """
    try:
        value = float(progress)
    except (TypeError, ValueError):
        value = math.nan
    if math.isnan(value):
        raise InvalidInput(f"Progress must be a number from 0 to 100, not {progress!r}.")
    if not 0 <= value <= 100:
        nearest = min(100.0, max(0.0, value))
        _log.warning("Progress of %g %% is shown as %g %%: it goes from 0 to 100", value, nearest)
        return nearest
    return value


def link_text(link: str, text: str | None) -> str:
    """A link in markdown.

    Example:
        >>> link_text("https://example.org", "the [page]")
        '[the \\\\[page\\\\]](https://example.org)'
    """
    if not isinstance(link, str) or not link.strip():
        raise InvalidInput(f"A link artifact needs a link, not {link!r}.")
    label = re.sub(r"([\\\[\]])", r"\\\1", text or link)
    target = f"<{link}>" if re.search(r"[\s()]", link) and not re.search(r"[<>\n]", link) else link
    return f"[{label}]({target})"


def table_text(table: Any) -> str:
    """A table as the JSON text that the wire carries; what is not a number is null in it.

    Args:
        table: a list of dicts, a dict of lists, a list of lists, or a pandas DataFrame.

    Raises:
        InvalidInput: it is none of these.

    Example:
        >>> table_text({"n": [1, float("nan")]})
        '{"n": [1, null]}'
    """
    if hasattr(table, "columns") and hasattr(table, "itertuples"):
        names = [str(name) for name in table.columns]
        table = [dict(zip(names, row, strict=True)) for row in table.itertuples(index=False, name=None)]
    ok = isinstance(table, list) and all(isinstance(row, dict | list | tuple) for row in table)
    if not ok and not (isinstance(table, dict) and all(isinstance(column, list | tuple) for column in table.values())):
        raise InvalidInput(
            f"A table artifact takes a list of dicts, a dict of lists, a list of lists or a pandas DataFrame, "
            f"not a {type(table).__name__} like this."
        )
    return json.dumps(_plain(table), ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(entry) for entry in value]
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None if math.isnan(value) else str(value)
    if type(value).__name__ in ("NaTType", "NAType"):
        return None
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if hasattr(value, "tolist"):  # numpy's scalars and arrays
        return _plain(value.tolist())
    return str(value)


def image_url(image: Any) -> str:
    """The URL of an image: as it was given, or one that has the image in itself.

    Args:
        image: a URL (http, https or data:image), a path of a file, bytes, a matplotlib figure or a PIL image.

    Raises:
        InvalidInput: it is none of these, no PNG, JPEG, GIF or WebP, or larger than two mebibytes.
    """
    if isinstance(image, str) and (_URL.match(image) or image.lower().startswith("data:")):
        return _checked_data(image) if image.lower().startswith("data:") else image
    if isinstance(image, str | Path):
        return _embedded(_read(Path(image)), f"the file {image}")
    if isinstance(image, bytes | bytearray | memoryview):
        return _embedded(bytes(image), "the image")
    buffer = io.BytesIO()
    if hasattr(image, "savefig"):  # matplotlib
        image.savefig(buffer, format="png", bbox_inches="tight")
    elif hasattr(image, "save") and hasattr(image, "mode"):  # PIL
        image.save(buffer, format="PNG")
    else:
        raise InvalidInput(
            f"An image artifact takes a URL, a path, bytes, a matplotlib figure or a PIL image, "
            f"not a {type(image).__name__}."
        )
    return _embedded(buffer.getvalue(), f"the {type(image).__name__}")


def _checked_data(url: str) -> str:
    found = _DATA_URL.match(url)
    try:
        content = base64.b64decode(url[found.end() :], validate=True) if found else b""
    except (binascii.Error, ValueError):
        content = b""
    if not content:
        raise InvalidInput("A data URL of an image artifact must be data:image/png;base64,… (or jpeg, gif, webp).")
    return _embedded(content, "the image")


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_IMAGE_BYTES:
            raise _too_large(path.stat().st_size, f"the file {path}")
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(
            f"The image {str(path)!r} cannot be read: {error.strerror}. Give a path, or a URL with http:// or https://."
        ) from None


def _embedded(content: bytes, what: str) -> str:
    kind = next((kind for magic, kind in _MAGIC if content.startswith(magic)), None)
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        kind = "webp"
    if kind is None:
        raise InvalidInput(f"An image artifact takes PNG, JPEG, GIF or WebP; {what} is something else.")
    if len(content) > MAX_IMAGE_BYTES:
        raise _too_large(len(content), what)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _too_large(size: int, what: str) -> InvalidInput:
    return InvalidInput(
        f"{what[:1].upper()}{what[1:]} has {size:,} bytes; an image artifact embeds at most {MAX_IMAGE_BYTES:,}. "
        "Make it smaller (fewer dots per inch), or keep it elsewhere and give its URL."
    )


def artifact_id(id: UUID | str) -> UUID:
    """The id of an artifact.

    Raises:
        InvalidInput: it is none.
    """
    try:
        return UUID(str(id))
    except ValueError:
        raise InvalidInput(f"{id!r} is not the id of an artifact; create_progress_artifact(…) gives one.") from None
