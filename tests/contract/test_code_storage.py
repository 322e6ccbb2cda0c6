"""Where code lies: what every storage does, and what git and object stores do beside."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from millrace import settings
from millrace.deployments.found import found as found_in
from millrace.errors import EntrypointError, InvalidInput, MillraceError, PluginMissing, PullFailed
from millrace.schema.deployments import Deployment
from millrace.schema.fields import new_id
from millrace.schema.runs import FlowRun
from millrace.storage import GitRepository, LocalStorage, RemoteStorage, storage_of
from millrace.storage import steps as pull_steps
from millrace.storage.git import STEP
from millrace.workers.steps import pull
from object_stores import azure, forget, google
from repositories import commit, git, s3, served

TOKEN = "a-very-secret-token"
FILES = {"flows/etl.py": "VALUE = 1\n", "data/table.csv": "a,b\n", "README": "read me\n"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path / "home"))
    settings.current.cache_clear()
    yield tmp_path / "home"
    settings.current.cache_clear()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    place = tmp_path / "team" / "flows.git"
    commit(place, FILES)
    return place


@pytest.fixture(scope="module")
def bucket() -> Iterator[dict[str, Any]]:
    with s3() as url:
        yield {"key": "test", "secret": "test", "endpoint_url": url}


@pytest.fixture(scope="module")
def gs() -> Iterator[dict[str, Any]]:
    with google() as found:
        yield found


@pytest.fixture(scope="module")
def az() -> Iterator[dict[str, Any]]:
    with azure() as found:
        yield found


def _in_bucket(scheme: str, files: dict[str, str], bucket: dict[str, Any], name: str) -> RemoteStorage:
    store = fsspec.filesystem(scheme, skip_instance_cache=True, **bucket)
    store.mkdir(name)
    for path, text in files.items():
        store.pipe_file(f"{name}/code/{path}", text.encode())
    return RemoteStorage(f"{scheme}://{name}/code", **bucket)


def _in_memory(files: dict[str, str], name: str) -> RemoteStorage:
    store = fsspec.filesystem("memory")
    for path, text in files.items():
        store.pipe_file(f"/{name}/code/{path}", text.encode())
    return RemoteStorage(f"memory://{name}/code")


@pytest.fixture(params=["local", "git", "memory", "s3", "gs", "az"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, Callable[[dict[str, str]], object]]:
    """A storage that holds FILES, and what changes it."""
    name = f"b{os.getpid()}-{request.node.name.partition('[')[0].replace('_', '-')}"[:60]
    if request.param == "local":
        place = tmp_path / "code"

        def write(files: dict[str, str]) -> None:
            for path, text in files.items():
                (place / path).parent.mkdir(parents=True, exist_ok=True)
                (place / path).write_text(text)

        write(FILES)
        return LocalStorage(place), write
    if request.param == "git":
        place = tmp_path / "code.git"
        commit(place, FILES)
        return GitRepository(f"file://{place}"), lambda files: commit(place, files)
    if request.param == "memory":
        return _in_memory(FILES, name), lambda files: _in_memory(files, name)
    bucket = request.getfixturevalue("bucket" if request.param == "s3" else request.param)
    store = fsspec.filesystem(request.param, skip_instance_cache=True, **bucket)
    change = lambda files: [store.pipe_file(f"{name}/code/{p}", t.encode()) for p, t in files.items()]  # noqa: E731
    return _in_bucket(request.param, FILES, bucket, name), change


# -- every storage


def test_a_pull_gives_the_code_as_it_is_now(stored: Any, tmp_path: Path) -> None:
    storage, change = stored
    found = storage.pull(tmp_path / "run-1")
    assert {name: (found / name).read_text() for name in FILES} == FILES
    change({"flows/etl.py": "VALUE = 22\n"})
    assert (storage.pull(tmp_path / "run-2") / "flows/etl.py").read_text() == "VALUE = 22\n"


@pytest.mark.parametrize("stored", ["git", "memory", "s3", "gs", "az"], indirect=True)
def test_what_one_run_writes_no_other_finds(stored: Any, tmp_path: Path) -> None:
    storage, _ = stored
    first = storage.pull(tmp_path / "run-1")
    (first / "README").write_text("overwritten")
    (first / "flows" / "out.txt").write_text("an output")
    second = storage.pull(tmp_path / "run-2")
    assert (second / "README").read_text() == FILES["README"]
    assert not (second / "flows" / "out.txt").exists()


@pytest.mark.parametrize("stored", ["git", "s3", "gs", "az"], indirect=True)
def test_pulls_at_the_same_time_do_not_disturb_each_other(stored: Any, tmp_path: Path) -> None:
    storage, change = stored
    problems: list[str] = []

    def pull(number: int) -> None:
        try:
            found = storage.pull(tmp_path / f"run-{number}")
            assert (found / "README").read_text() == FILES["README"]
            assert (found / "flows/etl.py").read_text() in ("VALUE = 1\n", "VALUE = 333\n")
        except BaseException:
            problems.append(traceback.format_exc())

    threads = [threading.Thread(target=pull, args=(number,)) for number in range(8)]
    for number, thread in enumerate(threads):
        thread.start()
        if number == 3:
            change({"flows/etl.py": "VALUE = 333\n"})
    for thread in threads:
        thread.join()
    assert problems == []


def test_the_step_it_prints_pulls_the_same(stored: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, _ = stored
    if isinstance(storage, RemoteStorage) and "secret" in storage.settings:
        storage.settings = {**storage.settings, "secret": "{{ $TEST_S3_SECRET }}"}
        monkeypatch.setenv("TEST_S3_SECRET", "test")
    found = pull_steps.perform([storage.to_pull_step()], tmp_path / "run")
    assert {name: (found / name).read_text() for name in FILES} == FILES


def test_a_place_that_is_not_there_says_so(
    tmp_path: Path, bucket: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # else its library tries for ten seconds
    for storage, said in (
        (LocalStorage(tmp_path / "nowhere"), "no directory"),
        (GitRepository(f"file://{tmp_path}/nowhere.git"), "Is the path right|does not appear"),
        (RemoteStorage("memory://nowhere/at-all"), "nothing at memory://nowhere"),
        (RemoteStorage("s3://no-such-bucket/x", **bucket), "nothing at s3://no-such-bucket/x"),
        (RemoteStorage("s3://b/x", key="a", secret="b", endpoint_url="http://127.0.0.1:9"), "could not be read"),
    ):
        with pytest.raises(PullFailed, match=said):
            storage.pull(tmp_path / "run")


# -- which storage a text means


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("https://example.org/team/flows.git", GitRepository),
        ("https://user:tok@example.org/team/flows.git", GitRepository),
        ("git://example.org/flows", GitRepository),
        ("ssh://git@example.org/flows.git", GitRepository),
        ("git@example.org:team/flows.git", GitRepository),
        ("git+https://example.org/flows", GitRepository),
        ("file:///srv/flows.git", GitRepository),
        ("/srv/flows.git", GitRepository),
        ("/srv/flows/.git/", GitRepository),
        ("flows.git", GitRepository),
        (Path("flows.git"), GitRepository),
        ("example.org:flows.git", GitRepository),
        ("/srv/flows", LocalStorage),
        ("file:///srv/flows", LocalStorage),
        ("local:///srv/flows", LocalStorage),
        ("flows", LocalStorage),
        (Path("flows"), LocalStorage),
        ("s3://bucket/flows", RemoteStorage),
        ("gs://bucket/flows", RemoteStorage),
        ("az://container/flows", RemoteStorage),
        ("memory://flows", RemoteStorage),
    ],
)
def test_a_source_means_a_storage(text: Any, kind: type) -> None:
    assert type(storage_of(text)) is kind


@pytest.mark.parametrize("text", ["https://example.org/page", "s3://", 3, None])
def test_a_source_that_means_nothing_is_refused(text: Any) -> None:
    with pytest.raises(InvalidInput):
        storage_of(text)


@pytest.mark.parametrize(("scheme", "package"), [("gs", "gcsfs"), ("az", "adlfs")])
def test_a_missing_package_is_named(scheme: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget(package, monkeypatch)
    with pytest.raises(PluginMissing, match=f"pip install {package}"):
        RemoteStorage(f"{scheme}://bucket/flows").pull(tmp_path)


# -- git


def test_a_path_that_ends_in_git_is_a_repository(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = tmp_path / "shop.git"
    git("clone", "-q", "--bare", str(repository), str(bare), at=tmp_path)
    monkeypatch.chdir(tmp_path)
    for given in (str(bare), "shop.git", "./shop.git", bare):
        storage = storage_of(given)
        assert storage.to_pull_step() == {STEP: {"repository": str(bare)}}
        assert (storage.pull(tmp_path / "run") / "flows/etl.py").read_text() == FILES["flows/etl.py"]


def test_a_directory_that_the_repository_has_not_is_named(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(PullFailed, match=r"has no directory 'nodir' at [0-9a-f]{12}\."):
        GitRepository(f"file://{repository}", directories=["flows", "nodir"]).pull(tmp_path / "run")


def test_an_entrypoint_stays_in_the_code_that_is_fetched(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text("from millrace import flow\n\n@flow\ndef a():\n    pass\n")
    for outside in (f"{tmp_path}/other.py:a", "../../../other.py:a", "flows/../../other.py:a"):
        with pytest.raises(InvalidInput, match="leads out of the code"):
            found_in(GitRepository(f"file://{repository}"), outside)


def test_branches_tags_and_commits(repository: Path, tmp_path: Path) -> None:
    first = git("rev-parse", "HEAD", at=repository)
    git("tag", "-a", "v1", "-m", "the first", at=repository)
    git("checkout", "-q", "-b", "feature/x", at=repository)
    commit(repository, {"README": "of the branch\n"})
    git("checkout", "-q", "main", at=repository)
    commit(repository, {"README": "newest\n"})
    with served(tmp_path) as (url, _):
        at = f"{url}/team/flows.git"
        read = {
            "default": GitRepository(at),
            "branch": GitRepository(at, branch="feature/x"),
            "tag as branch": GitRepository(at, branch="v1"),
            "tag": GitRepository(at, tag="v1"),
            "commit": GitRepository(at, commit_sha=first),
        }
        found = {name: (one.pull(tmp_path / name) / "README").read_text() for name, one in read.items()}
    assert found == {
        "default": "newest\n",
        "branch": "of the branch\n",
        "tag as branch": "read me\n",
        "tag": "read me\n",
        "commit": "read me\n",
    }
    assert read["branch"].name == "flows-feature-x"


def test_a_commit_is_fetched_once_and_without_its_history(repository: Path, tmp_path: Path) -> None:
    for number in range(3):
        commit(repository, {"README": f"change {number}\n"})
    with served(tmp_path) as (url, requests):
        storage = GitRepository(f"{url}/team/flows.git")
        found = storage.pull(tmp_path / "run-1")
        assert git("rev-list", "--count", "HEAD", at=found) == "1"
        assert any("git-upload-pack" in one for one in requests)
        requests.clear()
        storage.pull(tmp_path / "run-2")
        fetches = len(requests)
        requests.clear()
        GitRepository(storage.url, commit_sha=git("rev-parse", "HEAD", at=found)).pull(tmp_path / "run-3")
        assert requests == []
    assert fetches <= 3, "asking for the newest commit is all"


def test_only_the_directories_asked_for(repository: Path, tmp_path: Path) -> None:
    with served(tmp_path) as (url, _):
        found = GitRepository(f"{url}/team/flows.git", directories=["flows"]).pull(tmp_path / "run")
    assert (found / "flows/etl.py").is_file()
    assert not (found / "data").exists()


def test_submodules_only_when_asked_for(repository: Path, tmp_path: Path) -> None:
    commit(tmp_path / "team" / "library.git", {"lib.py": "x = 1\n"})
    with served(tmp_path) as (url, _):
        git("submodule", "add", "-q", "../library.git", "library", at=_remote(repository, f"{url}/team/flows.git"))
        git("commit", "-q", "-m", "a submodule", at=repository)
        plain = GitRepository(f"{url}/team/flows.git")
        assert not (plain.pull(tmp_path / "run-1") / "library/lib.py").exists()
        full = GitRepository(f"{url}/team/flows.git", include_submodules=True)
        assert (full.pull(tmp_path / "run-2") / "library/lib.py").read_text() == "x = 1\n"


def _remote(repository: Path, url: str) -> Path:
    git("remote", "add", "origin", url, at=repository)
    return repository


def test_a_private_repository_opens_with_its_token(repository: Path, tmp_path: Path) -> None:
    with served(tmp_path, "robot", TOKEN) as (url, _):
        at = f"{url}/team/flows.git"
        with pytest.raises(PullFailed, match="It is private"):
            GitRepository(at).pull(tmp_path / "run")
        with pytest.raises(PullFailed) as failed:
            GitRepository(at, {"username": "robot", "access_token": "wrong-" + TOKEN}).pull(tmp_path / "run")
        assert TOKEN not in str(failed.value)
        said = str(failed.value)
        assert "The token was refused" in said and "It is private" not in said
        assert len({*said.splitlines()}) == len(said.splitlines()) and said.count("could not read Username") == 1
        opened = GitRepository(at, {"username": "robot", "access_token": TOKEN})
        found = opened.pull(tmp_path / "run")
        in_url = GitRepository(at.replace("://", f"://robot:{TOKEN}@"))
        assert (in_url.pull(tmp_path / "run-2") / "README").is_file()
    assert (found / "README").read_text() == "read me\n"
    for storage in (opened, in_url):
        assert TOKEN not in repr(storage) + str(storage.credentials) + storage.url
    written = subprocess.run(["grep", "-r", TOKEN, str(tmp_path)], capture_output=True, text=True, check=False)
    assert written.stdout == "", "the token lies in a file"


def test_a_token_is_only_deployed_by_name() -> None:
    class Secret:
        name = "git-token"

        def get(self) -> str:
            return TOKEN

    plain = GitRepository("https://example.org/flows.git", {"access_token": TOKEN})
    with pytest.raises(InvalidInput, match=r"Secret\(value=…\).save"):
        plain.to_pull_step()
    step = GitRepository("https://example.org/flows.git", {"access_token": Secret()}).to_pull_step()
    assert step == {
        "prefect.deployments.steps.git_clone": {
            "repository": "https://example.org/flows.git",
            "credentials": {"access_token": "{{ prefect.blocks.secret.git-token }}"},
        }
    }
    with pytest.raises(InvalidInput, match="in the clear"):
        GitRepository("http://example.org/flows.git", {"access_token": TOKEN}).fetched()


@pytest.mark.parametrize(
    "arguments",
    [
        {"url": "--upload-pack=touch /tmp/x"},
        {"url": "ext::sh -c touch% /tmp/x"},
        {"url": "-oProxyCommand=x:y"},
        {"url": "ftp://example.org/x.git"},
        {"url": "ssh://-oProxyCommand=touch/x.git"},
        {"url": "https://example.org/a\nb.git"},
        {"branch": "--upload-pack=x"},
        {"branch": "a..b"},
        {"branch": ""},
        {"tag": "-x"},
        {"commit_sha": "HEAD"},
        {"commit_sha": "abcdef1"},
        {"commit_sha": "--output=/tmp/x"},
        {"directories": ["../.."]},
        {"directories": ["/etc"]},
        {"directories": ["--stdin"]},
        {"name": "../../x"},
        {"name": ".git"},
        {"branch": "main", "commit_sha": "0" * 40},
        {"credentials": {"username": "only"}},
        {"credentials": {"shell": "x"}},
    ],
)
def test_what_could_become_an_option_of_git_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        GitRepository(**{"url": "https://example.org/flows.git", **arguments})


def test_hooks_and_templates_of_the_machine_do_not_run(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = tmp_path / "template" / "hooks"
    hooks.mkdir(parents=True)
    (hooks / "post-checkout").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (hooks / "post-checkout").chmod(0o755)
    monkeypatch.setenv("GIT_TEMPLATE_DIR", str(hooks.parent))
    GitRepository(f"file://{repository}").pull(tmp_path / "run")
    assert not (tmp_path / "ran").exists()


def test_a_repository_whose_default_branch_is_none_of_its_branches_says_so(repository: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.git"
    git("init", "-q", "--bare", "-b", "trunk", str(bare), at=tmp_path)
    with pytest.raises(PullFailed, match="is empty: nothing was pushed to it yet"):
        GitRepository(f"file://{bare}").pull(tmp_path / "run")
    git("push", "-q", str(bare), "HEAD:refs/heads/main", at=repository)
    with pytest.raises(PullFailed, match=r"its HEAD is none of its branches \(main\). Name one with branch='main'"):
        GitRepository(f"file://{bare}").pull(tmp_path / "run")
    assert GitRepository(f"file://{bare}", branch="main").pull(tmp_path / "run").is_dir()


def test_a_flow_that_is_not_in_a_repository_is_told_with_the_url(repository: Path) -> None:
    for entrypoint in ("README.py:etl", "flows/etl.py:nope"):
        with pytest.raises(MillraceError) as told:
            found_in(GitRepository(f"file://{repository}"), entrypoint)
        place = entrypoint.partition(":")[0]
        assert f"file://{repository}/{place}" in str(told.value) and "millrace-source-" not in str(told.value)


def test_a_branch_that_is_not_there_names_those_there_are(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(PullFailed, match=r"no branch or tag 'nope'. Its branches: main"):
        GitRepository(f"file://{repository}", branch="nope").pull(tmp_path)
    with pytest.raises(PullFailed, match="has no commit 0000"):
        GitRepository(f"file://{repository}", commit_sha="0" * 40).pull(tmp_path)


# -- object stores


def test_a_name_that_climbs_out_is_refused(tmp_path: Path) -> None:
    store = fsspec.filesystem("memory")
    store.store["/evil/code/../../../climbed.py"] = store.open("/evil/x", "wb")
    try:
        with pytest.raises(PullFailed, match="leads out of the folder"):
            RemoteStorage("memory://evil/code").pull(tmp_path / "run")
        assert not list(tmp_path.rglob("climbed.py"))
    finally:
        store.store.clear()


def test_settings_that_look_like_secrets_are_deployed_by_name() -> None:
    with pytest.raises(InvalidInput, match="The setting 'secret'"):
        RemoteStorage("s3://bucket/flows", key="k", secret="plain").to_pull_step()
    with pytest.raises(InvalidInput, match="do not belong into a URL"):
        RemoteStorage("s3://key:secret@bucket/flows")


# -- steps


def test_steps_hand_on_what_they_found(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRANCH", "main")
    found = pull_steps.perform(
        [
            {
                "prefect.deployments.steps.git_clone": {
                    "id": "clone",
                    "repository": f"file://{repository}",
                    "branch": "{{ $BRANCH }}",
                }
            },
            {
                "millrace.deployments.steps.run_shell_script": {
                    "id": "said",
                    "script": "cat README",
                    "stream_output": False,
                }
            },
            {"prefect.deployments.steps.set_working_directory": {"directory": "{{ clone.directory }}/flows"}},
        ],
        tmp_path / "run",
    )
    assert found == tmp_path / "run" / "flows-main" / "flows"


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"prefect.deployments.steps.fetch_by_pigeon": {}}, "is not known here. There are: .*git_clone"),
        ({"prefect.deployments.steps.git_clone": {"repo": "x"}}, "cannot be called like this"),
        ({"prefect.deployments.steps.set_working_directory": {"directory": "{{ nothing.here }}"}}, "no step before it"),
        (
            {"prefect.deployments.steps.set_working_directory": {"directory": "{{ $NOT_SET_AT_ALL }}"}},
            "is not set here",
        ),
        ({"a": {}, "b": {}}, "one name"),
        ({"json.dumps": {"requires": "no-such-package"}}, "pip install no-such-package"),
        ({"no_such_module.step": {}}, "no_such_module"),
        (
            {"prefect.deployments.steps.run_shell_script": {"script": f"{sys.executable} -c 'raise SystemExit(3)'"}},
            "with 3",
        ),
    ],
)
def test_a_step_that_cannot_be_performed_says_why(step: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises((InvalidInput, PullFailed, PluginMissing), match=said):
        pull_steps.perform([step], tmp_path)


def test_only_a_directory_of_the_machine_is_deployed_again_from_it(tmp_path: Path) -> None:
    def failure(*wanted: dict[str, Any]) -> str:
        made = Deployment(name="d", flow_id=new_id(), id=new_id(), pull_steps=list(wanted))
        run = FlowRun(id=new_id(), flow_id=made.flow_id, name="r")
        with pytest.raises((EntrypointError, PullFailed)) as told:
            pull(made, run)
        return str(told.value)

    def step(name: str, **inputs: str) -> dict[str, Any]:
        return {f"prefect.deployments.steps.{name}": inputs}

    gone = step("set_working_directory", directory=str(tmp_path / "gone"))
    assert failure(gone).endswith(". Deploy it again from this machine.")
    there = step("set_working_directory", directory=str(tmp_path))
    assert "Deploy it again" not in failure(there, step("run_shell_script", script="ls /definitely-not"))
