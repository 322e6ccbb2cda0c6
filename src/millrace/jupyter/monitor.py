"""The live monitor of a run in a notebook.

A follower reads the run's events; each monitor has one thread that paints, at most ten times a second, and is the only
writer of its widget. When the run ends, the output becomes a static card, because a saved widget is a dead widget.
"""

from __future__ import annotations

import contextlib
import contextvars
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import anywidget
import traitlets
from IPython.core.getipython import get_ipython
from IPython.display import display

from millrace import settings
from millrace.client import locate
from millrace.client.handle import RunHandle, StoppedWatching
from millrace.errors import InvalidInput, MillraceError
from millrace.jupyter.artifacts import picture, section
from millrace.jupyter.display import Card, run_card, run_text
from millrace.jupyter.follower import Follower, followed
from millrace.jupyter.view import RunView, line_message

_STATIC = Path(__file__).parent / "static"
_FRAME = 0.1
"""Seconds between two paintings: the Jupyter server drops what comes faster."""
_CARD_FRAME = 1.0
"""The same for the HTML card, which is sent as a whole."""
_BEAT = 5.0
"""Seconds between two signs of life when nothing happens."""
_ASK = 2.0
"""Seconds between two questions why a run waits."""
_BATCH = 250
"""Log lines in one message."""
_BATCH_BYTES = 32_000
"""Characters in one message."""
_ARTIFACTS = 20
"""Artifacts shown, the latest first."""
_MOST = 20
"""Monitors alive at once; the oldest gives way."""

_alive: dict[str, RunMonitor] = {}


class _Widget(anywidget.AnyWidget):  # type: ignore[misc]
    """The page's side: small state in traits, log lines in messages."""

    _esm = _STATIC / "monitor.js"
    _css = _STATIC / "monitor.css"
    run = traitlets.Dict().tag(sync=True)
    trouble = traitlets.Unicode("").tag(sync=True)
    beat = traitlets.Int(0).tag(sync=True)
    artifacts = traitlets.List().tag(sync=True)
    progress = traitlets.Dict().tag(sync=True)
    refusal = traitlets.Dict().tag(sync=True)

    def __repr__(self) -> str:
        return f"<RunMonitor {self.run.get('flow', '')!r} {self.run.get('state', '')}>"


