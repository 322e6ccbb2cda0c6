"""Commands of Millrace, run in the process of a test."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from millrace import settings
from millrace.cli import main
from millrace.client import locate

VARIABLES = ("MILLRACE_API_URL", "MILLRACE_API_TOKEN", "PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING")


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Done]


@contextmanager
def own_home(folders: pytest.TempPathFactory, flows: str) -> Iterator[Path]:
    """A data directory; the working directory beside it holds a file of flows. Its server is stopped at the end."""
    with pytest.MonkeyPatch.context() as patch:
        for name in VARIABLES:
            patch.delenv(name, raising=False)
        folder = folders.mktemp("mill")
        patch.setenv("MILLRACE_HOME", str(folder / "home"))
        patch.chdir(folder)
        settings.current.cache_clear()
        (folder / "flows.py").write_text(flows)
        yield folder / "home"
        if locate.embedded_status() is not None:
            locate.connect().close()
        locate.stop_embedded()
    settings.current.cache_clear()


def ended(capfd: pytest.CaptureFixture[str], words: tuple[str, ...]) -> Done:
    """Runs a command to its end, whatever that is."""
    capfd.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(list(words))
    out, err = capfd.readouterr()
    assert "Traceback" not in err
    return Done(caught.value.code if isinstance(caught.value.code, int) else 0, out, err)


def expecting(capfd: pytest.CaptureFixture[str]) -> Cli:
    """Runs commands that end with a code, by default 0."""

    def run(*words: str, code: int = 0) -> Done:
        done = ended(capfd, words)
        assert done.code == code, done.out + done.err
        return done

    return run
