"""Where the code of deployments lies, and how a run gets it: a directory, a git repository, an object store.

The public names are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from millrace.storage.git import GitRepository as GitRepository
    from millrace.storage.kinds import CodeStorage as CodeStorage
    from millrace.storage.kinds import storage_of as storage_of
    from millrace.storage.local import LocalStorage as LocalStorage
    from millrace.storage.remote import RemoteStorage as RemoteStorage

_NAMES = {
    "CodeStorage": "kinds",
    "GitRepository": "git",
    "LocalStorage": "local",
    "RemoteStorage": "remote",
    "storage_of": "kinds",
}
__all__ = sorted(_NAMES)


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
