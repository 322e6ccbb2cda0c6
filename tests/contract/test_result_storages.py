"""Every storage of results keeps the same promises: a directory, memory, and object stores that answer over HTTP."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from buckets import bucket
from millrace.engine.results import ResultStore, store_for
from millrace.errors import InvalidInput, PluginMissing, StorageUnavailable, UnreadableResult
from object_stores import azure, forget, google

SERIALIZERS = ["json", "pickle", "compressed/json", "compressed/pickle"]


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The URL of a bucket on a real S3 server of this machine."""
    with bucket() as url:
        yield f"{url}/of/runs"


@pytest.fixture(scope="module")
def gs() -> Iterator[str]:
    """The URL of a bucket on an emulator of Google Cloud Storage."""
    with google() as settings:
        fsspec.filesystem("gs", **settings).mkdir("results")
        yield "gs://results/of/runs"


@pytest.fixture(scope="module")
def az() -> Iterator[str]:
    """The URL of a container on an emulator of Azure Blob Storage."""
    with azure() as settings:
        fsspec.filesystem("az", **settings).mkdir("results")
        yield "az://results/of/runs"


@pytest.fixture(params=["directory", "file url", "memory", "s3", "gs", "az"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param in ("s3", "gs", "az"):
        return f"{request.getfixturevalue(request.param)}/{uuid4().hex}"
    return {
        "directory": str(tmp_path),
        "file url": f"file://{tmp_path}",
        "memory": f"memory://{uuid4().hex}",
    }[request.param]


@pytest.mark.parametrize("serializer", SERIALIZERS)
def test_what_is_written_is_read(place: str, serializer: str) -> None:
    store = store_for(place, serializer)
    value = {"rows": [1, 2.5, None, "ü"], "when": datetime(2026, 3, 1, tzinfo=UTC), "keys": {1: (2, 3)}}
    assert store.read("a/key") is None and not store.exists("a/key")
    reference = store.write("a/key", value)
    found = store_for(place, serializer).read("a/key")
    assert found is not None and (found.value, found.expiration) == (value, None)
    assert store.exists("a/key")
    assert reference["storage_key"].endswith("a/key") and reference["serializer"]["type"] == serializer
    store.write("a/key", "another")
    again = store.read("a/key")
    assert again is not None and again.value == "another"


def test_what_has_expired_is_not_given(place: str) -> None:
    store = store_for(place)
    moment = datetime.now(UTC)
    store.write("old", 1, moment - timedelta(seconds=1))
    store.write("new", 2, moment + timedelta(hours=1))
    assert store.read("old") is None and not store.exists("old")
    found = store.read("new")
    assert found is not None and found.value == 2
    assert found.expiration == moment + timedelta(hours=1)


@pytest.mark.parametrize("key", ["../out", "a/../../out", "/etc/passwd", "", "a//b", "a\\b", ".", "a\0b"])
def test_a_key_cannot_climb_out(place: str, key: str) -> None:
    store = store_for(place)
    for act in (lambda: store.write(key, 1), lambda: store.read(key), lambda: store.exists(key)):
        with pytest.raises(InvalidInput, match="no key of a result"):
            act()


def test_readers_see_one_of_the_concurrent_writes_whole(place: str) -> None:
    store = store_for(place)
    values = [[number] * 20_000 for number in range(6)]
    store.write("key", values[0])
    seen: list[Any] = []
    problems: list[BaseException] = []

    def guarded(act: Callable[[], Any]) -> threading.Thread:
        def work() -> None:
            try:
                act()
            except BaseException as error:
                problems.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    def look() -> None:
        for _ in range(10):
            found = store.read("key")
            assert found is not None
            seen.append(found.value)

    threads = [guarded(lambda value=value: store.write("key", value)) for value in values]  # type: ignore[misc]
    threads += [guarded(look) for _ in range(3)]
    for thread in threads:
        thread.join()
    assert not problems
    assert all(value in values for value in seen) and len(seen) == 30


def test_processes_that_write_one_key_leave_it_whole(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom millrace.engine.results import store_for\n"
        "for _ in range(20): store_for(sys.argv[1]).write('key', [sys.argv[2]] * 5000)"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), name]) for name in "abc"]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        found = store_for(tmp_path).read("key")
        if found is not None:
            seen.add(tuple(found.value))
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert seen <= {(name,) * 5000 for name in "abc"}
    assert [path.name for path in tmp_path.iterdir()] == ["key"], "nothing half written stays"


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text() | st.sampled_from(["__class__", "data", "__exc_type__", "message"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("serializer", SERIALIZERS)
@pytest.mark.parametrize("kind", ["local", "memory"])
@examples(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=JSON_VALUES)
def test_any_json_value_comes_back(kind: str, serializer: str, tmp_path: Path, value: Any) -> None:
    store = store_for(tmp_path if kind == "local" else "memory://property", serializer)
    store.write("key", value)
    found = store.read("key")
    assert found is not None and found.value == value
    assert repr(found.value) == repr(value), "1 is not True, -0.0 is not 0"


def test_a_forked_process_has_a_connection_of_its_own(s3: str) -> None:
    program = (
        "import os, sys\nfrom millrace.engine.results import store_for\n"
        "store = store_for(sys.argv[1])\nstore.write('parent', 1)\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    store.write('child', store.read('parent').value + 1)\n"
        "    os._exit(0)\n"
        "assert os.waitpid(pid, 0)[1] == 0\nprint(store.read('child').value)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, f"{s3}/{uuid4().hex}"], capture_output=True, text=True, timeout=100
    )
    assert done.stdout == "2\n", done.stderr


# -- what a storage says when it cannot


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageUnavailable, match=r"file/results cannot be used: Not a directory") as caught:
        store_for(tmp_path / "file" / "results").write("key", [1])
    assert caught.value.value == [1], "nothing computed is lost"


def test_a_bucket_that_is_not_there(s3: str) -> None:
    with pytest.raises(StorageUnavailable, match="s3://nowhere/at-all cannot be written") as caught:
        store_for("s3://nowhere/at-all").write("key", 1)
    assert "canary" not in str(caught.value)


def test_a_storage_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
    options = {"endpoint_url": endpoint, "key": "k", "secret": "s", "config_kwargs": {"retries": {"max_attempts": 1}}}
    monkeypatch.setitem(fsspec.config.conf, "s3", options)
    with pytest.raises(StorageUnavailable, match=r"s3://results/gone cannot be written.*reachable"):
        store_for("s3://results/gone").write("key", 1)


@pytest.mark.parametrize(("url", "package"), [("gs://b/p", "gcsfs"), ("az://c/p", "adlfs"), ("abfs://c/p", "adlfs")])
def test_a_package_that_is_missing_is_named(url: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    forget(package, monkeypatch)
    with pytest.raises(PluginMissing, match=f"{url} needs the package {package}.*pip install {package}"):
        store_for(url)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("s3-bucket/production", "neither a URL"),
        ("results", "neither a URL"),
        ("s3://", "names no bucket"),
        ("s3://key:canary@bucket/x", r"s3://\*\*\*@bucket/x holds more than a place"),
        ("https://host/x?token=canary", r"host/x\?\*\*\* holds more"),
        ("simplecache::s3://bucket/x", "not a chain"),
        ("nonsense://bucket/x", "nonsense://bucket/x cannot be opened"),
        ("memory://a/../b", "climbs out"),
        (3, "must be a directory or a URL"),
    ],
)
def test_what_is_no_storage(given: Any, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem) as caught:
        store_for(given)
    assert "canary" not in str(caught.value)


def test_a_store_is_inherited_part_by_part(tmp_path: Path) -> None:
    parent = store_for(tmp_path, "compressed/json")
    assert store_for(None, None, parent) is parent
    child = store_for(None, "json", parent)
    assert (child.storage, child.serializer.type) == (parent.storage, "json")
    other = store_for("memory://x", None, parent)
    assert (other.storage.place, other.serializer) == ("memory://x", parent.serializer)


def test_a_damaged_result(place: str) -> None:
    store: ResultStore = store_for(place)
    store.storage.write("key", b"\x80 half a rec")
    for act in (store.read, store.exists):
        with pytest.raises(UnreadableResult, match="key is damaged or none of ours"):
            act("key")
