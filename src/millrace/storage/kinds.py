"""What every kind of code storage does, and which kind a text means."""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from millrace.errors import InvalidInput
from millrace.storage.git import GitRepository
from millrace.storage.local import LocalStorage
from millrace.storage.remote import RemoteStorage

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)(::|://)")
_SCP = re.compile(r"[\w.-]+@[\w.-]+:(?!//).+")


@runtime_checkable
class CodeStorage(Protocol):
    """A place that holds code."""

    def pull(self, to: Path) -> Path:
        """The directory of the code; where it has to be fetched, it lies below `to`."""

    def to_pull_step(self) -> dict[str, Any]:
        """The step that does the same where the deployment runs, as the wire has it."""


def storage_of(source: str | Path | CodeStorage) -> CodeStorage:
    """The storage that a user means.

    Args:
        source: a directory; a git repository: a path or URL that ends in `.git`, or a URL that begins with `git://`,
            `ssh://` or `user@host:`; the URL of an object store such as `s3://bucket/folder`; or a storage object.

    Raises:
        InvalidInput: nothing reads such a URL.

    Example:
        >>> storage_of("https://example.org/team/flows.git")
        GitRepository('https://example.org/team/flows.git')
    """
    if isinstance(source, Path):
        return _at_path(str(source))
    if not isinstance(source, str):
        if isinstance(source, CodeStorage):
            return source
        raise InvalidInput(
            f"The source of a flow is a directory, a URL or a storage such as GitRepository(…); got {source!r}."
        )
    scheme = _SCHEME.match(source)
    if scheme is None:
        return GitRepository(source) if _SCP.fullmatch(source) else _at_path(source)
    kind = scheme[1].lower()
    bare = source.partition("?")[0].partition("#")[0].rstrip("/")
    if kind in ("git", "ssh") or kind.startswith("git+") or bare.endswith(".git"):
        return GitRepository(source.removeprefix("git+"))
    if kind in ("file", "local"):
        return LocalStorage(source.partition("://")[2])
    if kind in ("http", "https"):
        raise InvalidInput(
            f"{source!r} is not known as a git repository: end its URL in .git, or use GitRepository(…)."
        )
    return RemoteStorage(source)


def _at_path(path: str) -> CodeStorage:
    if not path.rstrip("/").endswith(".git"):
        return LocalStorage(path)
    return GitRepository(path if ":" in path.partition("/")[0] else str(Path(path).expanduser().absolute()))


def pulled_for_now(storage: CodeStorage) -> Path:
    """The directory of some code, fetched if need be; what was fetched goes when this process ends.

    Args:
        storage: where it lies.

    Raises:
        PullFailed: it could not be fetched.
    """
    place = Path(tempfile.mkdtemp(prefix="millrace-source-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return storage.pull(place)
