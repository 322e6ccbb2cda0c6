"""A reader who types what a page says: cells into one kernel, commands into terminals, files into a directory.

A page is read from top to bottom. What its fences hold is done in this order:

    ```ipython           a cell; what a ```text right after it says is what the cell shows
    ```console           commands after `$ `, each with what it prints below it, if that is shown
    ```console worker    the same in a second terminal, where a command goes on until `^C`
    ```python, yaml, …   a file, if the first line is a comment with its name; else it is not for typing

In what is shown `…` stands for anything in a line, and for any lines where it is a line of its own; how many blanks
there are does not matter.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_client.manager import KernelManager

FENCE = re.compile(r"^```(\w+)(?: (\w+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NAMED = re.compile(r"# (\S+\.\w+|Dockerfile)\n")
FIRST = "first"
PATIENCE = 240.0
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass
class Block:
    """A fence of a page.

    Args:
        kind: its language.
        terminal: the second word after it.
        text: what it holds.
        line: of the page, from 1.
    """

    kind: str
    terminal: str
    text: str
    line: int


def blocks(page: str) -> list[Block]:
    """The fences of a page.

    Args:
        page: its text.
    """
    return [
        Block(found[1], found[2] or FIRST, found[3], page.count("\n", 0, found.start()) + 1)
        for found in FENCE.finditer(page)
    ]


def matches(shown: str, expected: str, *, whole: bool = True) -> bool:
    """Whether something shows what a page says.

    Args:
        shown: what a command or a cell printed.
        expected: what the page says.
        whole: it ends there too.

    Example:
        >>> matches("a  1\\nb\\nc 3\\n", "a …\\n…\\nc 3")
        True
    """
    parts = []
    for line in expected.splitlines():
        if line.strip() == "…":
            parts.append(r"(?:[^\n]*\n)*?")
        elif line.strip():
            said = [r"[ \t]+".join(map(re.escape, part.split())) for part in line.split("…")]
            parts.append(r"[ \t]*" + r"[^\n]*".join(said) + r"\n")
    text = "".join(f"{line.rstrip()}\n" for line in _ESCAPES.sub("", shown).splitlines() if line.strip())
    return bool((re.fullmatch if whole else re.match)("".join(parts), text))


class Reader:
    """Somebody who reads a page, with a kernel and terminals.

    Args:
        place: the directory they are in.
        scratch: where the reader keeps what terminals know and show.
        exports: what `export NAME=…` sets in place of what the page says.
    """

    def __init__(self, place: Path, scratch: Path, exports: Mapping[str, str] | None = None) -> None:
        self.place = place
        self._scratch = scratch
        self.exports = dict(exports or {})
        self._state = scratch / "terminal"
        self._manager: KernelManager | None = None
        self._client: Any = None
        self._running: dict[str, tuple[subprocess.Popen[bytes], Path]] = {}

    def read(self, page: str) -> Iterator[Block]:
        """Do what a page says; gives each block when it is done.

        Args:
            page: its text.
        """
        found = blocks(page)
        for number, block in enumerate(found):
            after = found[number + 1] if number + 1 < len(found) else None
            if block.kind == "ipython":
                expected = after.text if after is not None and after.kind == "text" else ""
                self._cell(block, expected)
            elif block.kind == "console":
                self._terminal(block)
            elif name := NAMED.match(block.text):
                file = self._directory / name[1]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(block.text)
            yield block

    def close(self) -> None:
        """Close the terminals and shut the kernel down."""
        for process, _ in self._running.values():
            process.send_signal(signal.SIGINT)
        for process, _ in self._running.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._manager is not None:
            self._client.stop_channels()
            self._manager.shutdown_kernel(now=True)

    # -- the notebook

    def _cell(self, block: Block, expected: str) -> None:
        if self._manager is None:
            self._manager = KernelManager()
            self._manager.start_kernel(cwd=str(self._directory), env=self._environment)
            self._client = self._manager.client()
            self._client.start_channels()
            self._client.wait_for_ready(timeout=120)
        said: list[str] = []

        def hear(message: dict[str, Any]) -> None:
            content = message["content"]
            data = content.get("data") or {}
            said.append(content.get("text") or data.get("text/plain") or "\n".join(content.get("traceback", ())))

        reply = self._client.execute_interactive(block.text, timeout=PATIENCE, output_hook=hear)
        shown = "".join(one if one.endswith("\n") else f"{one}\n" for one in said if one)
        assert reply["content"]["status"] == "ok", f"line {block.line}:\n{block.text}\n{shown}"
        assert not expected or matches(shown, expected), _differs(block.line, block.text, expected, shown)

    # -- terminals

    @property
    def _environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        environment = {**os.environ, "PATH": path, "TERM": "dumb", "NO_COLOR": "1"}
        if self._state.exists():
            done = subprocess.run(
                ["bash", "-c", f'. "{self._state}"; env -0'], env=environment, capture_output=True, check=True
            )
            pairs = (one.partition("=") for one in done.stdout.decode().split("\0") if one)
            environment |= {name: value for name, _, value in pairs}
        return environment

    @property
    def _directory(self) -> Path:
        if not self._state.exists():
            return self.place
        done = subprocess.run(["bash", "-c", f'. "{self._state}"; pwd'], capture_output=True, text=True, check=True)
        return Path(done.stdout.strip())

    def _terminal(self, block: Block) -> None:
        for line, expected in _commands(block):
            if line == "^C":
                self._interrupt(block.terminal)
            elif block.terminal == FIRST:
                self._run(block.line, line, expected)
            else:
                self._start(block, line, expected)

    def _run(self, number: int, line: str, expected: str) -> None:
        export = re.match(r"export (\w+)=", line)
        if export and export[1] in self.exports:
            line = f"export {export[1]}='{self.exports[export[1]]}'"
        # What the next command finds: the directory and the environment as this one leaves them.
        keep = f'{{ export -p | grep -v "declare -x _="; printf "cd %q\\n" "$PWD"; }} > "{self._state}"'
        script = f'[ ! -f "{self._state}" ] || . "{self._state}"\n{line}\nstatus=$?\n{keep}\nexit $status'
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.place,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
            check=False,
        )
        shown = done.stdout.decode()
        assert done.returncode == 0, f"line {number}: $ {line}\nexited with {done.returncode}:\n{shown}"
        assert not expected or matches(shown, expected), _differs(number, line, expected, shown)

    def _start(self, block: Block, line: str, expected: str) -> None:
        assert block.terminal not in self._running, f"line {block.line}: something runs in {block.terminal!r}"
        out = self._scratch / f"{block.terminal}.txt"
        with out.open("wb") as file:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {line}"],
                cwd=self._directory,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running[block.terminal] = (process, out)
        deadline = time.monotonic() + PATIENCE
        while not matches(out.read_text(), expected, whole=False):
            assert process.poll() is None and time.monotonic() < deadline, _differs(
                block.line, line, expected, out.read_text()
            )
            time.sleep(0.1)

    def _interrupt(self, terminal: str) -> None:
        process, out = self._running.pop(terminal)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) in (0, 130, -signal.SIGINT), out.read_text()

    def said(self) -> str:
        """What the other terminals show."""
        return "\n".join(f"-- {name}\n{out.read_text()}" for name, (_, out) in self._running.items())


def _commands(block: Block) -> list[tuple[str, str]]:
    """The commands of a block, each with what is shown below it."""
    found: list[tuple[str, str]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
        elif line == "^C":
            found.append((line, ""))
        elif found and found[-1][0].endswith("\\"):
            found[-1] = (f"{found[-1][0]}\n{line}", "")
        else:
            assert found, f"line {block.line}: no command stands before {line!r}"
            found[-1] = (found[-1][0], f"{found[-1][1]}{line}\n")
    return found


def _differs(number: int, what: str, expected: str, shown: str) -> str:
    return f"line {number}: {what}\n-- the page says\n{expected}\n-- it shows\n{shown}"
