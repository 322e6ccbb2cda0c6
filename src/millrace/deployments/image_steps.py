"""Build and push steps of specification files that are about images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from millrace import plugins
from millrace.deployments.source import Source
from millrace.errors import PluginMissing

_IMAGE = "millrace.deployments.images:DockerImage"


def build_docker_image(
    place: Path,
    image_name: str,
    dockerfile: str = "Dockerfile",
    tag: str | None = None,
    **build_kwargs: Any,
) -> dict[str, Any]:
    """An image is built from the directory of the specification file.

    Args:
        place: that directory.
        image_name: its name, with or without a tag.
        dockerfile: a path in there; "auto": it is written.
        tag: its tag.
        build_kwargs: as `DockerImage` takes them.

    Returns:
        `image`, `image_name` and `tag`; and `image_directory`, where the code lies in it.
    """
    build_kwargs.setdefault("context", str(place))
    image = _image(image_name, tag, dockerfile=dockerfile, **build_kwargs)
    (inside,) = image.build(Source(place, "", None, place))
    return {
        "image": image.reference,
        "image_name": image.name,
        "tag": image.tag,
        "image_directory": str(inside.path) if inside.path else None,
    }


def push_docker_image(
    place: Path, image_name: str, tag: str | None = None, credentials: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """An image is pushed to its registry.

    Args:
        place: the directory of the specification file.
        image_name: its name.
        tag: its tag.
        credentials: `username` and `password`, where `docker login` was not done.
    """
    image = _image(image_name, tag, registry_credentials=credentials)
    image.push()
    return {"image": image.reference, "image_name": image.name, "tag": image.tag}


def _image(name: str, tag: str | None, **given: Any) -> Any:
    try:
        return plugins.load(_IMAGE)(name, tag, **given)
    except ModuleNotFoundError as error:
        raise PluginMissing(f"Images cannot be built here: {error}.") from None
