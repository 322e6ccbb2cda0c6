"""How a build or a push of an image is shown while it goes on, and what an engine's answer says."""

from __future__ import annotations

import re
import sys
import time
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, Task, TaskID, TextColumn
from rich.text import Text

from millrace.notebooks import live

_STEP = re.compile(r"Step (\d+)/(\d+) : (.*)", re.DOTALL)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
"""The engine marks what a step writes to stderr; programs have colours of their own."""
_LAST = 20
_PACE = 0.5


class Shown(AbstractContextManager["Shown"], Protocol):
    """Where progress goes."""

    def step(self, text: str) -> None:
        """A step begins."""

    def output(self, text: str) -> None:
        """A step says something."""

    def layer(self, name: str, what: str, current: int | None, total: int | None) -> None:
        """A layer is under way."""


class Quiet(AbstractContextManager["Quiet"]):
    """Shows nothing."""

    def __exit__(self, *error: object) -> None:
        return None

    def step(self, text: str) -> None:
        """Nothing."""

    def output(self, text: str) -> None:
        """Nothing."""

    def layer(self, name: str, what: str, current: int | None, total: int | None) -> None:
        """Nothing."""


class Lines(AbstractContextManager["Lines"]):
    """Plain text: a line for each step, and one that is written over for the layers. For notebooks and files.

    Args:
        stream: where to; None: stdout, as it is at the time.
        verbose: what steps print is shown as well.
        over: lines may be written over.
    """

    def __init__(self, stream: TextIO | None = None, *, verbose: bool = False, over: bool = True) -> None:
        self._stream = stream
        self._verbose = verbose
        self._over = over
        self._open = 0
        self._layers: dict[str, tuple[str, int, int]] = {}
        self._next = 0.0

    def __exit__(self, *error: object) -> None:
        self._write("")

    def step(self, text: str) -> None:
        """A line."""
        self._write(text + "\n")

    def output(self, text: str) -> None:
        """A line, if wanted."""
        if self._verbose and text:
            self._write(f"    {text}\n")

    def layer(self, name: str, what: str, current: int | None, total: int | None) -> None:
        """One line for all layers, at most twice a second."""
        before = self._layers.get(name, ("", 0, 0))
        self._layers[name] = (what, current if current is not None else before[2], total or before[2])
        if not self._over or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _PACE
        done = sum(min(one[1], one[2]) for one in self._layers.values())
        size = sum(one[2] for one in self._layers.values())
        text = f"{len(self._layers)} layers, {done / 2**20:.1f} of {size / 2**20:.1f} MiB ({what})"
        out = self._stream or sys.stdout
        out.write("\r" + text.ljust(self._open))
        out.flush()
        self._open = len(text)

    def _write(self, text: str) -> None:
        out = self._stream or sys.stdout
        if self._open:
            out.write("\r" + " " * self._open + "\r")
            self._open = 0
        out.write(text)
        out.flush()


class Sizes(DownloadColumn):
    """How much of a layer is there; nothing where no size is known, as of a step that runs."""

    def render(self, task: Task) -> Text:
        """The size, or nothing."""
        return super().render(task) if task.total else Text("")


class Bars(AbstractContextManager["Bars"]):
    """A terminal: the step and its last line, and a bar for each layer.

    Args:
        title: what is done.
    """

    def __init__(self, title: str) -> None:
        self._progress = Progress(TextColumn("{task.description}"), BarColumn(bar_width=24), Sizes(), transient=True)
        self._tasks: dict[str, TaskID] = {}
        self._title = self._progress.add_task(escape(title), total=None)

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def step(self, text: str) -> None:
        """The step stands above; what ran before stays in view."""
        for task in self._tasks.values():
            self._progress.remove_task(task)
        self._tasks.clear()
        self._progress.console.print(escape(text[:160]), highlight=False)

    def output(self, text: str) -> None:
        """The last line a step printed."""
        if text:
            self._progress.update(self._title, description=f"[dim]{escape(text[:100])}[/dim]")

    def layer(self, name: str, what: str, current: int | None, total: int | None) -> None:
        """A bar."""
        label = f"{name} {what}"
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(escape(label), total=total)
        self._progress.update(self._tasks[name], description=escape(label), completed=current, total=total)


def shown(title: str, stream: TextIO | None = None, *, quiet: bool = False) -> Shown:
    """Where progress goes here: bars in a terminal, lines in a notebook, nothing in a pipe.

    Args:
        title: what is done.
        stream: write plain lines to this.
        quiet: show nothing.
    """
    if quiet:
        return Quiet()
    if stream is not None:
        return Lines(stream, verbose=True, over=False)
    if live.in_kernel():
        return Lines()
    return Bars(title) if Console().is_terminal else Quiet()


class Reading:
    """What an engine says while it builds or pushes.

    Args:
        shown: where progress goes.

    Attributes:
        number: of the step that runs.
        steps: how many there are.
        line: the step, as the Dockerfile has it.
        image: the id of the image, once it is there.
        error: what went wrong.
        cached: how many steps were there before.
    """

    def __init__(self, shown: Shown) -> None:
        self.shown = shown
        self._lines: deque[str] = deque(maxlen=_LAST)
        self._rest = ""
        self.number = self.steps = self.cached = 0
        self.line = ""
        self.image: str | None = None
        self.error: str | None = None

    @property
    def last(self) -> list[str]:
        """The last lines of the step."""
        return [*self._lines, *([self._rest] if self._rest else [])]

    def read(self, events: Iterable[Mapping[str, Any]]) -> Reading:
        """Read until the end, or an error.

        Args:
            events: as docker-py decodes them.
        """
        for event in events:
            detail = event.get("errorDetail")
            if "error" in event or detail:
                self.error = str(event.get("error") or (detail or {}).get("message"))
                break
            if "stream" in event:
                self._said(str(event["stream"]))
            elif "status" in event:
                self._status(event)
            aux = event.get("aux")
            if isinstance(aux, Mapping) and "ID" in aux:
                self.image = str(aux["ID"])
        return self

    def _said(self, text: str) -> None:
        if step := _STEP.fullmatch(text.rstrip("\n")):
            self.number, self.steps, self.line = int(step[1]), int(step[2]), step[3].strip()
            self._lines.clear()
            self._rest = ""
            self.shown.step(f"Step {self.number}/{self.steps}: {self.line}")
            return
        *whole, self._rest = (self._rest + _COLOUR.sub("", text)).split("\n")
        for line in whole:
            said = line.rpartition("\r")[2].rstrip()
            if said.strip() == "---> Using cache":
                self.cached += 1
            if said and not said.startswith(" --->"):
                self._lines.append(said)
                self.shown.output(said)

    def _status(self, event: Mapping[str, Any]) -> None:
        detail = event.get("progressDetail") or {}
        if event.get("id") and (detail or "status" in event):
            self.shown.layer(str(event["id"]), str(event["status"]), detail.get("current"), detail.get("total"))
        elif event["status"]:
            self.shown.output(str(event["status"]))
