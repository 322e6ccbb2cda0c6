"""Processes that call functions for this one: each a plain Python, told over its pipe what to do.

They are started by command line and never import the user's `__main__`: a script needs no `if __name__ == "__main__"`,
and a notebook's kernel can have them. Each calls one function at a time, on its main thread, where a time limit and a
stop interrupt even blocking calls; one that does not react is killed.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any, BinaryIO
from weakref import WeakSet

from millrace.engine import travel
from millrace.engine.belongings import nobodys
from millrace.engine.homeward import Message
from millrace.engine.interrupts import CallLost

GRACE_SECONDS = 5.0
"""How long a function that was told to stop may take to do so."""

_HEADER = struct.Struct("!cQ")
_PROGRAM = (
    "import sys, json; sys.path[:] = json.loads(sys.argv.pop()); from millrace.engine.process_child import main; main()"
)

HELLO, CALL, STOP = b"h", b"c", b"s"  # to the process
MESSAGE, VALUE, ERROR = b"m", b"v", b"e"  # from it


def write_frame(pipe: BinaryIO, kind: bytes, *parts: bytes) -> None:
    """Writes one frame.

    Args:
        pipe: where to.
        kind: one byte.
        parts: the body, in pieces.
    """
    pipe.write(_HEADER.pack(kind, sum(map(len, parts))))
    for part in parts:
        pipe.write(part)
    pipe.flush()


def read_frame(pipe: BinaryIO) -> tuple[bytes, bytes]:
    """Reads one frame: its kind and body.

    Args:
        pipe: where from.

    Raises:
        EOFError: the other side is gone.
    """
    header = pipe.read(_HEADER.size)
    if len(header) < _HEADER.size:
        raise EOFError
    kind, size = _HEADER.unpack(header)
    body = pipe.read(size)
    if len(body) < size:
        raise EOFError
    return kind, body


class WorkerProcess:
    """One process.

    Attributes:
        overdue: it was killed because the present call took too long.
        settled: it has answered its last call.

    Args:
        initializer: called in it first, with its arguments; None for nothing.
    """

    def __init__(self, initializer: tuple[Callable[..., object], tuple[Any, ...]] | None = None) -> None:
        self._process = nobodys(  # a pool may be that of several runs; it ends its processes itself
            subprocess.Popen,
            [sys.executable, "-c", _PROGRAM, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in the terminal is for the flow run, which stops its tasks
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._in: BinaryIO = self._process.stdin
        self._out: BinaryIO = self._process.stdout
        self._lock = threading.Lock()
        self._number = 0
        self.overdue, self.settled = False, True
        _living.add(self)
        if initializer is not None:
            self._send(HELLO, travel.pack(initializer))

    @property
    def alive(self) -> bool:
        """Whether it can take a call."""
        return self._process.poll() is None

    def _send(self, kind: bytes, *parts: bytes) -> None:
        with self._lock:
            write_frame(self._in, kind, *parts)

    def begin(self) -> None:
        """A call is to be made: from now on `stop` and `kill_later` mean this one."""
        self._number += 1
        self.overdue = self.settled = False

    def call(self, flow: bytes, errand: bytes, take: Callable[[Message], object]) -> tuple[bool, bytes]:
        """Has a call made; whether it gave a value, and the value or the exception, packed.

        Args:
            flow: the flow run's part.
            errand: the call.
            take: gets the messages that come before.

        Raises:
            CallLost: the process ended first.
        """
        try:
            self._send(CALL, struct.pack("!QQ", self._number, len(flow)), flow, errand)
            while True:
                kind, body = read_frame(self._out)
                if kind == MESSAGE:
                    take(json.loads(body))
                else:
                    self.settled = True
                    return kind == VALUE, body
        except (EOFError, OSError):
            raise CallLost(self._obituary()) from None

    def stop(self) -> None:
        """Interrupts the present call; kills the process if it does not end soon. Any thread may call this."""
        self.kill_later(GRACE_SECONDS)
        with contextlib.suppress(OSError):
            self._send(STOP, struct.pack("!Q", self._number))

    def kill_later(self, seconds: float) -> threading.Timer:
        """Kills the process after a time, unless its present call has ended by then.

        Args:
            seconds: the time.
        """
        timer = threading.Timer(seconds, self._kill_if_at, [self._number])
        timer.daemon = True
        timer.start()
        return timer

    def _kill_if_at(self, number: int) -> None:
        if self._number == number:
            self.overdue = True
            self.kill()

    def done(self) -> None:
        """The present call has ended: nothing that was to stop it matters any more."""
        self._number += 1

    def kill(self) -> None:
        """Ends the process and those it started, at once."""
        with contextlib.suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:  # pragma: no cover - Windows
                self._process.kill()

    def hang_up(self) -> None:
        """Closes the pipes; an idle process ends then."""
        for pipe in (self._in, self._out):
            with contextlib.suppress(OSError):
                pipe.close()

    def close(self) -> None:
        """Lets an idle process go."""
        self.hang_up()
        try:
            self._process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
        _living.discard(self)

    def _obituary(self) -> str:
        try:
            code = self._process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            code = self._process.wait()
        self.hang_up()
        _living.discard(self)
        if code >= 0:
            return f"the worker process {self._process.pid} ended with exit code {code} before its task did"
        name = signal.Signals(-code).name if -code in {one.value for one in signal.Signals} else f"signal {-code}"
        memory = "; the system does this when memory runs out" if name == "SIGKILL" else ""
        return f"the worker process {self._process.pid} was ended by {name} before its task ended{memory}"


_living: WeakSet[WorkerProcess] = WeakSet()


@atexit.register
def _end_all() -> None:
    for process in list(_living):
        process.kill()


class ProcessPool:
    """Processes that are kept between calls; one is started when a call finds none idle.

    Args:
        initializer: called first in each.
    """

    def __init__(self, initializer: tuple[Callable[..., object], tuple[Any, ...]] | None = None) -> None:
        self._initializer = initializer
        self._idle: list[WorkerProcess] = []
        self._lock = threading.Lock()
        self._closed = False
        self.started = 0

    def take(self) -> WorkerProcess:
        """An idle process, or a new one."""
        while True:
            with self._lock:
                found = self._idle.pop() if self._idle else None
                self.started += found is None
            if found is None:
                return WorkerProcess(self._initializer)
            if found.alive:
                return found
            found.close()

    def give_back(self, process: WorkerProcess) -> None:
        """Keeps a process for the next call; one that is dead is let go.

        Args:
            process: of `take`.
        """
        if not process.settled:
            process.kill()  # whoever waited for its answer went away
        with self._lock:
            if process.settled and process.alive and not self._closed:
                self._idle.append(process)
                return
        process.close()

    def close(self) -> None:
        """Lets the idle processes go; those at work follow when they are given back."""
        with self._lock:
            idle, self._idle, self._closed = self._idle, [], True
        for process in idle:
            process.hang_up()
        for process in idle:
            process.close()
