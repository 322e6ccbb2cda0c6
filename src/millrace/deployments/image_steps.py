"""Build and push steps of specification files that are about images."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from millrace import plugins
from millrace.deployments.placement import say, warn
from millrace.deployments.source import Source
from millrace.errors import PluginMissing
from millrace.storage.local import SET_DIRECTORY

_IMAGE = "millrace.deployments.images:DockerImage"


def build_docker_image(
    place: Path,
    image_name: str,
    dockerfile: str = "Dockerfile",
    tag: str | None = None,
    additional_tags: list[str] | None = None,
    ignore_cache: bool = False,
    **build_kwargs: Any,
) -> dict[str, Any]:
    """An image is built from the directory of the specification file.

    Args:
        place: that directory.
        image_name: its name, with or without a tag.
        dockerfile: a path in there; "auto": it is written.
        tag: its tag.
        additional_tags: it gets these too.
        ignore_cache: of no meaning here; equal steps of one call are performed once.
        build_kwargs: as `DockerImage` takes them.

    Returns:
        `image`, `image_name`, `tag`, `additional_tags` and `image_id`; and `image_directory`, where that directory is
        in it: empty where it works in it.

    Raises:
        InvalidInput: another directory is built from, and this one is not below it.
    """
    build_kwargs.setdefault("context", str(place))
    image = _image(image_name, tag, dockerfile=dockerfile, additional_tags=additional_tags, **build_kwargs)
    began = time.monotonic()
    (inside, *_) = image.build(*_sources(place), notes=warn)
    say(f"Built the image {image.reference!r} in {time.monotonic() - began:.0f} s.")
    return {
        "image": image.reference,
        "image_name": image.name,
        "tag": image.tag,
        "additional_tags": image.additional_tags,
        "image_id": image.id,
        "image_directory": next((step[SET_DIRECTORY]["directory"] for step in inside.pull_steps), ""),
    }


def _sources(place: Path) -> list[Source]:
    """The scripts and notebooks of a directory, or at least the directory."""
    files = sorted([*place.glob("*.py"), *place.glob("*.ipynb")]) or [place / "nothing.py"]
    return [Source(place, one.name, None, place) for one in files]


def push_docker_image(
    place: Path,
    image_name: str,
    tag: str | None = None,
    credentials: Mapping[str, Any] | None = None,
    additional_tags: list[str] | None = None,
    ignore_cache: bool = False,
) -> dict[str, Any]:
    """An image is pushed to its registry.

    Args:
        place: the directory of the specification file.
        image_name: its name.
        tag: its tag.
        credentials: `username` and `password`, where `docker login` was not done.
        additional_tags: these are pushed too.
        ignore_cache: of no meaning here.

    Returns:
        `image`, `image_name`, `tag` and `additional_tags`.
    """
    image = _image(image_name, tag, registry_credentials=credentials, additional_tags=additional_tags)
    image.push()
    say(f"Pushed the image {image.reference!r}.")
    return {
        "image": image.reference,
        "image_name": image.name,
        "tag": image.tag,
        "additional_tags": image.additional_tags,
    }


def _image(name: str, tag: str | None, **given: Any) -> Any:
    try:
        return plugins.load(_IMAGE)(name, tag, **given)
    except ModuleNotFoundError as error:
        raise PluginMissing(f"Images cannot be built here: {error}.") from None
