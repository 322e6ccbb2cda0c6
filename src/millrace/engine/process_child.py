"""What a worker process does: read calls from its pipe, make them one after the other on its main thread."""

from __future__ import annotations

import json
import os
import queue
import signal
import struct
import sys
import threading
from typing import BinaryIO

from millrace.engine import travel
from millrace.engine.context import run_thread
from millrace.engine.homeward import Message
from millrace.engine.interrupts import Stoppable
from millrace.engine.processes import CALL, ERROR, HELLO, MESSAGE, STOP, VALUE, read_frame, write_frame
from millrace.engine.remote_calls import make
from millrace.errors import RunCancelled


class Child:
    """The two ends of the pipe and the call under way.

    Args:
        source: frames to read.
        sink: frames to write.
    """

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self._source, self._sink = source, sink
        self._writing = threading.Lock()
        self._calls: queue.SimpleQueue[tuple[int, bytes, bytes, Stoppable]] = queue.SimpleQueue()
        self._current: dict[int, Stoppable] = {}

    def read(self) -> None:
        """Takes what comes, on a thread of its own; when the other side is gone, so is this process."""
        while True:
            try:
                kind, body = read_frame(self._source)
            except (EOFError, OSError):
                os._exit(0)
            if kind == CALL:
                number, size = struct.unpack_from("!QQ", body)
                stoppable = self._current[number] = Stoppable()
                self._calls.put((number, body[16 : 16 + size], body[16 + size :], stoppable))
            elif kind == STOP:
                stopped = self._current.get(struct.unpack("!Q", body)[0])
                if stopped is not None:
                    stopped.stop(RunCancelled("The run was stopped."))
            elif kind == HELLO:
                self._calls.put((0, b"", body, Stoppable()))

    def work(self) -> None:
        """Makes the calls, for ever."""
        while True:
            number, flow, errand, stoppable = self._calls.get()
            if number == 0:
                initializer, arguments = travel.unpack(errand)
                initializer(*arguments)
                continue
            good, body = make(flow, errand, self.send, stoppable)
            self._current.pop(number, None)
            self._write(VALUE if good else ERROR, body)

    def send(self, message: Message) -> None:
        """Sends a message home."""
        self._write(MESSAGE, json.dumps(message, default=str).encode("utf-8", "replace"))

    def _write(self, kind: bytes, body: bytes) -> None:
        with self._writing:
            write_frame(self._sink, kind, body)


def main() -> None:
    """Takes standard input and output for itself; what else is written there goes to standard error."""
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv[:] = [""]
    child = Child(source, sink)
    run_thread(child.read, name="millrace-pipe")
    child.work()
