"""The ground of these tests: the versions of the real programs, their private homes, and servers that end."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import keeper
import peers
import psutil
import pytest
from peers import Peer, Place


def test_the_real_programs_are_of_the_versions_that_were_measured(peer: Peer) -> None:
    ask = "import importlib.metadata as m; print([m.version(name) for name in ('prefect', 'fastapi')])"
    done = subprocess.run([str(peer.python), "-c", ask], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "['3.8.8', '0.142.4']"
    assert Path(str(peer.python)).resolve().parents[1] != Path(sys.executable).parents[1], "an environment of its own"
    assert peers.INSTALL.name in (peers.ROOT / ".ci" / "run").read_text()


def test_servers_listen_on_loopback_with_homes_of_their_own_and_tell_nobody(ours: Place, theirs: Place) -> None:
    for place in (ours, theirs):
        processes = [psutil.Process(place.program.pid).children(recursive=True)[-1]]
        listening = {
            connection.laddr.ip
            for process in processes
            for connection in process.net_connections()
            if connection.status == psutil.CONN_LISTEN
        }
        assert listening == {"127.0.0.1"}, place.name
    settings = theirs.ask("GET", "/admin/settings")
    assert settings["server"]["analytics_enabled"] is False
    assert Path(settings["home"]) == theirs.program.out.parent / "prefect"
    assert (ours.program.out.parent / "millrace").is_dir()


def test_what_is_kept_ends_with_the_last_process_that_may_need_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "ALIVE", tmp_path / "alive")
    one, other = keeper.hold(), keeper.hold()
    sleeper = [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(600)"]
    kept = peers.started(keeper.command(sleeper), tmp_path / "out.txt", peers.clean())
    try:
        kept.until(lambda: "here" in kept.said)
        (child,) = psutil.Process(kept.pid).children()
        keeper.release(one)
        with contextlib.suppress(subprocess.TimeoutExpired):
            kept.popen.wait(0.5)
        assert child.is_running()
        keeper.release(other)
        kept.wait(30)
        assert not child.is_running()
    finally:
        kept.stop()
    assert not (tmp_path / "alive").exists()