class RunMonitor:
    """Watches one run until it ends; made by `watch`.

    Args:
        follower: who reads the run's events.
        shows: `widget`, `html` or `text`.
        place: where to put it; None: the output of the running cell.

    Example:
        >>> monitor = watch(run)          # doctest: +SKIP
        >>> monitor.wait()                # doctest: +SKIP
        'Completed'
    """

    def __init__(self, follower: Follower, shows: str, place: Callable[[Any], None] | None = None) -> None:
        self._follower = follower
        self._place = place
        self._shows = shows
        self._closed = threading.Event()
        self._painted = threading.Event()
        self._sent_lines = self._refusals = 0
        self._pictures: dict[Any, dict[str, Any]] = {}
        self._sent_version = follower.version
        self._widget = _Widget(run=follower.picture()) if shows == "widget" else None
        if self._widget is not None:
            self._widget.on_msg(self._hear)
        self._handle = self._show()
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(self._paint,), name="millrace-monitor", daemon=True).start()

    # -- for the caller

    @property
    def state(self) -> str:
        """The name of the run's state."""
        return self._follower.state

    @property
    def view(self) -> RunView:
        """What is known of the run."""
        return self._follower.view()

    def wait(self, timeout: float | None = None) -> str:
        """Block until the run has ended and the output shows it.

        An interrupt of the kernel stops the watching, never the run.

        Args:
            timeout: seconds to wait at most; None: as long as it takes.

        Returns:
            The name of the state.
        """
        until = None if timeout is None else time.monotonic() + timeout
        try:
            while not self._painted.wait(0.2):
                if until is not None and time.monotonic() > until:
                    break
        except KeyboardInterrupt:
            print(f"The run goes on. See it again with:  %millrace watch {self._follower.flow_run_id}")
            raise StoppedWatching from None
        return self.state

    def cancel(self) -> None:
        """Ask the run to stop; the monitor shows Cancelled when all of it is gone."""
        RunHandle(self._follower.flow_run_id, self._follower.client).cancel()

    def resume(self, run_input: Any = None) -> None:
        """Let the paused run go on.

        Args:
            run_input: what it asked for: a value for each field, by name.

        Raises:
            NotPaused: it is not paused.
            StateRefused: the input does not fit; the run stays paused.
        """
        RunHandle(self._follower.flow_run_id, self._follower.client).resume(run_input)

    def close(self) -> None:
        """Stop watching; the output keeps a card of what is known now."""
        self._closed.set()
        self._painted.wait(2.0)

    def _ipython_display_(self) -> None:
        # It stands above already: as the value of its cell it is not shown again.
        pass

    def __repr__(self) -> str:
        return f"<RunMonitor {self._follower.flow!r} {self.state}>"

    # -- painting

    def _paint(self) -> None:
        beat = asked = time.monotonic()
        frame = _FRAME if self._shows == "widget" else _CARD_FRAME
        try:
            while not (self._follower.ended.wait(frame) or self._closed.is_set()):
                moment = time.monotonic()
                if moment - asked > _ASK:
                    asked = moment
                    with contextlib.suppress(MillraceError):
                        self._follower.explain()
                with contextlib.suppress(MillraceError):
                    self._follower.read_artifacts()
                    self._follower.read_pause()
                if self._flush() or moment - beat > _BEAT:
                    beat = moment
                    if self._widget is not None:
                        self._widget.beat += 1
            self._flush()
            self._settle()
        finally:
            self._follower.release()
            self._painted.set()
            for key in [key for key, monitor in _alive.items() if monitor is self]:
                _alive.pop(key, None)

    def _flush(self) -> bool:
        """Send what is new; gives whether there was anything."""
        changed = self._follower.version != self._sent_version
        self._sent_version = self._follower.version
        if self._widget is not None:
            lines = self._batch()
            if lines:
                self._widget.send({"kind": "lines", "lines": lines})
            if changed:
                self._widget.run = self._follower.picture()
                self._draw_artifacts(self._widget)
            return changed or bool(lines)
        if changed and self._shows == "html" and self._handle is not None:
            self._handle.update(self._card())
        elif changed and self._shows == "text":
            self._tell()
        return changed

    def _draw_artifacts(self, widget: _Widget) -> None:
        # A progress moves many times: only its number is sent again.
        newest = self._follower.artifacts(_ARTIFACTS)
        kept = dict(self._pictures)
        self._pictures = {}
        for one in newest:
            at_rest = one.model_copy(update={"data": 0, "updated": None}) if one.type == "progress" else one
            key = (one.id, at_rest.updated, one.description)
            self._pictures[key] = kept.get(key) or picture(at_rest)
        widget.progress = {str(one.id): one.data for one in newest if one.type == "progress"}
        widget.artifacts = list(self._pictures.values())

    def _batch(self) -> list[list[Any]]:
        lines: list[list[Any]] = []
        size = 0
        for line in self._follower.lines_after(self._sent_lines, _BATCH):
            message = line_message(line)
            size += len(message[3])
            if lines and size > _BATCH_BYTES:
                break
            lines.append(message)
            self._sent_lines = line.number
        return lines

    # -- the screen

    def _show(self) -> Any:
        if self._shows == "text":
            self._told = run_text(self.view)
            print(self._told)
            return None
        shown = self._widget if self._widget is not None else self._card()
        if self._place is not None:
            self._place(shown)
            return None
        return display(shown, display_id=True)

    def _card(self) -> Card:
        more = section(self._follower.artifacts(_ARTIFACTS))
        return Card(run_card(self.view, trouble=self._follower.trouble, more=more), repr(self))

    def _tell(self) -> None:
        text = run_text(self.view)
        if text != self._told:
            self._told = text
            print(text)

    def _settle(self) -> None:
        if self._shows == "text":
            self._tell()
            return
        settled = self._card()
        if self._place is not None:
            self._place(settled)
        elif self._handle is not None:
            self._handle.update(settled)
        if self._widget is not None:
            with contextlib.suppress(Exception):
                self._widget.close()

    def _hear(self, _: Any, content: dict[str, Any], __: Any) -> None:
        # Runs on the kernel's thread or a subshell's, perhaps while a cell is busy: hand over and return at once.
        if content.get("kind") == "cancel":
            threading.Thread(target=self._cancel_quietly, name="millrace-cancel", daemon=True).start()
        elif content.get("kind") == "resume":
            typed = dict(content.get("values") or {})
            threading.Thread(target=self._resume_quietly, args=(typed,), name="millrace-resume", daemon=True).start()
        elif content.get("kind") == "open" and self._widget is not None:
            # A page that came late, or came back: what it missed is not sent again by itself.
            first = max(0, self._sent_lines - _BATCH)
            lines = [line_message(line) for line in self._follower.lines_after(first, self._sent_lines - first)]
            if lines:
                self._widget.send({"kind": "again", "lines": lines})

    def _resume_quietly(self, typed: dict[str, Any]) -> None:
        pause = self.view.pause
        values, problems = pause.answer(typed) if pause is not None else ({}, {})
        text = ""
        try:
            if not problems:
                self.resume(values or None)
        except MillraceError as error:
            text = error.message
        if self._widget is not None and (problems or text):
            self._refusals += 1
            self._widget.refusal = {"number": self._refusals, "text": text, "problems": problems}

    def _cancel_quietly(self) -> None:
        try:
            self.cancel()
        except MillraceError as error:
            if self._widget is not None:
                self._widget.trouble = error.message


