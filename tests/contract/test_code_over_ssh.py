"""Code in a git repository behind a real ssh server: keys open it, other keys do not, other hosts are not trusted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from millrace import settings
from millrace.errors import InvalidInput, PullFailed
from millrace.storage import GitRepository
from millrace.storage import steps as storage_steps
from repositories import commit, git
from ssh_servers import SshServer, ssh_server


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path / "home"))
    settings.current.cache_clear()
    yield
    settings.current.cache_clear()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SshServer]:
    with ssh_server(tmp_path / "ssh") as found:
        # What the person who runs the tests trusts is not looked at, and nothing is added to it.
        monkeypatch.setenv("GIT_SSH_COMMAND", f"ssh -F none -o UserKnownHostsFile={found.known_hosts}")
        yield found


def test_a_key_opens_a_repository(server: SshServer, tmp_path: Path) -> None:
    repository = tmp_path / "team" / "flows"
    first = commit(repository, {"flows/etl.py": "ONE = 1\n", "data/big.csv": "1\n"})
    storage = GitRepository(f"{server.address}{repository}", {"ssh_key": str(server.key)}, directories=["flows"])
    found = storage.pull(tmp_path / "run")
    assert (found / "flows/etl.py").read_text() == "ONE = 1\n" and not (found / "data").exists()
    commit(repository, {"flows/etl.py": "ONE = 2\n"})
    assert (storage.pull(tmp_path / "run-2") / "flows/etl.py").read_text() == "ONE = 2\n"
    step = storage.to_pull_step()
    directory = storage_steps.perform([step], tmp_path / "run-3")
    assert (directory / "flows/etl.py").read_text() == "ONE = 2\n"
    pinned = GitRepository(f"{server.address}{repository}", {"ssh_key": str(server.key)}, commit_sha=first)
    assert (pinned.pull(tmp_path / "run-4") / "flows/etl.py").read_text() == "ONE = 1\n"
    assert git("status", "--porcelain", at=repository) == ""


def test_a_key_that_does_not_open_it(server: SshServer, tmp_path: Path) -> None:
    repository = tmp_path / "flows"
    commit(repository, {"a.py": ""})
    with pytest.raises(PullFailed, match=r"(?s)Permission denied.*Does the key or the user have access\?"):
        GitRepository(f"{server.address}{repository}", {"ssh_key": str(server.other_key)}).pull(tmp_path / "run")
    with pytest.raises(PullFailed, match="Does the key or the user have access"):
        GitRepository(f"{server.address}{repository}").pull(tmp_path / "run")
    with pytest.raises(InvalidInput, match="There is no private key"):
        GitRepository(f"{server.address}{repository}", {"ssh_key": str(tmp_path / "none")}).pull(tmp_path / "run")
    with pytest.raises(PullFailed, match="Is the path right"):
        GitRepository(f"{server.address}/nowhere", {"ssh_key": str(server.key)}).pull(tmp_path / "run")


def test_a_host_that_is_not_the_one_it_was_is_refused(server: SshServer, tmp_path: Path) -> None:
    repository = tmp_path / "flows"
    commit(repository, {"a.py": ""})
    head, _, _ = server.known_hosts.read_text().rpartition(" ssh-ed25519 ")
    other = server.other_key.with_suffix(".pub").read_text().partition(" ")[2]
    server.known_hosts.write_text(f"{head} ssh-ed25519 {other}")
    with pytest.raises(PullFailed, match="Its host key is not the one that is known"):
        GitRepository(f"{server.address}{repository}", {"ssh_key": str(server.key)}).pull(tmp_path / "run")


def test_a_program_of_the_user_reaches_it(server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = tmp_path / "flows"
    commit(repository, {"a.py": "A = 1\n"})
    monkeypatch.setenv("GIT_SSH_COMMAND", f"ssh -F none -i {server.key} -o UserKnownHostsFile={server.known_hosts}")
    assert (GitRepository(f"{server.address}{repository}").pull(tmp_path / "run") / "a.py").is_file()
