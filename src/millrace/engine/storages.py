"""Where results lie: files of this machine, or whatever fsspec opens."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn, Protocol
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from millrace import settings
from millrace.errors import InvalidInput, MillraceError, StorageUnavailable, UnreadableResult
from millrace.filesystems import PACKAGES, opened

# A write there is seen whole or not at all; elsewhere it goes to a second name first.
_OBJECTS = {*PACKAGES, "memory"}


class Storage(Protocol):
    """A place that keeps bytes under keys."""

    @property
    def place(self) -> str:
        """Its directory or URL, for people."""

    def address(self, key: str) -> str:
        """Where a key lies, for readers in other processes."""

    def write(self, key: str, data: bytes) -> None:
        """Keeps bytes under a key; whoever reads sees them whole, or what was there before."""

    def read(self, key: str) -> bytes | None:
        """The bytes of a key; None if there are none."""


def checked_key(key: str) -> str:
    """A key that stays below its storage.

    Args:
        key: parts separated by `/`.

    Raises:
        InvalidInput: it is empty, absolute, or climbs out.
    """
    parts = key.split("/")
    bad = not key or "\\" in key or "\0" in key or any(part in ("", ".", "..") for part in parts)
    if bad or PurePosixPath(key).is_absolute():
        raise InvalidInput(
            f"{key!r} is no key of a result: use one or several names separated by '/', none of them empty, '.' or '..'"
        )
    return key


@dataclass(frozen=True)
class LocalStorage:
    """A directory of this machine.

    Args:
        directory: absolute; made when something is written.
    """

    directory: Path

    @property
    def place(self) -> str:
        """The directory."""
        return str(self.directory)

    def address(self, key: str) -> str:
        """The path of a key's file."""
        return str(self.directory / checked_key(key))

    def write(self, key: str, data: bytes) -> None:
        """Writes a file, to disk, and then gives it its name."""
        path = self.directory / checked_key(key)
        partial = path.with_name(f".{uuid4().hex}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with partial.open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                partial.replace(path)
                _synced(path.parent)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
        except OSError as error:
            self._refused(key, error)

    def read(self, key: str) -> bytes | None:
        """The bytes of the key's file."""
        try:
            return (self.directory / checked_key(key)).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self._refused(key, error)

    def _refused(self, key: str, error: OSError) -> NoReturn:
        if error.errno == errno.ENAMETOOLONG:
            raise InvalidInput(
                f"the key {key[:60]!r}… of a result is too long for a file name: shorten or hash it"
            ) from None
        raise StorageUnavailable(
            f"the directory of results {self.directory} cannot be used: {error.strerror or error}. Correct that, or "
            "give another one by result_storage or MILLRACE_RESULTS_STORAGE"
        ) from error


def _synced(directory: Path) -> None:
    # A state that refers to a file is durable: the file's name has to be, too. Windows has no such call.
    if os.name == "posix":
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@dataclass(frozen=True)
class RemoteStorage:
    """What fsspec opens by its URL. Credentials come from the environment, as the fsspec package says.

    Args:
        url: without credentials.
    """

    url: str

    @property
    def place(self) -> str:
        """The URL."""
        return self.url

    @property
    def protocol(self) -> str:
        """What stands before `://`."""
        return self.url.partition("://")[0]

    def address(self, key: str) -> str:
        """The URL of a key."""
        base = self.url if self.url.endswith("://") else self.url.rstrip("/") + "/"
        return base + checked_key(key)

    def ready(self) -> None:
        """Makes sure that the packages are there, without a connection.

        Raises:
            PluginMissing: a package is not installed; the message names it.
            InvalidInput: fsspec knows no such storage.
        """
        self._open(self.url)

    def write(self, key: str, data: bytes) -> None:
        """Writes an object."""
        files, path = self._open(self.address(key))
        try:
            if self.protocol not in _OBJECTS:
                files.makedirs(path.rpartition("/")[0], exist_ok=True)
                partial = f"{path}.{uuid4().hex}.partial"
                files.pipe_file(partial, data)
                files.mv(partial, path)
            else:
                files.pipe_file(path, data)
        except Exception as error:
            self._refused("written", error)

    def read(self, key: str) -> bytes | None:
        """The bytes of an object."""
        files, path = self._open(self.address(key))
        try:
            return bytes(files.cat_file(path))
        except (FileNotFoundError, IsADirectoryError):
            return None
        except Exception as error:
            self._refused("read", error)

    def _open(self, address: str) -> tuple[Any, str]:
        try:
            return opened(address)
        except MillraceError:
            raise
        except Exception as error:
            self._refused("opened", error)

    def _refused(self, what: str, error: Exception) -> NoReturn:
        raise StorageUnavailable(
            f"the storage of results {self.url} cannot be {what}: {type(error).__name__}: {error}. Is it reachable, "
            "does it exist, and are there credentials for it in the environment?"
        ) from error


def storage_at(given: str | Path | Storage) -> Storage:
    """The storage that a flow, a task or a setting names.

    Args:
        given: a directory (absolute, or beginning with `./`, `../` or `~`), a `Path`, or a URL that fsspec opens.

    Raises:
        InvalidInput: it is neither, or holds credentials.

    Example:
        >>> storage_at("/data/results").place
        '/data/results'
    """
    if isinstance(given, Path):
        return LocalStorage(given.expanduser().absolute())
    if not isinstance(given, str):
        if hasattr(given, "write") and hasattr(given, "read") and hasattr(given, "address"):
            return given
        raise InvalidInput(
            f"result_storage must be a directory or a URL such as s3://bucket/prefix; got {type(given).__name__}"
        )
    if "://" in given:
        return _by_url(given)
    if not (given.startswith(("./", "../", "~")) or Path(given).is_absolute()):
        raise InvalidInput(
            f"result_storage {given!r} is neither a URL such as s3://bucket/prefix nor a directory: a directory begins "
            "with /, ./, ../ or ~. (Storage blocks of Prefect do not exist here.)"
        )
    return LocalStorage(Path(given).expanduser().absolute())


def _by_url(url: str) -> Storage:
    shown = masked(url)
    protocol, _, rest = url.partition("://")
    if shown != url or "?" in rest or "#" in rest:
        raise InvalidInput(
            f"the URL of results {shown} holds more than a place. Give credentials and options by the environment, as "
            "the fsspec package of the storage says: URLs are stored with each run"
        )
    if "::" in url or not protocol.replace("+", "").isalnum():
        raise InvalidInput(f"the URL of results {url!r} is none that Millrace writes to: use one storage, not a chain")
    if any(part == ".." for part in rest.split("/")):
        raise InvalidInput(f"the URL of results {url!r} climbs out of its own directory: write it without '..'")
    if protocol == "file":
        return LocalStorage(Path(unquote(urlsplit(url).path)).absolute())
    if protocol in PACKAGES and not rest.strip("/"):
        raise InvalidInput(f"the URL of results {url!r} names no bucket: write {protocol}://bucket/prefix")
    return RemoteStorage(url)


def masked(url: str) -> str:
    """A URL without the password or the query it may hold, for messages.

    Args:
        url: any text.
    """
    protocol, mark, rest = url.partition("://")
    if not mark:
        return url
    place, slash, path = rest.partition("/")
    user, at, host = place.rpartition("@")
    hidden = f"***@{host}" if at and ":" in user else place
    kept, asked, _ = (slash + path).partition("?")
    return f"{protocol}://{hidden}{kept}{'?***' if asked else ''}"


def behind(address: str, known: Storage) -> tuple[Storage, str]:
    """The storage and key of an address that another process stored.

    An address comes from elsewhere: it may lead to files of this machine and to the well-known object storages, but to
    another server only if this process keeps its own results there.

    Args:
        address: a path, a URL, or a bare key of this process's storage.
        known: this process's own storage.

    Raises:
        UnreadableResult: it leads somewhere else.
    """
    if "://" not in address:
        path = Path(address)
        if path.is_absolute():
            return LocalStorage(path.parent), path.name
        return known, address
    protocol = address.partition("://")[0]
    if protocol == "file":
        path = Path(unquote(urlsplit(address).path))
        return LocalStorage(path.parent), path.name
    trusted = {*_OBJECTS, known.protocol if isinstance(known, RemoteStorage) else "memory"}
    if protocol not in trusted or masked(address) != address or "::" in address:
        raise UnreadableResult(
            f"the result lies at {masked(address)}, where this process does not keep results: set "
            "MILLRACE_RESULTS_STORAGE to that storage if you trust it"
        )
    base, _, key = address.rpartition("/")
    if base.endswith(":/"):
        base += "/"
    return RemoteStorage(base), key


def default_place() -> str | Path:
    """Where results lie that no flow, task or parent run says otherwise of."""
    current = settings.current()
    return current.results_storage or current.results_directory
