"""The guide, done as a reader does it: with a real Docker Engine, a real registry of images and a real git server."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from reader import Reader, blocks, matches

import containers
import registries
from millrace import settings
from millrace.client.locate import stop_embedded
from millrace.workers.docker import RUN_LABEL
from repositories import AUTHOR, git, served

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/guide.md").read_text()


@pytest.fixture
def exports(tmp_path: Path) -> Iterator[dict[str, str]]:
    """What the guide asks for: an empty repository to push to, a registry, and a base image."""
    base = containers.dependencies()
    repository = tmp_path / "served" / "shop.git"
    repository.mkdir(parents=True)
    git("init", "-q", "--bare", "-b", "main", at=repository)
    git("config", "http.receivepack", "true", at=repository)
    with served(tmp_path / "served") as (url, _), registries.registry(tmp_path / "registry") as host:
        yield {"GIT_URL": f"{url}/shop.git", "REGISTRY": host, "MILLRACE_DOCKER_BASE_IMAGE": base}
        _forget_images(host)


def _forget_images(host: str) -> None:
    client = containers.engine()
    for image in client.images.list():
        for tag in image.tags:
            if tag.startswith((f"{host}/", "shop/")):
                client.images.remove(tag, force=True)


@pytest.fixture
def reader(
    exports: dict[str, str],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Reader]:
    home = Path(tempfile.mkdtemp(prefix="mr-"))  # short: the path of a socket has at most a hundred bytes
    containers.share_wheels(home, tmp_path_factory)
    monkeypatch.setenv("MILLRACE_HOME", str(home))
    for name in ("MILLRACE_API_URL", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TZ", "UTC")  # times are shown in the zone of who reads
    for name, value in AUTHOR.items():
        monkeypatch.setenv(name, value)
    settings.current.cache_clear()
    place, scratch = tmp_path / "place", tmp_path / "scratch"
    place.mkdir()
    scratch.mkdir()
    found = Reader(place, scratch, exports)
    try:
        yield found
    finally:
        found.close()
        stop_embedded()
        for container in containers.engine().containers.list(all=True, filters={"label": RUN_LABEL}, ignore_removed=True):
            if str(home) in str(container.attrs.get("HostConfig", {}).get("Binds")):
                container.remove(force=True)
        shutil.rmtree(home, ignore_errors=True)
        settings.current.cache_clear()


@pytest.mark.timeout(900)
def test_the_guide(reader: Reader) -> None:
    began = last = time.monotonic()
    try:
        for block in reader.read(PAGE):
            now = time.monotonic()
            print(f"line {block.line}: {block.kind} {now - last:.1f} s")
            last = now
    except BaseException:
        print(reader.said())
        raise
    print(f"{len(blocks(PAGE))} blocks in {last - began:.0f} s")


@pytest.mark.parametrize(
    ("shown", "expected", "same"),
    [
        ("a 1\nb\nc   3\n", "a …\n…\nc 3\n", True),
        ("a\n\n  b  \n", "a\nb", True),
        ("a\nb\nc\n", "a\nb", False),
        ("ab\n", "a", False),
        ("a.c\n", "a?c", False),
        ("took 3.25 s\n", "took … s", True),
        ("", "…", True),
        ("\x1b[1mbold\x1b[0m\n", "bold", True),
    ],
)
def test_what_is_shown_is_compared(shown: str, expected: str, same: bool) -> None:
    assert matches(shown, expected) is same
