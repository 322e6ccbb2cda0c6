"""A warm parent: a small process that has everything imported and forks a child per job in about ten milliseconds.

    worker ── {"id", "env", "cwd", "out"} ──▶ warm parent ── fork ──▶ child in its own session
           ◀── {"id", "pid"}, {"pid", "code"} ──

It runs one thread and holds one socket, so a fork copies nothing that could be torn in half. It ends when the worker's
end of the socket closes; its children live on.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

from millrace import plugins, settings
from millrace.workers import tree
from millrace.workers.launch import Forked, Launch, Stranger

PRELOADED = (
    "millrace.workers.child",
    "millrace.flows",
    "millrace.tasks",
    "millrace.client.synchronous",
    "millrace.engine",
    "millrace.entrypoints",
    "millrace.notebooks.flow",
    "millrace.notebooks.run",
)
_PART = 65536


class WarmFailed(Exception):
    """The warm parent could not start the job; the worker starts it the slow way."""


# -- the worker's side


@dataclass
class _Waiting:
    answered: threading.Event
    answer: dict[str, Any] | None = None


class WarmParent:
    """The worker's end. One per worker; started on first use and again when it died."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count()
        self._waiting: dict[int, _Waiting] = {}
        self._children: dict[int, Forked] = {}
        self._ended_early: dict[int, int] = {}

    def prepare(self) -> None:
        """Start the parent, so that the first job finds it warm."""
        with self._lock:
            if self._socket is None:
                self._start()

    def start(self, launch: Launch) -> Forked:
        """Fork a child that runs `millrace.workers.child`.

        Args:
            launch: its environment, working directory and output; `argv` is not used.

        Raises:
            WarmFailed: it cannot be forked now.
        """
        number = next(self._numbers)
        waiting = self._waiting[number] = _Waiting(threading.Event())
        request = {"id": number, "env": launch.env, "cwd": str(launch.cwd), "out": str(launch.out)}
        try:
            with self._lock:
                if self._socket is None:
                    self._start()
                assert self._socket is not None
                self._socket.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            self._waiting.pop(number, None)
            raise WarmFailed(str(error)) from None
        waiting.answered.wait(20)
        self._waiting.pop(number, None)
        if not waiting.answer or "pid" not in waiting.answer:
            raise WarmFailed((waiting.answer or {}).get("error", "the warm parent does not answer"))
        return self._child(waiting.answer["pid"])

    def close(self) -> None:
        """End the parent; its children live on."""
        with self._lock:
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)  # close alone would not wake the reading thread
                self._socket.close()
                self._socket = None
            process = self._process
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2)

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            os.set_inheritable(theirs.fileno(), True)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "millrace.workers.warm", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._socket = ours
        threading.Thread(target=self._read, args=(ours, self._process), name="millrace-warm", daemon=True).start()

    def _child(self, pid: int) -> Forked:
        with self._lock:
            forked = self._children.setdefault(pid, Forked(pid, tree.create_time(pid)))
            if pid in self._ended_early:
                self._end(forked, self._ended_early.pop(pid))
        return forked

    def _end(self, forked: Forked, code: int | None) -> None:
        self._children.pop(forked.pid, None)
        forked.code = code
        forked.ended.set()

    def _read(self, channel: socket.socket, process: subprocess.Popen[bytes]) -> None:
        buffer = b""
        while True:
            try:
                part = channel.recv(_PART)
            except OSError:
                part = b""
            if not part:
                break
            *lines, buffer = (buffer + part).split(b"\n")
            for line in lines:
                self._take(json.loads(line))
        self._lost(channel)
        process.wait()

    def _take(self, message: dict[str, Any]) -> None:
        if "id" in message:
            waiting = self._waiting.get(message["id"])
            if waiting is not None:
                waiting.answer = message
                waiting.answered.set()
            return
        with self._lock:
            forked = self._children.get(message["pid"])
            if forked is None:
                self._ended_early[message["pid"]] = message["code"]
            else:
                self._end(forked, message["code"])

    def _lost(self, channel: socket.socket) -> None:
        # Its children are strangers now: we watch them by number.
        with self._lock:
            if self._socket is channel:
                self._socket = None
            orphans = list(self._children.values())
            for waiting in self._waiting.values():
                waiting.answered.set()
        for forked in orphans:
            threading.Thread(target=self._watch, args=(forked,), name="millrace-orphan", daemon=True).start()

    def _watch(self, forked: Forked) -> None:
        stranger = Stranger(forked.pid, forked.create_time)
        while not stranger.wait(3600):
            pass
        with self._lock:
            self._end(forked, None)


# -- the warm parent's side


def main(descriptor: int) -> int:
    """The warm parent; in a forked child, the job itself.

    Args:
        descriptor: its end of the socket.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()  # what is imported stays
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()
    gc.enable()
    request = _serve(socket.socket(fileno=descriptor))
    if request is None:
        return 0
    return _become(request)


def _serve(channel: socket.socket) -> dict[str, Any] | None:
    """Fork a child per request until the worker is gone. Returns the request in a child, None in the parent."""
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(awake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    buffer = b""
    watched: list[Any] = [channel, awake]
    while True:
        readable, _, _ = select.select(watched, [], [])
        if awake in readable:
            os.read(awake, 512)
            _reap(channel)
        if channel not in readable:
            continue
        part = channel.recv(_PART)
        if not part:
            return None
        *lines, buffer = (buffer + part).split(b"\n")
        for line in lines:
            request: dict[str, Any] = json.loads(line)
            if _fork(channel, request):
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                channel.close()
                os.close(awake)
                os.close(wake)
                return request


def _fork(channel: socket.socket, request: dict[str, Any]) -> bool:
    """Whether this is the child."""
    if threading.active_count() > 1:
        _send(channel, {"id": request["id"], "error": "a preloaded module started a thread"})
        return False
    try:
        pid = os.fork()
    except OSError as error:
        _send(channel, {"id": request["id"], "error": str(error)})
        return False
    if pid == 0:
        return True
    _send(channel, {"id": request["id"], "pid": pid})
    return False


def _reap(channel: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _send(channel, {"pid": pid, "code": os.waitstatus_to_exitcode(status)})


def _send(channel: socket.socket, message: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        channel.sendall(json.dumps(message).encode() + b"\n")


def _become(request: dict[str, Any]) -> int:
    os.setsid()
    out = os.open(request["out"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(out, stream)
    os.close(out)
    for text in (sys.stdout, sys.stderr):
        text.reconfigure(line_buffering=True, write_through=True)  # type: ignore[union-attr]
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    settings.current.cache_clear()
    random.seed()
    main: Callable[[], int] = plugins.load("millrace.workers.child:main")
    return main()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
