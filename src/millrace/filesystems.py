"""The border to fsspec: what opens `s3://`, `gs://`, `az://` and every other place that its packages know."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from millrace import plugins
from millrace.errors import InvalidInput, PluginMissing

PACKAGES = MappingProxyType(
    {
        "s3": "s3fs",
        "s3a": "s3fs",
        "gs": "gcsfs",
        "gcs": "gcsfs",
        "az": "adlfs",
        "abfs": "adlfs",
        "abfss": "adlfs",
        "adl": "adlfs",
    }
)
"""The object stores, and the package that fsspec needs for each."""


def opened(url: str, **settings: Any) -> tuple[Any, str]:
    """The file system behind a URL, and the path in it.

    fsspec keeps the connection for the next who asks with the same settings, and knows that a forked process needs its
    own; `skip_instance_cache=True` asks for another.

    Args:
        url: without credentials.
        settings: for the file system, as its package documents them.

    Raises:
        PluginMissing: a package is not installed; the message names it.
        InvalidInput: fsspec knows no such place.

    Example:
        >>> files, path = opened("memory://a/b")
        >>> path
        '/a/b'
    """
    protocol = url.partition("://")[0].lower()
    package = PACKAGES.get(protocol)
    connect = plugins.load("fsspec.core:url_to_fs", install="pip install fsspec")
    try:
        files, path = connect(url, **settings)
    except ImportError as error:
        remedy = f"pip install {package}" if package else str(error)
        raise PluginMissing(
            f"{url} needs the package {package or 'that opens ' + protocol}, which is not installed: {remedy}"
        ) from None
    except ValueError as error:
        raise InvalidInput(f"{url} cannot be opened: {error}") from None
    return files, str(path)
