"""Code in an object store, or wherever fsspec can read: `s3://`, `gs://`, `az://`, `memory://` and many more."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from millrace.errors import InvalidInput, PluginMissing, PullFailed
from millrace.filesystems import PACKAGES, opened
from millrace.storage.cache import cached, copied
from millrace.storage.placeholders import as_placeholder, plain

STEP = "prefect.deployments.steps.pull_from_remote_storage"
_STATE = (
    "ETag",
    "etag",
    "md5Hash",
    "content_md5",
    "checksum",
    "mtime",
    "LastModified",
    "last_modified",
    "updated",
    "created",
)


class RemoteStorage:
    """A folder in an object store.

    What lies there is fetched once for each state it is in (names, sizes, checksums), and every run gets a copy.
    Credentials come from the environment of whoever fetches, as the package of the store documents, or as settings.

    Args:
        url: such as `s3://bucket/folder`.
        pull_interval: taken for the sake of Prefect's users; every run asks what there is.
        settings: for the file system of fsspec, such as `key`, `secret`, `endpoint_url`. Secrets are given by name when
            deployed.

    Raises:
        InvalidInput: the URL has no scheme or names no folder.

    Example:
        >>> RemoteStorage("s3://bucket/flows").to_pull_step()["prefect.deployments.steps.pull_from_remote_storage"]
        {'url': 's3://bucket/flows', 'requires': 's3fs'}
    """

    def __init__(self, url: str, pull_interval: int | None = 60, **settings: Any) -> None:
        parts = urlsplit(url)
        if not parts.scheme or not (parts.netloc or parts.path.strip("/")):
            raise InvalidInput(f"{url!r} is no URL of a folder, such as s3://bucket/folder.")
        if "@" in parts.netloc and ":" in parts.netloc.rpartition("@")[0]:
            raise InvalidInput("Credentials do not belong into a URL. Give them as settings, or by the environment.")
        self.url = url.rstrip("/")
        self.scheme = parts.scheme.lower()
        self.pull_interval = pull_interval
        self.settings = settings

    def __repr__(self) -> str:
        return f"RemoteStorage({self.url!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteStorage) and (other.url, other.settings) == (self.url, self.settings)

    def __hash__(self) -> int:
        return hash(self.url)

    @property
    def name(self) -> str:
        """Of the directory that runs find the code in."""
        return re.sub(r"[^\w.-]+", "-", self.url.partition("://")[2]).strip("-.") or "code"

    def pull(self, to: Path) -> Path:
        """Fetches the folder, unless it was fetched in this state before, and copies it.

        Args:
            to: the directory to make the copy in.

        Returns:
            The directory of the code, below `to`.

        Raises:
            PullFailed: it is not there, or nobody answers.
            PluginMissing: the package for this scheme is not installed.
        """
        filesystem, root = self._opened()
        try:
            listed = filesystem.find(root, detail=True)
            targets = {name: _below(root, name) for name in listed if not name.endswith("/")}
            if not targets:
                raise PullFailed(f"There is nothing at {self.url}.")
            state = [(str(targets[name]), listed[name].get("size"), _state(listed[name])) for name in sorted(targets)]

            def fetch(place: Path) -> None:
                locals_ = [place / target for target in targets.values()]
                for file in locals_:
                    file.parent.mkdir(parents=True, exist_ok=True)
                filesystem.get([*targets], [str(file) for file in locals_])

            return copied(cached("remote", [self.url, state], fetch), to / self.name)
        except (PullFailed, PluginMissing):
            raise
        except FileNotFoundError:
            raise PullFailed(f"There is nothing at {self.url}.") from None
        except Exception as error:  # every store has exceptions of its own
            raise PullFailed(f"{self.url} could not be read: {type(error).__name__}: {error}") from error

    def _opened(self) -> tuple[Any, str]:
        settings = {name: _value(value) for name, value in self.settings.items()}
        # never an instance that somebody else made with other settings, nor a listing of before
        filesystem, root = opened(self.url, skip_instance_cache=self.scheme != "memory", **settings)
        filesystem.invalidate_cache()
        return filesystem, root.rstrip("/")

    def to_pull_step(self) -> dict[str, Any]:
        """The step that does the same where the deployment runs.

        Raises:
            InvalidInput: a setting is a secret without a name.
        """
        settings = {name: _written(name, value) for name, value in self.settings.items()}
        required = {"requires": PACKAGES[self.scheme]} if self.scheme in PACKAGES else {}
        return {STEP: {"url": self.url, **settings, **required}}


def _below(root: str, name: str) -> PurePosixPath:
    """Where a file goes; a name that climbs out of the folder is refused."""
    relative = PurePosixPath(name.removeprefix(root).lstrip("/") or PurePosixPath(name).name)
    if relative.is_absolute() or ".." in relative.parts or "\\" in str(relative):
        raise PullFailed(f"The name {name!r} leads out of the folder {root!r}; nothing was fetched.")
    return relative


def _state(entry: Mapping[str, Any]) -> str:
    return " ".join(str(entry[name]) for name in _STATE if entry.get(name) is not None)


def _secret(value: Any) -> bool:
    return not isinstance(value, (str, bytes, int, float, bool, list, dict, tuple, type(None)))


def _value(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _value(one) for key, one in value.items()}
    return plain(value) if _secret(value) else value


def _written(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _written(key, one) for key, one in value.items()}
    guarded = _secret(value) or (isinstance(value, str) and re.search(r"secret|token|password|account_key", name))
    return as_placeholder(value, f"the setting {name!r}") if guarded else value