def shows() -> str:
    """How this process shows things: `widget`, `html` or `text`, by the setting `display` and the front end."""
    wished = settings.current().display
    if wished != "auto":
        return wished
    if "ipykernel" not in sys.modules or get_ipython() is None:
        return "text"
    # Colab shows no update that a thread makes after its cell has ended (colabtools issue 3373).
    return "html" if "google.colab" in sys.modules else "widget"


def watch(
    run: Any, *, wait: bool = False, timeout: float | None = None, place: Callable[[Any], None] | None = None
) -> RunMonitor:
    """Show a run live.

    Args:
        run: a flow run, anything with an `id`, a `UUID`, or an id as text.
        wait: block until the run has ended.
        timeout: seconds to block at most.
        place: puts a widget somewhere; None: it is shown below the running cell.

    Returns:
        The monitor; watching a run again replaces its monitor.

    Raises:
        NotFound: no run has this id.
        InvalidInput: it is no run.

    Example:
        >>> watch(run_deployment("etl/nightly", timeout=0))    # doctest: +SKIP
    """
    flow_run_id = _run_id(run)
    follower = followed(flow_run_id, locate.connect())
    # One monitor a run and one a cell: what the cell showed when it ran before is gone from the page.
    for key in {str(flow_run_id), *_former_of_this_cell()}:
        if (before := _alive.pop(key, None)) is not None:
            before.close()
    while len(_alive) >= _MOST:
        _alive.pop(next(iter(_alive))).close()
    monitor = RunMonitor(follower, shows(), place)
    _alive[str(flow_run_id)] = monitor
    _cells[str(flow_run_id)] = _this_cell()
    if wait:
        monitor.wait(timeout)
    return monitor


_cells: dict[str, tuple[str, int]] = {}
"""The cell and the execution that each run's monitor was made in."""


def _this_cell() -> tuple[str, int]:
    shell = get_ipython()
    parent = shell.get_parent() if hasattr(shell, "get_parent") else {}
    return str((parent.get("metadata") or {}).get("cellId") or ""), getattr(shell, "execution_count", 0)


def _former_of_this_cell() -> list[str]:
    cell, execution = _this_cell()
    for key in [key for key in _cells if key not in _alive]:
        del _cells[key]
    return [key for key, (where, when) in _cells.items() if cell and where == cell and when != execution]


def _run_id(run: Any) -> UUID:
    found = getattr(run, "id", run)
    if isinstance(found, UUID):
        return found
    try:
        return UUID(str(found))
    except ValueError:
        raise InvalidInput(f"{run!r} is no run: give a run, its id, or %millrace watch NAME") from None
