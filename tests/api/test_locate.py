"""Finding the server: by the environment, or the embedded one, which is started once whoever asks first."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from millrace import settings
from millrace.client import locate
from millrace.client.endpoint import Endpoint, Runtime
from millrace.errors import ServerUnavailable, SettingsError

VARIABLES = ("MILLRACE_API_URL", "MILLRACE_API_TOKEN", "PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path / "home"))
    settings.current.cache_clear()
    yield tmp_path / "home"
    monkeypatch.delenv("MILLRACE_API_URL", raising=False)
    settings.current.cache_clear()
    locate.stop_embedded()
    settings.current.cache_clear()


def named(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Endpoint:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings.current.cache_clear()
    return locate.locate(start=False)


# -- by the environment


def test_a_shared_server(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = named(monkeypatch, MILLRACE_API_URL="http://h:1/api/", MILLRACE_API_TOKEN="s3cret")
    assert found == Endpoint("http://h:1/api", None, "s3cret", origin="MILLRACE_API_URL")
    assert found.headers == {"Authorization": "Bearer s3cret"}
    assert "s3cret" not in repr(found)


def test_prefects_names(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = named(monkeypatch, PREFECT_API_URL="https://h/api", PREFECT_API_AUTH_STRING="me:secret")
    assert found.headers == {"Authorization": "Basic bWU6c2VjcmV0"}
    found = named(monkeypatch, PREFECT_API_KEY="k")
    assert found.headers == {"Authorization": "Bearer k"}
    assert "secret" not in repr(found)


def test_a_url_that_is_none(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="PREFECT_API_URL='ftp://x' must start with http"):
        named(monkeypatch, PREFECT_API_URL="ftp://x")


def test_no_server_and_not_to_be_started(home: Path) -> None:
    with pytest.raises(ServerUnavailable, match="millrace up"):
        locate.locate(start=False)
    assert locate.embedded_status() is None
    assert locate.stop_embedded() is False


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"pid": 1}'])
def test_a_broken_runtime_file_is_no_server(home: Path, text: str) -> None:
    (home / "run").mkdir(parents=True)
    (home / "run/server.json").write_text(text)
    assert Runtime.read(home / "run/server.json") is None
    assert locate.embedded_status() is None


def test_what_a_kernel_has_of_its_own_is_not_handed_on(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = ("JPY_PARENT_PID", "MILLRACE__LEASE", "PREFECT__FLOW_RUN_ID", "MILLRACE_API_URL", "MPLBACKEND")
    for name in own:
        monkeypatch.setenv(name, "http://x")
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    monkeypatch.setenv("MILLRACE_SEED", "1")
    found = locate._environment(home)
    assert not {"JPY_PARENT_PID", "MILLRACE__LEASE", "PREFECT__FLOW_RUN_ID", "MILLRACE_API_URL", "MPLBACKEND"} & set(
        found
    )
    assert found["MILLRACE_HOME"] == str(home)
    assert found["MILLRACE_SEED"] == "1"


# -- the embedded server


def test_started_on_first_need_found_again_and_stopped(home: Path) -> None:
    began = time.monotonic()
    client = locate.connect()
    assert client.health()
    took = time.monotonic() - began
    assert took < 10
    print(f"cold start {took:.2f} s")
    runtime = locate.embedded_status()
    assert runtime is not None
    assert locate.locate(start=False).socket == runtime.socket
    assert locate.connect() is client
    assert os.stat(runtime.socket).st_mode & 0o777 == 0o600
    assert (home / "run/server.json").stat().st_mode & 0o777 == 0o600
    assert locate.stop_embedded() is True
    assert locate.embedded_status() is None
    assert not (home / "start.lock").is_dir()


def test_it_outlives_its_starter_and_comes_again_on_need(home: Path) -> None:
    code = "from millrace.client import locate; print(locate.connect().health(), locate.embedded_status().pid)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    client = locate.connect()
    assert done.stdout.split() == ["True", str(locate.embedded_status().pid)]  # type: ignore[union-attr]
    assert client.health()
    locate.stop_embedded()
    again = locate.connect()
    assert again.health()

    async def ask() -> bool:
        return await (await locate.aconnect()).health()

    assert asyncio.run(ask())


def test_two_starters_make_one_server(home: Path) -> None:
    code = "from millrace.client import locate; locate.start_embedded(30); print(locate.embedded_status().pid)"
    starters = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    found = {starter.communicate()[0].strip() for starter in starters}
    assert len(found) == 1
    assert found == {str(locate.embedded_status().pid)}  # type: ignore[union-attr]


def test_a_client_survives_a_server_that_was_killed_and_started_again(home: Path) -> None:
    client = locate.connect()
    first = locate.embedded_status()
    assert first is not None
    os.kill(first.pid, 9)
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(client.health()))
    time.sleep(0.2)
    thread.start()
    locate.start_embedded(30)
    thread.join(30)
    assert found == [True]
    assert client.endpoint.token != first.token


def test_a_server_that_cannot_start_says_why(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.mkdir()
    (home / "millrace.db").mkdir()
    with pytest.raises(ServerUnavailable, match=r"(?s)ended at once.*server\.log"):
        locate.start_embedded(30)


# the loop is over, so its connections cannot be closed in order: they go with the garbage, and asyncio says so
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_connections_of_event_loops_that_are_over_are_closed(home: Path) -> None:
    async def ask() -> bool:
        return await (await locate.aconnect()).health()

    def held() -> int:
        assert asyncio.run(ask())
        gc.collect()
        return psutil.Process().num_fds()

    first = held()
    assert [held() for _ in range(4)] == [first] * 4
