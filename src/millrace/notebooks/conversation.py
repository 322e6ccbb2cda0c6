"""One cell at a time with the kernel: nbclient's handling of messages under a message loop of our own.

nbclient keeps what a front end would keep (outputs, display ids, widget state, output widgets). Its loop is left out:
three asyncio tasks a cell, a dead kernel noticed after a second, and no way to stop a cell and still hear how it ended.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from nbclient.client import NotebookClient
from nbclient.exceptions import CellExecutionComplete
from nbformat import NotebookNode

from millrace.notebooks.cell_events import OnOutput
from millrace.notebooks.kernel import POLL_MILLISECONDS, Kernel, KernelDied
from millrace.notebooks.output_stream import OutputStream, shortened, size_of
from millrace.engine.redaction import Redactor

# How long what a cell published may come behind its answer, as in nbclient.
IOPUB_SECONDS = 4.0
# After this many messages look at the clock, however many more are waiting.
BURST = 200
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")

StopKind = Literal["timed_out", "cancelled"]


@dataclass
class Answer:
    """How the kernel answered for one cell.

    Args:
        kind: `ok` and `error` are the kernel's own words; `stopped` when we stopped it; `dead` when it died.
        ename: the class of the exception.
        evalue: its text.
        traceback: its lines without colours.
        exits: the cell asked the kernel to quit, with `exit()` or `quit()`.
        stop: why it was stopped.
        death: how the kernel died.
    """

    kind: Literal["ok", "error", "stopped", "dead"]
    ename: str = ""
    evalue: str = ""
    traceback: list[str] = field(default_factory=list)
    exits: bool = False
    stop: StopKind | None = None
    death: KernelDied | None = None


class Patience:
    """When a cell, or the run, is to be stopped.

    Args:
        stop_asked: true once the run is cancelled.
        deadline: when the run must be over, on the monotonic clock; None for never.
        cell_timeout: seconds for each cell; None for any time.
        grace: seconds an interrupted cell has to clean up.
        at_once: true when there is to be no grace, as after a second Ctrl-C.
    """

    def __init__(
        self,
        stop_asked: Callable[[], bool],
        deadline: float | None,
        cell_timeout: float | None,
        grace: float,
        at_once: Callable[[], bool],
    ) -> None:
        self._stop_asked = stop_asked
        self._deadline = deadline
        self._cell_timeout = cell_timeout
        self._cell_deadline: float | None = None
        self.grace = grace
        self.at_once = at_once

    def begin_cell(self) -> None:
        """A cell starts now."""
        self._cell_deadline = time.monotonic() + self._cell_timeout if self._cell_timeout else None

    def verdict(self) -> StopKind | None:
        """Why to stop now, or None."""
        if self._stop_asked():
            return "cancelled"
        now = time.monotonic()
        deadlines = (self._deadline, self._cell_deadline)
        return "timed_out" if any(deadline is not None and now >= deadline for deadline in deadlines) else None


class Conversation(NotebookClient):  # type: ignore[misc]
    """Runs cells of a notebook in a kernel that is ready.

    Args:
        nb: the notebook; outputs are put into it.
        kernel: the kernel.
        redactor: what to take out of outputs.
        limit: the most bytes of output that a cell keeps.
        on_output: told each piece of text, its stream's name and the cell's index.
        between: called often, never more than 50 ms apart, while a cell runs.
    """

    def __init__(
        self,
        nb: NotebookNode,
        kernel: Kernel,
        redactor: Redactor,
        limit: int,
        on_output: OnOutput,
        between: Callable[[bool], None],
    ) -> None:
        super().__init__(nb, store_widget_state=True)
        self.kc = kernel.client
        self._kernel = kernel
        self._redactor = redactor
        self._limit = limit
        self._on_output = on_output
        self._between = between
        self.clear_before_next_output = False
        self._streams: dict[int, OutputStream] = {}
        self._cells: dict[str, int] = {}

    def run_silently(self, code: str, patience: Patience) -> Answer:
        """Run code of which nothing is recorded, neither in the notebook nor in the kernel's history.

        Args:
            code: the code.
            patience: when to stop it.
        """
        message_id = self.kc.execute(code, silent=True, store_history=False, stop_on_error=False)
        return self._converse(message_id, patience)

    def run_cell(self, cell: NotebookNode, index: int, patience: Patience) -> Answer:
        """Run one code cell and collect its outputs.

        Args:
            cell: the cell.
            index: its position among all cells.
            patience: when to stop it.
        """
        cell["outputs"] = []
        cell["metadata"]["execution"] = {}
        self.clear_before_next_output = False
        self._streams[index] = OutputStream(self._redactor, self._limit)
        patience.begin_cell()
        message_id = self.kc.execute(cell["source"], store_history=True, stop_on_error=False)
        self._cells[message_id] = index
        answer = self._converse(message_id, patience)
        self._release(index)
        if note := self._streams[index].finish(cell["outputs"]):
            self._on_output(note, "stderr", index)
        return answer

    def tail(self, index: int) -> str:
        """The last text of a cell.

        Args:
            index: its position.
        """
        return self._streams[index].tail if index in self._streams else ""

    def join(self) -> None:
        """Make the notebook hold all text that has arrived."""
        for stream in self._streams.values():
            stream.join()

    def _converse(self, message_id: str, patience: Patience) -> Answer:
        """The loop: until the kernel has answered and is idle, has died, or was stopped and its grace is over."""
        answer: Answer | None = None
        idle = False
        stop: StopKind | None = None
        give_up: float | None = None
        while answer is None or not idle:
            quiet = not self._kernel.poller.poll(POLL_MILLISECONDS)
            idle = self._hear(message_id) or idle
            answer = answer or self._read_answer(message_id)
            self._between(quiet)
            if quiet and not self._kernel.is_alive() and not self._kernel.poller.poll(0):
                return answer or self._ended(stop)
            now = time.monotonic()
            if stop is None and answer is None and (stop := patience.verdict()):
                give_up = now + patience.grace
                self._kernel.interrupt()
            if give_up is not None and (now >= give_up or (stop and patience.at_once())):
                break
            if answer is not None and give_up is None:
                give_up = now + IOPUB_SECONDS
        if answer is None or stop is not None:
            answer = replace(answer or Answer("stopped"), kind="stopped", stop=stop)
        return answer

    def _ended(self, stop: StopKind | None) -> Answer:
        return Answer("stopped", stop=stop) if stop else Answer("dead", death=self._kernel.death())

    def _hear(self, message_id: str) -> bool:
        """Take what the kernel has published; whether the cell has become idle."""
        idle = False
        for _ in range(BURST):
            message = self._kernel.receive(self._kernel.iopub)
            if message is None:
                break
            idle = self._take(message, message_id) or idle
        return idle

    def _take(self, message: dict[str, Any], message_id: str) -> bool:
        parent = message["parent_header"].get("msg_id")
        is_status = message["msg_type"] == "status"
        if is_status and (parent != message_id or message["content"]["execution_state"] != "idle"):
            return False
        # What a thread of an earlier cell writes belongs to that cell, as in JupyterLab.
        index = self._cells.get(str(parent))
        if index is None:
            return bool(is_status)
        if message["msg_type"] == "update_display_data" and size_of(message["content"]["data"]) > self._limit:
            return False
        if message["msg_type"] != "stream":
            message["content"] = self._redactor.value(message["content"])
        try:
            self.process_message(message, self.nb["cells"][index], index)
        except CellExecutionComplete:
            return True
        return False

    def _read_answer(self, message_id: str) -> Answer | None:
        while (message := self._kernel.receive(self._kernel.shell)) is not None:
            if message["parent_header"].get("msg_id") != message_id or message["msg_type"] != "execute_reply":
                continue
            content = self._redactor.value(message["content"])
            exits = any(entry.get("source") == "ask_exit" for entry in content.get("payload") or [])
            if content["status"] == "ok":
                return Answer("ok", exits=exits)
            content |= shortened(content)
            return Answer(
                "error",
                ename=str(content.get("ename", content["status"])),
                evalue=content["evalue"],
                traceback=_COLOURS.sub("", "\n".join(content["traceback"])).splitlines(),
                exits=exits,
            )
        return None

    # What nbclient does with a message, changed where text is concerned.

    def output(
        self, outs: list[NotebookNode], msg: dict[str, Any], display_id: str | None, cell_index: int
    ) -> NotebookNode | None:
        """Keep one output: text merged, secrets gone, within the limit.

        Args:
            outs: the outputs of the cell.
            msg: the message.
            display_id: the display id, where it has one.
            cell_index: the cell's position.
        """
        stream = self._streams[cell_index]
        content = msg["content"]
        if msg["msg_type"] == "stream" and not self.output_hook_stack[msg["parent_header"].get("msg_id")]:
            self._clear_if_due(outs, cell_index)
            name = content["name"]
            if text := stream.write(outs, name, content["text"]):
                self._on_output(text, name, cell_index)
            return None
        if msg["msg_type"] == "stream":  # into an output widget
            msg["content"] = self._redactor.value(content)
        self._release(cell_index)
        if msg["msg_type"] == "error":
            content |= shortened(content)
        elif not stream.admit(content.get("data", {})):
            return None
        kept: NotebookNode | None = super().output(outs, msg, display_id, cell_index)
        return kept

    def _clear_if_due(self, outs: list[NotebookNode], index: int) -> None:
        if self.clear_before_next_output:
            outs[:] = []
            self.clear_display_id_mapping(index)
            self._streams[index].clear()
            self.clear_before_next_output = False

    def _release(self, index: int) -> None:
        stream = self._streams[index]
        for name, text in stream.flush(self.nb["cells"][index]["outputs"]):
            self._on_output(text, name, index)
        stream.join()

    def clear_output(self, outs: list[NotebookNode], msg: dict[str, Any], cell_index: int) -> None:
        """Clear the outputs of a cell, or note that the next output clears them.

        Args:
            outs: the outputs of the cell.
            msg: the message.
            cell_index: the cell's position.
        """
        super().clear_output(outs, msg, cell_index)
        if not outs:
            self._streams[cell_index].clear()
