"""Variables, artifacts and secrets from a terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from commands import VARIABLES, expecting
from millrace import settings
from millrace.client import locate

CANARY = "canary-cli-41f2-hunter22"


class Terminal:
    """A data directory and the command line at it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("MILLRACE_", "PREFECT_"))}
        self.environment = {**kept, "MILLRACE_HOME": str(home)}

    def type(self, *words: str, given: str = "", code: int = 0, **variables: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "millrace", *words],
            env={**self.environment, **variables},
            input=given,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert CANARY not in done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def terminal() -> Iterator[Terminal]:
    with tempfile.TemporaryDirectory(prefix="mr-") as home:
        terminal = Terminal(Path(home))
        yield terminal
        terminal.type("down")


@pytest.fixture
def cli(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., str]]:
    """The same without a process for each command."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MILLRACE_HOME", str(terminal.home))
    settings.current.cache_clear()
    run = expecting(capfd)

    def type(*words: str, code: int = 0) -> str:
        done = run(*words, code=code)
        return done.out + done.err

    yield type
    locate.connect().close()
    monkeypatch.undo()
    settings.current.cache_clear()


def test_variables(cli: Callable[..., str]) -> None:
    cli("variable", "set", "size", '{"n": 5}', "--tag", "a")
    assert json.loads(cli("variable", "get", "size")) == {"n": 5}
    assert "--overwrite" in cli("variable", "set", "size", "6", code=1)
    cli("variable", "set", "size", "plain text", "--overwrite")
    assert cli("variable", "get", "size").strip() == "plain text"
    assert json.loads(cli("variable", "inspect", "size", "-o", "json"))["value"] == "plain text"
    assert [one["name"] for one in json.loads(cli("variable", "ls", "-o", "json"))] == ["size"]
    assert "lowercase" in cli("variable", "set", "Big Name", "1", code=2)
    cli("variable", "unset", "size", "--yes")
    assert "millrace variable ls" in cli("variable", "get", "size", code=3)


def test_secrets(terminal: Terminal) -> None:
    terminal.type("secret", "set", "db", "--from-env", "PW", PW=CANARY)
    terminal.type("secret", "set", "api", "--stdin", given=CANARY + "\n")
    assert "--overwrite" in terminal.type("secret", "set", "api", "--stdin", given=CANARY, code=1)
    assert "--stdin" in terminal.type("secret", "set", "other", code=2)
    assert [one["name"] for one in json.loads(terminal.type("secret", "ls", "-o", "json"))] == ["api", "db"]
    load = "import millrace; print(millrace.Secret.load('api').get() == millrace.Secret.load('db').get())"
    done = subprocess.run([sys.executable, "-c", load], env=terminal.environment, capture_output=True, text=True)
    assert done.stdout.strip() == "True", done.stderr
    held = [p for p in terminal.home.rglob("*") if p.is_file() and CANARY.encode() in p.read_bytes()]
    assert held == []
    terminal.type("secret", "delete", "db", "--yes")
    terminal.type("secret", "delete", "db", "--yes", code=3)


def test_artifacts(terminal: Terminal, cli: Callable[..., str]) -> None:
    make = "from millrace.artifacts import *; [create_markdown_artifact(t, key='report') for t in ('one', 'two')]"
    subprocess.run([sys.executable, "-c", make], env=terminal.environment, check=True, timeout=120)
    listed = json.loads(cli("artifact", "ls", "-o", "json"))
    assert [(one["key"], one["data"]) for one in listed] == [("report", "two")]
    found = json.loads(cli("artifact", "inspect", "report"))
    assert [one["data"] for one in found] == ["two", "one"]
    cli("artifact", "delete", "--id", found[0]["id"], "--yes")
    assert json.loads(cli("artifact", "ls", "-o", "json"))[0]["data"] == "one"
    assert "Deleted 1 artifact of" in cli("artifact", "delete", "report", "--yes")
    cli("artifact", "inspect", "report", code=3)
