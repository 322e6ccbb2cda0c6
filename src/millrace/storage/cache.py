"""Code that was fetched once: a folder per version, there whole or not at all, shared by all runs of this machine.

A run gets a copy, so that what it writes beside its code disturbs nobody. Nobody waits for anybody: who fetches the
same version at the same time does it twice, and the first one that is done wins.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from millrace import settings

KEPT_SECONDS = 14 * 86400.0
"""How long code that nobody used stays."""


def cached(kind: str, key: Any, fetch: Callable[[Path], object]) -> Path:
    """The folder of a version, fetched if it is not there.

    Args:
        kind: of storage, the name of a folder.
        key: what tells this version from all others, as JSON.
        fetch: writes it into an empty directory.
    """
    place = settings.current().cache_directory / kind
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    target = place / name
    if target.is_dir():
        with contextlib.suppress(OSError):
            os.utime(target)
        return target
    place.mkdir(parents=True, exist_ok=True)
    _sweep(place)
    made = Path(tempfile.mkdtemp(prefix=".fetch-", dir=place))
    try:
        fetch(made)
        try:
            os.rename(made, target)
        except OSError:
            if not target.is_dir():  # else somebody fetched the same
                raise
        return target
    finally:
        shutil.rmtree(made, ignore_errors=True)


def copied(version: Path, to: Path) -> Path:
    """A copy of a version for one run; what an earlier attempt left there is replaced.

    Args:
        version: what `cached` gave.
        to: the directory to make.
    """
    to.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".copy-", dir=to.parent))
    try:
        shutil.copytree(version, made / "code", symlinks=True)
        if to.exists():
            shutil.rmtree(to)
        os.rename(made / "code", to)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return to


def _sweep(place: Path) -> None:
    """Removes what nobody used for long, and what was being fetched when its process died."""
    oldest = time.time() - KEPT_SECONDS
    for folder in place.iterdir():
        with contextlib.suppress(OSError):
            if folder.stat().st_mtime < oldest:
                shutil.rmtree(folder, ignore_errors=True)
