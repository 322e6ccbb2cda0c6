"""How a line of a run looks on the screen, and where it goes."""

from __future__ import annotations

import io
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from millrace.engine.console import ConsoleHandler, coloured
from millrace.engine.context import FlowRunContext


class Terminal(io.StringIO):
    """Says that it is one."""

    def isatty(self) -> bool:
        return True


class KernelStream(io.StringIO):
    """Named as a kernel's streams are."""


KernelStream.__module__ = "ipykernel.iostream"


def shown(record: logging.LogRecord) -> None:
    ConsoleHandler("INFO").handle(record)


def line(level: int, text: str, **extra: Any) -> logging.LogRecord:
    run: Any = SimpleNamespace(flow_run=SimpleNamespace(name="amber-heron"))
    run.home = FlowRunContext.__dataclass_fields__["home"].default_factory()  # type: ignore[misc]
    record = logging.LogRecord("millrace.flow_runs", level, "f.py", 1, text, (), None)
    record.__dict__.update({"millrace_flow": run, "millrace_task": None, **extra})
    return record


def test_colours_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for stream, expected in ((Terminal(), "\x1b[33mWARNING\x1b[0m"), (io.StringIO(), "| WARNING |")):
        monkeypatch.setattr("sys.stderr", stream)
        shown(line(logging.WARNING, "careful"))
        assert expected in stream.getvalue() and stream.getvalue().endswith("| Flow run 'amber-heron' - careful\n")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not coloured(Terminal())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not coloured(Terminal())


def test_in_a_kernel_only_what_is_wrong_is_red(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = KernelStream(), KernelStream()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", err)
    shown(line(logging.INFO, "fine"))
    shown(line(logging.ERROR, "long story", millrace_short="short story"))
    shown(line(logging.INFO, "on the screen already", millrace_printed=True))
    assert out.getvalue().count("\n") == 1 and "fine" in out.getvalue()
    assert err.getvalue().count("\n") == 1 and "short story" in err.getvalue()


def test_a_broken_screen_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr("sys.stderr", closed)
    monkeypatch.setattr(logging, "raiseExceptions", False)
    shown(line(logging.INFO, "nobody sees this"))
