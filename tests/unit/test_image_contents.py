"""What goes into an image: files, requirements, the Dockerfile; and what an engine's answer says."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from millrace import settings
from millrace.deployments import environment
from millrace.deployments.context import (
    beside,
    dockerfile_of,
    files_of,
    laid_out,
    refuse_home,
    requirement_lines,
    told_of,
)
from millrace.deployments.images import DockerImage, _ignored_in, _not_pushed
from millrace.deployments.progress import Lines, Quiet, Reading, shown
from millrace.deployments.source import Source
from millrace.errors import InvalidInput


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path / "home"))
    settings.current.cache_clear()
    yield tmp_path / "home"
    settings.current.cache_clear()


def _put(directory: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    return directory


# -- files


def test_what_holds_secrets_or_is_made_anew_stays_out(home: Path, tmp_path: Path) -> None:
    project = _put(
        tmp_path / "project",
        {
            "etl.py": "",
            "data/a.csv": "",
            ".dockerignore": "# comment\n**/*.csv\n!data/b.csv\ntmp\n",
            "data/b.csv": "",
            "tmp/x": "",
            ".env": "TOKEN=1",
            "deep/.env.local": "",
            "deep/key.pem": "",
            ".git/config": "",
            "__pycache__/etl.pyc": "",
            "my-venv/pyvenv.cfg": "",
            "my-venv/lib/a.py": "",
            ".ssh/id_rsa": "",
        },
    )
    found, secret = files_of(project, _ignored_in(project))
    assert found == (".dockerignore", "etl.py", "data/b.csv")
    assert secret == (".env", "deep/.env.local", "deep/key.pem")
    layout = laid_out([Source(project, "etl.py:etl", "1", project)], _ignored_in)
    assert told_of(layout.folders) == [
        "Left out of the image, for they may hold secrets: .env, deep/.env.local, deep/key.pem."
    ]


def test_the_data_directory_of_millrace_stays_out(home: Path, tmp_path: Path) -> None:
    _put(tmp_path, {"etl.py": "", "home/millrace.db": "", "home/run/server.json": ""})
    assert files_of(tmp_path, lambda name: False)[0] == ("etl.py",)


def test_a_home_directory_as_a_whole_is_refused(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "users/ann"))
    (tmp_path / "users/ann/project").mkdir(parents=True)
    for whole in (tmp_path / "users/ann", tmp_path / "users", Path("/")):
        with pytest.raises(InvalidInput, match="directory of its own"):
            refuse_home(whole)
    refuse_home(tmp_path / "users/ann/project")


def test_large_folders_are_told_of(home: Path, tmp_path: Path) -> None:
    project = _put(tmp_path / "p", {"etl.py": ""})
    with (project / "big.bin").open("wb") as file:
        file.truncate(150 * 2**20)
    (said,) = told_of(laid_out([Source(project, "etl.py:etl", None, None)], _ignored_in).folders)
    assert "150 MiB" in said and "big.bin" in said and ".dockerignore" in said


# -- where code lies


def test_flows_of_one_directory_share_a_folder_and_others_do_not(home: Path, tmp_path: Path) -> None:
    first = _put(tmp_path / "a/jobs", {"x.py": "", "y.py": ""})
    second = _put(tmp_path / "b/jobs", {"x.py": ""})
    exported = _put(home / "code/0123", {"book_flows.py": "", "helper.py": "", "other.py": ""})
    sources = [
        Source(first, "x.py:f", "1", first),
        Source(first, "y.py:g", "1", first),
        Source(second, "x.py:f", "1", second),
        Source(exported, "book_flows.py:f", "1", tmp_path, files=("book_flows.py", "helper.py")),
        Source(None, "x.py:f", "1", None, pull_steps=({"prefect.deployments.steps.git_clone": {"repository": "u"}},)),
    ]
    layout = laid_out(sources, _ignored_in)
    assert [(one.name, one.files) for one in layout.folders] == [
        ("jobs", ("x.py", "y.py")),
        ("jobs-2", ("x.py",)),
        ("book_flows", ("book_flows.py", "helper.py")),
    ]
    steps = [next(iter(one.pull_steps[0].values())) for one in layout.sources]
    assert [step.get("directory") for step in steps] == [
        "/opt/millrace/jobs",
        "/opt/millrace/jobs",
        "/opt/millrace/jobs-2",
        "/opt/millrace/book_flows",
        None,
    ]
    assert all(one.path is None and one.working_dir is None for one in layout.sources)


def test_a_context_above_the_flow_is_copied_as_a_whole(home: Path, tmp_path: Path) -> None:
    project = _put(tmp_path / "project", {"flows/etl.py": "", "data/a.csv": ""})
    source = Source(project / "flows", "etl.py:etl", "1", project / "flows")
    layout = laid_out([source], _ignored_in, project)
    assert layout.folders[0].files == ("data/a.csv", "flows/etl.py")
    ((step,),) = [list(one.values()) for one in layout.sources[0].pull_steps]
    assert step == {"directory": "/opt/millrace/project/flows"}
    (given,) = beside([source], project)
    assert list(given.pull_steps[0].values()) == [{"directory": "flows"}]
    with pytest.raises(InvalidInput, match="not below"):
        beside([source], tmp_path / "elsewhere")


def test_the_dockerfile_puts_first_what_changes_seldom(home: Path, tmp_path: Path) -> None:
    project = _put(tmp_path / "jobs", {"etl.py": ""})
    folders = laid_out([Source(project, "etl.py:etl", None, None)], _ignored_in).folders
    lines = dockerfile_of("python:3.11-slim", ["pandas==2.2.0"], ["millrace-1-py3-none-any.whl"], folders).splitlines()
    assert [line.split()[0] for line in lines] == ["FROM", "COPY", "RUN", "COPY", "RUN", "COPY", "WORKDIR"]
    assert lines[1].startswith("COPY requirements.txt") and lines[-2] == "COPY code/jobs /opt/millrace/jobs"
    assert "apt-get" not in "\n".join(lines)
    assert "install -y --no-install-recommends git" in dockerfile_of("b", ["a @ git+https://e.org/a@1"], [], [])


# -- requirements


def test_a_requirements_file_is_read_with_those_that_it_names(tmp_path: Path) -> None:
    _put(
        tmp_path,
        {"requirements.txt": "-r more.txt\npandas>=2 # why\n\n", "more.txt": "a==1 \\\n  ; python_version>'3'"},
    )
    assert requirement_lines(tmp_path / "requirements.txt") == ["a==1    ; python_version>'3'", "pandas>=2"]
    for line in ("-e .", "./local.whl", "-c constraints.txt"):
        (tmp_path / "requirements.txt").write_text(line)
        with pytest.raises(InvalidInput, match="files of this machine"):
            requirement_lines(tmp_path / "requirements.txt")


def test_imports_of_a_script_and_of_the_modules_beside_it(home: Path, tmp_path: Path) -> None:
    _put(
        tmp_path,
        {
            "etl.py": "import os\nimport helper\nfrom millrace import flow\ndef f():\n    import numpy.linalg\n",
            "helper.py": "from pydantic import BaseModel\nimport pack.inner\n",
            "pack/__init__.py": "",
            "pack/inner.py": "from . import other\nimport httpx as h\n",
            "pack/other.py": "import nbformat\n",
            "unused.py": "import scipy\n",
        },
    )
    found = environment.imports_of("etl.py:etl", tmp_path)
    assert {one.module for one in found} == {"millrace", "numpy.linalg", "pydantic", "httpx", "nbformat"}
    need = environment.need_of(found)
    expected = {f"{name}=={metadata.version(name)}" for name in ("numpy", "pydantic", "httpx", "nbformat")}
    assert set(need.lines) == expected and need.projects == () and need.notes == ()


def test_imports_of_a_notebook(home: Path, tmp_path: Path) -> None:
    cells = ["%matplotlib inline\nimport numpy as np", "import beside\n!ls", "from nowhere_to_be_found import x"]
    book = {
        "cells": [
            {"cell_type": "code", "source": text, "metadata": {}, "outputs": [], "execution_count": None, "id": f"c{n}"}
            for n, text in enumerate(cells)
        ],
        "metadata": {},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    _put(tmp_path, {"book.ipynb": json.dumps(book), "beside.py": "import httpx\n"})
    need = environment.need_of(environment.imports_of("book.ipynb", tmp_path))
    assert [line.partition("==")[0] for line in need.lines] == ["httpx", "numpy"]
    assert need.notes == ("'nowhere_to_be_found', which the code imports, is not installed here and was left out.",)


def _distribution(site: Path, name: str, version: str, files: list[str], origin: object = None) -> None:
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))
    if origin is not None:
        (info / "direct_url.json").write_text(json.dumps(origin))
    for file in files:
        (site / file).parent.mkdir(parents=True, exist_ok=True)
        (site / file).write_text("")


def test_a_package_is_named_by_where_it_came_from(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site-packages"
    _distribution(site, "Plain-One", "1.2+cpu", ["plain_one/__init__.py"])
    vcs = {"vcs": "git", "commit_id": "abc123"}
    _distribution(
        site, "from-git", "1", ["from_git.py"], {"url": "https://me:token@example.org/a.git", "vcs_info": vcs}
    )
    _distribution(
        site,
        "archive",
        "1",
        ["archive.py"],
        {"url": "https://example.org/a.tar.gz", "archive_info": {"hash": "sha256=1"}},
    )
    _distribution(site, "gone", "3", ["gone.py"], {"url": f"file://{tmp_path}/gone.whl", "archive_info": {}})
    _distribution(site, "space-a", "1", ["spacious/a/__init__.py"])
    _distribution(site, "space-b", "2", ["spacious/b/__init__.py"])
    monkeypatch.syspath_prepend(str(site))
    environment._providers.cache_clear()
    imports = [
        environment.Import("plain_one"),
        environment.Import("from_git"),
        environment.Import("archive"),
        environment.Import("gone"),
        environment.Import("spacious", 0, ("b",)),
    ]
    try:
        need = environment.need_of(imports)
    finally:
        environment._providers.cache_clear()
    assert need.lines == (
        "Plain-One==1.2",
        "archive @ https://example.org/a.tar.gz",
        "from-git @ git+https://example.org/a.git@abc123",
        "gone==3",
        "space-b==2",
    )
    assert len(need.notes) == 1 and "gone.whl" in need.notes[0]


# -- what an engine says

STEPS = [
    {"stream": "Step 1/3 : FROM python:3.11-slim"},
    {"stream": "\n"},
    {"status": "Downloading", "id": "abc", "progressDetail": {"current": 1048576, "total": 4194304}},
    {"stream": " ---> 73d7e2504062\n"},
    {"stream": "Step 2/3 : RUN true\n"},
    {"stream": " ---> Using cache\n"},
    {"stream": "Step 3/3 : RUN make it\n"},
]


def test_a_failing_step_is_told_with_its_last_lines() -> None:
    events = [
        *STEPS,
        *({"stream": f"line {n}\n"} for n in range(50)),
        {"stream": "\x1b[91mhalf a \x1b[0m"},
        {"stream": "line"},
        {"errorDetail": {"code": 2, "message": "returned a non-zero code: 2"}, "error": "returned a non-zero code: 2"},
        {"stream": "never read"},
    ]
    reading = Reading(Quiet()).read(events)
    assert (reading.number, reading.steps, reading.line, reading.cached) == (3, 3, "RUN make it", 1)
    assert reading.last == [*(f"line {n}" for n in range(30, 50)), "half a line"]
    said = DockerImage("flows:1")._failed("returned a non-zero code: 2", reading)
    assert said.startswith("The image 'flows:1' could not be built: step 3 of 3 failed: RUN make it\n  returned")
    assert said.endswith("\n    line 49\n    half a line") and "line 29\n" not in said


def test_progress_in_a_notebook_is_lines_of_text() -> None:
    out = io.StringIO()
    with Lines(out) as lines:
        Reading(lines).read([*STEPS, {"aux": {"ID": "sha256:1"}}])
    text = out.getvalue()
    assert "Step 1/3: FROM python:3.11-slim\n" in text and "\r1 layers, 1.0 of 4.0 MiB (Downloading)" in text
    assert text.endswith("Step 3/3: RUN make it\n")


def test_in_a_pipe_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with shown("Building") as quiet:
        Reading(quiet).read(STEPS)
    assert isinstance(quiet, Quiet) and capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("error", "why"),
    [
        ("denied: requested access to the resource is denied", "docker login registry.example.org:5000"),
        ("no basic auth credentials", "docker login"),
        ("Get https://x/v2/: dial tcp: lookup x: no such host", "does not answer"),
        ("http: server gave HTTP response to HTTPS client", "cannot be trusted"),
        ("name unknown: The repository with name 'team/flows' does not exist", "no such repository"),
        ("An image does not exist locally with the tag: team/flows", "Build it first"),
        ("something else", "failed"),
    ],
)
def test_why_an_image_was_not_pushed(error: str, why: str) -> None:
    said = _not_pushed("registry.example.org:5000/team/flows:v1", error)
    assert why in said and error in said
