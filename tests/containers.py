"""A real Docker Engine, and an image with this Millrace in it, made from the base of `scripts/start_docker.sh`.

As a program it makes the layer below that image, which takes longest, ahead of the tests.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any

import docker
import pytest

import needs

ROOT = Path(__file__).resolve().parent.parent
BASE = "millrace-test-base:bookworm"


@lru_cache(maxsize=1)
def _engine() -> Any:
    try:
        engine = docker.from_env(timeout=600)
        engine.images.get(BASE)
    except Exception as error:  # docker-py, requests and urllib3 each raise their own
        return str(error).splitlines()[0]
    return engine


def engine() -> Any:
    """The Docker Engine, with the base image in it; without one the test is skipped, and in CI an error."""
    found = _engine()
    if isinstance(found, str):
        reason = f"no Docker Engine with {BASE}: export DOCKER_HOST=$(scripts/start_docker.sh) ({found})"
        needs.missing(reason)
    return found


@lru_cache(maxsize=1)
def dependencies() -> str:
    """An image with everything that Millrace needs, without Millrace: a layer that is made once."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = "\n".join([*project["project"]["dependencies"], *project["build-system"]["requires"]]) + "\n"
    tag = f"millrace-test-dependencies:{hashlib.sha256(needed.encode()).hexdigest()[:16]}"
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "requirements.txt").write_text(needed)
        (Path(place) / "Dockerfile").write_text(
            f"FROM {BASE}\nCOPY requirements.txt /requirements.txt\nRUN pip install --quiet -r /requirements.txt\n"
        )
        _built(place, tag)
    return tag


def _built(place: str, tag: str) -> None:
    client = engine()
    with (Path(tempfile.gettempdir()) / "millrace-test-images.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the other processes of the tests want the same image
        try:
            client.images.get(tag)
        except docker.errors.ImageNotFound:
            client.images.build(path=place, tag=tag, rm=True)


@lru_cache(maxsize=1)
def image() -> str:
    """An image with this Millrace."""
    base = dependencies()
    with tempfile.TemporaryDirectory() as place:
        context = Path(place)
        digest = hashlib.sha256(base.encode())
        for file in sorted((ROOT / "src").rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                target = context / "project" / file.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(file.read_bytes())
                digest.update(str(target.relative_to(context)).encode() + file.read_bytes())
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            (context / "project" / name).write_bytes((ROOT / name).read_bytes())
        (context / "Dockerfile").write_text(
            f"FROM {base}\nCOPY project /project\nRUN pip install --quiet --no-deps --no-build-isolation /project\n"
        )
        tag = f"millrace-test:{digest.hexdigest()[:16]}"
        _built(place, tag)
        return tag


def share_wheels(home: Path, temporary: pytest.TempPathFactory) -> None:
    """Let a data directory have the wheels that other tests of this session built from the same source.

    Args:
        home: the data directory, before an image is built.
        temporary: of the session.
    """
    base = temporary.getbasetemp()
    place = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "wheels"
    place.mkdir(exist_ok=True)
    (home / "cache").mkdir(exist_ok=True)
    (home / "cache" / "wheels").symlink_to(place)


if __name__ == "__main__":
    print(dependencies())
