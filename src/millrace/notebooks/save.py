"""The executed notebook on disk: whole at every instant, close behind the run, and without secrets."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from nbformat import NotebookNode, from_dict
from nbformat.v4 import writes_json

from millrace.engine.redaction import Redactor

# While a cell keeps the kernel busy and quiet, the file follows after this many seconds ...
QUIET_SECONDS = 0.25
# ... and while messages pour in, after this many.
BUSY_SECONDS = 2.0
# Saving may take at most this part of the time of a run.
SHARE = 0.05
# Metadata that is written by us or structural.
_OURS = frozenset({"millrace", "papermill", "tags", "kernelspec", "language_info", "execution"})


def write_whole(path: Path, text: str, durable_name: bool = False) -> None:
    """Write a file so that a reader, or a power cut, finds the old one or the new one.

    Args:
        path: the file.
        text: its content.
        durable_name: also wait until the directory is on disk.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        # Half a surrogate pair becomes \\ud83d, which is how JSON spells it.
        with open(temporary, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable_name and os.name == "posix":
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def without_secrets(nb: NotebookNode, redactor: Redactor) -> NotebookNode:
    """A copy of a notebook in which no secret stands, neither in sources nor in outputs nor in metadata.

    Args:
        nb: the notebook; it is not changed.
        redactor: what to take out.
    """
    if not redactor:
        return nb
    copy = {**nb, "metadata": _metadata(nb["metadata"], redactor)}
    copy["cells"] = [_cell(cell, redactor) for cell in nb["cells"]]
    return from_dict(copy)


def _metadata(metadata: dict[str, Any], redactor: Redactor) -> dict[str, Any]:
    return {key: value if key in _OURS else redactor.value(value) for key, value in metadata.items()}


def _cell(cell: dict[str, Any], redactor: Redactor) -> dict[str, Any]:
    copy = {**cell, "source": redactor.text(cell["source"]), "metadata": _metadata(cell["metadata"], redactor)}
    if "attachments" in cell:
        copy["attachments"] = redactor.value(cell["attachments"])
    if "outputs" in cell:
        free = ("text", "data", "metadata", "ename", "evalue", "traceback")
        copy["outputs"] = [
            {key: redactor.value(value) if key in free else value for key, value in output.items()}
            for output in cell["outputs"]
        ]
    return copy


class NotebookFile:
    """The file that a run's notebook is saved to.

    Args:
        path: the file; None saves nothing.
        redactor: what to take out.
    """

    def __init__(self, path: Path | None, redactor: Redactor) -> None:
        self.path = path
        self._redactor = redactor
        self._saved_at = 0.0
        self._cost = 0.0
        self._dirty = False

    def touch(self) -> None:
        """The notebook has changed."""
        self._dirty = True

    def due(self, quiet: bool) -> bool:
        """Whether to save now.

        Args:
            quiet: the kernel said nothing for a moment, so that saving delays nothing.
        """
        if not self._dirty or self.path is None:
            return False
        pause = max(QUIET_SECONDS if quiet else BUSY_SECONDS, self._cost / SHARE)
        return time.monotonic() - self._saved_at >= pause

    def save(self, nb: NotebookNode, final: bool = False) -> None:
        """Save the notebook.

        Args:
            nb: the notebook.
            final: this is its last state, and must be on disk; an error of an earlier save is forgiven.

        Raises:
            OSError: the last save failed.
        """
        if self.path is None:
            return
        started = time.monotonic()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self.path, writes_json(without_secrets(nb, self._redactor)) + "\n", durable_name=final)
        except OSError:
            if final:
                raise
        self._saved_at = time.monotonic()
        self._cost = self._saved_at - started
        self._dirty = False
