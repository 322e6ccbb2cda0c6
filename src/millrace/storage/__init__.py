"""Where the code of deployments lies, and how a run gets it: a directory, a git repository, an object store.

    flow.from_source("https://example.org/team/flows.git", "etl.py:etl").deploy("nightly", work_pool_name="floor")

The source is a text or one of the classes below. Each run asks what is there when it begins, fetches it into its own
directory, and takes from a cache what was fetched before in the same state.

====================================================  =====================================  ===========================
source                                                means                                  needs
====================================================  =====================================  ===========================
`./flows`, `file:///srv/flows`, a `Path`              a directory of the machine that runs   nothing
`https://….git`, `ssh://…`, `git@host:team/etl.git`   a git repository                       the program git
`s3://bucket/folder`                                  a folder in S3, or what speaks S3      pip install s3fs
`gs://bucket/folder`                                  a folder in Google Cloud Storage       pip install gcsfs
`az://container/folder`                               a folder in Azure Blob Storage         pip install adlfs
every other URL that fsspec opens                     such as `sftp://host/folder`           what fsspec says it needs
====================================================  =====================================  ===========================

The classes say more:

    GitRepository("https://example.org/team/flows.git", branch="stable", directories=["flows"],
                  credentials={"access_token": Secret.load("git-token")})
    RemoteStorage("s3://bucket/flows", endpoint_url="https://s3.example.org", key="me", secret=Secret.load("s3-key"))
    LocalStorage("/srv/flows")

Credentials of an object store are those that its package finds where the run is (environment variables, files, the
machine's role), or settings as above. What is secret is given by name, with `Secret.load("…")` or as the text
`"{{ prefect.blocks.secret.NAME }}"`; in plain text it is refused, for everybody may read a deployment. The packages are
needed where a flow is deployed from there and where it runs; a run in an image built with `image=…` has them.

`storage_of(text)` gives the object that a text means. In files the same are the steps `git_clone`,
`pull_from_remote_storage` and `set_working_directory` below `pull:`. A class of one's own needs two methods: see
`CodeStorage`.
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


def __dir__() -> list[str]:
    return sorted([*globals(), *_NAMES])
