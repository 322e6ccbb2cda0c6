"""The text a cell writes: merged as JupyterLab merges it, without secrets, and no longer than allowed."""

from __future__ import annotations

from typing import Any

from nbformat import NotebookNode
from nbformat.v4 import new_output

from millrace.engine.redaction import Redactor, StreamRedaction

TAIL = 2000
ERROR_TEXT = 10_000
# What an output takes beside its data.
OVERHEAD = 200


def size_of(value: Any) -> int:
    """About how many bytes a JSON value takes.

    Args:
        value: any JSON value.
    """
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode("utf-8", "replace"))
    if isinstance(value, dict):
        return sum(size_of(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return sum(size_of(item) for item in value)
    return 8


def shortened(error: dict[str, Any]) -> dict[str, Any]:
    """The text and traceback of an error, each no longer than a person would read.

    Args:
        error: the content of a message with `evalue` and `traceback`.
    """
    text = str(error.get("evalue", ""))
    lines = [str(line) for line in error.get("traceback") or []]
    if len(text) > ERROR_TEXT:
        text = text[:ERROR_TEXT] + " [cut]"
    if size_of(lines) > 20 * ERROR_TEXT:
        lines = [line if len(line) <= ERROR_TEXT else line[:ERROR_TEXT] + " [cut]" for line in lines[:10] + lines[-10:]]
    return {"evalue": text, "traceback": lines}


def collapsed(text: str) -> str:
    """A text with every line as a terminal leaves it after carriage returns.

    Args:
        text: what was written.

    Example:
        >>> collapsed("1%\\r50%\\r100%\\n")
        '100%\\n'
    """
    if "\r" not in text:
        return text
    lines = []
    for line in text.replace("\r\n", "\n").split("\n"):
        body = line.rstrip("\r")
        lines.append(body[body.rfind("\r") + 1 :])
    return "\n".join(lines)


class OutputStream:
    """The outputs of one cell while they grow.

    Args:
        redactor: what to take out.
        limit: the most bytes of output that the cell keeps.
    """

    def __init__(self, redactor: Redactor, limit: int) -> None:
        self._redactions = {name: StreamRedaction(redactor) for name in ("stdout", "stderr")}
        self._limit = limit
        self._kept = 0
        self._cut = 0
        self._node: NotebookNode | None = None
        # Joined only when somebody looks: adding each print to one long text would take quadratic time.
        self._pieces: list[str] = []
        self.tail = ""

    def write(self, outputs: list[NotebookNode], name: str, text: str) -> str:
        """Add a piece of text.

        Args:
            outputs: the outputs of the cell.
            name: `stdout` or `stderr`.
            text: the piece, as the kernel sent it.

        Returns:
            What was kept of it and may be shown.
        """
        return self._append(outputs, name, self._redactions[name].feed(text))

    def _append(self, outputs: list[NotebookNode], name: str, text: str) -> str:
        text = text[: self._take(text)]
        if not text:
            return ""
        if self._node is None or self._node["name"] != name or not outputs or outputs[-1] is not self._node:
            self.join()
            self._node = new_output("stream", name=name, text="")
            outputs.append(self._node)
        self._pieces.append(text)
        self.tail = (self.tail + text)[-TAIL:]
        return text

    def _take(self, value: Any) -> int:
        size = size_of(value)
        taken = max(0, min(size, self._limit - self._kept))
        self._kept += taken
        self._cut += size - taken
        return taken

    def admit(self, value: Any) -> bool:
        """Whether a rich output still fits; it is counted if it does.

        Args:
            value: its data.
        """
        size = size_of(value) + OVERHEAD
        if self._kept + size > self._limit:
            self._cut += size
            return False
        self._kept += size
        return True

    def flush(self, outputs: list[NotebookNode]) -> list[tuple[str, str]]:
        """Let out what was held back as a possible secret, because something else comes now.

        Args:
            outputs: the outputs of the cell.

        Returns:
            Pairs of stream name and text.
        """
        released = []
        for name, redaction in self._redactions.items():
            if text := self._append(outputs, name, redaction.flush()):
                released.append((name, text))
        return released

    def join(self) -> None:
        """Put the pieces into the notebook."""
        if self._node is not None and self._pieces:
            self._node["text"] += "".join(self._pieces)
            self._pieces.clear()

    def clear(self) -> None:
        """The cell's outputs were cleared."""
        self._node = None
        self._pieces.clear()
        self._kept = self._cut = 0

    def finish(self, outputs: list[NotebookNode]) -> str:
        """The cell has ended: tidy its text, and say so if some was cut.

        Args:
            outputs: the outputs of the cell.

        Returns:
            The note about what was cut, or an empty text.
        """
        self.join()
        self._node = None
        for output in outputs:
            if output["output_type"] == "stream":
                output["text"] = collapsed(output["text"])
        if not self._cut:
            return ""
        note = f"[millrace: this cell's output was cut after {self._limit:,} bytes; {self._cut:,} more were not kept]\n"
        outputs.append(new_output("stream", name="stderr", text=note))
        return note
